"""Open a committed payment at its provider, and take up again what was interrupted.

Write ahead: the row says SENT before the call leaves. A crash or a time-out at any point is healed from the
row alone: Stripe gets the same request under the same idempotency key, so there is never a second
PaymentIntent; a Kaspi QR whose answer was lost is waited out, since Kaspi promises no idempotency.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.kaspi_schedule import REMOTE_LIFE_S
from procomp_pay.domain.states import PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.providers.protocol import Created, CreateRequest, ProviderRef
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.storage.database.errors import retrying
from procomp_pay.storage.payments.repository import OrmLockedPayment, lock_payment

log = logging.getLogger(__name__)

#: How long after sending a lost answer is taken up again, in seconds; longer than one call may take.
RECOVER_AFTER_S = 45
#: The provider's object is not there, as far as we know.
UNOPENED = (CreateState.PLANNED, CreateState.SENT)
_CLOCKS_AGREE = timedelta(seconds=60)
#: Between two looks at an open Stripe payment, in seconds: webhooks bring the news, this finds lost ones.
STRIPE_LOOK_S = 600
#: Stripe keeps an idempotency key for at least 24 hours; after that the same request makes a second object.
RESEND_WITHIN = timedelta(hours=23)


def provider_ref_of(locked: OrmLockedPayment) -> ProviderRef:
    """The object at the provider; only for a payment whose ``create_state`` is OPEN."""
    detail = locked.detail
    if detail.provider_ref is None:
        raise AssertionError(f"payment {locked.payment.id} is not open at its provider")
    return ProviderRef(detail.channel, detail.provider_ref, locked.payment.stripe_payment_id)


def phone_of(locked: OrmLockedPayment, ctx: AppContext) -> str | None:
    """To whom its invoice goes."""
    return ctx.keyring.decrypt(locked.detail.phone_enc) if locked.detail.phone_enc else None


def request_for(locked: OrmLockedPayment, ctx: AppContext, *, again: bool = False) -> CreateRequest:
    """The call that opens this payment. From the row alone: a second one is word for word the first.

    :param again: it was sent before, and its answer was lost.
    """
    payment, detail = locked.payment, locked.detail
    return CreateRequest(
        payment_id=payment.id,
        participant_id=detail.participant_id,
        channel=detail.channel,
        money=locked.charged,
        description=payment.meta["description"],
        idempotency_key=f"procomp-pay:create:{payment.id}",
        created_at=payment.created_at,
        return_url=detail.return_url or "",
        expires_at=detail.expires_at,
        phone=phone_of(locked, ctx),
        again=again,
    )


def mark_sent(locked: OrmLockedPayment, ctx: AppContext) -> CreateRequest:
    """Say in the row that the call is about to leave. The caller commits before it leaves."""
    now = ctx.clock()
    again = locked.detail.create_state is CreateState.SENT
    locked.detail.create_state = CreateState.SENT
    locked.detail.sent_at = now
    remote = locked.detail.channel is Channel.KASPI_REMOTE
    locked.detail.next_poll_at = now + timedelta(seconds=REMOTE_LIFE_S if remote else RECOVER_AFTER_S)
    return request_for(locked, ctx, again=again)


async def open_at_provider(ctx: AppContext, request: CreateRequest, actor: Actor) -> None:
    """Send the call whose row says SENT, and record the answer.

    :raises ProviderUnavailable: nothing was made; the payment stays open to be sent again.
    :raises OutcomeUnknown: no answer was seen; the payment stays open and is healed later.
    :raises Refused, ConfigurationError: the provider said no; the payment is FAILED, unless it was sent
        before: then it stays open until it is known what became of that.
    """
    try:
        created = await ctx.providers.of(request.channel).create(request)
    except ProviderUnavailable as error:
        if not request.again:  # else an earlier one may have arrived: its answer is still unknown
            await retrying(lambda: _not_sent(ctx, request.payment_id))
        raise _with_payment(error, request.payment_id) from error
    except OutcomeUnknown as error:
        if request.channel is Channel.KASPI_REMOTE:
            raise _invoice_unknown(error, request.payment_id) from error
        raise _with_payment(error, request.payment_id) from error
    except (Refused, NotFound, ConfigurationError) as error:
        found = await _made_before(ctx, request, error) if request.again else None
        if found is None:
            why = error.message
            await retrying(lambda: mark_rejected(ctx, request.payment_id, actor, why))
            raise
        created = found
    await retrying(lambda: store_created(ctx, request.payment_id, created, actor))


async def _made_before(ctx: AppContext, request: CreateRequest, error: PaymentError) -> Created | None:
    """A second sending was refused, which says nothing of the first: what that one made, if anything.

    :raises PaymentError: ``error``, where the provider does not let us look (its key was changed meanwhile),
        or cannot tell; else what looking raised. The outcome stays unknown.
    """
    if request.channel.is_kaspi or isinstance(error, ConfigurationError):
        raise error
    return await ctx.providers.of(request.channel).find(request)


async def store_created(ctx: AppContext, payment_id: str, created: Created, actor: Actor) -> None:
    """:func:`record` in a transaction of its own."""
    async with ctx.db.writing() as session:
        await store_created_in(session, ctx, payment_id, created, actor)


async def store_created_in(
    session: AsyncSession, ctx: AppContext, payment_id: str, created: Created, actor: Actor
) -> None:
    """Write what the provider made, in the caller's transaction."""
    locked = await lock_payment(session, payment_id)
    detail, now = locked.detail, ctx.clock()
    detail.provider_ref = created.provider_ref
    detail.create_state = CreateState.OPEN
    detail.payment_url = created.payment_url
    detail.client_secret_enc = _encrypted(ctx, created.client_secret)
    detail.qr_token_enc = _encrypted(ctx, created.qr_token)
    detail.expires_at = _end(created, now) or detail.expires_at
    detail.poll_interval_s = created.poll_interval_s
    detail.scan_timeout_s = created.scan_timeout_s
    detail.confirm_timeout_s = created.confirm_timeout_s
    detail.next_poll_at = now + timedelta(seconds=created.poll_interval_s or STRIPE_LOOK_S)
    event = PaymentEvent(
        payment_id=payment_id,
        event_type=EventType.OPENED,
        at=now,
        source=actor.source,
        actor=actor.name,
        request_id=actor.request_id,
        ids=created.ids,
    )
    await apply_event_in(session, ctx, event, locked)
    if locked.payment.status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED) and detail.provider_open:
        detail.next_poll_at = now  # our side ended while the call was under way: it is closed at once


def _end(created: Created, now: datetime) -> datetime | None:
    """When it stops being payable. Kaspi's timers run from now on, by our own clock."""
    if created.scan_timeout_s is None:
        return created.expires_at
    ours = now + timedelta(seconds=created.scan_timeout_s)
    if created.expires_at is not None and abs(created.expires_at - ours) > _CLOCKS_AGREE:
        log.warning("Kaspi's end of a QR is %s, ours is %s: the clocks differ", created.expires_at, ours)
    return ours


async def mark_rejected(ctx: AppContext, payment_id: str, actor: Actor, reason: str) -> None:
    """The provider made nothing and never will for this payment."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state not in UNOPENED:
            return  # another process opened it meanwhile
        locked.detail.create_state = CreateState.NEVER
        event = PaymentEvent(
            payment_id=payment_id,
            event_type=EventType.FAILED,
            at=ctx.clock(),
            source=_api_source(locked.detail.channel),
            actor=actor.name,
            request_id=actor.request_id,
            reason=reason,
            final_at_provider=True,
        )
        await apply_event_in(session, ctx, event, locked)


async def expire_unopened(ctx: AppContext, payment_id: str) -> None:
    """The payment's life ended before the provider made anything that somebody could have seen."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state not in UNOPENED:
            return  # another process opened it meanwhile
        paid = locked.payment.status in PAID_STATUSES  # a clerk found it
        remote = locked.detail.channel is Channel.KASPI_REMOTE
        if remote and locked.detail.create_state is CreateState.SENT and not paid:
            await _may_have_been_paid(session, ctx, locked)
        locked.detail.create_state = CreateState.NEVER
        await apply_event_in(session, ctx, _over(ctx, locked, "The provider never answered"), locked)


async def _may_have_been_paid(session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment) -> None:
    """The phone may have shown the invoice, whose number at Kaspi we never learned: a person looks."""
    found = {"why": "Kaspi's answer to an invoice was lost", "payment_in_comment": locked.payment.id}
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STUCK, found, "invoice")
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STUCK, locked.charged, once="invoice", **found
    )


async def mark_missing_at_provider(ctx: AppContext, payment_id: str) -> None:
    """The provider does not know the object that we have: nothing can come through it, and a person looks."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if not locked.detail.provider_open:
            return
        ref = locked.detail.provider_ref or "none"
        kind = DiscrepancyKind.MISSING_AT_PROVIDER
        await side_effects.open_discrepancy(session, ctx, locked, kind, {"provider_ref": ref}, ref)
        await apply_event_in(session, ctx, _over(ctx, locked, "The provider does not know it"), locked)


async def cancel_unsent(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Cancel a payment that never left us: the provider need not be asked."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state is not CreateState.PLANNED:
            return
        locked.detail.create_state = CreateState.NEVER
        event = _over(ctx, locked, "Cancelled before it was sent")
        await apply_event_in(
            session, ctx, replace(event, event_type=EventType.CANCELLED, actor=actor.name), locked
        )


def _over(ctx: AppContext, locked: OrmLockedPayment, reason: str) -> PaymentEvent:
    return PaymentEvent(
        payment_id=locked.payment.id,
        event_type=EventType.EXPIRED,
        at=ctx.clock(),
        source=Source.CLOCK,
        actor="clock",
        reason=reason,
        final_at_provider=True,
    )


async def _not_sent(ctx: AppContext, payment_id: str) -> None:
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state is CreateState.SENT:
            locked.detail.create_state = CreateState.PLANNED


def _api_source(channel: Channel) -> Source:
    return Source.KASPI_STATUS if channel.is_kaspi else Source.STRIPE_API


def _with_payment(error: ProviderUnavailable | OutcomeUnknown, payment_id: str) -> Exception:
    return type(error)(
        f"{error.message}. Payment {payment_id} stays PENDING; nothing is lost",
        next_step="start it again in a minute (the same payment is taken up), or: procomp-pay maintain",
        retry_after=error.retry_after or 5,
    )


def _invoice_unknown(error: OutcomeUnknown, payment_id: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{error.message}. Payment {payment_id} stays PENDING",
        next_step="look at the customer's phone: paid there, it is verified by its operation number "
        "(verify-kaspi); not there, take the fee with a QR",
    )


def _encrypted(ctx: AppContext, secret: str | None) -> str | None:
    return None if secret is None else ctx.keyring.encrypt(secret)
