"""Read the plain lines of a CSV statement fast: in blocks of columns, in one pass over the file.

A file of a million lines takes a third of the time of reading line by line, since the work is done for a
thousand lines at once and no objects are made. The guarantees are those of
:mod:`procomp_pay.providers.statements.reader`:

- Only lines with a single possible reading are read here: payments and refunds with known words, plain
  numbers and a usual date. Other lines are set aside for the ordinary :class:`LineReader`, which reads them
  at the end.
- The checks of the first pass are made on the way. Lines must not be used before the end of the file.
- If a plain line may appear twice, or too many lines are set aside, :class:`NotPlain` is raised and the file
  is read in the ordinary way.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import xor

from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import (
    LineBlock,
    LineKind,
    NotPlain,
    SharedValues,
    StatementLine,
)
from procomp_pay.domain.reconciliation.statement_summary import StatementSummary
from procomp_pay.providers.statements.amounts import AmountsReader
from procomp_pay.providers.statements.csv.blocks import ROW_END, Block
from procomp_pay.providers.statements.csv.fast_timestamps import FastTimestamps, edges
from procomp_pay.providers.statements.csv.table import CsvTable
from procomp_pay.providers.statements.duplicates import LineHashes, repeated
from procomp_pay.providers.statements.first_pass import (
    MOST_AMOUNTS,
    FirstPassResult,
    LineKeys,
    check_amount_row,
    find_decimal_mark,
    padded,
)
from procomp_pay.providers.statements.layout.cells import CellError
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.statements.layout.timestamps import TimestampReader
from procomp_pay.providers.statements.line_reader import LONGEST_NUMBER, LineReader, order_words
from procomp_pay.providers.tabular.cells import Broken, Cell, Row

#: Lines that may be set aside.
_MOST_ASIDE = 50_000
#: Different words and amounts that are remembered.
_MOST_SAID = 20_000
_CELL_END = ROW_END
#: The characters of Stripe's ids and Kaspi's numbers.
_DIGITS = string.digits.encode()
_NAMES = _DIGITS + string.ascii_letters.encode() + b"_"
#: In place of an index into ``shared``: the words have no certain meaning.
_UNCLEAR = -1

Words = tuple[str, ...]


class _WordIndex(dict[Words, int]):
    """Index in ``shared`` of each combination of words and amounts; new ones are read when looked up."""

    def __init__(self, learn: Callable[[Words], int]) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, words: Words) -> int:
        place = self[words] = self._learn(words)
        return place


@dataclass(slots=True)
class _Columns:
    """A block's cells by role. ``owns`` are the lines' own ids; ``words`` are indexes into ``shared``."""

    numbers: Sequence[int]
    refs: list[str]
    owns: list[str]
    paid: list[str] | None
    times: list[str]
    words: list[int]

    def keep(self, good: list[bool]) -> None:
        """Drop the rows that are not good."""
        self.numbers = list(compress(self.numbers, good))
        self.refs, self.owns = list(compress(self.refs, good)), list(compress(self.owns, good))
        self.times, self.words = list(compress(self.times, good)), list(compress(self.words, good))
        self.paid = None if self.paid is None else list(compress(self.paid, good))


class FastReader:
    """Read a file once: :meth:`blocks`, then :meth:`others`, which completes ``summary``, then :meth:`check`.

    :param step: called now and then, for a progress bar.
    :param at_end: called at the end; raises if the file was changed meanwhile.
    :raises NotPlain: the layout has no operation number.
    """

    def __init__(
        self, table: CsvTable, summary: StatementSummary, step: Callable[[], None], at_end: Callable[[], None]
    ) -> None:
        self._table, self._summary, self._step, self._at_end = table, summary, step, at_end
        self._layout = layout = table.layout
        columns, self._keys = layout.columns, LineKeys(layout)
        if ColumnRole.OPERATION not in columns or self._keys.place is None:
            raise NotPlain
        self._own_at, self._number_at = self._keys.place, columns[ColumnRole.OPERATION]
        self._paid_at, self._time_at = columns.get(ColumnRole.PAYMENT), columns.get(ColumnRole.TIME)
        # an order number has to be read from the details, which only the ordinary reader does
        self._text_at = None if layout.provider == STRIPE else columns.get(ColumnRole.DESCRIPTION)
        self._amounts = AmountsReader(layout, layout.decimal)
        self._places = [columns[role] for role in self._amounts.used]
        self._amount_at = self._amounts.used.index(ColumnRole.AMOUNT)
        # a refund's purchase may have to be looked up, which only the ordinary reader does
        self._kinds = {LineKind.PAYMENT} | ({LineKind.REFUND} - _with_purchase(layout))
        self._is_stripe = layout.provider == STRIPE
        self._times = FastTimestamps(layout.zone, layout.date_form)
        self._slow_times = TimestampReader(layout.zone, layout.date_form)
        self._index, self._shared = _WordIndex(self._learn), list[SharedValues]()
        self._types: list[int] = []  # for each of `shared`, the hash of its type
        self._counts: Counter[int] = Counter()
        self._amount_cells: set[Cell] = set()
        self._hashes = LineHashes()
        self._aside: list[tuple[int, str]] = []
        self._aside_hashes: list[int] = []
        self._last: Row | None = None
        self._rows, self._has_fees = 0, False

    def blocks(self) -> Iterator[LineBlock]:
        """Yield the plain lines.

        :raises NotPlain: the file has to be read in the ordinary way.
        :raises InvalidStatement: it has a second table.
        """
        for block in self._table.blocks():
            self._step()
            if block.last is not None:
                self._last = block.last
            for number, row in block.others:
                self._set_aside(number, row)
            self._rows += len(block.numbers) + len(block.others)
            columns = self._plain_lines(block)
            if columns.numbers:
                yield self._line_block(columns)

    def others(self) -> Iterator[StatementLine]:
        """Yield the lines that were set aside, in the file's order, as the ordinary reader reads them.

        :raises NotPlain: a line may appear twice.
        :raises InvalidStatement: the file ends in the middle of a line, or was changed.
        """
        suspects = self._suspects()
        notes = len(self._table.notes)
        unsure = self._table.check_whole(self._last)
        self._summary.notes += self._table.notes[notes:]
        known = FirstPassResult(
            self._rows, find_decimal_mark(self._amount_cells, self._layout), suspects, unsure
        )
        first, last = self._summary.first_at, self._summary.last_at
        self._count()
        aside = _Aside(self._table, self._aside)
        yield from LineReader(aside, known, self._summary, self._step)
        ends = [at for at in (first, last, self._summary.first_at, self._summary.last_at) if at is not None]
        if ends:
            self._summary.first_at, self._summary.last_at = min(ends), max(ends)
        self._at_end()

    def _plain_lines(self, block: Block) -> _Columns:
        """Return the columns of the plain lines of a block, and set the others aside."""
        if len(self._index) > _MOST_SAID:
            self._count()
            self._index, self._shared, self._types = _WordIndex(self._learn), [], []
        times, good = self._read_times(block)
        refs = block.column(self._number_at)
        words = zip(*(block.column(place) for place in self._places), strict=True)
        columns = _Columns(
            block.numbers,
            refs,
            refs if self._own_at == self._number_at else block.column(self._own_at),
            None if self._paid_at is None else block.column(self._paid_at),
            times,
            list(map(self._index.__getitem__, words)),
        )
        if _UNCLEAR in columns.words:
            good = [g and index != _UNCLEAR for g, index in zip(good, columns.words, strict=True)]
        for cells, may_be_empty in ((refs, False), (columns.owns, False), (columns.paid, True)):
            if cells and not self._are_plain(cells, may_be_empty=may_be_empty):
                good = [
                    g and self._are_plain([cell], may_be_empty=may_be_empty)
                    for g, cell in zip(good, cells, strict=True)
                ]
        if self._text_at is not None:
            texts = block.column(self._text_at)
            good = [g and not (text and order_words(text)) for g, text in zip(good, texts, strict=True)]
        if not block.ends_clean and good:
            good[-1] = False  # the last line of the file may be cut
        if not all(good):
            for place, number in enumerate(columns.numbers):
                if not good[place]:
                    self._set_aside(number, block.row(place))
            columns.keep(good)
        return columns

    def _line_block(self, columns: _Columns) -> LineBlock:
        self._counts.update(columns.words)
        hashes = map(hash, columns.owns)
        if self._keys.types is not None:
            hashes = map(xor, hashes, map(self._types.__getitem__, columns.words))
        self._hashes.add(hashes)
        first, last = edges(columns.times, are_alike=self._times.are_alike)
        summary = self._summary
        summary.first_at = first if summary.first_at is None else min(first, summary.first_at)
        summary.last_at = last if summary.last_at is None else max(last, summary.last_at)
        refs, paid = columns.refs, columns.paid
        if paid is not None and "" in paid:
            paid = [payment or ref for payment, ref in zip(paid, refs, strict=True)]
        return LineBlock(
            columns.numbers, refs, refs if paid is None else paid, columns.times, columns.words,
            self._shared, self._has_fees,
        )  # fmt: skip

    def _read_times(self, block: Block) -> tuple[list[str], list[bool]]:
        """Return the times as text, and which lines have one."""
        days = block.column(self._layout.columns[ColumnRole.DATE])
        clocks = None if self._time_at is None else block.column(self._time_at)
        times = self._times.read(days, clocks)
        if times is not None:
            return times, [True] * len(times)
        times, good = [], []
        for place, day in enumerate(days):
            try:
                at = str(self._slow_times.read(day, None if clocks is None else clocks[place]))
            except CellError:
                at = ""
            if self._slow_times.unsure or self._slow_times.days_alone:
                raise NotPlain  # they have to be counted, which only the ordinary reader does
            times.append(at)
            good.append(bool(at))
        return times, good

    def _learn(self, words: Words) -> int:
        """Read words and amounts that are new; return their index, ``_UNCLEAR`` if they are not plain."""
        if len(self._amount_cells) < MOST_AMOUNTS:
            self._amount_cells.add(words[self._amount_at])
        amounts = self._amounts.read(words)
        if amounts.kind not in self._kinds or amounts.problem is not None:
            return _UNCLEAR
        if not isinstance(amounts.money, Money):
            return _UNCLEAR
        if amounts.settlement_currency is not None:
            return _UNCLEAR  # blocks have one currency a line
        self._shared.append(SharedValues(amounts.kind, amounts.money, amounts.fee, amounts.net))
        self._has_fees |= amounts.fee is not None
        if self._keys.types is not None:
            self._types.append(self._keys.types[words[self._amounts.used.index(ColumnRole.TYPE)]])
        return len(self._shared) - 1

    def _are_plain(self, cells: list[str], *, may_be_empty: bool) -> bool:
        if may_be_empty and "" in cells:
            cells = list(filter(None, cells))
        if not cells:
            return True
        together = "".join(cells)
        # the smallest one shows whether any is empty or has a wrong first character; a number with leading
        # zeros is left to the ordinary reader, which strips them
        plain, least = (_NAMES, "A") if self._is_stripe else (_DIGITS, "1")
        others = together.encode().translate(None, plain)
        return not others and min(cells) >= least and max(map(len, cells)) <= LONGEST_NUMBER

    def _set_aside(self, number: int, cells: Sequence[str]) -> None:
        row: Sequence[Cell] = cells
        if len(self._aside) >= _MOST_ASIDE:
            raise NotPlain
        self._aside.append((number, _CELL_END.join(cells)))
        if len(row) < len(self._layout.headers):
            row = padded(row, len(self._layout.headers))
            if len(self._amount_cells) < MOST_AMOUNTS:
                self._amount_cells.add(row[self._layout.columns[ColumnRole.AMOUNT]])
        check_amount_row(row, number, self._layout)
        hashed = self._keys.hashed(row)
        if hashed is not None:
            self._aside_hashes.append(hashed)

    def check(self) -> None:
        """Check that no plain line appears twice.

        :raises NotPlain: one may.
        """
        if self._hashes.has_repeated():
            raise NotPlain

    def _suspects(self) -> frozenset[int]:
        """Return hashes of the lines that were set aside and may appear twice.

        :raises NotPlain: a plain line may be one of them.
        """
        if not self._hashes.isdisjoint(set(self._aside_hashes)):
            raise NotPlain
        return repeated(self._aside_hashes)

    def _count(self) -> None:
        for place, count in self._counts.items():
            shared = self._shared[place]
            self._summary.add(shared.kind, count, shared.money.currency, shared.money.amount, shared.fee)
        self._counts.clear()


class _Aside:
    """The rows that were set aside, as a table for the ordinary reader."""

    def __init__(self, table: CsvTable, rows: list[tuple[int, str]]) -> None:
        self.layout, self.kind, self.totals = table.layout, table.kind, table.totals
        self._rows = sorted(rows)

    def rows(self, broken: Broken) -> Iterator[Row]:  # noqa: ARG002 - the rows are split already
        for number, row in self._rows:
            yield number, row.split(_CELL_END)


def _with_purchase(layout: Layout) -> set[LineKind]:
    """Return the kinds whose lines may refer to another line's payment."""
    return {LineKind.REFUND} if ColumnRole.PURCHASE in layout.columns else set()
