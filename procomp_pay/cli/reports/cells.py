"""Tables of a report before they are drawn: each cell knows what it is, so that a terminal, a page and a
workbook all show the same figure, each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TypeAlias

_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Percent:
    """Of a hundred, with one decimal."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long something took."""

    value: int


class Id(str):
    """A number or a key of ours or a provider's: to be copied, so never broken where there is room."""

    __slots__ = ()


class Missing(Enum):
    """Why there is no figure. Neither is ever shown as nought."""

    NOT_KNOWN = "not known yet"
    NONE = "\N{EN DASH}"


#: Text, a count, an amount of money (the currency stands beside it), and so on.
Cell: TypeAlias = str | int | Decimal | Percent | Seconds | date | datetime | Missing


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head.

    :param spare: left out where a terminal is narrow. :param bar: its numbers are drawn as bars too.
    """

    head: str
    spare: bool = False
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One table.

    :param totals: the last rows that are sums of the ones above. :param note: a sentence under it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    totals: int = 0
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.rows


def columns(heads: str) -> list[Column]:
    """Columns from their heads, ``Day|Sum``: ``-Head`` is spare, ``=Head`` is drawn as a bar."""
    parts = heads.split("|")
    return [Column(each.lstrip("-="), spare=each[:1] == "-", bar=each[:1] == "=") for each in parts]


def as_text(cell: Cell) -> str:
    """A cell for a person, numbers with no-break spaces so that a line never splits one."""
    match cell:
        case Decimal() | int():
            return (f"{cell:,.2f}" if isinstance(cell, Decimal) else f"{cell:,}").replace(",", _SPACE)
        case Percent():
            return f"{cell.value}{_SPACE}%"
        case Seconds():
            return duration(cell.value)
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M}"
    return str(cell.value if isinstance(cell, Missing) else cell)


def is_number(cell: Cell) -> bool:
    """Whether its column is set to the right."""
    return isinstance(cell, int | Decimal | Percent | Seconds) or cell is Missing.NOT_KNOWN


def size(cell: Cell) -> Decimal | None:
    """How long a bar is; ``None`` where it has none."""
    if isinstance(cell, Percent):
        return cell.value
    return Decimal(cell) if isinstance(cell, int | Decimal) else None


def duration(seconds: int) -> str:
    """``0:41``, ``12:05``, ``1:02:03``; days as hours."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def known(value: Decimal | None) -> Cell:
    """An amount, or that it is not known yet."""
    return Missing.NOT_KNOWN if value is None else value
