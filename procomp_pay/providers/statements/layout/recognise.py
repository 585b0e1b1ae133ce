"""Recognise the layout of a statement by its headers."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.money import Currency
from procomp_pay.domain.text import N_
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

#: A block of titles may come above the headers. No known report has them lower than this row.
HEADER_WITHIN = 60
WRITE_A_MAPPING = N_(
    "describe its columns in a mapping file and add --mapping FILE; docs/statements.md has an example"
)


def recognise(
    cells: Sequence[str], row: int, *, provider: str | None, mapped: ColumnMapping | None
) -> Layout | None:
    """Return the layout that has these headers; ``None`` if the row is not the header row of a statement.

    :param row: the 1-based line of the row.
    :raises InvalidStatement: two columns could have the same role.
    """
    headers = tuple(" ".join(cell.split()) for cell in cells)
    if sum(1 for header in headers if header) < 2:
        return None
    if mapped is not None:
        return mapped.layout(headers, row)
    if provider in (None, STRIPE):
        layout = _stripe(headers, row)
        if layout is not None:
            return layout
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
        N_("Stripe balance report"),
        row,
        headers,
        columns,
        STRIPE_WORDS,
        None,
        ZoneInfo("UTC"),
        decimal=None,
    )


def _kaspi(headers: tuple[str, ...], row: int, *, sure: bool) -> Layout | None:
    """Return Kaspi's layout.

    :param sure: the user named Kaspi as the provider. Otherwise English headers alone are not enough.
    """
    columns = _columns(headers, KASPI_HEADERS, row)
    if columns is None or not {ColumnRole.DATE, ColumnRole.AMOUNT} <= columns.keys():
        return None
    if not columns.keys() & {ColumnRole.OPERATION, ColumnRole.TYPE}:
        return None
    if not sure and not has_cyrillic([headers[place] for place in columns.values()]):
        return None
    currency = None if ColumnRole.CURRENCY in columns else Currency.KZT
    return Layout(KASPI, N_("Kaspi Pay report"), row, headers, columns, KASPI_WORDS, currency, ALMATY)


def _columns(headers: tuple[str, ...], known: HeaderNames, row: int) -> dict[ColumnRole, int] | None:
    try:
        return find_columns(headers, known)
    except AmbiguousHeaderError as error:
        # a title may repeat a word; it is a header row only if there are other known headers too
        others = {role: keys for role, keys in known.items() if role is not error.role}
        rest = _columns(headers, others, row) or {}
        if len(rest) < 2:
            return None
        raise ambiguous_header(error, row) from None


def ambiguous_header(error: AmbiguousHeaderError, row: int) -> InvalidStatement:
    """Return the error for two columns that could have the same role."""
    both = ", ".join(f"“{header[:40]}”" for header in error.headers[:3])
    return InvalidStatement(
        N_("%(both)s could each be the %(column)s column", both=both, column=str(error.role)),
        next_step=N_("name the right one: %(how)s", how=WRITE_A_MAPPING),
        line=row,
    )
