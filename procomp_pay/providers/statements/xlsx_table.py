"""An XLSX statement: the one visible sheet that is a statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping
from procomp_pay.providers.statements.layout.model import Layout
from procomp_pay.providers.statements.layout.recognise import HEADER_WITHIN, recognise
from procomp_pay.providers.statements.table import RULES, find_owner, unknown
from procomp_pay.providers.tabular.cells import Broken, Cell, Row
from procomp_pay.providers.tabular.package import SAVE_AS_XLSX
from procomp_pay.providers.tabular.workbook import Sheet, Workbook


class XlsxTable:
    """An XLSX statement.

    :param file: opened for reading bytes; closed by :meth:`close`.
    :raises InvalidFile: damaged, protected, too large, an unknown layout, or two sheets with a statement.
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
                "The workbook counts its days from 1904, so that a date could be read four years off",
                next_step=SAVE_AS_XLSX,
            )
        self._rows_total = 0
        self._row = 0
        self._sheet, self.layout = self._recognise(provider, mapped)
        self.kind = f"XLSX (sheet “{self._sheet.title}”)"

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
        """The rows below the header."""
        for number, cells in self._book.rows(self._sheet):
            self._row = number
            if number > self.layout.row:
                yield number, cells

    def _recognise(self, provider: str | None, mapped: ColumnMapping | None) -> tuple[Sheet, Layout]:
        found: list[tuple[Sheet, Layout]] = []
        seen: list[list[str]] = []
        for sheet in self._book.sheets:
            if mapped is not None and mapped.sheet not in (None, sheet.title):
                continue
            if not sheet.is_visible and (mapped is None or mapped.sheet is None):
                self.notes.append(f"the hidden sheet “{sheet.title}” was not read")
                continue
            above: list[list[Cell]] = []
            for number, row in self._top(sheet):
                cells = [cell if isinstance(cell, str) else "" for cell in row]
                layout = recognise(cells, number, provider=provider, mapped=mapped)
                if layout is not None:
                    found.append((sheet, layout))
                    self.owner = find_owner(above)
                    break
                seen.append(cells)
                above.append(row)
        if len(found) > 1:
            names = ", ".join(f"“{sheet.title}”" for sheet, _ in found[:10])
            raise InvalidStatement(
                f"{len(found)} sheets hold a statement: {names}",
                next_step='name one of them in a mapping (sheet = "…"), or save each as a file of its own',
            )
        if not found:
            raise unknown(seen, provider=provider, mapping=mapped.name if mapped else None)
        return found[0]

    def _top(self, sheet: Sheet) -> Iterator[tuple[int, list[Cell]]]:
        for number, cells in self._book.rows(sheet):
            if number > HEADER_WITHIN:
                return
            yield number, cells
