"""Split a CSV file into blocks of columns: thousands of rows in a few calls.

Only rows with a single possible reading are split so. Anything else raises :class:`NotPlain`, and the file is
then read row by row. The rules are those of :mod:`csv` in its strict mode.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from procomp_pay.domain.reconciliation.statement_line import NotPlain
from procomp_pay.providers.statements.layout.model import Layout

#: Characters that are split at a time: about a thousand rows. They fit into a socket's buffer, so that the
#: database works on one block while the next is read.
BLOCK = 1 << 17
#: Marks the end of a row. Files with NUL are refused, so no cell has one.
ROW_END = "\0"
#: Lines that one quoted cell may span.
_MOST_LINES = 100


@dataclass(frozen=True, slots=True)
class Block:
    """Rows as wide as the headers: one flat list of their cells, with an end mark after each row.

    :param numbers: the line of each row.
    :param others: rows of another width with their lines; empty lines are left out.
    :param last: the last row of the block.
    :param ends_clean: the last line has a line end.
    """

    numbers: Sequence[int]
    others: Sequence[tuple[int, list[str]]]
    last: tuple[int, list[str]] | None
    ends_clean: bool
    _flat: list[str]
    _step: int

    def column(self, place: int) -> list[str]:
        """Return the cells of one column."""
        return self._flat[place :: self._step]

    def row(self, place: int) -> list[str]:
        """Return the cells of one row."""
        return self._flat[place * self._step : (place + 1) * self._step - 1]


def blocks(text: io.TextIOWrapper, delimiter: str, layout: Layout) -> Iterator[Block]:
    """Yield the rows below the headers in blocks.

    :param text: the file at its start, opened with ``newline=""``.
    :raises NotPlain: the file has to be read row by row.
    """
    number, width = _skip_header(text, delimiter, layout), len(layout.headers)
    while block := text.read(BLOCK):
        block += text.readline()
        for _ in range(_MOST_LINES):
            if '"' not in block or block.count('"') % 2 == 0:
                break
            block += text.readline()
        plain = _plain(block, delimiter, width, number)
        yield plain or _quoted(block, delimiter, width, number)
        number += len(plain.numbers) if plain else block.count("\n")


def _skip_header(text: io.TextIOWrapper, delimiter: str, layout: Layout) -> int:
    """Read up to the line below the headers and return its number."""
    for _ in range(layout.row - 1):
        text.readline()
    number, header = layout.row + 1, text.readline()
    while header.count('"') % 2 and number - layout.row < _MOST_LINES:
        header, number = header + text.readline(), number + 1
    try:
        rows = list(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        rows = []
    if len(rows) != 1 or tuple(" ".join(cell.split()) for cell in rows[0]) != layout.headers:
        raise NotPlain
    return number


def _plain(block: str, delimiter: str, width: int, number: int) -> Block | None:
    """Split a block without quotation marks whose rows have one width; ``None`` for any other block."""
    if '"' in block:
        return None
    end, ends_clean = "\r\n" if "\r" in block else "\n", block.endswith("\n")
    rows = block.split(end)
    if ends_clean:
        rows.pop()
    # each row's end becomes a cell of its own: if one is out of place, a row has another width
    text = f"{delimiter}{ROW_END}{delimiter}".join(rows)
    if "\n" in text or "\r" in text:
        return None
    flat = f"{text}{delimiter}{ROW_END}".split(delimiter)
    step, count = width + 1, len(rows)
    if len(flat) != count * step or flat[width::step].count(ROW_END) != count:
        return None
    last = (number + count - 1, flat[-step:-1])
    return Block(range(number, number + count), (), last, ends_clean, flat, step)


def _quoted(block: str, delimiter: str, width: int, number: int) -> Block:
    reader = csv.reader(io.StringIO(block, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error:
        raise NotPlain from None
    if reader.line_num != len(rows) or ("\r" in block and block.count("\r") != block.count("\n")):
        raise NotPlain  # a cell of several lines, or mixed line ends: the lines would have to be counted
    lines = [(line, row) for line, row in enumerate(rows, start=number) if row]
    fitting = [(line, row) for line, row in lines if len(row) == width]
    flat = [cell for _, row in fitting for cell in (*row, ROW_END)]
    others = [(line, row) for line, row in lines if len(row) != width]
    numbers, last = [line for line, _ in fitting], lines[-1] if lines else None
    return Block(numbers, others, last, block.endswith("\n"), flat, width + 1)
