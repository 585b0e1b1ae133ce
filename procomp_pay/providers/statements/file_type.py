"""What a file is, by its first bytes: a workbook, a text, or one of the things that are given by mistake."""

from __future__ import annotations

from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.xlsx.safety import SAVE_AGAIN

_LOOKED_AT = 4096
_OLE_LOOKED_AT = 1_000_000
_PROTECTED = "EncryptedPackage".encode("utf-16-le")
_REPORT = "export the report of operations from Kaspi Pay as XLSX or CSV"


def is_workbook(file: BinaryIO) -> bool:
    """Whether it is a ZIP, as XLSX is; else it is taken for text. The file is left at its start.

    :raises InvalidStatement: it is something else, and is called by its name.
    """
    start = file.read(_LOOKED_AT)
    file.seek(0)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise _old_or_protected(file)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:200].lower()
    if start.startswith(b"%PDF"):
        raise InvalidStatement("The file is a PDF: its figures cannot be read for certain", next_step=_REPORT)
    if lower.startswith((b"<!doctype", b"<html", b"<table", b"<?xml", b"<meta")):
        raise InvalidStatement(
            "The file is a web page (or XML), whatever its name says", next_step=SAVE_AGAIN
        )
    if text.startswith(b"1CClientBankExchange"):
        raise InvalidStatement(
            "The file is an exchange file for 1C: it has the bank's totals alone", next_step=_REPORT
        )
    if text.startswith((b"{", b"[{")):
        raise InvalidStatement("The file is JSON", next_step="export the statement as CSV or XLSX")
    if start.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        raise InvalidStatement("The file is an archive", next_step="unpack it, and give the statement in it")
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _old_or_protected(file: BinaryIO) -> InvalidStatement:
    found = _PROTECTED in file.read(_OLE_LOOKED_AT)
    file.seek(0)
    if found:
        return InvalidStatement(
            "The workbook is protected by a password",
            next_step="in Excel: File, Info, Protect Workbook, Encrypt, empty the password, save",
        )
    return InvalidStatement(
        "The file is an old .xls workbook (or a protected one)",
        next_step="in Excel: Save as, Excel Workbook (.xlsx)",
    )
