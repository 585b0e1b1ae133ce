"""Delete what is finished and old, a few rows at a time: payloads, events, messages, idempotency keys.

Here, because whatever belongs to an open discrepancy is kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, literal, update
from sqlmodel import col, or_, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.storage.models.idempotency import IdempotencyKey
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DeliveryState, DiscrepancyState, EventState, OutboxState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.webhooks.inbox import DROPPED

#: Pending events are work to do, and dead ones wait for an operator.
_HANDLED = (EventState.DONE, EventState.IGNORED, EventState.FOREIGN)
#: Its payload holds the answer that a repeated request gets again.
_ANSWERED = "kaspi_bill"


def _has_open(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether an open discrepancy meets the condition."""
    return select(Discrepancy.id).where(Discrepancy.state == DiscrepancyState.OPEN, condition).exists()


def _finished_events(before: datetime) -> tuple[Any, ...]:
    """Return the conditions on events that arrived before this time and that nobody needs any more."""
    # of money that belonged to no payment when it came: see settlement.side_effects.keep_unapplied
    unapplied = (
        literal(f"{DiscrepancyKind.MISSING_LOCALLY}:None:")
        .concat(col(WebhookEvent.provider))
        .concat(":")
        .concat(col(WebhookEvent.event_id))
    )
    return (
        col(WebhookEvent.received_at) < before,
        col(WebhookEvent.state).in_(_HANDLED),
        ~_has_open(col(Discrepancy.payment_id) == col(WebhookEvent.payment_id)),
        ~_has_open(col(Discrepancy.fingerprint) == unapplied),
    )


async def drop_payloads(
    session: AsyncSession, before: datetime, *, since: datetime | None, limit: int
) -> tuple[int, datetime | None]:
    """Drop the payloads of the oldest handled events.

    :param before: only of those that arrived before. :param since: only of those that arrived since.
    :returns: how many, and when the newest of them arrived.
    """
    query: Any = select(WebhookEvent.id, WebhookEvent.received_at).where(
        *_finished_events(before), WebhookEvent.payload_enc != DROPPED, WebhookEvent.provider != _ANSWERED
    )
    if since is not None:
        query = query.where(col(WebhookEvent.received_at) >= since)
    query = query.order_by(col(WebhookEvent.received_at), col(WebhookEvent.id)).limit(limit)
    rows = (await session.exec(query.with_for_update(skip_locked=True, of=WebhookEvent))).all()
    if rows:
        ids = [row_id for row_id, _ in rows]
        await session.exec(
            update(WebhookEvent).where(col(WebhookEvent.id).in_(ids)).values(payload_enc=DROPPED)
        )
    return len(rows), rows[-1][1] if rows else None


async def delete_events(session: AsyncSession, before: datetime, *, limit: int) -> int:
    """Delete the oldest handled events that arrived before this time; return how many."""
    query: Any = (
        select(WebhookEvent.id)
        .where(*_finished_events(before))
        .order_by(col(WebhookEvent.received_at), col(WebhookEvent.id))
    )
    ids = (await session.exec(query.limit(limit).with_for_update(skip_locked=True, of=WebhookEvent))).all()
    if ids:
        await session.exec(delete(WebhookEvent).where(col(WebhookEvent.id).in_(ids)))
    return len(ids)


async def delete_messages(session: AsyncSession, before: datetime, *, limit: int) -> int:
    """Delete the oldest messages from before this time, with their deliveries; return how many.

    Those that wait for a destination, were given up at one, or were delivered since, are kept.
    """
    unfinished = (
        select(Delivery.id)
        .where(
            Delivery.message_id == OutboxMessage.id,
            or_(
                col(Delivery.state).in_((DeliveryState.WAITING, DeliveryState.DEAD)),
                col(Delivery.finished_at) >= before,
            ),
        )
        .exists()
    )
    query: Any = (
        select(OutboxMessage.id)
        .where(
            col(OutboxMessage.created_at) < before,
            OutboxMessage.state != OutboxState.WAITING,
            ~unfinished,
            ~_has_open(col(Discrepancy.payment_id) == col(OutboxMessage.payment_id)),
        )
        .order_by(col(OutboxMessage.created_at), col(OutboxMessage.id))
    )
    ids = (await session.exec(query.limit(limit).with_for_update(skip_locked=True, of=OutboxMessage))).all()
    if ids:
        await session.exec(delete(Delivery).where(col(Delivery.message_id).in_(ids)))
        await session.exec(delete(OutboxMessage).where(col(OutboxMessage.id).in_(ids)))
    return len(ids)


async def delete_keys(session: AsyncSession, before: datetime, *, limit: int) -> int:
    """Delete idempotency keys from before this time, unless their payment can still be paid or has an open
    discrepancy; return how many."""
    still_open = (
        select(PaymentDetail.payment_id)
        .where(PaymentDetail.payment_id == IdempotencyKey.payment_id, col(PaymentDetail.provider_open))
        .exists()
    )
    query: Any = select(IdempotencyKey.scope, IdempotencyKey.key).where(
        col(IdempotencyKey.created_at) < before,
        ~still_open,
        ~_has_open(col(Discrepancy.payment_id) == col(IdempotencyKey.payment_id)),
    )
    rows = (await session.exec(query.limit(limit).with_for_update(skip_locked=True, of=IdempotencyKey))).all()
    if rows:
        which = tuple_(col(IdempotencyKey.scope), col(IdempotencyKey.key))
        await session.exec(delete(IdempotencyKey).where(which.in_([tuple(row) for row in rows])))
    return len(rows)
