"""The quick lane of a CSV statement: plain lines in blocks of columns, in one pass over the file.

A file of a million lines is read in a third of the time that it takes line by line, since nothing is done for
each line that can be done for a thousand at once, and none is made an object. The promises are those of
:mod:`procomp_pay.providers.statements.reader`, kept another way round:

- A line goes through here only where no doubt is possible: a payment or refund whose words and amount can be
  read in one way, with plain numbers and a usual date. Any other is set aside and goes to the ordinary
  :class:`LineReader` once the whole file was seen.
- What the first pass looks for beforehand is seen on the way: nobody may judge by the lines before the end.
- Where a plain line may stand in the file twice, or too many are set aside, :class:`NotPlain` says so, and
  the file is read in the ordinary way.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import xor

from procomp_pay.domain.reconciliation.statement_line import (
    LineBlock,
    LineKind,
    NotPlain,
    Said,
    StatementLine,
)
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
)
from procomp_pay.providers.statements.layout.cells import CellError
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.statements.layout.timestamps import TimestampReader
from procomp_pay.providers.statements.line_reader import LONGEST_NUMBER, LineReader
from procomp_pay.providers.statements.summary import StatementSummary
from procomp_pay.providers.tabular.cells import Broken, Cell, Row

#: So many lines may be set aside, and so many different words and amounts are remembered.
_MOST_ASIDE = 50_000
_MOST_SAID = 20_000
_CELL_END = ROW_END
#: What Stripe's ids are made of, and Kaspi's numbers.
_DIGITS = string.digits.encode()
_NAMES = _DIGITS + string.ascii_letters.encode() + b"_"
#: The place of what cannot be said for certain.
_UNCLEAR = -1

Words = tuple[str, ...]


class _Book(dict[Words, int]):
    """Where what words say stands in ``said``; those of a clear meaning are learned at first sight."""

    def __init__(self, learn: Callable[[Words], int]) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, words: Words) -> int:
        place = self[words] = self._learn(words)
        return place


@dataclass(slots=True)
class _Columns:
    """A block's cells by what they mean. ``owns`` name the lines; ``words`` are places in ``said``."""

    numbers: Sequence[int]
    refs: list[str]
    owns: list[str]
    paid: list[str] | None
    times: list[str]
    words: list[int]

    def keep(self, good: list[bool]) -> None:
        """Leave out the rows that are not good."""
        self.numbers = list(compress(self.numbers, good))
        self.refs, self.owns = list(compress(self.refs, good)), list(compress(self.owns, good))
        self.times, self.words = list(compress(self.times, good)), list(compress(self.words, good))
        self.paid = None if self.paid is None else list(compress(self.paid, good))


class FastReader:
    """One reading of a file: :meth:`blocks` to their end; :meth:`others`, after which ``tally`` is whole; and
    :meth:`check`.

    :param step: called now and then, for a progress bar.
    :param at_end: called at the end; raises where the file was changed meanwhile.
    :raises NotPlain: the layout has no number of an operation.
    """

    def __init__(
        self, table: CsvTable, tally: StatementSummary, step: Callable[[], None], at_end: Callable[[], None]
    ) -> None:
        self._table, self._tally, self._step, self._at_end = table, tally, step, at_end
        self._layout = layout = table.layout
        columns, self._keys = layout.columns, LineKeys(layout)
        if ColumnRole.OPERATION not in columns or self._keys.place is None:
            raise NotPlain
        self._own_at, self._number_at = self._keys.place, columns[ColumnRole.OPERATION]
        self._paid_at, self._time_at = columns.get(ColumnRole.PAYMENT), columns.get(ColumnRole.TIME)
        self._figures = AmountsReader(layout, layout.decimal)
        self._places = [columns[meaning] for meaning in self._figures.used]
        self._amount_at = self._figures.used.index(ColumnRole.AMOUNT)
        # a refund's purchase may have to be looked up: the ordinary way does that
        self._kinds = {LineKind.PAYMENT} | ({LineKind.REFUND} - _with_purchase(layout))
        self._is_stripe = layout.provider == STRIPE
        self._times = FastTimestamps(layout.zone, layout.date_form)
        self._moments = TimestampReader(layout.zone, layout.date_form)
        self._book, self._said = _Book(self._learn), list[Said]()
        self._types: list[int] = []  # of what is said, the hash of its type
        self._counts: Counter[int] = Counter()
        self._amounts: set[Cell] = set()
        self._hashes = LineHashes()
        self._aside: list[tuple[int, str]] = []
        self._aside_hashes: list[int] = []
        self._last: Row | None = None
        self._rows, self._has_fees = 0, False

    def blocks(self) -> Iterator[LineBlock]:
        """The plain lines.

        :raises NotPlain: read the file the ordinary way. :raises InvalidStatement: it holds a second table.
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
        """What was set aside, in the file's order, by the ordinary reader.

        :raises NotPlain: a line may stand twice. :raises InvalidStatement: the file ends in the middle of
        a line,
            or was changed.
        """
        suspects = self._suspects()
        notes = len(self._table.notes)
        unsure = self._table.check_whole(self._last)
        self._tally.notes += self._table.notes[notes:]
        known = FirstPassResult(self._rows, find_decimal_mark(self._amounts, self._layout), suspects, unsure)
        first, last = self._tally.first_at, self._tally.last_at
        self._count()
        aside = _Aside(self._layout, self._table.kind, self._aside)
        yield from LineReader(aside, known, self._tally, self._step)
        ends = [at for at in (first, last, self._tally.first_at, self._tally.last_at) if at is not None]
        if ends:
            self._tally.first_at, self._tally.last_at = min(ends), max(ends)
        self._at_end()

    def _plain_lines(self, block: Block) -> _Columns:
        """The columns of the lines that leave no doubt; the others are set aside."""
        if len(self._book) > _MOST_SAID:
            self._count()
            self._book, self._said, self._types = _Book(self._learn), [], []
        times, good = self._read_times(block)
        refs = block.column(self._number_at)
        words = zip(*(block.column(place) for place in self._places), strict=True)
        columns = _Columns(
            block.numbers,
            refs,
            refs if self._own_at == self._number_at else block.column(self._own_at),
            None if self._paid_at is None else block.column(self._paid_at),
            times,
            list(map(self._book.__getitem__, words)),
        )
        if _UNCLEAR in columns.words:
            good = [g and each != _UNCLEAR for g, each in zip(good, columns.words, strict=True)]
        for cells, may_be_empty in ((refs, False), (columns.owns, False), (columns.paid, True)):
            if cells and not self._are_plain(cells, may_be_empty=may_be_empty):
                good = [
                    g and self._are_plain([cell], may_be_empty=may_be_empty)
                    for g, cell in zip(good, cells, strict=True)
                ]
        if not block.ends_clean and good:
            good[-1] = False  # the file's last line may be cut
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
        tally = self._tally
        tally.first_at = first if tally.first_at is None else min(first, tally.first_at)
        tally.last_at = last if tally.last_at is None else max(last, tally.last_at)
        refs, paid = columns.refs, columns.paid
        if paid is not None and "" in paid:
            paid = [each or ref for each, ref in zip(paid, refs, strict=True)]
        return LineBlock(
            columns.numbers, refs, refs if paid is None else paid, columns.times, columns.words,
            self._said, first, last, self._has_fees,
        )  # fmt: skip

    def _read_times(self, block: Block) -> tuple[list[str], list[bool]]:
        """The times as text, and which lines have one."""
        days = block.column(self._layout.columns[ColumnRole.DATE])
        clocks = None if self._time_at is None else block.column(self._time_at)
        times = self._times.read(days, clocks)
        if times is not None:
            return times, [True] * len(times)
        times, good = [], []
        for place, day in enumerate(days):
            try:
                at = str(self._moments.read(day, None if clocks is None else clocks[place]))
            except CellError:
                at = ""
            if self._moments.unsure or self._moments.days_alone:
                raise NotPlain  # they are counted and told: the ordinary way does that
            times.append(at)
            good.append(bool(at))
        return times, good

    def _learn(self, words: Words) -> int:
        """What words say that were not seen before, where it is clear."""
        if len(self._amounts) < MOST_AMOUNTS:
            self._amounts.add(words[self._amount_at])
        figures = self._figures.read(words)
        if figures.kind not in self._kinds or figures.money is None or figures.problem is not None:
            return _UNCLEAR
        self._said.append(Said(figures.kind, figures.money, figures.fee, figures.net))
        self._has_fees |= figures.fee is not None
        if self._keys.types is not None:
            self._types.append(self._keys.types[words[self._figures.used.index(ColumnRole.TYPE)]])
        return len(self._said) - 1

    def _are_plain(self, cells: list[str], *, may_be_empty: bool) -> bool:
        if may_be_empty and "" in cells:
            cells = list(filter(None, cells))
        if not cells:
            return True
        together = "".join(cells)
        # the least of them shows whether one is empty or begins with what it should not: a number that is
        # padded with zeros is put into our form by the ordinary reader
        plain, least = (_NAMES, "A") if self._is_stripe else (_DIGITS, "1")
        others = together.encode().translate(None, plain)
        return not others and min(cells) >= least and max(map(len, cells)) <= LONGEST_NUMBER

    def _set_aside(self, number: int, row: Sequence[str]) -> None:
        if len(self._aside) >= _MOST_ASIDE:
            raise NotPlain
        self._aside.append((number, _CELL_END.join(row)))
        if len(row) < len(self._layout.headers):
            return
        check_amount_row(row, number, self._layout)
        hashed = self._keys.hashed(row)
        if hashed is not None:
            self._aside_hashes.append(hashed)

    def check(self) -> None:
        """Look for a plain line that stands twice.

        :raises NotPlain: there may be one.
        """
        if self._hashes.has_repeated():
            raise NotPlain

    def _suspects(self) -> frozenset[int]:
        """Of what was set aside that which may stand twice.

        :raises NotPlain: a plain line may be one of them.
        """
        if not self._hashes.isdisjoint(set(self._aside_hashes)):
            raise NotPlain
        return repeated(self._aside_hashes)

    def _count(self) -> None:
        for place, count in self._counts.items():
            said = self._said[place]
            self._tally.add(said.kind, count, said.money.currency, said.money.amount)
        self._counts.clear()


class _Aside:
    """The rows that were set aside, as the ordinary reader wants them."""

    def __init__(self, layout: Layout, kind: str, rows: list[tuple[int, str]]) -> None:
        self.layout = layout
        self.kind = kind
        self._rows = sorted(rows)

    def rows(self, broken: Broken) -> Iterator[Row]:  # noqa: ARG002 - each of them was split already
        for number, row in self._rows:
            yield number, row.split(_CELL_END)


def _with_purchase(layout: Layout) -> set[LineKind]:
    """The kinds whose line may name another line's payment."""
    return {LineKind.REFUND} if ColumnRole.PURCHASE in layout.columns else set()
