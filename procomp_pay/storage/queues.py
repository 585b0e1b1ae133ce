"""The inbox, the outbox and the list of discrepancies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.rules import DiscrepancyKind, Topic
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.module import PaymentDetail
from procomp_pay.storage.once import insert_once
from procomp_pay.storage.platform import Payment
from procomp_pay.storage.row_states import DiscrepancyState, EventState, OutboxState
from procomp_pay.storage.work import Discrepancy, OutboxMessage, WebhookEvent


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it arrived, its payload already encrypted."""

    provider: str
    event_id: str
    type: str
    payload_enc: str
    occurred_at: datetime


async def receive(session: AsyncSession, arrival: Arrival, *, row_id: str, now: datetime) -> bool:
    """Put an event into the inbox; False where it is there already (providers deliver twice)."""
    return await insert_once(
        session,
        WebhookEvent,
        {
            "id": row_id,
            "provider": arrival.provider,
            "event_id": arrival.event_id,
            "type": arrival.type,
            "payload_enc": arrival.payload_enc,
            "state": EventState.PENDING,
            "attempts": 0,
            "next_attempt_at": now,
            "occurred_at": arrival.occurred_at,
            "received_at": now,
        },
    )


async def of_event(session: AsyncSession, provider: str, event_id: str) -> WebhookEvent:
    """The inbox's row of an event that is there."""
    query = select(WebhookEvent).where(WebhookEvent.provider == provider, WebhookEvent.event_id == event_id)
    return (await session.exec(query)).one()


async def claim_event(session: AsyncSession, now: datetime) -> WebhookEvent | None:
    """The next event to handle, locked until the transaction ends; one that is locked already is skipped."""
    found = await session.exec(
        select(WebhookEvent)
        .where(WebhookEvent.state == EventState.PENDING, col(WebhookEvent.next_attempt_at) <= now)
        .order_by(col(WebhookEvent.next_attempt_at), col(WebhookEvent.received_at))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return found.first()


async def put_out(
    session: AsyncSession,
    topic: str,
    payload: dict[str, Any],
    *,
    row_id: str,
    now: datetime,
    payment_id: str | None = None,
    dedup_key: str | None = None,
) -> bool:
    """Leave a message for delivery; False where one with the same ``dedup_key`` was left before."""
    return await insert_once(
        session,
        OutboxMessage,
        {
            "id": row_id,
            "topic": topic,
            "payment_id": payment_id,
            "dedup_key": dedup_key,
            "payload": payload,
            "state": OutboxState.WAITING,
            "next_attempt_at": now,
            "created_at": now,
        },
    )


async def undecided(
    session: AsyncSession, participant_id: str, statuses: Collection[PaymentStatus]
) -> str | None:
    """A participant's payment to which money of another amount came, while nobody has decided about it."""
    kinds = [DiscrepancyKind.AMOUNT_MISMATCH.value, DiscrepancyKind.CURRENCY_MISMATCH.value]
    found = await session.exec(
        select(PaymentDetail.payment_id)
        .join(Discrepancy, col(Discrepancy.payment_id) == col(PaymentDetail.payment_id))
        .join(Payment, col(Payment.id) == col(PaymentDetail.payment_id))
        .where(
            PaymentDetail.participant_id == participant_id,
            Discrepancy.state == DiscrepancyState.OPEN,
            col(Discrepancy.kind).in_(kinds),
            col(Payment.status).in_(statuses),
        )
        .limit(1)
    )
    return found.first()


async def open_discrepancy(
    session: AsyncSession,
    kind: DiscrepancyKind,
    payment_id: str | None,
    detail: dict[str, Any],
    *,
    key: str,
    row_id: str,
    now: datetime,
    alerts: bool = True,
) -> bool:
    """Open a discrepancy for a person, with an alert; the same one found again is touched, not doubled.

    :param key: what makes it the same one, beside its kind and payment.
    :param alerts: False where the caller leaves an alert of its own, which says more.
    """
    fingerprint = f"{kind}:{payment_id}:{key}"
    row = (await session.exec(select(Discrepancy).where(Discrepancy.fingerprint == fingerprint))).first()
    if row is not None:
        row.last_seen_at = now
        return False
    opened = await insert_once(
        session,
        Discrepancy,
        {
            "id": row_id,
            "fingerprint": fingerprint,
            "kind": kind.value,
            "payment_id": payment_id,
            "detail": detail,
            "state": DiscrepancyState.OPEN,
            "opened_at": now,
            "last_seen_at": now,
        },
    )
    if opened and alerts:
        await put_out(
            session,
            Topic.ALERT_DISCREPANCY,
            {"discrepancy_id": row_id, "kind": kind.value, "payment_id": payment_id},
            row_id=row_id,
            now=now,
            payment_id=payment_id,
            dedup_key=f"{Topic.ALERT_DISCREPANCY}:{row_id}",
        )
    return opened
