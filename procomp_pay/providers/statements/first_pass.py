"""Read a statement a first time, for the facts about the whole file that are needed to read a single line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.duplicates import LAST_BUCKET, RepeatedKeys
from procomp_pay.providers.statements.layout.cells import CellError, decimal_mark, read_number
from procomp_pay.providers.statements.layout.headers import ColumnRole, header_key
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.statements.layout.recognise import recognise
from procomp_pay.providers.statements.table import EXPORT_AGAIN, Table
from procomp_pay.providers.tabular.cells import Cell, Row

MOST_AMOUNTS = 10_000
#: Lines between two reports to a progress bar; a power of two.
STEP = 4096


@dataclass(frozen=True, slots=True)
class FirstPassResult:
    """Facts about a whole statement.

    :param rows: the number of rows below the headers.
    :param mark: the decimal mark that all amounts agree on; ``None`` if they prove none, or two.
    :param suspects: hashes of the keys that may appear twice.
    :param unsure_line: the last line, if it may be cut.
    """

    rows: int
    mark: str | None
    suspects: frozenset[int]
    unsure_line: int | None


class _Types(dict[Cell, int]):
    """Hashes of type words, equal for words that differ in spelling only; each is computed once."""

    def __missing__(self, cell: Cell) -> int:
        hashed = hash(header_key(cell)) if isinstance(cell, str) else 0
        if len(self) < MOST_AMOUNTS:
            self[cell] = hashed
        return hashed


class LineKeys:
    """Hash the key of a line: its own id, or the operation's number and type."""

    def __init__(self, layout: Layout) -> None:
        columns = layout.columns
        own = columns.get(ColumnRole.ID)
        self.place = columns.get(ColumnRole.OPERATION) if own is None else own
        self.type_place = columns.get(ColumnRole.TYPE, 0) if own is None else 0
        self.types = _Types() if own is None and ColumnRole.TYPE in columns else None

    def hashed(self, row: Sequence[Cell]) -> int | None:
        """Return the hash, ``None`` if the line has no number. The row must be as wide as the headers."""
        if self.place is None or not row[self.place]:
            return None
        cell = row[self.place]
        if type(cell) is not str or not cell.isdigit():
            try:
                cell = read_number(cell)
            except CellError:
                return None  # the second pass reports it
        return hash(cell) if self.types is None else hash(cell) ^ self.types[row[self.type_place]]


def first_pass(table: Table, step: Callable[[], None]) -> FirstPassResult:
    """Read all rows once.

    :param step: called now and then, for a progress bar.
    :raises InvalidStatement: it ends in the middle of a line, has a second table, or is two files in one.
    """
    layout = table.layout
    keys, suspects = LineKeys(layout), RepeatedKeys()
    hash_of, buckets = keys.hashed, suspects.buckets
    amounts: set[Cell] = set()
    amount_at, width, count = layout.columns[ColumnRole.AMOUNT], len(layout.headers), 0
    last: Row | None = None
    for number, row in table.rows(_ignore):
        last = number, row
        if not number % STEP:
            step()
        count += 1
        if len(row) < width:
            row = padded(row, width)  # noqa: PLW2901 - a workbook leaves out empty cells at the end
        if row[amount_at] not in amounts and len(amounts) < MOST_AMOUNTS:
            amounts.add(row[amount_at])
            check_amount_row(row, number, layout)
        hashed = hash_of(row)
        if hashed is not None:
            buckets[hashed & LAST_BUCKET].append(hashed)
    unsure = table.check_whole(last)
    return FirstPassResult(count, find_decimal_mark(amounts, layout), suspects.found(), unsure)


def padded(row: Sequence[Cell], width: int) -> list[Cell]:
    """Return a row with empty cells at its end, as wide as the headers."""
    return [*row, *[""] * (width - len(row))]


def find_decimal_mark(amounts: set[Cell], layout: Layout) -> str | None:
    """Return the decimal mark that all amounts of a file agree on; ``None`` if they prove none, or two."""
    marks = {decimal_mark(amount) for amount in amounts if isinstance(amount, str)} - {None}
    if layout.decimal is not None or len(marks) == 1:
        return layout.decimal or marks.pop()
    # Stripe has no marks between thousands
    return "." if layout.provider == STRIPE and not marks else None


def _ignore(_line: int, _why: str) -> None:
    """Ignore a broken row: the second pass reports it."""


def check_amount_row(row: Sequence[Cell], number: int, layout: Layout) -> None:
    """Check a row whose amount has no digits: the same headers again do no harm, others change the columns.

    :raises InvalidStatement: other headers, so a second table begins here.
    """
    amount = row[layout.columns[ColumnRole.AMOUNT]]
    if not isinstance(amount, str) or any(c.isdigit() for c in amount):
        return
    texts = [cell if isinstance(cell, str) else "" for cell in row]
    if is_repeated_header(texts, layout):
        return
    if recognise(texts, number, provider=layout.provider, mapped=None) is not None:
        raise InvalidStatement(
            N_("a second table with other columns begins here"), next_step=EXPORT_AGAIN, line=number
        )


def is_repeated_header(texts: Sequence[str], layout: Layout) -> bool:
    """Return whether a row repeats the headers."""
    again = tuple(" ".join(text.split()) for text in texts)
    return again[: len(layout.headers)] == layout.headers[: len(again)] and any(again)
