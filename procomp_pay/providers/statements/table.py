"""What the readers of CSV and XLSX have in common: a file as rows of cells that can be read twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.layout.model import Layout
from procomp_pay.providers.statements.layout.recognise import WRITE_A_MAPPING, recognise
from procomp_pay.providers.tabular.cells import Broken, Cell, Row, shown
from procomp_pay.providers.tabular.rules import FileRules

#: A million lines fit.
RULES = FileRules(
    noun="statement",
    save_again="export the statement again and give the file as it came",
    right_format="export the report of operations from Kaspi Pay as XLSX or CSV",
    most_in_sheets=1_000_000_000,
    most_in_others=100_000_000,
    longest_line=65_536,
)
EXPORT_AGAIN = RULES.save_again

#: БИН and ИИН, as the report's own block says it; БСН and ЖСН in Kazakh.
_SAYS = re.compile(r"(?<!\w)(?:[БB][ИI][НN]|[ИI]{2}[НN]|БСН|ЖСН)(?!\w)", re.I)
_DIGITS = 12
#: A workbook's number has lost the zeros before it.
_NUMBER = re.compile(r"(?<!\d)\d{9,12}(?!\d)", re.A)


class Rows(Protocol):
    """Rows of cells, and what their columns mean."""

    layout: Layout
    #: What it was read as: ``CSV (utf-8, ;)``.
    kind: str

    def rows(self, broken: Broken) -> Iterator[Row]:
        """The rows below the header with their 1-based numbers, from the start each time."""
        ...


class Table(Rows, Protocol):
    """A file that is known to be a statement; closed by :meth:`close`."""

    #: The merchant's BIN or IIN, where the file names one.
    owner: str | None
    bytes_total: int
    notes: list[str]

    @property
    def bytes_read(self) -> int:
        """How far :meth:`rows` has come, in bytes of the file."""
        ...

    def check_whole(self, last: Row | None) -> int | None:
        """The line that may not be whole: it is for a person; ``None`` where there is none.

        :param last: the last row of all.
        :raises InvalidStatement: the file ends in the middle of a line.
        """
        ...

    def close(self) -> None: ...


def unknown(seen: Sequence[Sequence[str]], *, provider: str | None, mapping: str | None) -> InvalidStatement:
    """None of the first rows is the header of a statement that we know."""
    rows = [[" ".join(cell.split()) for cell in row] for row in seen]
    widest = max(rows, key=lambda row: sum(1 for cell in row if cell), default=[])
    found = ", ".join(f"“{header[:40]}”" for header in widest[:30] if header) or "none"
    if mapping is not None:
        said = f"No row has all the headers that the mapping {mapping} names"
        step = "write the headers in the mapping as they stand in the file"
    elif provider is not None:
        other = next((layout for layout in map(_anybodys, rows) if layout is not None), None)
        what = f"a {other.name} and " if other is not None else ""
        said = f"This is {what}no statement of {provider.title()} that we know"
        step = "leave --provider out" if other is not None else WRITE_A_MAPPING
    else:
        said = "This is no statement that we know"
        step = f"name whose it is with --provider kaspi or stripe, or {WRITE_A_MAPPING}"
    return InvalidStatement(f"{said}. The headers found are: {found}", next_step=step)


def _anybodys(row: Sequence[str]) -> Layout | None:
    try:
        return recognise(row, 0, provider=None, mapped=None)
    except InvalidStatement:
        return None


def cannot_open(path: Path, error: OSError) -> InvalidStatement:
    """The operating system says no."""
    return InvalidStatement(
        f"The file {path.name} cannot be read: {error.strerror}", next_step="check its name and its rights"
    )


def find_owner(above: Iterable[Sequence[Cell]]) -> str | None:
    """The twelve digits; ``None`` where no row above the header names one, or two do.

    :param above: the rows above the header.
    """
    found: set[str] = set()
    for row in above:
        text = " ".join(shown(cell) for cell in row)
        if _SAYS.search(text):
            found |= {number.zfill(_DIGITS) for number in _NUMBER.findall(text)}
    return found.pop() if len(found) == 1 else None
