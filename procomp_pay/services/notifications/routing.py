"""Route outbox messages: each becomes one delivery for each configured destination."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.notifications import QUIET_S, dedup_key_for, delay_s, destinations
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.states import OutboxState
from procomp_pay.storage.notifications import outbox

#: Messages routed per transaction.
BATCH = 200


async def route(ctx: AppContext, *, limit: int = BATCH) -> int:
    """Route the oldest messages, and return how many; 0 also while another process is routing."""
    async with ctx.db.writing() as session:
        if not await outbox.may_route(session):
            return 0
        now = ctx.clock()
        messages = await outbox.claim_messages(session, now, limit=limit)
        notices: dict[tuple[Destination, ...], list[OutboxMessage]] = defaultdict(list)
        alerts: dict[tuple[str, str], list[OutboxMessage]] = defaultdict(list)
        for message in messages:
            subject = dedup_key_for(message.topic, message.payload, message.payment_id)
            if subject is None:
                notices[destinations(message.topic, message.payload)].append(message)
            else:
                alerts[message.topic, subject].append(message)
        for targets, group in notices.items():
            await _create_deliveries(session, ctx, group, targets, now)
        for (_, subject), group in alerts.items():
            await _route_alert(session, ctx, group, subject, now)
    return len(messages)


async def _create_deliveries(
    session: AsyncSession,
    ctx: AppContext,
    messages: Sequence[OutboxMessage],
    targets: Sequence[Destination],
    now: datetime,
    subject: str | None = None,
) -> None:
    """Create the deliveries of messages; a destination that is not configured is noted, not waited for."""
    missing = [destination for destination in targets if not ctx.senders.recipients(destination)]
    rows = [
        outbox.a_delivery(
            ctx.new_id(),
            message.id,
            destination,
            recipient,
            due=now + timedelta(seconds=delay_s(message.topic, destination)),
            now=now,
        )
        for message in messages
        for destination in targets
        for recipient in ctx.senders.recipients(destination)
    ]
    await outbox.add_deliveries(session, rows)
    await outbox.set_aside(
        session,
        [message.id for message in messages],
        OutboxState.ROUTED if rows else OutboxState.SKIPPED,
        now=now,
        subject=subject,
        skipped=f"not configured: {', '.join(missing)}" if missing else None if targets else "nobody is told",
    )


async def _route_alert(
    session: AsyncSession, ctx: AppContext, alerts: list[OutboxMessage], subject: str, now: datetime
) -> None:
    """Send the newest of the alerts about one subject, unless one was sent within the hour; hold the others
    back and count them.
    """
    newest, topic = alerts[-1], alerts[-1].topic
    last_sent = await outbox.last_told(session, topic, subject)
    quiet = last_sent is not None and now - last_sent < timedelta(seconds=QUIET_S)
    suppressed = alerts if quiet else alerts[:-1]
    reason = "the same alert was told within the hour"
    ids = [message.id for message in suppressed]
    await outbox.set_aside(session, ids, OutboxState.HELD, now=now, subject=subject, skipped=reason)
    if quiet:
        return
    repeats = await outbox.count_held(session, topic, subject, last_sent)
    if repeats:
        newest.payload = {**newest.payload, "held_back": repeats}
        await session.flush()
    await _create_deliveries(session, ctx, [newest], destinations(topic, newest.payload), now, subject)
