"""Store how far a provider's list of events has been read."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import Channel
from procomp_pay.storage.database.claim_due import claim_due
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.webhooks import EventCursor, WebhookEvent

_STRIPE = (Channel.STRIPE_CHECKOUT, Channel.STRIPE_INTENT)


async def claim(session: AsyncSession, name: str, now: datetime, *, lease_s: float) -> EventCursor | None:
    """Claim the cursor if it is due and no other process reads the list."""
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
    """Update how far a list was read, or when it is read next."""
    row = await session.get(EventCursor, name, with_for_update=True)
    if row is None:
        raise LookupError(f"the event cursor {name} was not claimed")
    row.read_until = read_until or row.read_until
    row.next_read_at = next_read_at or row.next_read_at


async def first_payment_at(session: AsyncSession) -> datetime | None:
    """Return when the first Stripe payment was started: no event before it can have been missed."""
    result = await session.exec(
        select(PaymentDetail.created_at)
        .where(col(PaymentDetail.channel).in_(_STRIPE))
        .order_by(col(PaymentDetail.created_at))
        .limit(1)
    )
    return result.first()


async def known(session: AsyncSession, provider: str, event_ids: list[str]) -> set[str]:
    """Return those event ids of a page that are in the inbox."""
    result = await session.exec(
        select(WebhookEvent.event_id).where(
            WebhookEvent.provider == provider, col(WebhookEvent.event_id).in_(event_ids)
        )
    )
    return set(result.all())
