"""Count rows for the metrics, by index and up to a bound, however large the tables are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import literal, text, union_all
from sqlalchemy import select as select_columns
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import spelled
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DeliveryState, EventState, OutboxState
from procomp_pay.storage.models.webhooks import WebhookEvent

#: The most rows counted of a queue, and of recent payments.
MOST, MOST_PAYMENTS = 10_000, 50_000

#: The exact conditions of the partial indexes: with parameters, prepared plans could not use the indexes.
_QUEUES: dict[str, tuple[Any, str]] = {
    "inbox_pending": (WebhookEvent.id, "state = 'pending'"),
    "inbox_dead": (WebhookEvent.id, "state = 'dead'"),
    "outbox_waiting": (Delivery.id, "state = 'waiting'"),
    "outbox_dead": (Delivery.id, "state = 'dead'"),
    "discrepancies_open": (Discrepancy.id, "state = 'open'"),
    "refunds_pending": (Refund.id, "next_look_at IS NOT NULL"),
    "payments_watched": (PaymentDetail.payment_id, "next_poll_at IS NOT NULL"),
}


async def payment_counts(session: AsyncSession, since: datetime) -> dict[tuple[str, str], int]:
    """Payments that were started since then, by method and status; of very many the newest."""
    recent = (
        select(Payment.method, Payment.status)
        .where(Payment.created_at >= since)
        .order_by(col(Payment.created_at).desc())
        .limit(MOST_PAYMENTS)
        .subquery()
    )
    query: Any = select(recent.c.method, recent.c.status, func.count()).group_by(
        recent.c.method, recent.c.status
    )
    rows = (await session.exec(query)).all()
    return {(_word(method), _word(status)): number for method, status, number in rows}


def _word(value: Any) -> str:
    return "none" if value is None else str(getattr(value, "value", value))


async def depths(session: AsyncSession) -> dict[str, int]:
    """Return the length of each queue, counted up to :data:`MOST`."""
    depths_by_queue = {}
    for name, (column, condition) in _QUEUES.items():
        rows = select(column).where(text(condition)).limit(MOST).subquery()
        depths_by_queue[name] = int((await session.exec(select(func.count()).select_from(rows))).one())
    return depths_by_queue


async def oldest_event(session: AsyncSession) -> datetime | None:
    """Return when the longest waiting event arrived; in a long queue, among those due first."""
    pending = (
        select(WebhookEvent.received_at)
        .where(text(_QUEUES["inbox_pending"][1]))
        .order_by(col(WebhookEvent.next_attempt_at))
        .limit(MOST)
        .subquery()
    )
    oldest: datetime | None = (await session.exec(select(func.min(pending.c.received_at)))).one()
    return oldest


@dataclass(frozen=True, slots=True)
class Happening:
    """The fields of an audit entry that are counted."""

    id: int
    at: datetime
    action: str
    before: Any
    after: Any
    method: str
    started_at: datetime | None


async def happenings(session: AsyncSession, after_id: int, limit: int) -> list[Happening]:
    """Return audit entries of all payments after an id, oldest first."""
    columns: list[Any] = [
        AuditEntry.id, AuditEntry.at, AuditEntry.action, AuditEntry.before, AuditEntry.after,
        Payment.method, Payment.created_at,
    ]  # fmt: skip
    query: Any = (
        select(*columns)
        .join(Payment, col(Payment.id) == col(AuditEntry.payment_id), isouter=True)
        .where(col(AuditEntry.id) > after_id)
        .order_by(col(AuditEntry.id))
        .limit(limit)
    )
    rows = (await session.exec(query)).all()
    return [
        Happening(number, at, action, before, after, _word(method), started_at)
        for number, at, action, before, after, method, started_at in rows
    ]


async def overdue(session: AsyncSession, before: datetime) -> dict[str, datetime]:
    """Return the kinds of work that are due since before a time, each with the oldest due time."""
    kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "events": (WebhookEvent.next_attempt_at, (WebhookEvent.state == spelled(EventState.PENDING),)),
        "payments": (PaymentDetail.next_poll_at, ()),
        "refunds": (Refund.next_look_at, ()),
        "messages": (OutboxMessage.next_attempt_at, (OutboxMessage.state == spelled(OutboxState.WAITING),)),
        "deliveries": (Delivery.next_attempt_at, (Delivery.state == spelled(DeliveryState.WAITING),)),
    }
    queries = [
        select_columns(literal(kind), func.min(col(due))).where(col(due) < before, *conditions)
        for kind, (due, conditions) in kinds.items()
    ]
    connection = await session.connection()
    rows = await connection.execute(union_all(*queries))
    return {kind: due_since for kind, due_since in rows.all() if due_since is not None}
