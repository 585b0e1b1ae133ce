"""List the outbox, and retry dead deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.destinations import Destination
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.states import DeliveryState, OutboxState

#: States of undelivered deliveries that can be retried.
CLOSED_UNDELIVERED = (DeliveryState.DEAD, DeliveryState.UNDELIVERABLE, DeliveryState.SKIPPED)

Told = tuple[OutboxMessage, list[Delivery]]


async def newest(
    session: AsyncSession,
    *,
    state: str | None = None,
    topic: str | None = None,
    payment_id: str | None = None,
    limit: int,
) -> list[Told]:
    """Return messages with their deliveries, newest first.

    :param state: of the message, or of one of its deliveries.
    """
    query = select(OutboxMessage).order_by(col(OutboxMessage.created_at).desc(), col(OutboxMessage.id).desc())
    if state is not None:
        with_state = select(Delivery.message_id).where(Delivery.state == state)
        if state in tuple(OutboxState):
            query = query.where(or_(col(OutboxMessage.id).in_(with_state), OutboxMessage.state == state))
        else:
            query = query.where(col(OutboxMessage.id).in_(with_state))
    if topic is not None:
        query = query.where(col(OutboxMessage.topic).startswith(topic, autoescape=True))
    if payment_id is not None:
        query = query.where(OutboxMessage.payment_id == payment_id)
    return await _with_deliveries(session, (await session.exec(query.limit(limit))).all())


async def find(session: AsyncSession, any_id: str) -> Told | None:
    """Return a message by its id, or by the id of one of its deliveries."""
    delivery = await session.get(Delivery, any_id)
    message = await session.get(OutboxMessage, delivery.message_id if delivery else any_id)
    return (await _with_deliveries(session, [message]))[0] if message else None


async def _with_deliveries(session: AsyncSession, messages: Sequence[OutboxMessage]) -> list[Told]:
    ids = [message.id for message in messages]
    result = await session.exec(
        select(Delivery)
        .where(col(Delivery.message_id).in_(ids))
        .order_by(col(Delivery.destination), col(Delivery.recipient))
    )
    by_message: dict[str, list[Delivery]] = {message_id: [] for message_id in ids}
    for delivery in result.all():
        by_message[delivery.message_id].append(delivery)
    return [(message, by_message[message.id]) for message in messages]


async def dead_ids(session: AsyncSession, destination: Destination | None) -> list[str]:
    """Return the ids of dead deliveries, oldest first."""
    query = select(Delivery.id).where(Delivery.state == DeliveryState.DEAD)
    if destination is not None:
        query = query.where(Delivery.destination == destination)
    return list((await session.exec(query.order_by(col(Delivery.finished_at)))).all())


async def bring_back(session: AsyncSession, delivery_ids: Sequence[str], now: datetime) -> int:
    """Schedule closed undelivered deliveries again, under their old ids; return how many."""
    result: Any = await session.exec(
        update(Delivery)
        .where(col(Delivery.id).in_(list(delivery_ids)), col(Delivery.state).in_(CLOSED_UNDELIVERED))
        .values(state=DeliveryState.WAITING, attempts=0, next_attempt_at=now, finished_at=None)
    )
    return int(result.rowcount)


async def route_again(session: AsyncSession, message_id: str, now: datetime) -> None:
    """Schedule a message to be routed again, to destinations that have been configured since."""
    await session.exec(
        update(OutboxMessage)
        .where(col(OutboxMessage.id) == message_id)
        .values(state=OutboxState.WAITING, next_attempt_at=now, skipped=None)
    )
