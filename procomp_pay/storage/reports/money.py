"""Sum what was received, refunded and taken in fees: by day and method, or by tournament.

Never by both: a year's tournaments times its days are as many groups as payments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import case, distinct, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.period import Offset
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import AnyMethod
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.types import UtcDateTime
from procomp_pay.storage.reports.attempts import Scope, rows
from procomp_pay.storage.reports.dialect_sql import day_number

# the tables for expressions, of which the type checker knows no way
_payment: Any = Payment
_detail: Any = PaymentDetail
_refund: Any = Refund
_audit: Any = AuditEntry
_movement: Any = ProviderMovement


@dataclass(frozen=True, slots=True)
class By:
    """The grouping of money: by day and method if ``zone`` is given, otherwise by tournament."""

    zone: Sequence[Offset] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return ("currency", "tournament_id") if self.zone is None else ("currency", "day", "method")

    def keys(self, currency: Any, at: Any) -> tuple[Any, ...]:
        """Return the columns to group by."""
        keys = (currency.label("currency"),)
        if self.zone is None:
            return (*keys, _payment.tournament_id.label("tournament_id"))
        return (*keys, day_number(at, self.zone).label("day"), _payment.method.label("method"))


@dataclass(frozen=True, slots=True)
class Group:
    """A group of money: a day and a method, or a tournament.

    :param day: days since 1970-01-01, in the report's zone.
    """

    currency: str
    day: int | None = None
    method: AnyMethod | None = None
    tournament_id: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """The number and sum of payments, refunds or disputes of a group.

    :param state: of the disputes.
    """

    group: Group
    count: int
    amount: Decimal
    late: int = 0
    duplicate: int = 0
    state: DisputeState | None = None


@dataclass(frozen=True, slots=True)
class Fees:
    """Provider fees of a group, whose currency is that of the provider's balance.

    :param charged: the payments' own currency. :param payments: the number of payments with a known fee.
    """

    group: Group
    charged: str
    amount: Decimal
    payments: int


async def received(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Moved]:
    """Sum the money received, by the time at which it was booked."""
    at = _detail.completed_at
    rows_of_scope = (
        select(
            *by.keys(_detail.charged_currency, at),
            _detail.charged_amount.label("amount"),
            case((_detail.is_late, 1), else_=0).label("late"),
            case((_detail.is_duplicate, 1), else_=0).label("duplicate"),
        )
        .join(_detail, _detail.payment_id == _payment.id)
        .where(at.is_not(None), *scope.of(at))
        .subquery()
    )
    query = _grouped(by, rows_of_scope, func.sum(rows_of_scope.c.late), func.sum(rows_of_scope.c.duplicate))
    async for row in rows(session, query):
        count, amount, late, duplicates = row[-4:]
        yield Moved(_group(by, row), count, amount, late=int(late), duplicate=int(duplicates))


async def paid_back(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Moved]:
    """Sum the successful refunds, by the time at which they were booked."""
    at = _refund.updated_at  # a successful refund changes only if it fails later
    rows_of_scope = (
        select(*by.keys(_refund.currency, at), _refund.amount.label("amount"))
        .join(_refund, _refund.payment_id == _payment.id)
        .where(_refund.state == RefundState.SUCCEEDED, *scope.of(at))
        .subquery()
    )
    async for row in rows(session, _grouped(by, rows_of_scope)):
        yield Moved(_group(by, row), *row[-2:])


async def on_their_way(session: AsyncSession, scope: Scope) -> list[tuple[str, int, Decimal]]:
    """Return pending refunds requested before the scope's end: currency, count, sum."""
    requested = Scope(scope.tournament_id, None, scope.until)
    query: Any = (
        select(_refund.currency, func.count(), func.sum(_refund.amount))
        .join(_payment, _payment.id == _refund.payment_id)
        .where(_refund.state == RefundState.PENDING, *requested.of(_refund.created_at))
        .group_by(_refund.currency)
        .order_by(_refund.currency)
    )
    return [(str(row[0]), row[1], row[2]) for row in (await session.exec(query)).all()]


async def disputes(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Moved]:
    """Sum the disputes, by the time of their newest state."""
    newest = (
        select(func.max(_audit.at))
        .where(_audit.payment_id == _detail.payment_id, _audit.action.startswith("dispute", autoescape=True))
        .scalar_subquery()
    )
    dispute_rows = (
        select(
            _detail.payment_id,
            _detail.dispute_state,
            _detail.charged_currency,
            _detail.dispute_amount,
            func.coalesce(newest, _detail.updated_at, type_=UtcDateTime()).label("at"),
        )
        .where(_detail.dispute_state.is_not(None))
        .subquery()
    )
    rows_of_scope = (
        select(
            *by.keys(dispute_rows.c.charged_currency, dispute_rows.c.at),
            func.coalesce(dispute_rows.c.dispute_amount, 0, type_=dispute_rows.c.dispute_amount.type).label(
                "amount"
            ),
            dispute_rows.c.dispute_state.label("state"),
        )
        .join(dispute_rows, dispute_rows.c.payment_id == _payment.id)
        .where(*scope.of(dispute_rows.c.at))
        .subquery()
    )
    async for row in rows(session, _grouped(by, rows_of_scope, key="state")):
        state, count, amount = row[-3:]
        yield Moved(_group(by, row), count, amount, state=state)


async def fees(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Fees]:
    """Sum the providers' fees: a payment's fee by the payment's time, any other by its own."""
    of_payment = _movement.kind == LineKind.PAYMENT
    with_payment = case((of_payment, _detail.completed_at))
    at = func.coalesce(with_payment, _movement.at, type_=UtcDateTime())
    rows_of_scope = (
        select(
            *by.keys(_movement.currency, at),
            _detail.charged_currency.label("charged"),
            _movement.fee.label("amount"),
            case((of_payment & _detail.completed_at.is_not(None), _movement.payment_id)).label("payment"),
        )
        .select_from(_movement)
        .join(_detail, _detail.payment_id == _movement.payment_id)
        .join(_payment, _payment.id == _detail.payment_id)
        .where(_movement.fee.is_not(None), *scope.of(at))
        .subquery()
    )
    query = _grouped(by, rows_of_scope, func.count(distinct(rows_of_scope.c.payment)), key="charged")
    async for row in rows(session, query):
        charged, _, amount, payments = row[-4:]
        yield Fees(_group(by, row), str(charged), amount, payments)


def _grouped(by: By, source: Any, *sums: Any, key: str | None = None) -> Any:
    """Return the query for counts and sums by key, from a subquery. There a key is a column; an expression
    with parameters is not recognised as the same in SELECT and GROUP BY."""
    columns = [source.c[name] for name in (*by.names, *([key] if key else []))]
    return select(*columns, func.count(), func.sum(source.c.amount), *sums).group_by(*columns)


def _group(by: By, row: Any) -> Group:
    return Group(**dict(zip(by.names, row, strict=False)))
