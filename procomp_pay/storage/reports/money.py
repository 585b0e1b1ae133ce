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
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.storage.models.payments import AuditEntry, PaymentDetail, Refund, Settlement
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.types import UtcDateTime
from procomp_pay.storage.reports.attempts import Scope, rows
from procomp_pay.storage.reports.dialect_sql import day_number

# the tables for expressions, of which the type checker knows no way
_payment: Any = Payment
_detail: Any = PaymentDetail
_refund: Any = Refund
_audit: Any = AuditEntry
_settlement: Any = Settlement


@dataclass(frozen=True, slots=True)
class By:
    """How money is grouped: by day and method, in the days of a place; without one by tournament."""

    zone: Sequence[Offset] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return ("currency", "tournament_id") if self.zone is None else ("currency", "day", "method")

    def keys(self, currency: Any, at: Any) -> tuple[Any, ...]:
        """The columns to group by."""
        found = (currency.label("currency"),)
        if self.zone is None:
            return (*found, _payment.tournament_id.label("tournament_id"))
        return (*found, day_number(at, self.zone).label("day"), _payment.method.label("method"))


@dataclass(frozen=True, slots=True)
class Group:
    """What is added up together: either a day and a method, or a tournament.

    :param day: days since 1970-01-01, in the report's zone.
    """

    currency: str
    day: int | None = None
    method: PaymentMethod | None = None
    tournament_id: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Payments, refunds or disputes of a group.

    :param word: the state of disputes.
    """

    group: Group
    count: int
    amount: Decimal
    late: int = 0
    duplicate: int = 0
    word: DisputeState | None = None


@dataclass(frozen=True, slots=True)
class Fees:
    """Provider fees of a group, whose currency is that of the provider's balance.

    :param charged: the payments' own currency. :param payments: of how many payments the fee is known.
    """

    group: Group
    charged: str
    amount: Decimal
    payments: int


async def received(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Moved]:
    """Sum the money received, by the time at which it was booked."""
    at = _detail.completed_at
    found = (
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
    query = _grouped(by, found, func.sum(found.c.late), func.sum(found.c.duplicate))
    async for row in rows(session, query):
        count, amount, late, twice = row[-4:]
        yield Moved(_group(by, row), count, amount, late=int(late), duplicate=int(twice))


async def paid_back(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Moved]:
    """Sum the successful refunds, by the time at which they were booked."""
    at = _refund.updated_at  # nothing moves a refund that went through, but its failure
    found = (
        select(*by.keys(_refund.currency, at), _refund.amount.label("amount"))
        .join(_refund, _refund.payment_id == _payment.id)
        .where(_refund.state == RefundState.SUCCEEDED, *scope.of(at))
        .subquery()
    )
    async for row in rows(session, _grouped(by, found)):
        yield Moved(_group(by, row), *row[-2:])


async def on_their_way(session: AsyncSession, scope: Scope) -> list[tuple[str, int, Decimal]]:
    """Refunds whose outcome is not known yet, asked for before the scope's end: currency, count, sum."""
    asked = Scope(scope.tournament_id, None, scope.until)
    query: Any = (
        select(_refund.currency, func.count(), func.sum(_refund.amount))
        .join(_payment, _payment.id == _refund.payment_id)
        .where(_refund.state == RefundState.PENDING, *asked.of(_refund.created_at))
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
    told = (
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
    found = (
        select(
            *by.keys(told.c.charged_currency, told.c.at),
            func.coalesce(told.c.dispute_amount, 0, type_=told.c.dispute_amount.type).label("amount"),
            told.c.dispute_state.label("word"),
        )
        .join(told, told.c.payment_id == _payment.id)
        .where(*scope.of(told.c.at))
        .subquery()
    )
    async for row in rows(session, _grouped(by, found, key="word")):
        word, count, amount = row[-3:]
        yield Moved(_group(by, row), count, amount, word=word)


async def fees(session: AsyncSession, scope: Scope, by: By) -> AsyncIterator[Fees]:
    """Return the providers' fees: a payment's fee counts with the payment, any other when it was taken."""
    of_payment = _settlement.kind == LineKind.PAYMENT
    with_payment = case((of_payment, _detail.completed_at))
    at = func.coalesce(with_payment, _settlement.at, type_=UtcDateTime())
    found = (
        select(
            *by.keys(_settlement.currency, at),
            _detail.charged_currency.label("charged"),
            _settlement.fee.label("amount"),
            case((of_payment & _detail.completed_at.is_not(None), _settlement.payment_id)).label("payment"),
        )
        .select_from(_settlement)
        .join(_detail, _detail.payment_id == _settlement.payment_id)
        .join(_payment, _payment.id == _detail.payment_id)
        .where(_settlement.fee.is_not(None), *scope.of(at))
        .subquery()
    )
    query = _grouped(by, found, func.count(distinct(found.c.payment)), key="charged")
    async for row in rows(session, query):
        charged, _, amount, payments = row[-4:]
        yield Fees(_group(by, row), str(charged), amount, payments)


def _grouped(by: By, found: Any, *more: Any, key: str | None = None) -> Any:
    """Counts and sums by the keys, of a subquery: there a key is a column, and not an expression with
    parameters, which a database cannot recognise as the same one twice."""
    columns = [found.c[name] for name in (*by.names, *([key] if key else []))]
    return select(*columns, func.count(), func.sum(found.c.amount), *more).group_by(*columns)


def _group(by: By, row: Any) -> Group:
    return Group(**dict(zip(by.names, row, strict=False)))
