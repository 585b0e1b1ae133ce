"""How far a provider's list of events was read."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import Channel
from procomp_pay.storage.database.claim_due import claim_due
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.queues import EventCursor, WebhookEvent

_STRIPE = (Channel.STRIPE_CHECKOUT, Channel.STRIPE_INTENT)


async def claim(session: AsyncSession, name: str, now: datetime, *, lease_s: float) -> EventCursor | None:
    """The feed, where it is due and nobody else reads it."""
    await insert_once(session, EventCursor, {"name": name, "next_read_at": now})
    rows = await claim_due(
        session,
        EventCursor,
        EventCursor.next_read_at,
        now,
        lease_s=lease_s,
        limit=1,
        also=(EventCursor.name == name,),
    )
    return rows[0] if rows else None


async def note(
    session: AsyncSession,
    name: str,
    *,
    read_until: datetime | None = None,
    next_read_at: datetime | None = None,
) -> None:
    """Write down how far it was read, or when it is read next."""
    feed = await session.get(EventCursor, name, with_for_update=True)
    if feed is None:
        raise LookupError(f"the feed {name} was not claimed")
    feed.read_until = read_until or feed.read_until
    feed.next_read_at = next_read_at or feed.next_read_at


async def first_payment_at(session: AsyncSession) -> datetime | None:
    """When the first payment by Stripe was started: nothing before it can have been missed."""
    found = await session.exec(
        select(PaymentDetail.created_at)
        .where(col(PaymentDetail.channel).in_(_STRIPE))
        .order_by(col(PaymentDetail.created_at))
        .limit(1)
    )
    return found.first()


async def known(session: AsyncSession, provider: str, event_ids: list[str]) -> set[str]:
    """Which of a page's events are in the inbox."""
    found = await session.exec(
        select(WebhookEvent.event_id).where(
            WebhookEvent.provider == provider, col(WebhookEvent.event_id).in_(event_ids)
        )
    )
    return set(found.all())
