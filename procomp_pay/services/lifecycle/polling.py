"""Look after open payments: poll Kaspi, find lost Stripe news, expire, take up what was interrupted.

One column, ``next_poll_at``, says when a payment is looked at next; one function does whatever the row
asks for. ``serve`` calls it in a loop, ``maintain`` once, ``status --refresh`` for one payment.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import ConfigurationError, NotFound, PaymentError, Refused
from procomp_pay.domain.events import Fact, News, Source
from procomp_pay.domain.kaspi_schedule import (
    KaspiLife,
    after_look,
    life_of,
)
from procomp_pay.domain.states import PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.providers.protocol import Seen
from procomp_pay.services.context import SYSTEM, Actor, Desk
from procomp_pay.services.lifecycle.create_at_provider import (
    STRIPE_LOOK_S,
    give_up,
    keep,
    mark_sent,
    missing,
    open_at_provider,
    request_for,
)
from procomp_pay.services.refunds.send import compare
from procomp_pay.services.settlement import side_effects as ledger
from procomp_pay.services.settlement.apply import Settled, settle_in
from procomp_pay.services.settlement.provider_handle import RESEND_WITHIN, handle_of
from procomp_pay.storage.payments.repository import Held, hold

log = logging.getLogger(__name__)

#: How long a claimed payment is left alone by other processes, in seconds: longer than a call may take.
LEASE_S = 60
#: After a provider's failure, in seconds.
_TRY_AGAIN_S = 20
#: After Kaspi refused to recall an invoice, in seconds.
_RECALL_AGAIN_S = 6 * 3600
#: After a failure while somebody looks on, in seconds.
FOLLOW_AGAIN_S = 5


def kaspi_life(held: Held) -> KaspiLife:
    """A Kaspi payment's times, with the usual timers where its answer was lost."""
    detail = held.detail
    return life_of(
        detail.channel,
        detail.sent_at or detail.created_at,
        expires_at=detail.expires_at,
        scanned_at=detail.scanned_at,
        scan_timeout_s=detail.scan_timeout_s,
        confirm_timeout_s=detail.confirm_timeout_s,
        interval_s=detail.poll_interval_s,
    )


async def look_after(desk: Desk, payment_id: str, actor: Actor = SYSTEM) -> Settled | None:
    """Do what the payment needs now. ``None`` where there was no news.

    :raises NotFound: no such payment.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not now; it stays due.
    """
    async with desk.db.reading() as session:
        held = await hold(session, payment_id, lock=False)
    if not held.detail.provider_open:
        await _look_back(desk, held, actor)
        return None
    if held.detail.create_state in (CreateState.PLANNED, CreateState.SENT):
        await _take_up(desk, held, actor)
        return None
    if _is_to_be_closed(held, desk):
        return await close(desk, held, actor)
    try:
        seen = await desk.providers.of(held.detail.channel).fetch(handle_of(held))
    except NotFound:
        if not _has_ended(held, desk):
            raise
        await missing(desk, payment_id)
        return None
    return await apply_seen(desk, payment_id, seen, actor)


def _has_ended(held: Held, desk: Desk) -> bool:
    """Whether nobody can be paying it any more, by our own clock."""
    if held.detail.channel.is_kaspi:
        return desk.clock() >= kaspi_life(held).last_look_at
    ends = held.detail.expires_at
    return ends is not None and desk.clock() >= ends


async def _look_back(desk: Desk, held: Held, actor: Actor) -> None:
    """Nothing more can come in; something may have gone back that we were only given a hint of."""
    if held.payment.status in PAID_STATUSES:
        await compare(desk, held, actor)
    async with desk.db.writing() as session:
        (await hold(session, held.payment.id)).detail.next_poll_at = None


async def look_if_due(
    desk: Desk, payment_id: str, actor: Actor = SYSTEM, *, at_least_every: timedelta | None = None
) -> bool:
    """As :func:`look_after`, where the payment is due; for somebody who follows it live. The row is claimed
    first, so that it and a running ``serve`` never both ask.

    :returns: whether the provider was asked and answered.

    :param at_least_every: bring a look that is farther off forward to this; for a provider whose news come
        by webhook, which may not reach us.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not now; it stays due, a little later.
    """
    async with desk.db.reading() as session:
        if not _is_due(await hold(session, payment_id, lock=False), desk, at_least_every):
            return False
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        if not _is_due(held, desk, at_least_every):
            return False  # another one came first
        held.detail.next_poll_at = desk.clock() + timedelta(seconds=LEASE_S)
    try:
        await look_after(desk, payment_id, actor)
    except PaymentError:
        await look_again_at(desk, payment_id, seconds=FOLLOW_AGAIN_S)
        raise
    if at_least_every is not None:
        await look_again_at(desk, payment_id, seconds=max(1, int(at_least_every.total_seconds())))
    return True


def _is_due(held: Held, desk: Desk, at_least_every: timedelta | None) -> bool:
    detail, now = held.detail, desk.clock()
    if not detail.provider_open or detail.next_poll_at is None:
        return False
    if detail.next_poll_at <= now:
        return True
    if at_least_every is None or detail.create_state is not CreateState.OPEN:
        return False
    # farther off than a lease: nobody is asking at this moment, and nobody will soon
    return detail.next_poll_at - now > timedelta(seconds=LEASE_S)


def _is_to_be_closed(held: Held, desk: Desk) -> bool:
    """Whether the provider's object is to be taken back: somebody asked, its end has come, or our payment
    ended while its answer was lost."""
    detail = held.detail
    if not detail.channel.recallable:
        return False
    if detail.channel is Channel.KASPI_REMOTE and _has_ended(held, desk):
        return False  # over by itself; whether it was paid in time is asked
    ended = detail.channel is Channel.STRIPE_INTENT and detail.expires_at is not None
    return (
        detail.cancel_requested_by is not None
        or held.payment.status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED)
        or (ended and detail.expires_at <= desk.clock())  # type: ignore[operator]
        or _is_settled_by_another(held)
    )


def _is_settled_by_another(held: Held) -> bool:
    """The fee was paid another way meanwhile: this one must not take money too."""
    who = held.participant
    return who is not None and who.payment_id not in (None, held.payment.id)


async def close(desk: Desk, held: Held, actor: Actor) -> Settled | None:
    """Take an open object back at a provider that can, and apply how it stands afterwards."""
    try:
        seen = await desk.providers.of(held.detail.channel).cancel(handle_of(held))
    except NotFound:
        await missing(desk, held.payment.id)
        return None
    except (Refused, ConfigurationError) as error:
        if held.detail.channel is not Channel.KASPI_REMOTE or actor is not SYSTEM:
            raise
        # still open there. Each try asks how it stands, which Kaspi forbids on a timer
        log.warning("invoice %s is not recalled: %s", held.payment.id, error.message)
        await look_again_at(desk, held.payment.id, seconds=_RECALL_AGAIN_S)
        return None
    asked_by = held.detail.cancel_requested_by
    if seen.news is News.CANCELLED and asked_by is None and not _is_settled_by_another(held):
        # nobody asked: it is time that ended it
        seen = replace(seen, news=News.EXPIRED, reason="Nobody paid in time")
    who = replace(actor, name=asked_by) if asked_by else actor
    return await apply_seen(desk, held.payment.id, seen, who)


async def apply_seen(desk: Desk, payment_id: str, seen: Seen, actor: Actor) -> Settled | None:
    """Hand what a provider said to the door, and note when to look again, in one transaction."""
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        now = desk.clock()
        if not seen.told and held.payment.status is PaymentStatus.COMPLETED:
            # settled by a person's word, which nobody there contradicts: that time is over says nothing here
            held.detail.next_poll_at = None
            return None
        news, final, next_at = seen.news, seen.final, now + timedelta(seconds=STRIPE_LOOK_S)
        source = Source.STRIPE_API
        if held.detail.channel.is_kaspi:
            source = Source.KASPI_STATUS
            if news is News.PROCESSING and held.detail.scanned_at is None:
                held.detail.scanned_at = now
            look = after_look(kaspi_life(held), news, seen.final, now, unclear=seen.unclear)
            news, final = look.news, look.final
            next_at = look.at or now
            if look.stuck:
                await _say_stuck(session, desk, held, seen)
        held.detail.next_poll_at = next_at if held.detail.provider_open else None
        if news is None and not final:
            return None
        fact = Fact(
            payment_id=payment_id,
            news=news or News.EXPIRED,
            at=seen.at or now,
            source=_source(actor, source, by_clock=news is News.EXPIRED and seen.news is not News.EXPIRED),
            actor=actor.name,
            request_id=actor.request_id,
            money=seen.money,
            money_unreadable=seen.money_unreadable,
            ids=seen.ids,
            reason=seen.reason or ("Nobody paid in time" if news is News.EXPIRED else None),
            final_at_provider=final,
        )
        settled = await settle_in(session, desk, fact, held)
        if seen.went_back:
            held.detail.next_poll_at = now  # a look back: how much it was, and whose place it frees
        return settled


def _source(actor: Actor, source: Source, *, by_clock: bool) -> Source:
    """Who says so: the provider or the clock; reconcile, where it was reconcile that asked."""
    if actor.source is Source.RECONCILE:
        return Source.RECONCILE
    return Source.CLOCK if by_clock else source


async def _say_stuck(session: AsyncSession, desk: Desk, held: Held, seen: Seen) -> None:
    """Kaspi should have ended it long ago and has not: it is still asked, and a person is told."""
    found = {"provider_ref": held.detail.provider_ref, "status": seen.raw_status[:40]}
    key = held.detail.provider_ref or "payment"  # as reconcile names it
    await ledger.disagree(session, desk, held, DiscrepancyKind.STUCK, found, key)
    await ledger.tell(session, desk, held, Topic.ALERT_STUCK, held.charged, once="kaspi", **found)


async def _take_up(desk: Desk, held: Held, actor: Actor) -> None:
    """Go on with a payment whose opening was interrupted."""
    detail, now = held.detail, desk.clock()
    payment_id = held.payment.id
    if detail.channel.is_kaspi:
        # Nobody has seen the QR, and a second one may not be made while the first one lives: wait it out.
        over = kaspi_life(held).last_look_at
        if now >= over:
            await give_up(desk, payment_id)
        else:
            await look_again_at(desk, payment_id, seconds=max(1, int((over - now).total_seconds())))
        return
    if now - detail.created_at > RESEND_WITHIN:
        await _find_or_give_up(desk, held, actor)
        return
    async with desk.db.writing() as session:
        request = mark_sent(await hold(session, payment_id), desk)
    await open_at_provider(desk, request, actor)


async def _find_or_give_up(desk: Desk, held: Held, actor: Actor) -> None:
    """Too late to send again under the same key: look for what the first request made."""
    created = await desk.providers.of(held.detail.channel).find(request_for(held, desk))
    if created is None:
        await give_up(desk, held.payment.id)
        return
    await keep(desk, held.payment.id, created, actor)


async def look_again_at(desk: Desk, payment_id: str, *, seconds: int = _TRY_AGAIN_S) -> None:
    """Put the next look off."""
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        if held.detail.provider_open:
            held.detail.next_poll_at = desk.clock() + timedelta(seconds=seconds)
