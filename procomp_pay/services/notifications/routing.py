"""Where the outbox's messages go: each becomes one delivery for each configured destination."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.notifications import QUIET_S, dedup_key_for, delay_s, destinations
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.queues import OutboxMessage
from procomp_pay.storage.models.states import OutboxState
from procomp_pay.storage.notifications import outbox

#: Messages that one transaction routes.
BATCH = 200


async def route(ctx: AppContext, *, limit: int = BATCH) -> int:
    """Route the oldest messages; how many. 0 also where another process is at it."""
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
        for where, some in notices.items():
            await _send_out(session, ctx, some, where, now)
        for (_, subject), some in alerts.items():
            await _route_alert(session, ctx, some, subject, now)
    return len(messages)


async def _send_out(
    session: AsyncSession,
    ctx: AppContext,
    messages: Sequence[OutboxMessage],
    where: Sequence[Destination],
    now: datetime,
    subject: str | None = None,
) -> None:
    """Make deliveries; what is not configured is written down, not kept waiting."""
    missing = [each for each in where if not ctx.senders.recipients(each)]
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
        for destination in where
        for recipient in ctx.senders.recipients(destination)
    ]
    await outbox.add_deliveries(session, rows)
    await outbox.set_aside(
        session,
        [message.id for message in messages],
        OutboxState.ROUTED if rows else OutboxState.SKIPPED,
        now=now,
        subject=subject,
        skipped=f"not configured: {', '.join(missing)}" if missing else None if where else "nobody is told",
    )


async def _route_alert(
    session: AsyncSession, ctx: AppContext, same: list[OutboxMessage], subject: str, now: datetime
) -> None:
    """Send the newest of the alerts with one subject, unless one was sent within the hour; count the
    others.
    """
    newest, topic = same[-1], same[-1].topic
    told = await outbox.last_told(session, topic, subject)
    quiet = told is not None and now - told < timedelta(seconds=QUIET_S)
    locked = same if quiet else same[:-1]
    why = "the same alert was told within the hour"
    await outbox.set_aside(
        session, [each.id for each in locked], OutboxState.HELD, now=now, subject=subject, skipped=why
    )
    if quiet:
        return
    more = await outbox.count_held(session, topic, subject, told)
    if more:
        newest.payload = {**newest.payload, "held_back": more}
        await session.flush()
    await _send_out(session, ctx, [newest], destinations(topic, newest.payload), now, subject)
