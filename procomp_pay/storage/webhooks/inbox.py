"""The inbox, the outbox and the list of discrepancies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy import text as sql
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.columns import spelled
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage, WebhookEvent
from procomp_pay.storage.models.states import DiscrepancyState, EventState, OutboxState
from procomp_pay.storage.models.types import UtcDateTime


async def of_event(session: AsyncSession, provider: str, event_id: str) -> WebhookEvent:
    """The inbox's row of an event that is there."""
    query = select(WebhookEvent).where(WebhookEvent.provider == provider, WebhookEvent.event_id == event_id)
    return (await session.exec(query)).one()


async def claim_event(session: AsyncSession, now: datetime, row_id: str | None = None) -> WebhookEvent | None:
    """The next event to handle, locked until the transaction ends; one that is locked already is skipped.

    :param row_id: this one, where it still waits, also before it is due.
    """
    wanted = select(WebhookEvent).where(WebhookEvent.state == spelled(EventState.PENDING))
    if row_id is None:
        wanted = wanted.where(col(WebhookEvent.next_attempt_at) <= now)
    else:
        wanted = wanted.where(WebhookEvent.id == row_id)
    found = await session.exec(
        wanted.order_by(col(WebhookEvent.next_attempt_at), col(WebhookEvent.received_at))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return found.first()


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """An event that was claimed together with others."""

    id: str
    event_id: str
    type: str
    payload_enc: str
    provider: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ProcessedEvent:
    """What became of an event that was claimed.

    :param id: the row's. :param state: PENDING where it is tried again.
    :param lag_s: seconds since it arrived.
    :param waits: for another event that may still come, such as its payment's own: nothing went wrong.
    """

    id: str
    event_id: str
    type: str
    state: EventState
    payment_id: str | None = None
    lag_s: float = 0.0
    waits: bool = False


async def claim_many(session: AsyncSession, now: datetime, *, limit: int) -> list[ClaimedEvent]:
    """As :func:`claim_event`, many at once."""
    columns: list[Any] = [
        WebhookEvent.id,
        WebhookEvent.event_id,
        WebhookEvent.type,
        WebhookEvent.payload_enc,
        WebhookEvent.provider,
        WebhookEvent.received_at,
    ]
    found = await session.exec(
        select(*columns)
        .where(WebhookEvent.state == spelled(EventState.PENDING), col(WebhookEvent.next_attempt_at) <= now)
        .order_by(col(WebhookEvent.next_attempt_at), col(WebhookEvent.received_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [ClaimedEvent(*row) for row in found.all()]


_MARK_POSTGRESQL = sql(
    """
    UPDATE pay_webhook_event SET state = done.state, payment_id = done.payment_id, last_error = NULL,
        attempts = pay_webhook_event.attempts + 1, handled_at = :now
    FROM json_to_recordset(CAST(:done AS json)) AS done (id text, state text, payment_id text)
    WHERE pay_webhook_event.id = done.id
    """
).bindparams(bindparam("now", type_=UtcDateTime()))
_MARK_SQLITE = sql(
    """
    UPDATE pay_webhook_event SET state = done.state, payment_id = done.payment_id, last_error = NULL,
        attempts = pay_webhook_event.attempts + 1, handled_at = :now
    FROM (SELECT value ->> 'id' AS id, value ->> 'state' AS state, value ->> 'payment_id' AS payment_id
          FROM json_each(:done)) AS done
    WHERE pay_webhook_event.id = done.id
    """
).bindparams(bindparam("now", type_=UtcDateTime()))


async def mark_many(session: AsyncSession, done: Sequence[ProcessedEvent], now: datetime) -> None:
    """Mark claimed events as handled."""
    rows = [{"id": each.id, "state": each.state.value, "payment_id": each.payment_id} for each in done]
    postgresql = session.get_bind().dialect.name == "postgresql"
    statement = _MARK_POSTGRESQL if postgresql else _MARK_SQLITE
    connection = await session.connection()
    await connection.execute(statement, {"now": now, "done": exact_json.dumps(rows)})


def message(
    topic: str,
    payload: dict[str, Any],
    *,
    row_id: str,
    now: datetime,
    payment_id: str | None = None,
    dedup_key: str | None = None,
) -> dict[str, Any]:
    """The outbox row of a message that waits for delivery."""
    return {
        "id": row_id,
        "topic": topic,
        "payment_id": payment_id,
        "dedup_key": dedup_key,
        "payload": payload,
        "state": OutboxState.WAITING,
        "next_attempt_at": now,
        "created_at": now,
    }


async def enqueue(
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
    row = message(topic, payload, row_id=row_id, now=now, payment_id=payment_id, dedup_key=dedup_key)
    return await insert_once(session, OutboxMessage, row)


async def payment_awaiting_decision(
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
        if row.state is DiscrepancyState.OPEN:
            row.detail = row.detail | detail  # who overrode what reconcile had found
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
        await enqueue(
            session,
            Topic.ALERT_DISCREPANCY,
            {"discrepancy_id": row_id, "kind": kind.value, "payment_id": payment_id},
            row_id=row_id,
            now=now,
            payment_id=payment_id,
            dedup_key=f"{Topic.ALERT_DISCREPANCY}:{row_id}",
        )
    return opened
