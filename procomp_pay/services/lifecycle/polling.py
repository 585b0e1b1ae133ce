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
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.kaspi_schedule import (
    KaspiSchedule,
    next_poll_after,
    schedule_for,
)
from procomp_pay.domain.states import PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.providers.protocol import ProviderStatus
from procomp_pay.services.context import SYSTEM, Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import (
    RESEND_WITHIN,
    STRIPE_LOOK_S,
    expire_unopened,
    mark_missing_at_provider,
    mark_sent,
    open_at_provider,
    provider_ref_of,
    request_for,
    store_created,
)
from procomp_pay.services.refunds.send import sync_refunds
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import AppliedEvent, apply_event_in
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment

log = logging.getLogger(__name__)

#: How long a claimed payment is left alone by other processes, in seconds: longer than a call may take.
LEASE_S = 60
#: After a provider's failure, in seconds.
_TRY_AGAIN_S = 20
#: After Kaspi refused to recall an invoice, in seconds.
_RECALL_AGAIN_S = 6 * 3600
#: After a failure while somebody looks on, in seconds.
FOLLOW_AGAIN_S = 5


def kaspi_schedule(locked: OrmLockedPayment) -> KaspiSchedule:
    """A Kaspi payment's times, with the usual timers where its answer was lost."""
    detail = locked.detail
    return schedule_for(
        detail.channel,
        detail.sent_at or detail.created_at,
        expires_at=detail.expires_at,
        scanned_at=detail.scanned_at,
        scan_timeout_s=detail.scan_timeout_s,
        confirm_timeout_s=detail.confirm_timeout_s,
        interval_s=detail.poll_interval_s,
    )


async def poll_payment(ctx: AppContext, payment_id: str, actor: Actor = SYSTEM) -> AppliedEvent | None:
    """Do what the payment needs now. ``None`` where there was no news.

    :raises NotFound: no such payment.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not now; it stays due.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    if not locked.detail.provider_open:
        await _check_refunds(ctx, locked, actor)
        return None
    if locked.detail.create_state in (CreateState.PLANNED, CreateState.SENT):
        await _resume_creation(ctx, locked, actor)
        return None
    if _is_to_be_closed(locked, ctx):
        return await close(ctx, locked, actor)
    try:
        seen = await ctx.providers.of(locked.detail.channel).fetch(provider_ref_of(locked))
    except NotFound:
        if not _has_ended(locked, ctx):
            raise
        await mark_missing_at_provider(ctx, payment_id)
        return None
    return await apply_provider_status(ctx, payment_id, seen, actor)


def _has_ended(locked: OrmLockedPayment, ctx: AppContext) -> bool:
    """Whether nobody can be paying it any more, by our own clock."""
    if locked.detail.channel.is_kaspi:
        return ctx.clock() >= kaspi_schedule(locked).final_poll_at
    ends = locked.detail.expires_at
    return ends is not None and ctx.clock() >= ends


async def _check_refunds(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Nothing more can come in; something may have gone back that we were only given a hint of."""
    if locked.payment.status in PAID_STATUSES:
        await sync_refunds(ctx, locked, actor)
    async with ctx.db.writing() as session:
        (await lock_payment(session, locked.payment.id)).detail.next_poll_at = None


async def poll_if_due(
    ctx: AppContext, payment_id: str, actor: Actor = SYSTEM, *, at_least_every: timedelta | None = None
) -> bool:
    """As :func:`poll_payment`, where the payment is due; for somebody who follows it live. The row is claimed
    first, so that it and a running ``serve`` never both ask.

    :returns: whether the provider was asked and answered.

    :param at_least_every: bring a look that is farther off forward to this; for a provider whose news come
        by webhook, which may not reach us.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not now; it stays due, a little later.
    """
    async with ctx.db.reading() as session:
        if not _is_due(await load_payment(session, payment_id), ctx, at_least_every):
            return False
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if not _is_due(locked, ctx, at_least_every):
            return False  # another one came first
        locked.detail.next_poll_at = ctx.clock() + timedelta(seconds=LEASE_S)
    try:
        await poll_payment(ctx, payment_id, actor)
    except PaymentError:
        await schedule_next_poll(ctx, payment_id, seconds=FOLLOW_AGAIN_S)
        raise
    if at_least_every is not None:
        await schedule_next_poll(ctx, payment_id, seconds=max(1, int(at_least_every.total_seconds())))
    return True


def _is_due(locked: OrmLockedPayment, ctx: AppContext, at_least_every: timedelta | None) -> bool:
    detail, now = locked.detail, ctx.clock()
    if not detail.provider_open or detail.next_poll_at is None:
        return False
    if detail.next_poll_at <= now:
        return True
    if at_least_every is None or detail.create_state is not CreateState.OPEN:
        return False
    # farther off than a lease: nobody is asking at this moment, and nobody will soon
    return detail.next_poll_at - now > timedelta(seconds=LEASE_S)


def _is_to_be_closed(locked: OrmLockedPayment, ctx: AppContext) -> bool:
    """Whether the provider's object is to be taken back: somebody asked, its end has come, or our payment
    ended while its answer was lost."""
    detail = locked.detail
    if not detail.channel.recallable:
        return False
    if detail.channel is Channel.KASPI_REMOTE and _has_ended(locked, ctx):
        return False  # over by itself; whether it was paid in time is asked
    ended = detail.channel is Channel.STRIPE_INTENT and detail.expires_at is not None
    return (
        detail.cancel_requested_by is not None
        or locked.payment.status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED)
        or (ended and detail.expires_at <= ctx.clock())  # type: ignore[operator]
        or _is_settled_by_another(locked)
    )


def _is_settled_by_another(locked: OrmLockedPayment) -> bool:
    """The fee was paid another way meanwhile: this one must not take money too."""
    who = locked.participant
    return who is not None and who.payment_id not in (None, locked.payment.id)


async def close(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> AppliedEvent | None:
    """Take an open object back at a provider that can, and apply how it stands afterwards."""
    try:
        seen = await ctx.providers.of(locked.detail.channel).cancel(provider_ref_of(locked))
    except NotFound:
        await mark_missing_at_provider(ctx, locked.payment.id)
        return None
    except (Refused, ConfigurationError) as error:
        if locked.detail.channel is not Channel.KASPI_REMOTE or actor is not SYSTEM:
            raise
        # still open there. Each try asks how it stands, which Kaspi forbids on a timer
        log.warning("invoice %s is not recalled: %s", locked.payment.id, error.message)
        await schedule_next_poll(ctx, locked.payment.id, seconds=_RECALL_AGAIN_S)
        return None
    asked_by = locked.detail.cancel_requested_by
    if seen.event_type is EventType.CANCELLED and asked_by is None and not _is_settled_by_another(locked):
        # nobody asked: it is time that ended it
        seen = replace(seen, event_type=EventType.EXPIRED, reason="Nobody paid in time")
    who = replace(actor, name=asked_by) if asked_by else actor
    return await apply_provider_status(ctx, locked.payment.id, seen, who)


async def apply_provider_status(
    ctx: AppContext, payment_id: str, seen: ProviderStatus, actor: Actor
) -> AppliedEvent | None:
    """Hand what a provider said to the door, and note when to look again, in one transaction."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        now = ctx.clock()
        if not seen.authoritative and locked.payment.status is PaymentStatus.COMPLETED:
            # settled by a person's word, which nobody there contradicts: that time is over says nothing here
            locked.detail.next_poll_at = None
            return None
        news, final, next_at = seen.event_type, seen.final, now + timedelta(seconds=STRIPE_LOOK_S)
        source = Source.STRIPE_API
        if locked.detail.channel.is_kaspi:
            source = Source.KASPI_STATUS
            if news is EventType.PROCESSING and locked.detail.scanned_at is None:
                locked.detail.scanned_at = now
            look = next_poll_after(kaspi_schedule(locked), news, seen.final, now, unclear=seen.unclear)
            news, final = look.event_type, look.final
            next_at = look.at or now
            if look.stuck:
                await _say_stuck(session, ctx, locked, seen)
        locked.detail.next_poll_at = next_at if locked.detail.provider_open else None
        if news is None and not final:
            return None
        event = PaymentEvent(
            payment_id=payment_id,
            event_type=news or EventType.EXPIRED,
            at=seen.at or now,
            source=_source(
                actor, source, by_clock=news is EventType.EXPIRED and seen.event_type is not EventType.EXPIRED
            ),
            actor=actor.name,
            request_id=actor.request_id,
            money=seen.money,
            money_unreadable=seen.money_unreadable,
            ids=seen.ids,
            reason=seen.reason or ("Nobody paid in time" if news is EventType.EXPIRED else None),
            final_at_provider=final,
        )
        settled = await apply_event_in(session, ctx, event, locked)
        if seen.refunded:
            locked.detail.next_poll_at = now  # a look back: how much it was, and whose place it frees
        return settled


def _source(actor: Actor, source: Source, *, by_clock: bool) -> Source:
    """Who says so: the provider or the clock; reconcile, where it was reconcile that asked."""
    if actor.source is Source.RECONCILE:
        return Source.RECONCILE
    return Source.CLOCK if by_clock else source


async def _say_stuck(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, seen: ProviderStatus
) -> None:
    """Kaspi should have ended it long ago and has not: it is still asked, and a person is told."""
    found = {"provider_ref": locked.detail.provider_ref, "status": seen.raw_status[:40]}
    key = locked.detail.provider_ref or "payment"  # as reconcile names it
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STUCK, found, key)
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STUCK, locked.charged, once="kaspi", **found
    )


async def _resume_creation(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Go on with a payment whose opening was interrupted."""
    detail, now = locked.detail, ctx.clock()
    payment_id = locked.payment.id
    if detail.channel.is_kaspi:
        # Nobody has seen the QR, and a second one may not be made while the first one lives: wait it out.
        over = kaspi_schedule(locked).final_poll_at
        if now >= over:
            await expire_unopened(ctx, payment_id)
        else:
            await schedule_next_poll(ctx, payment_id, seconds=max(1, int((over - now).total_seconds())))
        return
    if now - detail.created_at > RESEND_WITHIN:
        await _find_or_give_up(ctx, locked, actor)
        return
    async with ctx.db.writing() as session:
        request = mark_sent(await lock_payment(session, payment_id), ctx)
    await open_at_provider(ctx, request, actor)


async def _find_or_give_up(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Too late to send again under the same key: look for what the first request made."""
    created = await ctx.providers.of(locked.detail.channel).find(request_for(locked, ctx))
    if created is None:
        await expire_unopened(ctx, locked.payment.id)
        return
    await store_created(ctx, locked.payment.id, created, actor)


async def schedule_next_poll(ctx: AppContext, payment_id: str, *, seconds: int = _TRY_AGAIN_S) -> None:
    """Put the next look off."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.provider_open:
            locked.detail.next_poll_at = ctx.clock() + timedelta(seconds=seconds)
