"""What has been due for too long: nobody works on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, select, union_all
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.columns import spelled
from procomp_pay.storage.models.payments import PaymentDetail, Refund
from procomp_pay.storage.models.queues import Delivery, OutboxMessage, WebhookEvent
from procomp_pay.storage.models.states import DeliveryState, EventState, OutboxState


async def overdue(session: AsyncSession, before: datetime) -> dict[str, datetime]:
    """Kinds of work that have been due since before a time, each with when its oldest piece was due."""
    kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "events": (WebhookEvent.next_attempt_at, (WebhookEvent.state == spelled(EventState.PENDING),)),
        "payments": (PaymentDetail.next_poll_at, ()),
        "refunds": (Refund.next_look_at, ()),
        "messages": (OutboxMessage.next_attempt_at, (OutboxMessage.state == spelled(OutboxState.WAITING),)),
        "deliveries": (Delivery.next_attempt_at, (Delivery.state == spelled(DeliveryState.WAITING),)),
    }
    queries = [
        select(literal(kind), func.min(col(due))).where(col(due) < before, *conditions)
        for kind, (due, conditions) in kinds.items()
    ]
    connection = await session.connection()
    found = await connection.execute(union_all(*queries))
    return {kind: since for kind, since in found.all() if since is not None}
