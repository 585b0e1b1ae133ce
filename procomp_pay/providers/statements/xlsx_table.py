"""An XLSX statement: the only visible sheet whose headers are those of a statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping
from procomp_pay.providers.statements.layout.model import Layout
from procomp_pay.providers.statements.layout.recognise import HEADER_WITHIN, recognise
from procomp_pay.providers.statements.period import find_period
from procomp_pay.providers.statements.table import RULES, find_owner, find_totals, unknown
from procomp_pay.providers.tabular.cells import Broken, Cell, Row
from procomp_pay.providers.tabular.package import SAVE_AS_XLSX
from procomp_pay.providers.tabular.workbook import Sheet, Workbook


class XlsxTable:
    """An XLSX statement.

    :param file: opened for reading bytes; closed by :meth:`close`.
    :raises InvalidFile: damaged, protected, too large, an unknown layout, or two sheets are statements.
    """

    def __init__(
        self, file: BinaryIO, size: int, *, provider: str | None, mapped: ColumnMapping | None
    ) -> None:
        self._file = file
        self.bytes_total = size
        self.notes: list[str] = []
        self._book = Workbook(file, RULES)
        if self._book.counts_from_1904:
            raise InvalidStatement(
                N_("The workbook counts days from 1904, so dates could be read four years off"),
                next_step=SAVE_AS_XLSX,
            )
        self._rows_total = 0
        self._row = 0
        self._sheet, self.layout = self._recognise(provider, mapped)
        self.kind = f"XLSX (sheet “{self._sheet.title}”)"

    @property
    def bytes_read(self) -> int:
        """Return how far :meth:`rows` has come as a share of the file; 0 until the rows were counted."""
        return self.bytes_total * self._row // self._rows_total if self._rows_total else 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def check_whole(self, last: Row | None) -> None:
        """Remember the number of rows. A workbook that was cut cannot be opened in the first place."""
        self._rows_total = last[0] if last is not None else 0

    def rows(self, broken: Broken) -> Iterator[Row]:  # noqa: ARG002 - a workbook has no such rows
        """Yield the rows below the headers."""
        for number, cells in self._book.rows(self._sheet):
            self._row = number
            if number > self.layout.row:
                yield number, cells

    def _recognise(self, provider: str | None, mapped: ColumnMapping | None) -> tuple[Sheet, Layout]:
        statements: list[tuple[Sheet, Layout]] = []
        seen: list[list[str]] = []
        for sheet in self._book.sheets:
            if mapped is not None and mapped.sheet not in (None, sheet.title):
                continue
            if not sheet.is_visible and (mapped is None or mapped.sheet is None):
                self.notes.append(N_("the hidden sheet “%(title)s” was not read", title=sheet.title))
                continue
            above: list[tuple[int, list[Cell]]] = []
            for number, row in self._top(sheet):
                cells = [cell if isinstance(cell, str) else "" for cell in row]
                layout = recognise(cells, number, provider=provider, mapped=mapped)
                if layout is not None:
                    statements.append((sheet, layout))
                    rows = [row for _, row in above]
                    self.owner, self.period = find_owner(rows), find_period(rows, layout.zone)
                    self.totals = find_totals(above)
                    break
                seen.append(cells)
                above.append((number, row))
        if len(statements) > 1:
            names = ", ".join(f"“{sheet.title}”" for sheet, _ in statements[:10])
            raise InvalidStatement(
                N_("%(n)s sheets are statements: %(names)s", n=len(statements), names=names),
                next_step=N_('name one of them in a mapping (sheet = "…"), or save each in its own file'),
            )
        if not statements:
            raise unknown(seen, provider=provider, mapping=mapped.name if mapped else None)
        return statements[0]

    def _top(self, sheet: Sheet) -> Iterator[tuple[int, list[Cell]]]:
        for number, cells in self._book.rows(sheet):
            if number > HEADER_WITHIN:
                return
            yield number, cells
