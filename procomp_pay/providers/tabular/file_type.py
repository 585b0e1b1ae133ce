"""Tell a workbook from a text file by its first bytes, and name what is neither."""

from __future__ import annotations

from typing import BinaryIO

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.providers.tabular.package import SAVE_AS_XLSX
from procomp_pay.providers.tabular.rules import FileRules

_LOOKED_AT = 4096
_OLE_LOOKED_AT = 1_000_000
_PROTECTED = "EncryptedPackage".encode("utf-16-le")


def is_workbook(file: BinaryIO, rules: FileRules) -> bool:
    """Return whether the file is a ZIP archive, as XLSX is; else it is taken for text.

    :raises InvalidFile: it is something else, which the message names.
    """
    file.seek(0)
    start = file.read(_LOOKED_AT)
    file.seek(0)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise _old_or_protected(file)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:200].lower()
    if start.startswith(b"%PDF"):
        raise InvalidFile(
            "The file is a PDF: its cells cannot be read for certain", next_step=rules.right_format
        )
    if lower.startswith((b"<!doctype", b"<html", b"<table", b"<?xml", b"<meta")):
        raise InvalidFile("The file is a web page (or XML), whatever its name says", next_step=SAVE_AS_XLSX)
    if text.startswith(b"1CClientBankExchange"):
        raise InvalidFile(
            "The file is an exchange file for 1C: it has the bank's totals alone",
            next_step=rules.right_format,
        )
    if text.startswith((b"{", b"[{")):
        raise InvalidFile("The file is JSON", next_step=rules.right_format)
    if start.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        raise InvalidFile("The file is an archive", next_step=f"unpack it, and give the {rules.noun} in it")
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _old_or_protected(file: BinaryIO) -> InvalidFile:
    is_protected = _PROTECTED in file.read(_OLE_LOOKED_AT)
    file.seek(0)
    if is_protected:
        return InvalidFile(
            "The workbook is protected by a password",
            next_step="in Excel: File, Info, Protect Workbook, Encrypt, empty the password, save",
        )
    return InvalidFile(
        "The file is an old .xls workbook (or a protected one)",
        next_step="in Excel: Save as, Excel Workbook (.xlsx)",
    )
