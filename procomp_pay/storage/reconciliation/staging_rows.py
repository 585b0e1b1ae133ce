"""Define the rows of reconciliation's temporary tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple


class StagedRow(NamedTuple):
    """A record of the provider. ``match`` is the reference that finds our payment; the rest as in
    :class:`ProviderRecord`.
    """

    kind: str
    ref: str
    match: str
    stand: str
    at: datetime
    amount: Decimal | None = None
    currency: str | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    hint: str | None = None
    number: int = 0
    dispute: str | None = None
    settlement_currency: str | None = None


class MovementPage(NamedTuple):
    """Movements as columns, in the order of ``staging_sql.MOVEMENT``: on PostgreSQL each column is the
    text of an array, which the server makes and reads by itself, on SQLite a sequence of values."""

    size: int
    columns: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """The payments to compare: those of a provider that were started in a window."""

    provider: str
    since: datetime
    until: datetime


class Candidate(NamedTuple):
    """A record to compare: one of our payments, or an unmatched line if ``payment_id`` is None."""

    key: str
    payment_id: str | None
