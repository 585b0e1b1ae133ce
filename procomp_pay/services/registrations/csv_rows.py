"""CSV as spreadsheets save it: UTF-8 with or without mark, UTF-16, Windows Cyrillic; ``,`` ``;`` or tab."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from procomp_pay.domain.errors import Refused
from procomp_pay.services.registrations.columns import columns_of
from procomp_pay.services.registrations.rows import MOST_COLUMNS, RawRow

_DELIMITERS = (",", ";", "\t")
_SAVE_AGAIN = "in the spreadsheet: Save as, CSV UTF-8 or XLSX"


def rows(content: bytes, sheet: str | None = None) -> tuple[str, Iterator[RawRow]]:
    """Return how the file was read, and its rows.

    :raises Refused: not text, or a sheet is asked for.
    """
    if sheet is not None:
        raise Refused("A CSV file has no sheets", next_step="leave --sheet out")
    text, encoding = _decode(content)
    first, rest = _sep_line(text)
    delimiter = first or _delimiter(rest)
    name = "tab" if delimiter == "\t" else delimiter
    return f"CSV ({encoding}, {name})", _rows(rest, delimiter, skipped=1 if first else 0)


def _decode(content: bytes) -> tuple[str, str]:
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused(
            "The file is an old .xls workbook, or one with a password",
            next_step="save it as .xlsx, unprotected",
        )
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            return _strictly(content, encoding), encoding
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return _windows(content)


def _windows(content: bytes) -> tuple[str, str]:
    """Windows-1251, or KZ-1048, which is the same but for the places where it has Kazakh letters."""
    if b"\x00" in content:
        raise Refused("The file is no text: it has NUL bytes", next_step=_SAVE_AGAIN)
    kazakh = _strictly(content, "kz1048")
    try:
        russian = content.decode("cp1251")
    except UnicodeDecodeError:
        russian = ""
    return (kazakh, "cp1251") if russian == kazakh else (kazakh, "kz1048")


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Refused(
            f"The file is neither UTF-8 nor Windows Cyrillic text (byte {error.start})", next_step=_SAVE_AGAIN
        ) from None


def _sep_line(text: str) -> tuple[str | None, str]:
    """Excel's own first line ``sep=;``."""
    first, _, rest = text.partition("\n")
    first = first.rstrip("\r").strip('"')
    if len(first) == 5 and first.lower().startswith("sep="):
        return first[4], rest
    return None, text


def _delimiter(text: str) -> str:
    """The one under which a head is understood with the most columns; else the one seen most at the top."""

    def judge(delimiter: str) -> tuple[int, int]:
        understood = width = 0
        for row, _ in zip(_rows(text, delimiter), range(10), strict=False):
            width = max(width, len(row.cells))
            try:
                understood = max(understood, len(columns_of(row.cells) or ()))
            except Refused:
                understood = max(understood, 2)
        return understood, width

    return max(_DELIMITERS, key=judge)


def _rows(text: str, delimiter: str, *, skipped: int = 0) -> Iterator[RawRow]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RawRow(line, [], problem=_why(str(error)))
            continue
        if len(cells) > MOST_COLUMNS and any(cell.strip() for cell in cells[MOST_COLUMNS:]):
            yield RawRow(line, [], problem=f"the line has more than {MOST_COLUMNS} cells")
            continue
        yield RawRow(line, cells[:MOST_COLUMNS], by_commas=True)


def _why(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote is opened here and never closed: everything below it would be one cell"
    if "expected after" in error:
        return "a quote stands inside a quoted cell: write it twice"
    if "field larger" in error:
        return "a cell is longer than 131072 characters: a quote may be missing"
    return f"cannot be read: {error}"
