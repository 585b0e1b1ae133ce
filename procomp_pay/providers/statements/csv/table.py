"""A CSV statement: find its delimiter and headers, and check that its end was not cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidFile, InvalidStatement
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.csv.blocks import Block, blocks
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.statements.layout.recognise import HEADER_WITHIN, recognise
from procomp_pay.providers.statements.period import find_period
from procomp_pay.providers.statements.table import EXPORT_AGAIN, RULES, find_owner, find_totals, unknown
from procomp_pay.providers.tabular.cells import MOST_COLUMNS, Broken, Row, undo_wrong_decoding
from procomp_pay.providers.tabular.csv_file import DELIMITERS, CsvFile

#: Columns where a cut cell is noticed by itself or does no harm.
_MAY_BE_CUT = (ColumnRole.DESCRIPTION, ColumnRole.TYPE, ColumnRole.STATUS, ColumnRole.CURRENCY)
_TWO_DECIMALS = re.compile(r"[.,]\d\d$", re.A)
_CUT = N_("the file ends in the middle of this line: it was cut, and more lines may be missing")


class CsvTable:
    """A CSV statement.

    :param file: opened for reading bytes; closed by :meth:`close`.
    :raises InvalidFile: its encoding cannot be proven, or its layout is not known.
    """

    def __init__(
        self, file: BinaryIO, size: int, *, provider: str | None, mapped: ColumnMapping | None
    ) -> None:
        self._file = file
        self.bytes_total = size
        self.notes: list[str] = []
        self._csv = CsvFile(file, RULES, encoding=mapped.encoding if mapped else None)
        self._scan = self._csv.scan
        self._delimiter, self.layout = self._recognise(provider, mapped)
        self._prove_encoding()
        self.kind = self._csv.describe(self._delimiter)

    @property
    def bytes_read(self) -> int:
        """Return how many bytes were read, in steps of a block."""
        return min(self._file.tell(), self.bytes_total)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self, broken: Broken) -> Iterator[Row]:
        """Yield the rows below the headers; one that cannot be split is reported to ``broken``."""
        rows = self._csv.rows(self._delimiter, broken)
        for number, _ in rows:
            if number >= self.layout.row:
                break
        return rows

    def blocks(self) -> Iterator[Block]:
        """Yield the rows below the headers in blocks.

        :raises NotPlain: only :meth:`rows` can split them.
        """
        text = self._csv.open_text()
        try:
            yield from blocks(text, self._delimiter, self.layout)
        finally:
            text.detach()

    def check_whole(self, last: Row | None) -> int | None:
        """Return the last line if it has no line end and its last cell matters and may be cut.

        :raises InvalidStatement: the last line has no line end and not all of its cells.
        """
        if self._scan.ends_clean or last is None:
            return None
        number, cells = last
        if len(cells) < len(self.layout.headers):
            raise InvalidStatement(_CUT, next_step=EXPORT_AGAIN, line=number)
        self.notes.append(N_("the last line has no line end: make sure that the file is whole"))
        role = {place: role for role, place in self.layout.columns.items()}.get(len(cells) - 1)
        if role is None or role in _MAY_BE_CUT:
            return None
        is_amount = role in (ColumnRole.AMOUNT, ColumnRole.FEE, ColumnRole.NET)
        return None if is_amount and _TWO_DECIMALS.search(str(cells[-1])) else number

    def _recognise(self, provider: str | None, mapped: ColumnMapping | None) -> tuple[str, Layout]:
        given = (mapped.delimiter if mapped else None) or self._csv.named_delimiter
        widest: list[list[str]] = []
        for delimiter in (given,) if given else DELIMITERS:
            seen: list[list[str]] = []
            lines: list[int] = []
            for number, cells in self._top(delimiter):
                layout = recognise(cells, number, provider=provider, mapped=mapped)
                if layout is not None:
                    self.owner, self.period = find_owner(seen), find_period(seen, layout.zone)
                    self.totals = find_totals(zip(lines, seen, strict=True))
                    return delimiter, layout
                seen.append(cells)
                lines.append(number)
            if max(map(len, seen), default=0) > max(map(len, widest), default=0):
                widest = seen
        if not widest:
            raise InvalidStatement(N_("The file has nothing in it"), next_step=EXPORT_AGAIN)
        if self._is_mojibake(widest):
            raise InvalidStatement(
                N_("The text was read in a wrong encoding before it was saved: its letters are lost"),
                next_step=EXPORT_AGAIN,
            )
        raise unknown(widest, provider=provider, mapping=mapped.name if mapped else None)

    def _top(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        def ignore(_line: int, _why: str) -> None: ...

        try:
            for number, row in islice(self._csv.rows(delimiter, ignore), HEADER_WITHIN):
                yield number, [str(cell) for cell in row[:MOST_COLUMNS]]
        except InvalidFile:
            return  # with another delimiter the quotation marks may be in other places

    def _is_mojibake(self, rows: list[list[str]]) -> bool:
        """Return whether undoing a wrong decoding gives known headers: ``РќРѕРјРµСЂ`` is ``Номер``."""
        for row in rows:
            undone = undo_wrong_decoding(row)
            if undone is not None and recognise(undone, 0, provider=None, mapped=None) is not None:
                return True
        return False

    def _prove_encoding(self) -> None:
        """Accept Windows Cyrillic only if known Cyrillic headers prove it.

        :raises InvalidStatement: nothing proves the encoding.
        """
        headers = [self.layout.headers[place] for place in self.layout.columns.values()]
        if self._scan.is_guess and (
            self.layout.provider == STRIPE or all(header.isascii() for header in headers)
        ):
            raise InvalidStatement(
                N_("The file is not UTF-8, and nothing in it proves its encoding"),
                next_step=N_(
                    '%(again)s, or name the encoding in a mapping: encoding = "cp1251"', again=EXPORT_AGAIN
                ),
            )
