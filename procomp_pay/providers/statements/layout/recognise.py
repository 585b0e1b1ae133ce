"""Recognise the layout of a statement by its heads."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.money import Currency
from procomp_pay.providers.statements.layout.headers import (
    KASPI_HEADS,
    STRIPE_HEADS,
    Heads,
    Meaning,
    TwoColumnsError,
    find_columns,
    has_cyrillic,
)
from procomp_pay.providers.statements.layout.line_kinds import KASPI_WORDS, STRIPE_WORDS
from procomp_pay.providers.statements.layout.mapping_file import Mapped
from procomp_pay.providers.statements.layout.model import KASPI, STRIPE, Layout

#: Above the head may stand a title block; a report that puts it lower is none that we know.
HEAD_WITHIN = 60
WRITE_A_MAPPING = "write a mapping and give it with --mapping FILE; the README has an example"


def recognise(
    cells: Sequence[str], row: int, *, provider: str | None, mapped: Mapped | None
) -> Layout | None:
    """The layout whose heads stand in this row; ``None`` where it is no head of a statement.

    :raises InvalidStatement: heads that are those of a statement, but cannot be told apart.
    """
    heads = tuple(" ".join(cell.split()) for cell in cells)
    if sum(1 for head in heads if head) < 2:
        return None
    if mapped is not None:
        return mapped.layout(heads, row)
    if provider in (None, STRIPE):
        found = _stripe(heads, row)
        if found is not None:
            return found
    return _kaspi(heads, row, sure=provider == KASPI) if provider in (None, KASPI) else None


def _stripe(heads: tuple[str, ...], row: int) -> Layout | None:
    columns = _columns(heads, STRIPE_HEADS, row)
    needed = {Meaning.ID, Meaning.DATE, Meaning.TYPE, Meaning.CURRENCY, Meaning.AMOUNT, Meaning.NET}
    if columns is None or not needed <= columns.keys():
        return None
    return Layout(
        STRIPE,
        "Stripe balance report",
        row,
        heads,
        columns,
        STRIPE_WORDS,
        None,
        ZoneInfo("UTC"),
        decimal=None,
    )


def _kaspi(heads: tuple[str, ...], row: int, *, sure: bool) -> Layout | None:
    """
    :param sure: somebody said that it is Kaspi's; else English heads alone are not enough.
    """
    columns = _columns(heads, KASPI_HEADS, row)
    if columns is None or not {Meaning.DATE, Meaning.AMOUNT} <= columns.keys():
        return None
    if not columns.keys() & {Meaning.OPERATION, Meaning.TYPE}:
        return None
    if not sure and not has_cyrillic([heads[place] for place in columns.values()]):
        return None
    currency = None if Meaning.CURRENCY in columns else Currency.KZT
    return Layout(
        KASPI, "Kaspi Pay report", row, heads, columns, KASPI_WORDS, currency, ZoneInfo("Asia/Almaty")
    )


def _columns(heads: tuple[str, ...], known: Heads, row: int) -> dict[Meaning, int] | None:
    try:
        return find_columns(heads, known)
    except TwoColumnsError as two:
        # a title may say a word twice; only where the rest is there as well it is a head
        others = {meaning: keys for meaning, keys in known.items() if meaning is not two.meaning}
        rest = _columns(heads, others, row) or {}
        if len(rest) < 2:
            return None
        raise two_columns(two, row) from None


def two_columns(two: TwoColumnsError, row: int) -> InvalidStatement:
    """Two heads for one meaning: nobody can tell which one counts."""
    both = " and ".join(f"“{head[:40]}”" for head in two.heads[:3])
    return InvalidStatement(
        f"{both} could each be the {two.meaning} column",
        next_step=f"say which one counts: {WRITE_A_MAPPING}",
        line=row,
    )
