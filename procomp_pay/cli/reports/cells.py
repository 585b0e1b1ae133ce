"""A report's tables before they are drawn. Cells are typed, so that the terminal, the page and the workbook
show the same figures, each in its own format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from procomp_pay.cli.framework import formats
from procomp_pay.cli.framework.language import _, language
from procomp_pay.domain.language import Language
from procomp_pay.domain.states import METHOD_NAMES
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_SPACE = "\N{NO-BREAK SPACE}"
_METHODS = {label.lower(): name for label, name in METHOD_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Percent:
    """A percentage with one decimal."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration in whole seconds."""

    value: int


class Id(str):
    """An id to copy: never broken into lines where there is room."""

    __slots__ = ()


class Missing(Enum):
    """The reason why there is no figure. Never shown as zero."""

    NOT_KNOWN = N_("not known yet")
    NONE = "\N{EN DASH}"


#: Text, a count, an amount (its currency is in another cell), and so on.
Cell: TypeAlias = str | int | Decimal | Percent | Seconds | date | datetime | Missing


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    :param key: its head in English. :param spare: left out in a narrow terminal.
    :param bar: its numbers are drawn as bars, too.
    """

    key: str
    spare: bool = False
    bar: bool = False

    @property
    def head(self) -> str:
        """Return its head in the reader's language."""
        if language() is Language.ENGLISH:
            return self.key
        return _(_OTHER_WORDS.get(self.key, self.key))


#: Heads that mean something else elsewhere: the desk has a key Open.
_OTHER_WORDS = {"Open": N_("still open")}


@dataclass(frozen=True, slots=True)
class Section:
    """A table.

    :param totals: number of rows at the end that are sums. :param note: a sentence under the table.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    totals: int = 0
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.rows


def columns(headings: str) -> list[Column]:
    """Return columns from heads like ``Day|Sum``: ``-Head`` is spare, ``=Head`` is drawn as bars. The
    catalogue has every head of such a text."""
    parts = headings.split("|")
    return [Column(part.lstrip("-="), spare=part[:1] == "-", bar=part[:1] == "=") for part in parts]


def local_time(at: datetime | None, zone: ZoneInfo) -> Cell:
    """Return a time in a zone; a dash for none."""
    return Missing.NONE if at is None else at.astimezone(zone).replace(tzinfo=None)


def method_or_word(name: str) -> str:
    """Return a method's name from its public one, such as ``apple_pay``; any other word in the reader's
    language."""
    return _METHODS.get(name) or _(name)


def to_the_second(at: datetime, zone: ZoneInfo) -> str:
    """Return a time to the second: ``2026-05-01 22:15:07``."""
    local = at.astimezone(zone)
    is_english = language() is Language.ENGLISH
    return f"{local:%Y-%m-%d %H:%M:%S}" if is_english else f"{local:%d.%m.%Y %H:%M:%S}"


def as_text(cell: Cell) -> str:
    """Return a cell as text, with no-break spaces in numbers so that no line breaks them."""
    match cell:
        case Decimal() | int():
            text = (f"{cell:,.2f}" if isinstance(cell, Decimal) else f"{cell:,}").replace(",", _SPACE)
            return _with_sign(text)
        case Percent():
            return _with_sign(f"{cell.value}{_SPACE}%")
        case Seconds():
            return formats.duration(cell.value)
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M}" if language() is Language.ENGLISH else f"{cell:%d.%m.%Y %H:%M}"
        case date() if language() is not Language.ENGLISH:
            return f"{cell:%d.%m.%Y}"
    return _(cell.value) if isinstance(cell, Missing) else str(cell)


def _with_sign(number: str) -> str:
    """Return a number with the decimal sign of the reader's language."""
    return number if language() is Language.ENGLISH else number.replace(".", ",")


def is_number(cell: Cell) -> bool:
    """Return whether a cell is aligned to the right."""
    return isinstance(cell, int | Decimal | Percent | Seconds) or cell is Missing.NOT_KNOWN


def size(cell: Cell) -> Decimal | None:
    """Return the length of a cell's bar; None if it has none."""
    if isinstance(cell, Percent):
        return cell.value
    return Decimal(cell) if isinstance(cell, int | Decimal) else None


def known(value: Decimal | None) -> Cell:
    """Return an amount, or the mark that it is not known yet."""
    return Missing.NOT_KNOWN if value is None else value
