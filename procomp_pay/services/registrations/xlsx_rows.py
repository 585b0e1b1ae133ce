"""XLSX workbooks: bounded before they are opened, numbers and dates as a person would write them."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from procomp_pay.domain.errors import Refused
from procomp_pay.services.registrations.rows import MOST_COLUMNS, MOST_ROWS, RawRow

#: What all parts of a workbook may hold unpacked, in bytes; zipfile never reads more than is declared.
_MOST_UNPACKED = 60_000_000
_MOST_PARTS = 1000
#: Rows that are looked at; a sheet may have many empty ones.
_MOST_SCANNED = 5 * MOST_ROWS
_FORMULA = re.compile(rb"<(\w+:)?f[\s>/]")
_SAVE_AGAIN = "open it in Excel or LibreOffice and save it again as .xlsx, or as CSV UTF-8"


def rows(content: bytes, sheet: str | None = None) -> tuple[str, Iterator[RawRow]]:
    """Return how the file was read, and the rows of the first sheet or of the one named.

    :raises Refused: damaged, protected, too large unpacked, no such sheet, too many rows.
    """
    _check_size(content)
    values = _open(content, sheet, data_only=True)
    # only a workbook with formulas is read a second time, to tell an empty cell from a missing result
    formulas = _open(content, sheet, data_only=False) if _has_formulas(content) else None
    return f"XLSX (sheet “{values.title}”)", _rows(values, formulas)


def _check_size(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged() from error
    if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > _MOST_UNPACKED:
        raise Refused(
            f"The workbook unpacks to more than {_MOST_UNPACKED // 1_000_000} MB",
            next_step="save the roster's sheet alone, without pictures and formatting",
        )


def _has_formulas(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
            return any(_FORMULA.search(archive.read(name)) for name in sheets)
    except Exception as error:  # as in _open
        raise _damaged() from error


def _damaged() -> Refused:
    return Refused("The file is no XLSX workbook, or is damaged", next_step=_SAVE_AGAIN)


def _open(content: bytes, sheet: str | None, data_only: bool) -> Any:
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that it does not know
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=data_only)
            sheets = {each.title: each for each in book.worksheets}
    except Exception as error:  # whatever its parser stumbles over
        raise _damaged() from error
    if not sheets:
        raise Refused("The workbook has no sheet", next_step=_SAVE_AGAIN)
    chosen = next(iter(sheets)) if sheet is None else sheet
    if chosen not in sheets:
        known = ", ".join(f"“{title}”" for title in list(sheets)[:20])
        raise Refused(f"The workbook has no sheet “{chosen}”", next_step=f"its sheets are {known}")
    # some programs write a dimension that is not so
    sheets[chosen].reset_dimensions()
    return sheets[chosen]


def _rows(values: Any, formulas: Any) -> Iterator[RawRow]:
    both = zip_longest(_cells(values), _cells(formulas) if formulas else (), fillvalue=())
    line = 0
    while True:
        line += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of dates that it cannot read
                shown, written = next(both)
        except StopIteration:
            return
        except Exception as error:  # as above
            raise _damaged() from error
        if line > _MOST_SCANNED:
            raise Refused(
                f"The sheet has more than {_MOST_SCANNED} rows",
                next_step="delete the empty rows at its end, or split it",
            )
        yield _raw(line, shown, written)


def _cells(sheet: Any) -> Iterator[tuple[Any, ...]]:
    return iter(sheet.iter_rows(max_col=MOST_COLUMNS))


def _raw(line: int, shown: tuple[Any, ...], written: tuple[Any, ...]) -> RawRow:
    cells: list[str] = []
    unusable: dict[int, str] = {}
    dates: set[int] = set()
    for place, cell in enumerate(shown):
        value = cell.value
        cells.append(_text(value))
        if cell.data_type == "e":
            unusable[place] = f"is an error of the spreadsheet: {str(value)[:20]}"
        elif isinstance(value, date | time):
            dates.add(place)
        elif value is None and place < len(written) and written[place].value is not None:
            unusable[place] = "is a formula without its result: open the file in Excel, save, and try again"
    while cells and not cells[-1] and len(cells) - 1 not in unusable:
        cells.pop()
    return RawRow(line, cells, unusable=unusable, dates=frozenset(dates))


def _text(value: Any) -> str:
    """A cell as a person would write it: ``60`` and not ``60.0``, a day without ``00:00:00``."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    return str(value)
