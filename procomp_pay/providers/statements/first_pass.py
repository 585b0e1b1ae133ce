"""The first pass over a statement's rows: what must be known of the whole file before one line is believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from procomp_pay.domain.errors import BadStatement
from procomp_pay.providers.statements.cells import Cell, CellError, decimal_mark, read_number
from procomp_pay.providers.statements.heads import Meaning, head_key
from procomp_pay.providers.statements.layout import STRIPE, Layout, recognise
from procomp_pay.providers.statements.repeats import Suspects
from procomp_pay.providers.statements.table import EXPORT_AGAIN, Table

_MOST_AMOUNTS = 10_000
#: A progress bar is told once in so many lines; a power of two.
STEP = 4096


@dataclass(frozen=True, slots=True)
class Known:
    """What the first pass found.

    :param rows: all rows below the head.
    :param mark: the decimal mark that the amounts agree on; ``None`` where they show none, or two.
    :param suspects: hashes of the keys that may stand twice.
    """

    rows: int
    mark: str | None
    suspects: frozenset[int]


class _Folded(dict[Cell, str]):
    """Type words made equal, each worked out once."""

    def __missing__(self, cell: Cell) -> str:
        folded = head_key(cell) if isinstance(cell, str) else ""
        if len(self) < _MOST_AMOUNTS:
            self[cell] = folded
        return folded


class Keys:
    """The hash of what names a line: its own id, or the operation's number and type."""

    def __init__(self, layout: Layout) -> None:
        columns = layout.columns
        own = columns.get(Meaning.ID)
        self._place = columns.get(Meaning.OPERATION) if own is None else own
        self._type = columns.get(Meaning.TYPE) if own is None else None
        self._folded = _Folded()

    def hashed(self, row: Sequence[Cell]) -> int | None:
        """``None`` where the line has no number. The row must be as wide as the head."""
        if self._place is None:
            return None
        cell = row[self._place]
        if not cell:
            return None
        if type(cell) is not str or not cell.isdigit():
            try:
                cell = read_number(cell)
            except CellError:
                return None  # the second pass says what is wrong with it
        return hash((cell, self._folded[row[self._type]] if self._type is not None else ""))


def first_pass(table: Table, step: Callable[[], None]) -> Known:
    """
    :param step: called now and then, for a progress bar.
    :raises BadStatement: the file ends in the middle of a line, holds a second table, or is two files in one.
    """
    layout = table.layout
    keys, suspects = Keys(layout), Suspects()
    amounts: set[Cell] = set()
    place = layout.columns[Meaning.AMOUNT]
    width = len(layout.heads)
    count, last = 0, None
    for number, row in table.rows(_ignore):
        count += 1
        last = (number, row)
        if not number % STEP:
            step()
        if len(row) < width:
            continue
        amount = row[place]
        if amount not in amounts and len(amounts) < _MOST_AMOUNTS:
            amounts.add(amount)
            if isinstance(amount, str) and not any(c.isdigit() for c in amount):
                _refuse_second_head(row, number, layout)
        hashed = keys.hashed(row)
        if hashed is not None:
            suspects.add(hashed)
    table.check_whole(last)
    marks = {decimal_mark(amount) for amount in amounts if isinstance(amount, str)} - {None}
    mark = layout.decimal or (marks.pop() if len(marks) == 1 else None)
    if mark is None and not marks and layout.provider == STRIPE:
        mark = "."
    return Known(count, mark, suspects.found())


def _ignore(_line: int, _why: str) -> None:
    """The second pass tells it."""


def _refuse_second_head(row: Sequence[Cell], number: int, layout: Layout) -> None:
    """The same head again does no harm; another one means other columns from there on."""
    texts = [cell if isinstance(cell, str) else "" for cell in row]
    if is_head_again(texts, layout):
        return
    if recognise(texts, number, provider=layout.provider, mapped=None) is not None:
        raise BadStatement(
            "here begins a second table with other columns", next_step=EXPORT_AGAIN, line=number
        )


def is_head_again(texts: Sequence[str], layout: Layout) -> bool:
    """Whether a row is the head once more."""
    again = tuple(" ".join(text.split()) for text in texts)
    return again[: len(layout.heads)] == layout.heads[: len(again)] and any(again)


