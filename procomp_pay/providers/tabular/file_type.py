"""Tell a workbook from a text file by its first bytes, and name what is neither."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.package import SAVE_AS_XLSX, UNPACK
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
            N_("The file is a PDF: its cells cannot be read for certain"), next_step=rules.right_format
        )
    if lower.startswith((b"<!doctype", b"<html", b"<table", b"<?xml", b"<meta")):
        raise InvalidFile(
            N_("The file is a web page (or XML), whatever its name says"), next_step=SAVE_AS_XLSX
        )
    if text.startswith(b"1CClientBankExchange"):
        raise InvalidFile(
            N_("The file is an exchange file for 1C: it has the bank's totals alone"),
            next_step=rules.right_format,
        )
    if text.startswith((b"{", b"[{")):
        raise InvalidFile(N_("The file is JSON"), next_step=rules.right_format)
    if start.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        raise InvalidFile(N_("The file is an archive"), next_step=UNPACK)
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def cannot_open(path: Path, error: OSError) -> InvalidFile:
    """Return the error for a file that the operating system does not open."""
    if isinstance(error, FileNotFoundError):
        return InvalidFile(N_("There is no file %(name)s", name=path), next_step=N_("check its name"))
    why = N_("no permission") if isinstance(error, PermissionError) else error.strerror
    return InvalidFile(
        N_("The file %(path)s cannot be read: %(why)s", path=path, why=why),
        next_step=N_("check its name and its rights"),
    )


def not_a_file(path: Path) -> InvalidFile:
    """Return the error for a folder, a pipe or a device."""
    return InvalidFile(
        N_("%(path)s is not a regular file", path=path), next_step=N_("save it as a file, and give that")
    )


def _old_or_protected(file: BinaryIO) -> InvalidFile:
    is_protected = _PROTECTED in file.read(_OLE_LOOKED_AT)
    file.seek(0)
    if is_protected:
        return InvalidFile(
            N_("The workbook is protected by a password"),
            next_step=N_("in Excel: File, Info, Protect Workbook, Encrypt, empty the password, save"),
        )
    return InvalidFile(
        N_("The file is an old .xls workbook (or a protected one)"),
        next_step=N_("in Excel: Save as, Excel Workbook (.xlsx)"),
    )
