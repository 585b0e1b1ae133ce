"""Enqueue, route and deliver the outbox: messages that wait to be routed, and their deliveries.

A message is claimed by its row lock, in the transaction that routes it. A delivery is sent outside of any
transaction, so it is claimed by a lease: its next attempt is postponed, and its attempt is counted, which
also distinguishes one claim from a later one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.language import Language
from procomp_pay.domain.names import is_placeholder
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.columns import spelled
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.paid import is_settled
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, User
from procomp_pay.storage.models.states import DeliveryState, OutboxState

#: The number of PostgreSQL's advisory lock for routing ("pay_out").
_ROUTER = 0x7061795F6F7574


async def may_route(session: AsyncSession) -> bool:
    """Return whether this transaction is the only one that routes, until it ends: two processes must not both
    conclude that an alert has not been sent yet. On SQLite there is one writer anyway."""
    if session.get_bind().dialect.name != "postgresql":
        return True
    return bool((await session.exec(select(func.pg_try_advisory_xact_lock(_ROUTER)))).one())


async def claim_messages(session: AsyncSession, now: datetime, *, limit: int) -> list[OutboxMessage]:
    """Lock messages that are not routed yet until the transaction ends, oldest first."""
    result = await session.exec(
        select(OutboxMessage)
        .where(OutboxMessage.state == spelled(OutboxState.WAITING), col(OutboxMessage.next_attempt_at) <= now)
        .order_by(col(OutboxMessage.next_attempt_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(result.all())


async def last_told(session: AsyncSession, topic: str, subject: str) -> datetime | None:
    """Return when an alert about this subject was last sent."""
    result = await session.exec(
        select(func.max(OutboxMessage.routed_at)).where(
            OutboxMessage.topic == topic,
            OutboxMessage.subject == subject,
            OutboxMessage.state == OutboxState.ROUTED,
        )
    )
    return result.one()


async def count_held(session: AsyncSession, topic: str, subject: str, since: datetime | None) -> int:
    """Return how often an alert was held back since it was last sent."""
    query = select(func.count()).where(
        OutboxMessage.topic == topic,
        OutboxMessage.subject == subject,
        OutboxMessage.state == OutboxState.HELD,
    )
    if since is not None:
        query = query.where(col(OutboxMessage.routed_at) > since)
    return int((await session.exec(query)).one())


async def set_aside(
    session: AsyncSession,
    ids: Collection[str],
    state: OutboxState,
    *,
    now: datetime,
    subject: str | None = None,
    skipped: str | None = None,
) -> None:
    """Mark messages as routed, held or skipped, in one statement."""
    if ids:
        await session.exec(
            update(OutboxMessage)
            .where(col(OutboxMessage.id).in_(list(ids)))
            .values(state=state, subject=subject, skipped=skipped, routed_at=now)
        )


async def add_deliveries(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Insert the deliveries of routed messages; existing ones are unchanged."""
    await write_all(session, [Write(Action.INSERT_ONCE, Delivery, rows)])


def a_delivery(
    row_id: str, message_id: str, destination: Destination, recipient: str, *, due: datetime, now: datetime
) -> dict[str, Any]:
    """Return the values of a new delivery."""
    return {
        "id": row_id,
        "message_id": message_id,
        "destination": destination,
        "recipient": recipient,
        "state": DeliveryState.WAITING,
        "attempts": 0,
        "next_attempt_at": due,
        "created_at": now,
    }


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery leased to this process."""

    delivery: Delivery
    message: OutboxMessage


async def claim_deliveries(
    session: AsyncSession, destination: Destination, now: datetime, *, lease_s: int, limit: int
) -> list[ClaimedDelivery]:
    """Claim due deliveries to one destination for ``lease_s`` seconds, longest waiting first.

    A row that another process has locked is skipped, and a process that dies leaves its rows to the others
    when the lease is over.
    """
    result = await session.exec(
        select(Delivery, OutboxMessage)
        .join(OutboxMessage, col(OutboxMessage.id) == col(Delivery.message_id))
        .where(
            Delivery.destination == destination,
            Delivery.state == spelled(DeliveryState.WAITING),
            col(Delivery.next_attempt_at) <= now,
        )
        .order_by(col(Delivery.next_attempt_at))
        .limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )
    claims = [ClaimedDelivery(delivery, message) for delivery, message in result.all()]
    for claim in claims:
        claim.delivery.attempts += 1
        claim.delivery.next_attempt_at = now + timedelta(seconds=lease_s)
    return claims


async def finish(
    session: AsyncSession,
    claim: ClaimedDelivery,
    state: DeliveryState,
    *,
    now: datetime,
    error: str | None = None,
) -> bool:
    """Close a delivery; return False if it is closed already. A success counts even if the lease has
    ended."""
    conditions = () if state is DeliveryState.DELIVERED else (Delivery.attempts == claim.delivery.attempts,)
    result = await session.exec(
        update(Delivery)
        .where(
            col(Delivery.id) == claim.delivery.id,
            col(Delivery.state) == DeliveryState.WAITING,
            *conditions,
        )
        .values(state=state, last_error=error, finished_at=now)
    )
    return bool(result.rowcount)


async def put_off(session: AsyncSession, claim: ClaimedDelivery, until: datetime, error: str) -> None:
    """Schedule another attempt at a delivery, unless another process has taken it over meanwhile."""
    await session.exec(
        update(Delivery)
        .where(
            col(Delivery.id) == claim.delivery.id,
            col(Delivery.state) == DeliveryState.WAITING,
            col(Delivery.attempts) == claim.delivery.attempts,
        )
        .values(next_attempt_at=until, last_error=error)
    )


async def skip_unconfigured(
    session: AsyncSession, unconfigured: Iterable[Destination], now: datetime
) -> None:
    """Skip the deliveries that wait for a destination which is not configured any more."""
    await session.exec(
        update(Delivery)
        .where(
            col(Delivery.destination).in_(list(unconfigured)),
            col(Delivery.state) == spelled(DeliveryState.WAITING),
        )
        .values(state=DeliveryState.SKIPPED, last_error="not configured any more", finished_at=now)
    )


async def is_due(session: AsyncSession, now: datetime) -> bool:
    """Return whether anything is due to be routed or delivered, by one cheap query."""
    for due in (
        select(OutboxMessage.id)
        .where(OutboxMessage.state == spelled(OutboxState.WAITING), col(OutboxMessage.next_attempt_at) <= now)
        .limit(1),
        select(Delivery.id)
        .where(Delivery.state == spelled(DeliveryState.WAITING), col(Delivery.next_attempt_at) <= now)
        .limit(1),
    ):
        if (await session.exec(due)).first() is not None:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Addressee:
    """The recipient of messages about a payment."""

    email: str | None
    settled_by: str | None
    language: str | None


async def addressee(session: AsyncSession, payment_id: str) -> Addressee:
    """Return the user of a payment's participant; a deleted one, and one who gave none, has no address."""
    result = await session.exec(
        select(Payment.meta, case((is_settled(), col(Participant.payment_id))), User.email)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .join(User, col(User.id) == col(Participant.user_id), isouter=True)
        .where(Payment.id == payment_id)
    )
    row = result.first()
    if row is None:
        return Addressee(None, None, None)
    meta, settled_by, email = row
    language = meta.get("language") if isinstance(meta, dict) else None
    address = None if not email or is_placeholder(email) else email
    return Addressee(address, settled_by, language if language in tuple(Language) else None)


def message(
    topic: str,
    payload: dict[str, Any],
    *,
    row_id: str,
    now: datetime,
    payment_id: str | None = None,
    dedup_key: str | None = None,
) -> dict[str, Any]:
    """Return the values of a new message."""
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


async def existing_keys(session: AsyncSession, keys: list[str]) -> set[str]:
    """Return those of these deduplication keys that messages have."""
    existing: set[str] = set()
    for chunk in chunks(keys):
        result = await session.exec(
            select(OutboxMessage.dedup_key).where(col(OutboxMessage.dedup_key).in_(chunk))
        )
        existing |= {key for key in result.all() if key}
    return existing


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
    """Enqueue a message; return False if one with the same ``dedup_key`` exists."""
    row = message(topic, payload, row_id=row_id, now=now, payment_id=payment_id, dedup_key=dedup_key)
    return await insert_once(session, OutboxMessage, row)
