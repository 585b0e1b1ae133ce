"""Process each stored event once, whoever sent it: retry one that fails, and give it up as a dead letter."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from datetime import timedelta

from procomp_pay.domain.errors import PaymentError, RetryLater
from procomp_pay.domain.redact import redact
from procomp_pay.services.context import AppContext
from procomp_pay.services.webhooks import kaspi_bill as bill
from procomp_pay.services.webhooks import kaspi_gateway, stripe
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.webhooks import inbox as queues
from procomp_pay.storage.webhooks.inbox import ProcessedEvent

log = logging.getLogger(__name__)

#: Attempts before an event becomes a dead letter: with the backoff below, about two hours.
ATTEMPTS = 12
_LONGEST_WAIT_S = 1800


async def handle_one(ctx: AppContext, row_id: str) -> ProcessedEvent | None:
    """Handle one event, whether or not it is due; return ``None`` if it is no longer pending or another
    process is handling it.

    The lock of the event's row, settlement's writes and the new state are one transaction: a crash leaves the
    event pending, and it is handled again from the start.
    """
    claimed_id = None
    try:
        async with ctx.db.writing() as session:
            row = await queues.claim_event(session, row_id)
            if row is None:
                return None
            claimed_id = row.id
            row.last_error = None
            row.payment_id, row.state = await _apply(session, ctx, row)
            row.attempts += 1
            row.handled_at = ctx.clock()
            return _handled(row)
    except Exception as error:
        if claimed_id is None:
            raise
        return await _reschedule(ctx, claimed_id, error)


def _handled(row: WebhookEvent) -> ProcessedEvent:
    lag = (row.handled_at - row.received_at).total_seconds() if row.handled_at else 0.0
    return ProcessedEvent(row.id, row.event_id, row.type, row.state, row.payment_id, lag)


async def _apply(session: AsyncSession, ctx: AppContext, row: WebhookEvent) -> tuple[str | None, EventState]:
    if row.provider == kaspi_gateway.PROVIDER:
        return await kaspi_gateway.apply_callback(session, ctx, row)
    if row.provider == bill.PROVIDER:
        return await bill.apply_again(session, ctx, row)
    return await stripe.apply_stored(session, ctx, row)


async def _reschedule(ctx: AppContext, row_id: str, error: Exception) -> ProcessedEvent:
    """Schedule another attempt with backoff and jitter; after the last one, mark the event dead and alert."""
    async with ctx.db.writing() as session:
        row = await session.get(WebhookEvent, row_id, with_for_update=True)
        if row is None:
            raise error
        now = ctx.clock()
        row.attempts += 1
        row.last_error = (
            redact(f"{type(error).__name__}: {error}"[:500])
            if isinstance(error, PaymentError)
            else shape_of(error)
        )
        wait = min(_LONGEST_WAIT_S, 2**row.attempts) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        row.next_attempt_at = now + timedelta(seconds=wait)
        fields = {"event_id": row.event_id, "payment_id": row.payment_id}
        log.warning(
            "event %s failed at attempt %d: %s", row.event_id, row.attempts, row.last_error, extra=fields
        )
        if row.attempts >= ATTEMPTS:
            row.state = EventState.DEAD
            message = {"event_id": row.event_id, "type": row.type, "error": row.last_error}
            await outbox.enqueue(
                session,
                "alert.dead_letter",
                message,
                row_id=ctx.new_id(),
                now=now,
                dedup_key=f"alert.dead_letter:{row.id}:{now.isoformat()}",
            )
        return replace(_handled(row), waits=isinstance(error, RetryLater))


def shape_of(error: Exception) -> str:
    """Return the type of an unexpected error and where it was raised; its message may quote the event."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"
