"""The values that cells have in CSV and XLSX files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal

#: Columns that are read; a file may have more.
MOST_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Unusable:
    """A cell of a workbook that has no value, and why."""

    why: str


#: CSV has text only. A workbook has exact numbers, dates without a zone, and booleans too.
Cell = str | Decimal | datetime | time | timedelta | bool | Unusable
#: The 1-based line (CSV) or row (XLSX), and its cells.
Row = tuple[int, Sequence[Cell]]
#: Called with the line of a row that cannot be split into cells, and the reason.
Broken = Callable[[int, str], None]


def shown(cell: Cell) -> str:
    """Return a cell as text for a message, at most 40 characters."""
    text = "" if isinstance(cell, Unusable) else str(cell)
    return text if len(text) <= 40 else text[:39] + "…"


def is_blank(cell: Cell) -> bool:
    """Return whether a cell is empty or has white space only."""
    return isinstance(cell, str) and not cell.strip()


def undo_wrong_decoding(cells: Sequence[str]) -> list[str] | None:
    """Return text as it was before its UTF-8 was read as Windows Cyrillic: ``РќРѕРјРµСЂ`` is ``Номер``.

    A cell that lost letters on the way stays as it is. ``None`` where no cell is such text.
    """
    undone: list[str] = []
    for cell in cells:
        try:
            undone.append(cell.encode("cp1251").decode())
        except UnicodeError:
            undone.append(cell)
    return undone if undone != list(cells) else None
