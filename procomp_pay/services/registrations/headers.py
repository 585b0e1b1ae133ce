"""Find the headers of a list of participants: below a title, in one row or in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from itertools import chain

from procomp_pay.domain.errors import Refused
from procomp_pay.providers.tabular.cells import Cell, Unusable, undo_wrong_decoding
from procomp_pay.services.registrations.columns import Column, count_headers, find_columns, join_headers

SAMPLE = "a file begins so: name,category,email"
#: Above the headers may be a title.
HEADER_WITHIN = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the file.

    :param problem: why it cannot be split into cells; then it has none.
    """

    number: int
    cells: list[Cell]
    problem: str | None = None

    @property
    def texts(self) -> list[str]:
        return [as_text(cell) for cell in self.cells]

    @property
    def is_empty(self) -> bool:
        return self.problem is None and not any(not isinstance(c, str) or c.strip() for c in self.cells)


@dataclass(slots=True)
class Table:
    """The headers, and the rows below them.

    :param broken: lines above the headers that could not be split.
    """

    headers: list[str]
    columns: dict[Column, int]
    rows: Iterator[Line]
    broken: list[Line]


def find_headers(lines: Iterator[Line]) -> Table:
    """Find the row of headers, or the two rows of them.

    :raises Refused: no row has a name column, or two headers mean the same.
    """
    seen: list[list[str]] = []
    broken: list[Line] = []
    for line in lines:
        if line.problem is not None:
            broken.append(line)
            continue
        headers = _headers(line)
        if not any(headers):
            continue
        headers, columns = _below(seen[-1] if seen else [], headers)
        if columns is not None:
            return _with_second_row(Table(headers, columns, lines, broken))
        seen.append(headers)
        if len(seen) >= HEADER_WITHIN:
            break
    if broken and not seen:
        raise Refused(f"Line {broken[0].number}: {broken[0].problem}", next_step=SAMPLE)
    if not seen:
        raise Refused("The file has nothing in it", next_step=SAMPLE)
    raise _no_names(seen)


def _no_names(seen: list[list[str]]) -> Refused:
    undone = [undo_wrong_decoding(headers) for headers in seen]
    if any(headers is not None and count_headers(headers) for headers in undone):
        return Refused(
            "The text was read in a wrong encoding before it was saved: its letters are lost",
            next_step="save it again from the original, as CSV UTF-8 or XLSX",
        )
    found = ", ".join(f"“{header[:40]}”" for header in seen[0][:20] if header)
    return Refused(
        f"No column with the participants' names was found. The headers are: {found}",
        next_step="call the column “name”, “ФИО” or “Аты-жөні”, the others “category” and “email”",
    )


def _headers(line: Line) -> list[str]:
    return [" ".join(text.split()) for text in line.texts]


def _below(above: list[str], headers: list[str]) -> tuple[list[str], dict[Column, int] | None]:
    """Return headers below group titles: ``ФИО`` below ``Тренер`` is not the participant's name."""
    if sum(1 for title in above if title) > 1:
        joined = join_headers(above, headers, fill=count_headers(above) > 1)
        columns = find_columns(joined) if count_headers(headers) else None
        if columns is not None:
            return joined, columns
    return headers, find_columns(headers)


def _with_second_row(table: Table) -> Table:
    """Take in a second row of headers: below group titles, with hints in brackets, with numbers."""
    for line in table.rows:
        if line.is_empty:
            continue
        cells = _headers(line)
        joined = _joined(table, cells) if line.problem is None else None
        if joined is not None:
            table.headers, table.columns = joined
        elif line.problem is not None or not _explains_headers(cells):
            table.rows = chain([line], table.rows)
            break
    return table


def _joined(table: Table, cells: list[str]) -> tuple[list[str], dict[Column, int]] | None:
    """Return the headers of both rows; ``None`` where the second one is not headers."""
    if not count_headers(cells):
        return None
    headers = join_headers(table.headers, cells, fill=True)
    columns = find_columns(headers)
    if columns is None or not (len(columns) > len(table.columns) or find_columns(cells) is not None):
        return None
    return headers, columns


def _explains_headers(cells: list[str]) -> bool:
    """Return whether a row explains the headers: ``(полностью)``, or the columns' numbers 1, 2, 3."""
    filled = [cell for cell in cells if cell]
    if filled and all(cell.startswith("(") and cell.endswith(")") for cell in filled):
        return True
    return len(filled) > 1 and filled == [str(number) for number in range(1, len(filled) + 1)]


def as_text(cell: Cell) -> str:
    """Return a cell as a person would write it: ``60`` and not ``60.0``, a day without ``00:00:00``."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Unusable):
        return ""
    if isinstance(cell, Decimal):
        return str(int(cell)) if cell == cell.to_integral_value() else format(cell, "f")
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ", "minutes")
    return str(cell)
