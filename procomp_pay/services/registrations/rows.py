"""What the readers of rosters share: one row of text cells, and how much is read at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The largest file, in bytes.
MOST_BYTES = 10_000_000
#: The most participants of one file.
MOST_ROWS = 20_000
#: The most columns that are looked at.
MOST_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row of text cells.

    :param line: its number in the file, from 1.
    :param problem: why the whole row cannot be read.
    :param unusable: why single cells have no text, by their place.
    :param dates: the places of cells that are dates.
    :param by_commas: a cell too many shows that one was split in two.
    """

    line: int
    cells: list[str]
    problem: str | None = None
    unusable: Mapping[int, str] = field(default_factory=dict)
    dates: frozenset[int] = frozenset()
    by_commas: bool = False
