"""Read what a day's closing needs beyond a report: the providers' side, clerks, and what is unfinished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Text, and_, case, exists, func, or_, select, type_coerce
from sqlalchemy.orm import aliased
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import Source
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState, kaspi_refund_id
from procomp_pay.domain.states import KASPI_CHANNELS, OPEN_STATUSES, AnyMethod
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DiscrepancyState, EventState
from procomp_pay.storage.models.types import UtcDateTime
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments.refunds import named_by
from procomp_pay.storage.reports.attempts import Scope
from procomp_pay.storage.reports.tournament_closing import ClosingPayment, select_payments

# the tables for SQL expressions, which the type checker does not understand
_payment: Any = Payment
_detail: Any = PaymentDetail
_participant: Any = Participant
_refund: Any = Refund
_audit: Any = AuditEntry
_movement: Any = ProviderMovement
_operation: Any = KaspiOperation
_discrepancy: Any = Discrepancy
_event: Any = WebhookEvent

#: The most rows of one kind that are listed by name; where there are as many, a step stays open.
MOST = 5000


@dataclass(frozen=True, slots=True)
class Moved:
    """What a provider's records say about our payments of the scope: one group.

    :param charged: the payments' currency. :param currency: that of the provider's balance.
    :param dispute: the payments' dispute, by our books.
    """

    method: AnyMethod | None
    charged: str
    currency: str
    kind: LineKind
    count: int
    amount: Decimal
    fee: Decimal
    with_fee: int
    dispute: DisputeState | None


async def at_provider(session: AsyncSession, scope: Scope) -> list[Moved]:
    """Sum the movements that ``reconcile`` read: a payment's and a refund's on the day on which we booked it,
    so that both sides count the same ones, any other on its own."""
    refund_at = (
        select(func.max(_refund.updated_at))
        .where(
            _refund.payment_id == _movement.payment_id,
            named_by(_movement.ref),
            _refund.state == RefundState.SUCCEEDED,
        )
        .scalar_subquery()
    )
    dispute_at = (
        select(func.max(_audit.at))
        .where(_audit.payment_id == _detail.payment_id, _audit.action.startswith("dispute", autoescape=True))
        .scalar_subquery()
    )
    booked = case(
        (_movement.kind == LineKind.PAYMENT, _detail.completed_at),
        (_movement.kind == LineKind.REFUND, refund_at),
        (_detail.dispute_state == DisputeState.LOST, dispute_at),  # as the reports count a lost one
    )
    at = func.coalesce(booked, _movement.at, type_=UtcDateTime())
    rows = (
        select(
            _payment.method, _detail.charged_currency, _movement.currency, _movement.kind,
            _movement.amount.label("amount"), _movement.fee.label("fee"), _detail.dispute_state,
        )
        .join(_detail, _detail.payment_id == _movement.payment_id)
        .join(_payment, _payment.id == _movement.payment_id)
        .where(*scope.of(at))
        .subquery()
    )  # fmt: skip
    group = (rows.c.method, rows.c.charged_currency, rows.c.currency, rows.c.kind, rows.c.dispute_state)
    query: Any = select(
        *group, func.count(), func.sum(rows.c.amount), func.sum(rows.c.fee), func.count(rows.c.fee)
    ).group_by(*group)
    return [
        Moved(method, str(getattr(charged, "value", charged)), currency, kind, count, amount,
              fee if fee is not None else Decimal("0.00"), with_fee, dispute)
        for method, charged, currency, kind, dispute, count, amount, fee, with_fee in (
            await session.exec(query)
        ).all()
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class NotSeen:
    """A paid payment of which no record of the provider was read."""

    method: AnyMethod | None
    currency: str
    payment_id: str


async def not_seen(session: AsyncSession, scope: Scope) -> list[NotSeen]:
    """Return our paid payments of the scope of which no record of the provider was read."""
    seen = exists().where(_movement.payment_id == _payment.id, _movement.kind == LineKind.PAYMENT)
    query: Any = (
        select(_payment.method, _detail.charged_currency, _payment.id)
        .join(_detail, _detail.payment_id == _payment.id)
        .where(_detail.completed_at.is_not(None), *scope.of(_detail.completed_at), ~seen)
        .order_by(_payment.id)
    )
    return [NotSeen(row[0], str(row[1].value), row[2]) for row in (await session.exec(query)).all()]


async def unknown_money(session: AsyncSession, since: datetime) -> list[Discrepancy]:
    """Return what providers have and none of our payments explains, found since a time; also accepted."""
    query: Any = (
        select(_discrepancy)
        .where(_discrepancy.payment_id.is_(None), _discrepancy.opened_at >= since)
        .where(_discrepancy.kind == "MISSING_LOCALLY")
        .where(or_(_discrepancy.state == DiscrepancyState.OPEN, _discrepancy.resolution.in_(
            ("accept", "write-off"))))
        .order_by(_discrepancy.opened_at, _discrepancy.id)
    )  # fmt: skip
    return [row[0] for row in (await session.exec(query)).all()]


async def taken(session: AsyncSession, scope: Scope) -> list[tuple[str, str, str, int, Decimal]]:
    """Sum the paid payments of the scope by who started them: name, source, currency, count, sum."""
    query: Any = (
        select(
            _detail.started_by, _audit.source, _detail.charged_currency,
            func.count(), func.sum(_detail.charged_amount),
        )
        .join(_payment, _payment.id == _detail.payment_id)
        .join(_audit, and_(_audit.payment_id == _payment.id, _audit.seq == 1), isouter=True)
        .where(_detail.completed_at.is_not(None), *scope.of(_detail.completed_at))
        .group_by(_detail.started_by, _audit.source, _detail.charged_currency)
    )  # fmt: skip
    return [(row[0], row[1], str(row[2].value), row[3], row[4]) for row in (await session.exec(query)).all()]


async def verified(session: AsyncSession, scope: Scope) -> list[tuple[str, int, Decimal]]:
    """Sum the Kaspi receipts that people verified, in tenge: name, count, sum."""
    query: Any = (
        select(_operation.recorded_by, func.count(), func.sum(_operation.amount))
        .join(_payment, _payment.id == _operation.payment_id)
        .where(_operation.source.in_((Source.PERSON.value, Source.APP.value)))
        .where(*scope.of(_operation.created_at))
        .group_by(_operation.recorded_by)
    )
    return [tuple(row) for row in (await session.exec(query)).all()]


async def refunds_made(session: AsyncSession, scope: Scope) -> list[tuple[Refund, bool]]:
    """Return the refunds that succeeded, each with whether a person requested or recorded it here: whoever
    ran the reconciliation that found a refund did not make it."""
    query: Any = (
        select(_refund)
        .join(_payment, _payment.id == _refund.payment_id)
        .where(_refund.state == RefundState.SUCCEEDED, *scope.of(_refund.updated_at))
        .order_by(_refund.id)
    )
    refunds = [row[0] for row in (await session.exec(query)).all()]
    known: set[str] = set()
    payment_ids = sorted({refund.payment_id for refund in refunds})
    for chunk in chunks(payment_ids):
        by_people: Any = select(_audit.action, _audit.source_id, _audit.after).where(
            _audit.payment_id.in_(chunk),
            _audit.action.startswith("refund"),
            _audit.source.in_((Source.PERSON.value, Source.APP.value)),
        )
        for action, number, after in (await session.exec(by_people)).all():
            known.add(
                str((after or {}).get("refund_id"))
                if action == "refund_requested"
                else kaspi_refund_id(number)
            )
    return [(refund, bool({refund.id, refund.provider_refund_id} & known)) for refund in refunds]


async def rows_of(session: AsyncSession, payment_ids: set[str]) -> dict[str, ClosingPayment]:
    """Return payments by id."""
    if not payment_ids:
        return {}
    query = select_payments().where(_payment.id.in_(sorted(payment_ids)))
    return {row[0].id: ClosingPayment(*row) for row in (await session.exec(query)).all()}


async def of_the_day(session: AsyncSession, scope: Scope) -> list[ClosingPayment]:
    """Return the payments that were started or paid in the scope, or refunded in it, oldest first."""
    refunded = exists().where(
        _refund.payment_id == _payment.id,
        _refund.state == RefundState.SUCCEEDED,
        *Scope(None, scope.since, scope.until).of(_refund.updated_at),
    )
    moved = or_(and_(*scope.of(_detail.created_at)), and_(*scope.of(_detail.completed_at)), refunded)
    query = select_payments().where(*Scope(scope.tournament_id).of(None), moved)
    query = query.order_by(_detail.created_at, _detail.payment_id)
    return [ClosingPayment(*row) for row in (await session.exec(query)).all()]


async def unfinished(session: AsyncSession, scope: Scope) -> list[ClosingPayment]:
    """Return the payments started before the scope's end whose outcome is not known: oldest first."""
    query = (
        select_payments()
        .where(*Scope(scope.tournament_id, None, scope.until).of(_detail.created_at))
        .where(_payment.status.in_(list(OPEN_STATUSES)))
        .order_by(_detail.created_at, _detail.payment_id)
        .limit(MOST)
    )
    return [ClosingPayment(*row) for row in (await session.exec(query)).all()]


async def pending_refunds(
    session: AsyncSession, tournament_id: str | None, before: datetime
) -> list[tuple[Refund, str | None]]:
    """Return the refunds of unknown outcome that were requested before a time, with the participant's
    name."""
    query: Any = (
        select(_refund, type_coerce(_participant.full_name, Text))
        .join(_payment, _payment.id == _refund.payment_id)
        .join(_detail, _detail.payment_id == _refund.payment_id)
        .join(_participant, _participant.id == _detail.participant_id, isouter=True)
        .where(_refund.state == RefundState.PENDING)
        .where(*Scope(tournament_id, None, before).of(_refund.created_at))
        .order_by(_refund.created_at, _refund.id)
        .limit(MOST)
    )
    return [tuple(row) for row in (await session.exec(query)).all()]


async def failed_refunds(session: AsyncSession, tournament_id: str | None, before: datetime) -> list[Refund]:
    """Return the refunds of Kaspi payments that failed before a time and are still to be made: one per
    payment, the newest, unless another one came after it or is on its way, or nothing is left to refund."""
    other: Any = aliased(Refund)
    later = or_(
        other.created_at > _refund.created_at,
        and_(other.created_at == _refund.created_at, other.id > _refund.id),
    )
    overtaken = exists().where(
        other.payment_id == _refund.payment_id,
        or_(
            other.state == RefundState.PENDING,
            and_(later, or_(other.state != RefundState.FAILED, other.created_at < before)),
        ),
    )
    query: Any = (
        select(_refund)
        .join(_payment, _payment.id == _refund.payment_id)
        .join(_detail, _detail.payment_id == _refund.payment_id)
        .where(_refund.state == RefundState.FAILED, _detail.channel.in_(sorted(KASPI_CHANNELS)))
        .where(_detail.charged_amount > _detail.refunded_amount, ~overtaken)
        .where(*Scope(tournament_id, None, before).of(_refund.created_at))
        .order_by(_refund.created_at, _refund.id)
        .limit(MOST)
    )
    return [row[0] for row in (await session.exec(query)).all()]


async def being_refunded(session: AsyncSession, payment_ids: set[str]) -> set[str]:
    """Return those of the payments of which a refund is on its way."""
    query: Any = select(_refund.payment_id).where(
        _refund.payment_id.in_(sorted(payment_ids)), _refund.state == RefundState.PENDING
    )
    return {row[0] for row in (await session.exec(query)).all()}


async def unhandled_events(session: AsyncSession, before: datetime) -> list[tuple[str, str, str]]:
    """Return events that are not handled, or were given up: id, type, state."""
    query: Any = (
        select(_event.event_id, _event.type, _event.state)
        .where(_event.state.in_((EventState.PENDING, EventState.DEAD)), _event.received_at < before)
        .order_by(_event.received_at, _event.id)
        .limit(MOST)
    )
    return [(row[0], row[1], row[2].value) for row in (await session.exec(query)).all()]


async def open_discrepancies(session: AsyncSession, tournament_id: str | None) -> list[Discrepancy]:
    """Return the open discrepancies of a tournament's payments, oldest first; of all for ``None``."""
    query: Any = select(_discrepancy).where(_discrepancy.state == DiscrepancyState.OPEN)
    if tournament_id is not None:
        query = query.join(_payment, _payment.id == _discrepancy.payment_id).where(
            _payment.tournament_id == tournament_id
        )
    query = query.order_by(_discrepancy.opened_at, _discrepancy.id).limit(MOST)
    return [row[0] for row in (await session.exec(query)).all()]
