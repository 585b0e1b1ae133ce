"""Read a list of participants from a CSV or XLSX file, as people really save them.

An error in one line is reported with its number, and the other lines are still read.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.cells import MOST_COLUMNS, Unusable
from procomp_pay.providers.tabular.csv_file import DELIMITERS, CsvFile, UnclosedQuote
from procomp_pay.providers.tabular.encoding import EncodingScan
from procomp_pay.providers.tabular.file_type import cannot_open, is_workbook
from procomp_pay.providers.tabular.rules import FileRules
from procomp_pay.providers.tabular.workbook import Sheet, Workbook
from procomp_pay.services.registrations.columns import (
    DETAILS,
    HEADER_WITHIN,
    SAMPLE,
    Column,
    Line,
    Table,
    as_text,
    describe_other_line,
    find_columns,
    find_headers,
)

#: The largest file, in bytes.
MOST_BYTES = 10_000_000
#: The most participants of one file.
MOST_ROWS = 20_000
#: Columns that hold a name or a part of it.
_NAMES = (Column.NAME, Column.SURNAME, Column.GIVEN)
_SAVE_AGAIN = N_("in the spreadsheet: Save as, CSV UTF-8 or XLSX")
_RULES = FileRules(
    save_again=_SAVE_AGAIN,
    right_format=_SAVE_AGAIN,
    most_in_sheets=60_000_000,
    most_in_others=60_000_000,
)


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One line of the file.

    :param line: its number in the file, from 1, the headers included.
    :param problem: why it cannot be read; then the rest is empty.
    :param other: what it is where it is not a participant: a total, a signature.
    :param details: the cells of :data:`~procomp_pay.services.registrations.columns.DETAILS` that are filled.
    """

    line: int
    name: str = ""
    category: str = ""
    email: str = ""
    problem: str | None = None
    other: str | None = None
    details: Mapping[Column, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Roster:
    """The lines of a file.

    :param kind: what it was read as: ``CSV (UTF-8, ;)``.
    :param used: the headers that were understood, by their meaning.
    :param ignored: the headers of other columns.
    :param notes: facts about the file that the user should know.
    """

    rows: list[RosterRow]
    kind: str
    used: dict[str, str]
    ignored: list[str]
    notes: list[str] = field(default_factory=list)


def read_roster(path: Path, sheet: str | None = None) -> Roster:
    """Read a list of participants.

    :param sheet: the sheet of a workbook; by default the first visible one.
    :raises Refused: not CSV or XLSX, damaged, empty, too large (10 MB, 20,000 lines), in an encoding that
        cannot be proven, or without a name column.
    """
    file = io.BytesIO(_content(path))
    if is_workbook(file, _RULES):
        book = Workbook(file, _RULES)
        chosen, notes = _choose(book, sheet)
        lines = (Line(number, cells) for number, cells in book.rows(chosen))
        return _read(f"XLSX (sheet “{chosen.title}”)", find_headers(lines), notes, is_csv=False)
    if sheet is not None:
        raise Refused(N_("A CSV file has no sheets"), next_step=N_("leave --sheet out"))
    text = CsvFile(file, _RULES)
    delimiter = text.named_delimiter or _delimiter(text)
    with closing(_csv_lines(text, delimiter)) as lines:
        table = find_headers(lines)
        _prove_encoding(text.scan, table)
        return _read(text.describe(delimiter), table, [], is_csv=True)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise cannot_open(path, error) from error
    if len(content) > MOST_BYTES:
        raise Refused(
            N_(
                "The file %(name)s is larger than %(most)s MB",
                name=path.name,
                most=MOST_BYTES // 1_000_000,
            ),
            next_step=N_("a list of participants is much smaller; save its sheet alone, or split it"),
        )
    if not content.strip():
        raise Refused(N_("The file %(name)s is empty", name=path.name), next_step=SAMPLE)
    return content


def _choose(book: Workbook, title: str | None) -> tuple[Sheet, list[str]]:
    """Return the sheet to read, and a note for each hidden one above it."""
    if title is not None:
        for sheet in book.sheets:
            if sheet.title == title:
                return sheet, []
        known = ", ".join(f"“{sheet.title}”" for sheet in book.sheets[:20])
        raise Refused(
            N_("The workbook has no sheet “%(title)s”", title=title),
            next_step=N_("its sheets are %(known)s", known=known),
        )
    notes: list[str] = []
    for sheet in book.sheets:
        if sheet.is_visible:
            return sheet, notes
        notes.append(N_("the hidden sheet “%(title)s” was not read", title=sheet.title))
    raise Refused(
        N_("All sheets of the workbook are hidden"),
        next_step=N_("name one: --sheet “%(title)s”", title=book.sheets[0].title),
    )


def _csv_lines(text: CsvFile, delimiter: str) -> Generator[Line, None, None]:
    broken: list[Line] = []
    rows = text.rows(delimiter, lambda line, why: broken.append(Line(line, [], why)))
    try:
        for number, cells in rows:
            yield from broken
            broken.clear()
            if len(cells) > MOST_COLUMNS and any(cell.strip() for cell in cells[MOST_COLUMNS:]):
                yield Line(number, [], N_("the line has more than %(most)s cells", most=MOST_COLUMNS))
            else:
                yield Line(number, list(cells[:MOST_COLUMNS]))
    except UnclosedQuote as error:
        why = N_("a quote is opened here and never closed: everything below it would be one cell")
        broken.append(Line(error.line or 0, [], why))
    yield from broken


def _delimiter(text: CsvFile) -> str:
    """Return the delimiter with which most headers are understood, else the one seen most at the top."""

    def score(delimiter: str) -> tuple[int, int]:
        understood = width = 0
        for line, _ in zip(_csv_lines(text, delimiter), range(HEADER_WITHIN), strict=False):
            width = max(width, len(line.cells))
            try:
                understood = max(understood, len(find_columns(line.texts) or ()))
            except Refused:
                understood = max(understood, 2)
        return understood, width

    return max(DELIMITERS, key=score)


def _prove_encoding(scan: EncodingScan, table: Table) -> None:
    """Check that Windows Cyrillic has known Cyrillic headers, and Kazakh letters that cannot be others.

    :raises Refused: the letters could be others.
    """
    if scan.is_guess and all(table.headers[index].isascii() for index in table.columns.values()):
        raise Refused(
            N_("The file is not UTF-8, and nothing shows which letters are meant"), next_step=_SAVE_AGAIN
        )
    if scan.kazakh_is_unsure:
        raise Refused(
            N_("The file is not UTF-8, and its Kazakh letters could be others (KZ-1048 or PTCP154)"),
            next_step=_SAVE_AGAIN,
        )


def _read(kind: str, table: Table, notes: list[str], *, is_csv: bool) -> Roster:
    read = [RosterRow(line.number, problem=line.problem) for line in table.broken]
    for line in table.rows:
        if line.is_empty:
            continue
        if len(read) >= MOST_ROWS:
            raise Refused(
                N_("The file has more than %(most)s lines", most=MOST_ROWS),
                next_step=N_("split it into several files"),
            )
        read.append(_roster_row(line, table, is_csv=is_csv))
    if not read:
        raise Refused(N_("The file has headers and no participant below them"), next_step=SAMPLE)
    taken = set(table.columns.values())
    return Roster(
        rows=read,
        kind=kind,
        used={column.value: table.headers[index] for column, index in table.columns.items()},
        ignored=[header for index, header in enumerate(table.headers) if index not in taken and header],
        notes=notes,
    )


def _roster_row(line: Line, table: Table, *, is_csv: bool) -> RosterRow:
    if line.problem is not None:
        return RosterRow(line.number, problem=line.problem)
    texts, columns = line.texts, table.columns
    other = _other_line(texts, table)
    if other is not None:
        name = next(text for text in texts if text.strip())
        return RosterRow(line.number, name, other=other)
    width = len(table.headers)
    if is_csv and any(text.strip() for text in texts[width:]):
        filled = max(index for index, text in enumerate(texts, 1) if text.strip())
        return RosterRow(
            line.number,
            problem=N_(
                "the line has %(n)s cells and the header %(width)s: put a text with commas in quotes",
                n=filled,
                width=width,
            ),
        )
    for column, index in columns.items():
        cell = line.cells[index] if index < len(line.cells) else ""
        if isinstance(cell, Unusable) and column not in DETAILS:
            what = N_("the %(column)s is %(why)s", column=N_(column.value), why=cell.why)
            return RosterRow(line.number, problem=what)
        if column is Column.CATEGORY and not isinstance(cell, str | Decimal | bool):
            return RosterRow(
                line.number,
                problem=N_(
                    "the category became a date (%(date)s), as 10-12 does: make the column Text and type it",
                    date=as_text(cell),
                ),
            )

    def text(column: Column) -> str:
        index = columns.get(column, len(texts))
        return texts[index] if index < len(texts) else ""

    parts = [text(column) for column in (Column.SURNAME, Column.GIVEN, Column.PATRONYMIC)]
    name = text(Column.NAME) or " ".join(part for part in parts if part.strip())
    details = {column: text(column) for column in columns if column in DETAILS and text(column).strip()}
    return RosterRow(line.number, name, text(Column.CATEGORY), text(Column.EMAIL), details=details)


def _other_line(texts: list[str], table: Table) -> str | None:
    """Return what a line is that is not a participant: a total, a signature, the headers again."""
    cells = [" ".join(text.split()) for text in texts]
    if cells[: len(table.headers)] == table.headers[: len(cells)] and any(cells):
        return N_("the headers again")
    first = next((cell for cell in cells if cell), "")
    until_name = cells[: max(index for column, index in table.columns.items() if column in _NAMES) + 1]
    return next(filter(None, map(describe_other_line, [first, *until_name])), None)
