"""A workbook's parts, looked through before its parser sees them: no bomb, no macro, no endless row."""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement

#: What all sheets, and all other parts, may hold unpacked, in bytes. A million lines fit.
MOST_IN_SHEETS = 1_000_000_000
MOST_IN_OTHERS = 100_000_000
_MOST_PARTS = 1000
#: The most bytes of one cell's text and of one row: more than a spreadsheet program writes.
_LONGEST_TEXT = 262_144
_LONGEST_ROW = 4_194_304
_BLOCK = 65_536
_OVERLAP = 64
_ROW = re.compile(rb"<(?:\w+:)?(?:row|si)[\s>/]")
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml", re.I)
SAVE_AGAIN = "open it in Excel or LibreOffice and save it as .xlsx, or export the statement again"


@dataclass(frozen=True, slots=True)
class Parts:
    """What is certain of a workbook.

    :param has_formulas: some cell of some sheet is a formula.
    """

    has_formulas: bool


def damaged() -> InvalidStatement:
    """Whatever its parser stumbles over."""
    return InvalidStatement("The file is no XLSX workbook, or is damaged", next_step=SAVE_AGAIN)


def look_through(file: BinaryIO) -> Parts:
    """Look through all parts; the file is left at its start.

    :raises InvalidStatement: damaged, too large unpacked, with macros, protected, or no workbook.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check_names(archive)
            _check_sizes(archive)
            formulas = [_scan(archive, part) for part in archive.infolist() if _is_large_kind(part.filename)]
    except InvalidStatement:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        raise damaged() from None
    except RuntimeError:  # zipfile's word for an encrypted part
        raise InvalidStatement(
            "The workbook is protected by a password", next_step="save it without the password"
        ) from None
    finally:
        file.seek(0)
    return Parts(any(formulas))


def _check_names(archive: zipfile.ZipFile) -> None:
    names = {name.lower() for name in archive.namelist()}
    if len(names) > _MOST_PARTS:
        raise InvalidStatement("The workbook has too many parts", next_step=SAVE_AGAIN)
    if any(name.endswith("vbaproject.bin") for name in names):
        raise InvalidStatement(
            "The workbook holds macros, which a statement has no use for",
            next_step="export the statement again, or save it as .xlsx without macros",
        )
    if "xl/workbook.bin" in names:
        raise InvalidStatement("The file is a binary workbook (.xlsb)", next_step=SAVE_AGAIN)
    if "content.xml" in names and "mimetype" in names:
        raise InvalidStatement("The file is an OpenDocument sheet", next_step=SAVE_AGAIN)
    if "xl/workbook.xml" not in names:
        raise InvalidStatement(
            "The file is a ZIP archive and no workbook", next_step="unpack it, and give the statement in it"
        )


def _check_sizes(archive: zipfile.ZipFile) -> None:
    sheets = sum(part.file_size for part in archive.infolist() if _SHEET.fullmatch(part.filename))
    others = sum(part.file_size for part in archive.infolist()) - sheets
    if sheets > MOST_IN_SHEETS or others > MOST_IN_OTHERS:
        raise InvalidStatement(
            f"The workbook unpacks to more than a statement holds ({(sheets + others) // 1_000_000} MB)",
            next_step="export a shorter period, or save the statement's sheet alone",
        )


def _is_large_kind(name: str) -> bool:
    return _SHEET.fullmatch(name) is not None or name.lower() == "xl/sharedstrings.xml"


def _scan(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    """Whether a part has formulas; its texts and rows are measured, in one block's memory."""
    has_formulas = False
    since_tag = since_row = 0
    tail = b""
    with archive.open(part) as stream:
        while block := stream.read(_BLOCK):
            if b"\x00" in block:
                # UTF-16: no program writes sheets in it, and nothing here would see through it
                raise damaged()
            first, last = block.find(b"<"), block.rfind(b"<")
            since_tag += first if first >= 0 else len(block)
            if since_tag > _LONGEST_TEXT:
                raise _too_long("A cell of the workbook is longer than any text of a statement")
            since_tag = len(block) - last if last >= 0 else since_tag
            both = tail + block
            starts = [found.start() for found in _ROW.finditer(both)]
            since_row = len(both) - starts[-1] if starts else since_row + len(block)
            if since_row > _LONGEST_ROW:
                raise _too_long("A row of the workbook is longer than any line of a statement")
            has_formulas = has_formulas or _FORMULA.search(both) is not None
            tail = both[-_OVERLAP:]
    return has_formulas


def _too_long(what: str) -> InvalidStatement:
    return InvalidStatement(what, next_step=SAVE_AGAIN)
