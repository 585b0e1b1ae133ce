"""Poll open payments: query Kaspi, find lost Stripe events, expire, resume interrupted creations.

The column ``next_poll_at`` says when a payment is due, and :func:`poll_payment` does what its row needs.
``serve`` calls it in a loop, ``maintain`` once; ``status --refresh`` calls :func:`refresh_payment`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import ConfigurationError, NotFound, PaymentError, Refused, RetryLater
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.kaspi_schedule import (
    KaspiSchedule,
    next_poll_after,
    schedule_for,
)
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.protocol import ProviderStatus
from procomp_pay.services.context import SYSTEM, Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import (
    STRIPE_POLL_S,
    expire_unopened,
    give_up_lost,
    mark_missing_at_provider,
    mark_sent,
    open_at_provider,
    request_for,
    store_created,
)
from procomp_pay.services.refunds.send import sync_refunds
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import AppliedEvent, apply_event, apply_event_in
from procomp_pay.services.settlement.provider_ref import RESEND_WITHIN, provider_ref_of
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment
from procomp_pay.storage.reconciliation import discrepancies

if TYPE_CHECKING:
    from procomp_pay.providers.stripe.listing import StripeBooks

log = logging.getLogger(__name__)

#: Seconds for which a claimed payment is leased to a process; longer than a request may take.
LEASE_S = 60
#: Seconds until the next poll after a failure of the provider.
_RETRY_S = 20
#: Seconds until the next try after Kaspi refused to cancel an invoice.
_RETRY_CANCEL_S = 6 * 3600
#: Seconds until the next poll after a failure, while a user watches the payment.
WATCH_RETRY_S = 5


def kaspi_schedule(locked: OrmLockedPayment) -> KaspiSchedule:
    """Return the polling schedule of a Kaspi payment, with the usual time limits if the response was lost."""
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
    """Poll a payment, or do whatever else it needs now. Returns ``None`` if no event was applied.

    :raises NotFound: no such payment.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not possible now; the payment stays due.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    if not locked.detail.provider_open:
        await _check_closed(ctx, locked, actor)
        return None
    if locked.detail.create_state in (CreateState.PLANNED, CreateState.SENT):
        await _resume_creation(ctx, locked, actor)
        return None
    if _has_to_be_cancelled(locked, ctx):
        return await cancel_at_provider(ctx, locked, actor)
    try:
        status = await ctx.providers.of(locked.detail.channel).fetch(provider_ref_of(locked))
    except NotFound:
        if not _has_ended(locked, ctx):
            raise
        await mark_missing_at_provider(ctx, payment_id)
        return None
    return await apply_provider_status(ctx, payment_id, status, actor)


async def refresh_payment(ctx: AppContext, payment_id: str, actor: Actor) -> bool:
    """Ask the provider for an operator, also about a payment that has ended: money may have come since.

    :returns: False if the provider has no object that can be asked about.
    :raises NotFound: no such payment, or the provider does not know it.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not possible now.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    if locked.detail.provider_open:
        await poll_payment(ctx, payment_id, actor)
        return True
    if locked.detail.provider_ref is None:
        return False
    status = await ctx.providers.of(locked.detail.channel).fetch(provider_ref_of(locked))
    is_corrected = status.final and locked.payment.status in OPEN_STATUSES  # after a different amount
    if status.event_type is EventType.SUCCEEDED or is_corrected:
        await apply_provider_status(ctx, payment_id, status, actor)
        async with ctx.db.reading() as session:
            locked = await load_payment(session, payment_id)
    await _check_closed(ctx, locked, actor)
    await _ask_about_disputes(ctx, locked, actor)
    return True


async def _ask_about_disputes(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Ask Stripe about the disputes that hold the payment's money back: the event of an end may be lost, and
    no list of a window has a dispute that began before it.

    :raises ProviderUnavailable, OutcomeUnknown: not possible now.
    """
    async with ctx.db.reading() as session:
        disputes = await discrepancies.holding_disputes(session, locked.detail)
    for dispute_id in disputes:
        try:
            await ask_about_dispute(ctx, locked.payment.id, dispute_id, actor)
        except (NotFound, Refused, RetryLater, ConfigurationError) as error:  # another account's, or gone
            log.warning("nothing is known about dispute %s: %s", dispute_id, error.message)


async def ask_about_dispute(ctx: AppContext, payment_id: str, dispute_id: str, actor: Actor) -> None:
    """Apply the present state of a dispute at Stripe.

    :raises PaymentError: Stripe does not answer, or does not know it.
    """
    dispute = await cast("StripeBooks", ctx.providers.of(Channel.STRIPE_INTENT)).dispute(dispute_id)
    event = PaymentEvent(
        payment_id=payment_id,
        event_type=EventType.DISPUTE,
        at=ctx.clock(),
        source=_source(actor, Source.STRIPE_API, by_clock=False),
        actor=actor.name,
        request_id=actor.request_id,
        dispute=dispute,
    )
    await apply_event(ctx, event)


def _has_ended(locked: OrmLockedPayment, ctx: AppContext) -> bool:
    """Return True if the payment can no longer be paid, by our own clock."""
    if locked.detail.channel.is_kaspi:
        return ctx.clock() >= kaspi_schedule(locked).final_poll_at
    expires_at = locked.detail.expires_at
    return expires_at is not None and ctx.clock() >= expires_at


async def _check_closed(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Learn what events do not tell of a paid payment: the wallet of its charge, and refunds hinted at.

    :raises ProviderUnavailable, OutcomeUnknown: not possible now; it stays due.
    """
    if locked.payment.status in PAID_STATUSES and locked.detail.provider_ref is not None:
        try:
            if await _learn_wallet(ctx, locked, actor) is not False:
                await sync_refunds(ctx, locked, actor)
        except (NotFound, Refused) as error:  # another account's, or gone: it would be the same next time
            log.warning("payment %s cannot be asked about: %s", locked.payment.id, error.message)
        except ConfigurationError as error:
            if locked.detail.wallet is not None or locked.detail.channel.is_kaspi:
                raise  # a refund was hinted at
            log.info("the wallet of %s is not known: %s", locked.payment.id, error.message)
    async with ctx.db.writing() as session:
        (await lock_payment(session, locked.payment.id)).detail.next_poll_at = None


async def _learn_wallet(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> bool | None:
    """Store the wallet of a Stripe payment; its events name the charge by the id alone.

    :returns: whether some of the charge was refunded; ``None`` if Stripe does not tell, or was not asked.
    """
    detail = locked.detail
    if detail.wallet is not None or detail.channel.is_kaspi:
        return None
    try:
        status = await ctx.providers.of(detail.channel).fetch(provider_ref_of(locked))
    except ConfigurationError as error:  # no key, or one that may not read charges: refunds matter more
        log.info("the wallet of %s is not known: %s", locked.payment.id, error.message)
        return None
    if status.event_type is EventType.SUCCEEDED:
        await apply_provider_status(ctx, locked.payment.id, status, actor)
    return status.refunded


async def poll_if_due(
    ctx: AppContext, payment_id: str, actor: Actor = SYSTEM, *, at_least_every: timedelta | None = None
) -> bool:
    """Call :func:`poll_payment` if the payment is due, for a user who watches it.

    The row is claimed first, so that this process and a running ``serve`` never poll at the same time.

    :param at_least_every: poll at least this often, for a provider whose webhooks may not reach us.
    :returns: True if the provider was polled.
    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: not possible now; due again soon.
    """
    async with ctx.db.reading() as session:
        if not _is_due(await load_payment(session, payment_id), ctx, at_least_every):
            return False
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if not _is_due(locked, ctx, at_least_every):
            return False  # another process was faster
        locked.detail.next_poll_at = ctx.clock() + timedelta(seconds=LEASE_S)
    try:
        await poll_payment(ctx, payment_id, actor)
    except PaymentError:
        await schedule_next_poll(ctx, payment_id, seconds=WATCH_RETRY_S)
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
    # later than a lease: no process polls at this moment, or soon
    return detail.next_poll_at - now > timedelta(seconds=LEASE_S)


def _has_to_be_cancelled(locked: OrmLockedPayment, ctx: AppContext) -> bool:
    """Return True if the provider's object has to be cancelled.

    That is if cancellation was requested, the object expired, the fee was settled otherwise, or the payment
    ended while the response was lost.
    """
    detail = locked.detail
    if not detail.channel.recallable:
        return False
    if detail.channel is Channel.KASPI_REMOTE and _has_ended(locked, ctx):
        return False  # it expires by itself; poll whether it was paid in time
    ended = detail.channel is Channel.STRIPE_INTENT and detail.expires_at is not None
    return (
        detail.cancel_requested_by is not None
        or locked.payment.status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED)
        or (ended and detail.expires_at <= ctx.clock())  # type: ignore[operator]
        or locked.is_settled_otherwise
    )


async def cancel_at_provider(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> AppliedEvent | None:
    """Cancel the object at the provider, and apply its status after that."""
    try:
        status = await ctx.providers.of(locked.detail.channel).cancel(provider_ref_of(locked))
    except NotFound:
        await mark_missing_at_provider(ctx, locked.payment.id)
        return None
    except (Refused, ConfigurationError) as error:
        if locked.detail.channel is not Channel.KASPI_REMOTE or actor is not SYSTEM:
            raise
        # the invoice stays open; each try also queries its status, which Kaspi forbids on a timer
        log.warning("invoice %s was not cancelled: %s", locked.payment.id, error.message)
        await schedule_next_poll(ctx, locked.payment.id, seconds=_RETRY_CANCEL_S)
        return None
    asked_by = locked.detail.cancel_requested_by
    if status.event_type is EventType.CANCELLED and asked_by is None and not locked.is_settled_otherwise:
        # cancelled because it expired, not on request
        status = replace(status, event_type=EventType.EXPIRED, reason=N_("Nobody paid in time"))
    actor = replace(actor, name=asked_by) if asked_by else actor
    return await apply_provider_status(ctx, locked.payment.id, status, actor)


async def apply_provider_status(
    ctx: AppContext, payment_id: str, status: ProviderStatus, actor: Actor
) -> AppliedEvent | None:
    """Apply a provider's status, and schedule the next poll, in one transaction."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        now = ctx.clock()
        if not status.authoritative and locked.payment.status is PaymentStatus.COMPLETED:
            # verified manually; an expiry that is not reported by the provider does not contradict that
            locked.detail.next_poll_at = None
            return None
        event_type, final, next_at = status.event_type, status.final, now + timedelta(seconds=STRIPE_POLL_S)
        source = Source.STRIPE_API
        if locked.detail.channel.is_kaspi:
            source = Source.KASPI_STATUS
            if event_type is EventType.PROCESSING and locked.detail.scanned_at is None:
                locked.detail.scanned_at = now
            next_poll = next_poll_after(
                kaspi_schedule(locked), event_type, status.final, now, unclear=status.unclear
            )
            event_type, final = next_poll.event_type, next_poll.final
            next_at = next_poll.at or now
            if next_poll.stuck:
                await _flag_stuck(session, ctx, locked, status)
        locked.detail.next_poll_at = next_at if locked.detail.provider_open else None
        if event_type is None and not final:
            return None
        event = PaymentEvent(
            payment_id=payment_id,
            event_type=event_type or EventType.EXPIRED,
            at=status.at or now,
            source=_source(
                actor,
                source,
                by_clock=event_type is EventType.EXPIRED and status.event_type is not EventType.EXPIRED,
            ),
            actor=actor.name,
            request_id=actor.request_id,
            money=status.money,
            money_unreadable=status.money_unreadable,
            currency_unknown=status.currency_unknown,
            ids=status.ids,
            reason=status.reason or (N_("Nobody paid in time") if event_type is EventType.EXPIRED else None),
            final_at_provider=final,
        )
        applied = await apply_event_in(session, ctx, event, locked)
        if status.refunded:
            locked.detail.next_poll_at = now  # check the refunds: amount and participant
        return applied


def _source(actor: Actor, source: Source, *, by_clock: bool) -> Source:
    """Return the source of the event: reconciliation if it asked, else the provider or the clock."""
    if actor.source is Source.RECONCILE:
        return Source.RECONCILE
    return Source.CLOCK if by_clock else source


async def _flag_stuck(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, status: ProviderStatus
) -> None:
    """Open a discrepancy and alert the operators: Kaspi has not ended the payment in time."""
    detail = {"provider_ref": locked.detail.provider_ref, "status": status.raw_status[:40]}
    key = locked.detail.provider_ref or "payment"  # as in reconciliation
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STUCK, detail, key)
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STUCK, locked.charged, once="kaspi", **detail
    )


async def _resume_creation(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Resume the creation of a payment that was interrupted."""
    detail, now = locked.detail, ctx.clock()
    payment_id = locked.payment.id
    if detail.channel.is_kaspi:
        if detail.create_state is CreateState.SENT and detail.channel is not Channel.KASPI_REMOTE:
            await give_up_lost(ctx, payment_id, actor)
            return
        ends_at = kaspi_schedule(locked).final_poll_at
        if now >= ends_at:
            await expire_unopened(ctx, payment_id)
        else:
            await schedule_next_poll(ctx, payment_id, seconds=max(1, int((ends_at - now).total_seconds())))
        return
    if now - detail.created_at > RESEND_WITHIN:
        await _find_or_expire(ctx, locked, actor)
        return
    async with ctx.db.writing() as session:
        request = mark_sent(await lock_payment(session, payment_id), ctx)
    await open_at_provider(ctx, request, actor)


async def _find_or_expire(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> None:
    """Find the object of the first request, as it is too late to repeat it with the same key."""
    created = await ctx.providers.of(locked.detail.channel).find(request_for(locked, ctx))
    if created is None:
        await expire_unopened(ctx, locked.payment.id)
        return
    await store_created(ctx, locked.payment.id, created, actor)


async def schedule_next_poll(ctx: AppContext, payment_id: str, *, seconds: int = _RETRY_S) -> None:
    """Set the time of the next poll."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.provider_open:
            locked.detail.next_poll_at = ctx.clock() + timedelta(seconds=seconds)
