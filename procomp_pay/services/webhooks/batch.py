"""Process many inbox events in one transaction: settlement's rules for each, one commit for all.

Only simple events of a payment that can be locked at once are batched. The others (refunds, disputes, a
payment locked by another transaction, an unreadable event) are handled alone. If anything fails, the
transaction is rolled back and each of its events is handled alone: a poison event affects no other, and both
paths have the same result.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from procomp_pay.domain.errors import PaymentError
from procomp_pay.providers.stripe.webhook_events import ParsedWebhookEvent
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.webhooks import stripe
from procomp_pay.services.webhooks.inbox import handle_one, shape_of
from procomp_pay.services.webhooks.stripe import may_be_lost, payment_event_of, read_content, read_sealed
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.payments.batch import lock_payments
from procomp_pay.storage.payments.locked_payment import LockedPayment
from procomp_pay.storage.webhooks import inbox as queues
from procomp_pay.storage.webhooks.inbox import ClaimedEvent, ProcessedEvent

log = logging.getLogger(__name__)

#: Events per transaction: few enough to lock their payments for only some tens of milliseconds.
AT_ONCE = 100
#: Events processed before HTTP requests get their turn: about a millisecond of work.
_IN_A_ROW = 8
#: The longest time, in seconds, that a batch waits while incoming webhooks queue for their commit.
_PATIENCE_S = 0.01


@dataclass(slots=True)
class _Read:
    row: ClaimedEvent
    event: dict[str, Any]
    parsed: ParsedWebhookEvent
    payment_id: str | None = None


async def handle_due(ctx: AppContext, *, limit: int = AT_ONCE) -> list[ProcessedEvent]:
    """Process up to ``limit`` events that are due, and return the results: first those that this process
    stored, whose contents it still has.

    :raises DatabaseUnavailable: events that were not processed stay pending.
    """
    await _yield_to_intake(ctx)
    taken: list[str] = []
    contents = ctx.intake.take_stored(limit)
    try:
        async with ctx.db.writing() as session:
            rows = await queues.claim_many(session, ctx.clock(), of=list(contents)) if contents else []
            if not rows:
                rows = await queues.claim_many(session, ctx.clock(), limit=limit)
                contents = {row.id: ctx.intake.content_of(row.id) for row in rows}
            taken = [row.id for row in rows]
            done = await _handle_all(session, ctx, rows, contents) if rows else []
    except Exception as error:
        if not taken:
            raise
        level = logging.INFO if isinstance(error, PaymentError) else logging.ERROR
        log.log(level, "%d events are handled one by one: %s", len(taken), shape_of(error))
        done = []
    finished = {event.id for event in done}
    for row_id in taken:
        if row_id not in finished:
            event = await handle_one(ctx, row_id)
            if event is not None:
                done.append(event)
    return done


async def _handle_all(
    session: AsyncSession, ctx: AppContext, rows: list[ClaimedEvent], contents: Mapping[str, Any]
) -> list[ProcessedEvent]:
    """Apply the simple events and mark them as handled; leave the others pending."""
    done: list[ProcessedEvent] = []
    known: list[_Read] = []
    now = ctx.clock()

    def set_state(row: ClaimedEvent, state: EventState, payment_id: str | None = None) -> None:
        lag = (now - row.received_at).total_seconds()
        done.append(ProcessedEvent(row.id, row.event_id, row.type, state, payment_id, lag))

    for number, row in enumerate(rows):
        await _yield_to_requests(number)
        read = _read(ctx, row, contents.get(row.id))
        if isinstance(read, EventState):
            set_state(row, read)
        elif read is not None:
            known.append(read)
    batch = await lock_payments(session, {event.payment_id for event in known if event.payment_id})
    # most events carry the id of their payment; the payments of the others are looked up
    await _find_payments(session, [event for event in known if event.payment_id not in batch.locked])
    for number, event in enumerate(known):
        await _yield_to_requests(number)
        if (state := await _apply_event(session, ctx, event, batch.locked)) is not None:
            set_state(event.row, state, event.payment_id)
    await batch.write(session, queues.marks(done, rows, ctx.clock()))
    return done


async def _yield_to_intake(ctx: AppContext) -> None:
    """Let incoming webhooks be stored first, for at most :data:`_PATIENCE_S`: their senders wait for an
    answer, stored events do not.
    """
    end = time.monotonic() + _PATIENCE_S
    while ctx.intake.is_busy and time.monotonic() < end:  # noqa: ASYNC110 - it comes and goes
        await asyncio.sleep(_PATIENCE_S / 10)


async def _yield_to_requests(number: int) -> None:
    """Let HTTP requests run after every few events, so that a batch does not block the event loop."""
    if number % _IN_A_ROW == _IN_A_ROW - 1:
        await asyncio.sleep(0)


async def _apply_event(
    session: AsyncSession, ctx: AppContext, read: _Read, locked: Mapping[str, LockedPayment]
) -> EventState | None:
    """Apply one event; return ``None`` if it has to be handled alone."""
    if read.payment_id is None:
        return None if may_be_lost(read.parsed, read.event) else EventState.FOREIGN
    payment = locked.get(read.payment_id)
    if payment is None:
        return None  # locked by another transaction, or found only by the provider's ids
    event = payment_event_of(read.payment_id, read.parsed, read.event)
    if event is not None:
        await apply_event_in(session, ctx, event, payment)
    return EventState.DONE


def _read(ctx: AppContext, row: ClaimedEvent, content: Any) -> _Read | EventState | None:
    """Parse one event; return ``None`` if it has to be handled alone.

    :param content: of its payload, where it is known.
    """
    if row.provider != stripe.PROVIDER:
        return None
    try:
        event, parsed = read_sealed(ctx, row.payload_enc) if content is None else read_content(ctx, content)
    except Exception:
        return None  # handled alone it fails again, and is rescheduled with the reason
    if isinstance(parsed, EventState):
        return parsed
    if parsed.refund or parsed.dispute or parsed.unreadable or parsed.refunded_total is not None:
        return None
    return _Read(row, event, parsed, parsed.payment_id)


async def _find_payments(session: AsyncSession, events: list[_Read]) -> None:
    """Set the payment of each event: by the id in its metadata, else by the provider's ids."""
    if not events:
        return
    named = [event.parsed.payment_id for event in events if event.parsed.payment_id is not None]
    ours = await lookup.existing_ids(session, named)
    unnamed = [event for event in events if event.parsed.payment_id not in ours]
    intents = [event.parsed.provider_status.ids.payment_intent for event in unnamed]
    sessions = [event.parsed.provider_status.ids.checkout_session for event in unnamed]
    by_ref = await lookup.ids_by_stripe_ref(session, [x for x in intents if x], [x for x in sessions if x])
    for event in unnamed:
        ids = event.parsed.provider_status.ids
        event.payment_id = by_ref.get(ids.payment_intent or "") or by_ref.get(ids.checkout_session or "")
