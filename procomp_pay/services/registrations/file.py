"""Read a roster: a CSV or XLSX file of participants, as people really save them.

Whatever is wrong with one line is said of that line, with its number; the others are still read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from procomp_pay.domain.errors import Refused
from procomp_pay.services.registrations import csv_rows as roster_csv
from procomp_pay.services.registrations import xlsx_rows as roster_xlsx
from procomp_pay.services.registrations.columns import Column, columns_of
from procomp_pay.services.registrations.rows import MOST_BYTES, MOST_ROWS, RawRow

#: The head stands in one of the first rows: above it may be a title.
_HEAD_WITHIN = 10
_SAMPLE = "a file begins so: name,category,email"


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One line as it stands in the file.

    :param line: its number in the file, from 1, the head included.
    :param problem: why it cannot be read; then the rest is empty.
    """

    line: int
    name: str = ""
    category: str = ""
    email: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """A file's lines.

    :param kind: what it was read as, for the report.
    :param used: the heads that were understood, by what they mean.
    :param ignored: heads of other columns.
    """

    rows: list[RosterRow]
    kind: str
    used: dict[str, str]
    ignored: list[str]


def read_roster(path: Path, sheet: str | None = None) -> Roster:
    """Read a roster.

    :param sheet: the sheet of a workbook; by default the first.
    :raises Refused: not CSV or XLSX, damaged, empty, too large (10 MB, 20,000 lines), or without a
        name column.
    """
    content = _content(path)
    if content.startswith(b"PK\x03\x04"):
        kind, rows = roster_xlsx.rows(content, sheet)
    else:
        kind, rows = roster_csv.rows(content, sheet)
    return _read(kind, rows)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Refused(
            f"The file {path} cannot be read: {error.strerror}", next_step="check its name and its rights"
        ) from error
    if len(content) > MOST_BYTES:
        raise Refused(
            f"The file {path.name} is larger than {MOST_BYTES // 1_000_000} MB",
            next_step="a roster is much smaller; save its sheet alone, or split it",
        )
    if not content.strip():
        raise Refused(f"The file {path.name} is empty", next_step=_SAMPLE)
    return content


def _read(kind: str, rows: Iterator[RawRow]) -> Roster:
    heads, columns, before = _find_head(rows)
    read: list[RosterRow] = list(before)
    for row in rows:
        if row.problem is None and not any(cell.strip() for cell in row.cells):
            continue
        if len(read) >= MOST_ROWS:
            raise Refused(
                f"The file has more than {MOST_ROWS} lines", next_step="split it into several files"
            )
        read.append(_roster_row(row, columns, len(heads)))
    if not read:
        raise Refused("The file has heads and no participant below them", next_step=_SAMPLE)
    taken = set(columns.values())
    return Roster(
        rows=read,
        kind=kind,
        used={column.value: heads[place] for column, place in columns.items()},
        ignored=[head for place, head in enumerate(heads) if place not in taken and head],
    )


def _find_head(rows: Iterator[RawRow]) -> tuple[list[str], dict[Column, int], list[RosterRow]]:
    """The head's cells, where each column stands, and lines before it that cannot be read at all."""
    seen: list[list[str]] = []
    broken: list[RosterRow] = []
    for row in rows:
        if row.problem is not None:
            broken.append(RosterRow(row.line, problem=row.problem))
            continue
        heads = [" ".join(cell.split()) for cell in row.cells]
        if not any(heads):
            continue
        columns = columns_of(heads)
        if columns is not None:
            return heads, columns, broken
        seen.append(heads)
        if len(seen) >= _HEAD_WITHIN:
            break
    if broken and not seen:
        raise Refused(f"Line {broken[0].line}: {broken[0].problem}", next_step=_SAMPLE)
    if not seen:
        raise Refused("The file has nothing in it", next_step=_SAMPLE)
    found = ", ".join(f"“{head[:40]}”" for head in seen[0][:20] if head)
    raise Refused(
        f"No column with the participants' names was found. The heads are: {found}",
        next_step="call the column “name”, “ФИО” or “Аты-жөні”, and the others “category” and “email”",
    )


def _roster_row(row: RawRow, columns: dict[Column, int], width: int) -> RosterRow:
    if row.problem is not None:
        return RosterRow(row.line, problem=row.problem)
    if row.by_commas and any(cell.strip() for cell in row.cells[width:]):
        filled = max(i for i, cell in enumerate(row.cells, 1) if cell.strip())
        return RosterRow(
            row.line,
            problem=f"the line has {filled} cells and the head {width}: put a text with commas in quotes",
        )
    for column, place in columns.items():
        if place in row.unusable:
            return RosterRow(row.line, problem=f"the {column.value} {row.unusable[place]}")
    if Column.CATEGORY in columns and columns[Column.CATEGORY] in row.dates:
        shown = row.cells[columns[Column.CATEGORY]]
        return RosterRow(
            row.line,
            problem=f"the category became a date ({shown}), as 10-12 does: make the column Text and type it",
        )

    def cell(column: Column) -> str:
        place = columns.get(column, len(row.cells))
        return row.cells[place] if place < len(row.cells) else ""

    parts = [cell(each) for each in (Column.SURNAME, Column.GIVEN, Column.PATRONYMIC)]
    name = cell(Column.NAME) or " ".join(part for part in parts if part.strip())
    return RosterRow(row.line, name, cell(Column.CATEGORY), cell(Column.EMAIL))
