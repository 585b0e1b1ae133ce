"""XLSX workbooks: read row by row, numbers exact, and nothing taken from a sheet that nobody sees."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Any, BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.layout.cells import Cell, Unusable
from procomp_pay.providers.statements.layout.headers import MOST_COLUMNS
from procomp_pay.providers.statements.layout.mapping_file import Mapped
from procomp_pay.providers.statements.layout.recognise import HEAD_WITHIN, Layout, recognise
from procomp_pay.providers.statements.owner import owner_of
from procomp_pay.providers.statements.table import Broken, Row, unknown
from procomp_pay.providers.statements.xlsx.safety import SAVE_AGAIN, damaged, look_through

#: As many rows as a sheet can have.
MOST_ROWS = 1_048_576
#: Empty rows in a row that are still followed by others; some programs write a million of them.
_MOST_EMPTY = 10_000
_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!")
_NO_RESULT = Unusable("a formula without its result: open the file in Excel, save it, and try again")


class XlsxTable:
    """An XLSX statement: the one visible sheet that is one.

    :param file: opened for reading bytes; closed by :meth:`close`.
    :raises InvalidStatement: damaged, protected, too large, an unknown layout, or two sheets with a
    statement.
    """

    def __init__(self, file: BinaryIO, size: int, *, provider: str | None, mapped: Mapped | None) -> None:
        self._file = file
        self.bytes_total = size
        self.notes: list[str] = []
        self._formulas = look_through(file).has_formulas
        self._rows_total = 0
        self._row = 0
        self._sheet, self.layout = self._recognise(provider, mapped)
        self.kind = f"XLSX (sheet “{self._sheet}”)"

    @property
    def bytes_read(self) -> int:
        """How far :meth:`rows` has come, as a part of the file; nothing before it was counted once."""
        return self.bytes_total * self._row // self._rows_total if self._rows_total else 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def check_whole(self, last: Row | None) -> None:
        """A cut workbook is no workbook at all; here only the number of rows is kept."""
        self._rows_total = last[0] if last is not None else 0

    def rows(self, broken: Broken) -> Iterator[Row]:  # noqa: ARG002 - a workbook has no such rows
        """The rows below the head."""
        for number, cells in self._read(self._sheet):
            self._row = number
            if number > self.layout.row:
                yield number, cells

    def _recognise(self, provider: str | None, mapped: Mapped | None) -> tuple[str, Layout]:
        found: list[tuple[str, Layout]] = []
        seen: list[list[str]] = []
        for title, is_visible in self._titles():
            if mapped is not None and mapped.sheet not in (None, title):
                continue
            if not is_visible and (mapped is None or mapped.sheet is None):
                self.notes.append(f"the hidden sheet “{title}” was not read")
                continue
            above: list[list[Cell]] = []
            for number, row in self._top(title):
                cells = [cell if isinstance(cell, str) else "" for cell in row]
                layout = recognise(cells, number, provider=provider, mapped=mapped)
                if layout is not None:
                    found.append((title, layout))
                    self.owner = owner_of(above)
                    break
                seen.append(cells)
                above.append(row)
        if len(found) > 1:
            names = ", ".join(f"“{title}”" for title, _ in found[:10])
            raise InvalidStatement(
                f"{len(found)} sheets hold a statement: {names}",
                next_step='name one of them in a mapping (sheet = "…"), or save each as a file of its own',
            )
        if not found:
            raise unknown(seen, provider=provider, mapping=mapped.name if mapped else None)
        return found[0]

    def _top(self, title: str) -> Iterator[tuple[int, list[Cell]]]:
        for number, cells in self._read(title):
            if number > HEAD_WITHIN:
                return
            yield number, cells

    def _titles(self) -> list[tuple[str, bool]]:
        book = self._open(values=True)
        try:
            return [(sheet.title, sheet.sheet_state == "visible") for sheet in book.worksheets]
        except Exception as error:
            raise damaged() from error
        finally:
            _close(book)

    def _open(self, *, values: bool) -> Any:
        import openpyxl

        self._file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of styles and extensions that it does not know
                # its own handle on the file: openpyxl closes what it is given
                return openpyxl.load_workbook(_Shared(self._file), read_only=True, data_only=values)
        except Exception as error:  # whatever its parser stumbles over
            raise damaged() from error

    def _read(self, title: str) -> Iterator[tuple[int, list[Cell]]]:
        """Rows from the first on, with formulas that have no result told from empty cells."""
        books = [self._open(values=True)]
        try:
            if self._formulas:
                books.append(self._open(values=False))
            _check_epoch(books[0])
            yield from self._rows_of([book[title] for book in books])
        except InvalidStatement:
            raise
        except Exception as error:  # as in _open
            raise damaged() from error
        finally:
            for book in books:
                _close(book)

    def _rows_of(self, sheets: list[Any]) -> Iterator[tuple[int, list[Cell]]]:
        streams = []
        for sheet in sheets:
            sheet.reset_dimensions()  # some programs write a dimension that is not so
            streams.append(sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True))
        empty = number = 0
        pairs = zip_longest(*streams, fillvalue=())
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of dates that it cannot read
                pair = next(pairs, None)
            if pair is None:
                return
            number += 1
            values = pair[0]
            if number > MOST_ROWS:
                raise InvalidStatement("The sheet has more rows than a sheet can have", next_step=SAVE_AGAIN)
            if not any(value is not None for value in values) and not any(
                value is not None for value in pair[-1]
            ):
                empty += 1
                if empty > _MOST_EMPTY:
                    raise InvalidStatement(
                        f"The sheet has more than {_MOST_EMPTY} empty rows",
                        next_step="delete them, and save it again",
                        line=number,
                    )
                continue
            yield number, _cells(values, pair[-1] if len(pair) > 1 else ())


def _cells(values: Sequence[Any], written: Sequence[Any]) -> list[Cell]:
    cells = [_cell(value) for value in values]
    for place, formula in enumerate(written):
        if formula is not None and place < len(values) and values[place] is None:
            cells[place] = _NO_RESULT
    while cells and cells[-1] == "":
        cells.pop()
    return cells


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return Unusable(f"an error of the spreadsheet: {value[:20]}") if value in _ERRORS else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, datetime | date | time | timedelta):
        return _moment(value)
    return "" if value is None else Unusable("no value that a statement has")


def _moment(value: date | time | timedelta) -> Cell:
    """A cell knows no zone."""
    if isinstance(value, timedelta):
        return Decimal(repr(value.total_seconds())) / 86400
    if isinstance(value, datetime | time):
        return value.replace(tzinfo=None)
    return datetime(value.year, value.month, value.day)  # noqa: DTZ001


def _number(value: float) -> Cell:
    """Exact: the shortest decimal that the binary number stands for."""
    number = Decimal(repr(value))
    return number if number.is_finite() else Unusable("no number")


def _check_epoch(book: Any) -> None:
    if book.epoch.year == 1904:
        raise InvalidStatement(
            "The workbook counts its days from 1904, so that a date could be read four years off",
            next_step=SAVE_AGAIN,
        )


def _close(book: Any) -> None:
    with suppress(Exception):
        book.close()


class _Shared:
    """A file that stays open when its reader closes it; each reader seeks before it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at = self._file.tell()
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(self._at)
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the file is its owner's."""
