"""Recognise the layout of a statement by its headers."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.money import Currency
from procomp_pay.providers.statements.layout.headers import (
    KASPI_HEADERS,
    STRIPE_HEADERS,
    AmbiguousHeaderError,
    ColumnRole,
    HeaderNames,
    find_columns,
    has_cyrillic,
)
from procomp_pay.providers.statements.layout.line_kinds import KASPI_WORDS, STRIPE_WORDS
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping
from procomp_pay.providers.statements.layout.model import KASPI, STRIPE, Layout

#: Above the header may stand a title block; a report that puts it lower is none that we know.
HEADER_WITHIN = 60
WRITE_A_MAPPING = "write a mapping and give it with --mapping FILE; the README has an example"


def recognise(
    cells: Sequence[str], row: int, *, provider: str | None, mapped: ColumnMapping | None
) -> Layout | None:
    """The layout whose headers stand in this row; ``None`` where it is no header of a statement.

    :raises InvalidStatement: headers that are those of a statement, but cannot be told apart.
    """
    headers = tuple(" ".join(cell.split()) for cell in cells)
    if sum(1 for header in headers if header) < 2:
        return None
    if mapped is not None:
        return mapped.layout(headers, row)
    if provider in (None, STRIPE):
        found = _stripe(headers, row)
        if found is not None:
            return found
    return _kaspi(headers, row, sure=provider == KASPI) if provider in (None, KASPI) else None


def _stripe(headers: tuple[str, ...], row: int) -> Layout | None:
    columns = _columns(headers, STRIPE_HEADERS, row)
    needed = {
        ColumnRole.ID,
        ColumnRole.DATE,
        ColumnRole.TYPE,
        ColumnRole.CURRENCY,
        ColumnRole.AMOUNT,
        ColumnRole.NET,
    }
    if columns is None or not needed <= columns.keys():
        return None
    return Layout(
        STRIPE,
        "Stripe balance report",
        row,
        headers,
        columns,
        STRIPE_WORDS,
        None,
        ZoneInfo("UTC"),
        decimal=None,
    )


def _kaspi(headers: tuple[str, ...], row: int, *, sure: bool) -> Layout | None:
    """
    :param sure: somebody said that it is Kaspi's; else English headers alone are not enough.
    """
    columns = _columns(headers, KASPI_HEADERS, row)
    if columns is None or not {ColumnRole.DATE, ColumnRole.AMOUNT} <= columns.keys():
        return None
    if not columns.keys() & {ColumnRole.OPERATION, ColumnRole.TYPE}:
        return None
    if not sure and not has_cyrillic([headers[place] for place in columns.values()]):
        return None
    currency = None if ColumnRole.CURRENCY in columns else Currency.KZT
    return Layout(
        KASPI, "Kaspi Pay report", row, headers, columns, KASPI_WORDS, currency, ZoneInfo("Asia/Almaty")
    )


def _columns(headers: tuple[str, ...], known: HeaderNames, row: int) -> dict[ColumnRole, int] | None:
    try:
        return find_columns(headers, known)
    except AmbiguousHeaderError as two:
        # a title may say a word twice; only where the rest is there as well it is a header
        others = {meaning: keys for meaning, keys in known.items() if meaning is not two.meaning}
        rest = _columns(headers, others, row) or {}
        if len(rest) < 2:
            return None
        raise ambiguous_header(two, row) from None


def ambiguous_header(two: AmbiguousHeaderError, row: int) -> InvalidStatement:
    """Two headers for one meaning: nobody can tell which one counts."""
    both = " and ".join(f"“{header[:40]}”" for header in two.headers[:3])
    return InvalidStatement(
        f"{both} could each be the {two.meaning} column",
        next_step=f"say which one counts: {WRITE_A_MAPPING}",
        line=row,
    )
