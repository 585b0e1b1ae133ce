"""Handle many events of the inbox in one transaction: the door's rules for each, one commit for all.

Only what is simple goes this way: news of a payment that can be locked at once. What is not (refunds,
disputes, a payment that somebody else holds, an event that cannot be read) is handled alone, and where
anything at all goes wrong, the transaction is rolled back and every event of it is handled alone: a poison
event takes nobody with it, and both ways end in the same books.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.payments.desk import Desk
from procomp_pay.payments.inbox import Handled, as_handled, fact_of, handle_one, read_row
from procomp_pay.payments.settle import settle_in
from procomp_pay.providers.stripe_events import EventNews
from procomp_pay.storage import queues
from procomp_pay.storage.bulk import hold_many
from procomp_pay.storage.module import PaymentDetail
from procomp_pay.storage.platform import Payment
from procomp_pay.storage.row_states import EventState
from procomp_pay.storage.work import WebhookEvent

log = logging.getLogger(__name__)

#: Events of one transaction: few enough to hold their payments for some tens of milliseconds only.
AT_ONCE = 50


@dataclass(slots=True)
class _Read:
    row: WebhookEvent
    event: dict[str, Any]
    news: EventNews
    payment_id: str | None = None


async def handle_due(desk: Desk, *, limit: int = AT_ONCE) -> list[Handled]:
    """Handle up to ``limit`` events that are due; none where there are none.

    :raises DatabaseUnavailable: what was not handled is as it was.
    """
    taken: list[str] = []
    try:
        async with desk.db.writing() as session:
            rows = await queues.claim_events(session, desk.clock(), limit=limit)
            taken = [row.id for row in rows]
            done = await _handle_all(session, desk, rows) if rows else []
            through = [as_handled(row) for row in done]
        alone = set(taken) - {row.id for row in done}
    except Exception as error:
        if not taken:
            raise
        log.info("%d events are handled one by one: %s", len(taken), type(error).__name__)
        through, alone = [], set(taken)
    for row_id in taken:
        if row_id in alone:
            handled = await handle_one(desk, row_id)
            if handled is not None:
                through.append(handled)
    return through


async def _handle_all(session: AsyncSession, desk: Desk, rows: list[WebhookEvent]) -> list[WebhookEvent]:
    """Handle what is simple; the rows that are done."""
    with session.no_autoflush:
        known: list[_Read] = []
        done: list[WebhookEvent] = []
        for row in rows:
            read = _read(desk, row)
            if read is EventState.IGNORED:
                done.append(_mark(desk, row, EventState.IGNORED))
            elif isinstance(read, _Read):
                known.append(read)
        await _find(session, known)
        held, pen = await hold_many(session, {each.payment_id for each in known if each.payment_id})
        for each in known:
            if each.payment_id is None:
                done.append(_mark(desk, each.row, EventState.FOREIGN))
            elif (payment := held.get(each.payment_id)) is not None:
                fact = fact_of(each.payment_id, each.news, each.event)
                if fact is not None:
                    await settle_in(session, desk, fact, payment)
                done.append(_mark(desk, each.row, EventState.DONE, each.payment_id))
        await pen.write(session)
    return done


def _read(desk: Desk, row: WebhookEvent) -> _Read | EventState | None:
    """``None`` for what is to be handled alone."""
    try:
        event, news = read_row(desk, row)
    except Exception:
        return None  # handled alone, it fails again, and is put off with its reason
    if news is None:
        return EventState.IGNORED
    if news.refund or news.dispute or news.returned is not None:
        return None
    return _Read(row, event, news)


async def _find(session: AsyncSession, known: list[_Read]) -> None:
    """Whose payment each is about: by the name that it carries, else by the provider's ids."""
    named = {each.news.payment_id for each in known if each.news.payment_id is not None}
    ours = set(
        await session.exec(
            select(PaymentDetail.payment_id).where(col(PaymentDetail.payment_id).in_(list(named)))
        )
    )
    for each in known:
        each.payment_id = each.news.payment_id if each.news.payment_id in ours else None
    unnamed = [each.news.seen.ids for each in known if each.payment_id is None]
    if not unnamed:
        return
    intents = [ids.payment_intent for ids in unnamed if ids.payment_intent]
    sessions = [ids.checkout_session for ids in unnamed if ids.checkout_session]
    found = await session.exec(
        select(Payment.id, Payment.stripe_payment_id, Payment.stripe_session_id).where(
            or_(col(Payment.stripe_payment_id).in_(intents), col(Payment.stripe_session_id).in_(sessions))
        )
    )
    by_ref = {ref: payment_id for payment_id, *refs in found for ref in refs if ref}
    for each in known:
        if each.payment_id is None:
            ids = each.news.seen.ids
            each.payment_id = by_ref.get(ids.payment_intent or "") or by_ref.get(ids.checkout_session or "")


def _mark(desk: Desk, row: WebhookEvent, state: EventState, payment_id: str | None = None) -> WebhookEvent:
    row.state, row.payment_id = state, payment_id
    row.attempts += 1
    row.handled_at = desk.clock()
    row.last_error = None
    return row
