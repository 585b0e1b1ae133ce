"""Create a committed payment at its provider, and resume a creation that was interrupted.

The row is set to SENT before the request leaves, so that a crash or a time-out at any point is recovered from
the row alone. Stripe gets the same request with the same idempotency key, so there is never a second
PaymentIntent. A Kaspi QR or link whose response was lost is given up at once: nobody has seen it, so nobody
can pay it. A lost invoice may be on the customer's phone, and is kept until it expires.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from procomp_pay.domain.discrepancies import DiscrepancyKind
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
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.protocol import Created, CreateRequest
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.provider_ref import UNOPENED
from procomp_pay.storage.database.retry import retrying
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.initiation.new_payment import NewPayment
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.payments.batch import PaymentWithSecrets, lock_opened
from procomp_pay.storage.payments.repository import OrmLockedPayment, lock_payment

log = logging.getLogger(__name__)

#: Seconds after sending until a lost response is recovered; longer than one request may take.
RECOVER_AFTER_S = 45
_CLOCKS_AGREE = timedelta(seconds=60)
#: Seconds between two polls of an open Stripe payment, to find lost webhooks.
STRIPE_POLL_S = 600


def phone_of(locked: OrmLockedPayment | NewPayment, ctx: AppContext) -> str | None:
    """Return the phone number that the invoice is sent to, if any."""
    return ctx.keyring.decrypt(locked.detail.phone_enc) if locked.detail.phone_enc else None


def request_for(
    locked: OrmLockedPayment | NewPayment, ctx: AppContext, *, again: bool = False
) -> CreateRequest:
    """Return the request that creates the payment, from its row alone: a repeated request is identical.

    :param again: it was sent before, and its response was lost.
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


def mark_sent(locked: OrmLockedPayment | NewPayment, ctx: AppContext) -> CreateRequest:
    """Set the row to SENT and return the request. The caller writes and commits it before it sends the
    request."""
    now = ctx.clock()
    again = locked.detail.create_state is CreateState.SENT
    locked.detail.create_state = CreateState.SENT
    locked.detail.sent_at = now
    remote = locked.detail.channel is Channel.KASPI_REMOTE
    locked.detail.next_poll_at = now + timedelta(seconds=REMOTE_LIFE_S if remote else RECOVER_AFTER_S)
    return request_for(locked, ctx, again=again)


async def open_at_provider(ctx: AppContext, request: CreateRequest, actor: Actor) -> PaymentWithSecrets:
    """Send the request of a row that is SENT, and store the response. Return the rows as they are stored.

    :raises ProviderUnavailable: nothing was created; the payment stays open and is sent again.
    :raises OutcomeUnknown: no response was seen; the payment stays open and is recovered later. A Kaspi QR or
        link is given up instead.
    :raises Refused, ConfigurationError: the provider rejected it; the payment is FAILED, unless it was sent
        before: then it stays open until the outcome of the first request is known.
    """
    try:
        created = await ctx.providers.of(request.channel).create(request)
    except ProviderUnavailable as error:
        if not request.again:  # else an earlier request may have arrived, with an unknown outcome
            await retrying(lambda: _not_sent(ctx, request.payment_id))
        raise _with_payment(error, request.payment_id) from error
    except OutcomeUnknown as error:
        raise await _outcome_unknown(ctx, request, actor, error) from error
    except (Refused, NotFound, ConfigurationError) as error:
        earlier = await _find_created_before(ctx, request, error) if request.again else None
        if earlier is None:
            reason = error.message
            await retrying(lambda: mark_rejected(ctx, request.payment_id, actor, reason))
            raise
        created = earlier
    try:
        return await retrying(lambda: store_created(ctx, request.payment_id, created, actor))
    except OutcomeUnknown as error:  # it has the id of another payment
        raise await _outcome_unknown(ctx, request, actor, error) from error


async def _outcome_unknown(
    ctx: AppContext, request: CreateRequest, actor: Actor, error: OutcomeUnknown
) -> Exception:
    """Give up a QR or link of which no response can be used; return the error to raise."""
    if request.channel is Channel.KASPI_REMOTE:
        return _invoice_outcome_unknown(error, request.payment_id)
    if request.channel.is_kaspi:
        await retrying(lambda: give_up_lost(ctx, request.payment_id, actor))
        return _lost(error, request.payment_id)
    return _with_payment(error, request.payment_id)


async def _find_created_before(
    ctx: AppContext, request: CreateRequest, error: PaymentError
) -> Created | None:
    """Find the object that an earlier request created, after a repeated request was rejected.

    :raises PaymentError: ``error`` if the provider cannot be searched (its key was changed meanwhile), else
        the error of the search. The outcome stays unknown.
    """
    if request.channel.is_kaspi or isinstance(error, ConfigurationError):
        raise error
    return await ctx.providers.of(request.channel).find(request)


async def store_created(
    ctx: AppContext, payment_id: str, created: Created, actor: Actor
) -> PaymentWithSecrets:
    """Store the object that the provider created; return the rows as they are stored.

    :raises OutcomeUnknown: its id is another payment's; nothing was written.
    """
    async with ctx.db.writing() as session:
        opened = await lock_opened(session, payment_id)
        if opened is None:
            locked = await lock_payment(session, payment_id)
            await _store_created(session, ctx, locked, created, actor)
            return locked
        batch, alone = opened
        await _store_created(session, ctx, alone, created, actor)
        await batch.write(session)
        return alone


async def _store_created(
    session: AsyncSession, ctx: AppContext, locked: PaymentWithSecrets, created: Created, actor: Actor
) -> None:
    detail, now = locked.detail, ctx.clock()
    detail.provider_ref = created.provider_ref
    detail.create_state = CreateState.OPEN
    detail.payment_url = created.payment_url
    detail.client_secret_enc = _encrypted(ctx, created.client_secret)
    detail.qr_token_enc = _encrypted(ctx, created.qr_token)
    detail.expires_at = _expiry(created, now) or detail.expires_at
    detail.poll_interval_s = created.poll_interval_s
    detail.scan_timeout_s = created.scan_timeout_s
    detail.confirm_timeout_s = created.confirm_timeout_s
    detail.next_poll_at = now + timedelta(seconds=created.poll_interval_s or STRIPE_POLL_S)
    event = PaymentEvent(
        payment_id=locked.payment.id,
        event_type=EventType.OPENED,
        at=now,
        source=actor.source,
        actor=actor.name,
        request_id=actor.request_id,
        ids=created.ids,
    )
    await apply_event_in(session, ctx, event, locked)
    if locked.payment.status in (PaymentStatus.CANCELLED, PaymentStatus.EXPIRED) and detail.provider_open:
        detail.next_poll_at = now  # the payment ended during the request: close the object at once


def _expiry(created: Created, now: datetime) -> datetime | None:
    """Return when the payment expires. Kaspi's time limits start now, by our own clock."""
    if created.scan_timeout_s is None:
        return created.expires_at
    expires_at = now + timedelta(seconds=created.scan_timeout_s)
    if created.expires_at is not None and abs(created.expires_at - expires_at) > _CLOCKS_AGREE:
        log.warning("Kaspi expires a QR at %s, we at %s: the clocks differ", created.expires_at, expires_at)
    return expires_at


async def mark_rejected(ctx: AppContext, payment_id: str, actor: Actor, reason: str) -> None:
    """Set the payment to FAILED: the provider rejected the request and created nothing."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state not in UNOPENED:
            return  # created by another process meanwhile
        await _end_unopened(session, ctx, locked, EventType.FAILED, actor, reason)


async def expire_unopened(ctx: AppContext, payment_id: str) -> None:
    """Set the payment to EXPIRED: nothing was created at the provider in time."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state not in UNOPENED:
            return  # created by another process meanwhile
        paid = locked.payment.status in PAID_STATUSES  # verified manually
        remote = locked.detail.channel is Channel.KASPI_REMOTE
        if remote and locked.detail.create_state is CreateState.SENT and not paid:
            await _flag_lost_invoice(session, ctx, locked)
        locked.detail.create_state = CreateState.NEVER
        await apply_event_in(session, ctx, _expired(ctx, locked, "The provider never answered"), locked)


async def give_up_lost(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Cancel a QR or link whose response was lost, and free its idempotency key for a new one."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state is not CreateState.SENT:
            return  # created by another process meanwhile
        await idempotency.forget(session, payment_id)
        reason = N_("Kaspi's answer was lost, and nobody has seen the QR")
        await _end_unopened(session, ctx, locked, EventType.CANCELLED, actor, reason)


async def _end_unopened(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    event_type: EventType,
    actor: Actor,
    reason: str,
) -> None:
    """End a payment for which the provider has nothing that can be paid."""
    locked.detail.create_state = CreateState.NEVER
    event = PaymentEvent(
        payment_id=locked.payment.id,
        event_type=event_type,
        at=ctx.clock(),
        source=_api_source(locked.detail.channel),
        actor=actor.name,
        request_id=actor.request_id,
        reason=reason,
        final_at_provider=True,
    )
    await apply_event_in(session, ctx, event, locked)


async def _flag_lost_invoice(session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment) -> None:
    """Open a discrepancy: the customer may have got and paid an invoice whose number we do not know."""
    detail = {"why": "Kaspi's answer to an invoice was lost", "payment_in_comment": locked.payment.id}
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STUCK, detail, "invoice")
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STUCK, locked.charged, once="invoice", **detail
    )


async def mark_missing_at_provider(ctx: AppContext, payment_id: str) -> None:
    """Expire a payment whose object the provider does not know, and open a discrepancy."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if not locked.detail.provider_open:
            return
        ref = locked.detail.provider_ref or "none"
        kind = DiscrepancyKind.MISSING_AT_PROVIDER
        await side_effects.open_discrepancy(session, ctx, locked, kind, {"provider_ref": ref}, ref)
        await apply_event_in(session, ctx, _expired(ctx, locked, N_("The provider does not know it")), locked)


async def cancel_unsent(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Cancel a payment that was not sent yet, without a request to the provider."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        if locked.detail.create_state is not CreateState.PLANNED:
            return
        locked.detail.create_state = CreateState.NEVER
        event = _expired(ctx, locked, N_("Cancelled before it was sent"))
        await apply_event_in(
            session, ctx, replace(event, event_type=EventType.CANCELLED, actor=actor.name), locked
        )


def _expired(ctx: AppContext, locked: OrmLockedPayment, reason: str) -> PaymentEvent:
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
        N_(
            "%(error)s. Payment %(payment)s stays PENDING; nothing is lost",
            error=error.message,
            payment=payment_id,
        ),
        next_step=N_("start it again in a minute (it resumes the same payment), or: procomp-pay maintain"),
        retry_after=error.retry_after or 5,
    )


def _lost(error: OutcomeUnknown, payment_id: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        N_(
            "%(error)s: the QR of payment %(payment)s is lost. Nobody has seen it, so it cannot be paid",
            error=error.message,
            payment=payment_id,
        ),
        next_step=N_("start the payment again: it gets a new QR at once"),
        retry_after=1,
    )


def _invoice_outcome_unknown(error: OutcomeUnknown, payment_id: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        N_("%(error)s. Payment %(payment)s stays PENDING", error=error.message, payment=payment_id),
        next_step=N_(
            "check the customer's phone: if the invoice was paid, enter its operation number with "
            "procomp-pay verify-kaspi %(payment)s; if it is not there, charge the fee with a QR",
            payment=payment_id,
        ),
    )


def _encrypted(ctx: AppContext, secret: str | None) -> str | None:
    return None if secret is None else ctx.keyring.encrypt(secret)
