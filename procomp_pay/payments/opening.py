"""Open a committed payment at its provider, and take up again what was interrupted.

Write ahead: the row says SENT before the call leaves. A crash or a time-out at any point is healed from the
row alone: Stripe gets the same request under the same idempotency key, so there is never a second
PaymentIntent; a Kaspi QR whose answer was lost is waited out, since Kaspi promises no idempotency.
"""

from __future__ import annotations

from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.facts import Fact, News, Source
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.payments.desk import Actor, Desk
from procomp_pay.payments.settle import settle_in
from procomp_pay.providers.base import Created, CreateRequest, Handle
from procomp_pay.storage.payments import Held, hold

#: How long after sending a lost answer is taken up again, in seconds; longer than one call may take.
RECOVER_AFTER_S = 45
#: Between two looks at an open Stripe payment, in seconds: webhooks bring the news, this finds lost ones.
STRIPE_LOOK_S = 600
#: Stripe keeps an idempotency key for at least 24 hours; after that the same request makes a second object.
RESEND_WITHIN = timedelta(hours=23)


def handle_of(held: Held) -> Handle:
    """The object at the provider; only for a payment whose ``create_state`` is OPEN."""
    detail = held.detail
    if detail.provider_ref is None:
        raise AssertionError(f"payment {held.payment.id} is not open at its provider")
    return Handle(detail.channel, detail.provider_ref, held.payment.stripe_payment_id)


def request_for(held: Held) -> CreateRequest:
    """The call that opens this payment. From the row alone: a second one is word for word the first."""
    payment, detail = held.payment, held.detail
    return CreateRequest(
        payment_id=payment.id,
        participant_id=detail.participant_id,
        channel=detail.channel,
        money=held.charged,
        description=payment.meta["description"],
        idempotency_key=f"procomp-pay:create:{payment.id}",
        created_at=payment.created_at,
        return_url=detail.return_url or "",
        expires_at=detail.expires_at,
    )


def mark_sent(held: Held, desk: Desk) -> CreateRequest:
    """Say in the row that the call is about to leave. The caller commits before it leaves."""
    now = desk.clock()
    held.detail.create_state = CreateState.SENT
    held.detail.sent_at = now
    held.detail.next_poll_at = now + timedelta(seconds=RECOVER_AFTER_S)
    return request_for(held)


async def open_at_provider(desk: Desk, request: CreateRequest, actor: Actor) -> None:
    """Send the call whose row says SENT, and record the answer.

    :raises ProviderUnavailable: nothing was made; the payment stays open to be sent again.
    :raises OutcomeUnknown: no answer was seen; the payment stays open and is healed later.
    :raises Refused, ConfigurationError: the provider said no; the payment is FAILED.
    """
    try:
        created = await desk.providers.of(request.channel).create(request)
    except ProviderUnavailable as error:
        await _not_sent(desk, request.payment_id)
        raise _with_payment(error, request.payment_id) from error
    except OutcomeUnknown as error:
        raise _with_payment(error, request.payment_id) from error
    except (Refused, NotFound, ConfigurationError) as error:
        await refuse(desk, request.payment_id, actor, error.message)
        raise
    async with desk.db.writing() as session:
        await record(session, desk, request.payment_id, created, actor)


async def record(session: AsyncSession, desk: Desk, payment_id: str, created: Created, actor: Actor) -> None:
    """Write what the provider made, in the caller's transaction."""
    held = await hold(session, payment_id)
    detail, now = held.detail, desk.clock()
    detail.provider_ref = created.provider_ref
    detail.create_state = CreateState.OPEN
    detail.payment_url = created.payment_url
    detail.client_secret_enc = _encrypted(desk, created.client_secret)
    detail.qr_token_enc = _encrypted(desk, created.qr_token)
    detail.expires_at = created.expires_at or detail.expires_at
    detail.poll_interval_s = created.poll_interval_s
    detail.scan_timeout_s = created.scan_timeout_s
    detail.confirm_timeout_s = created.confirm_timeout_s
    detail.next_poll_at = now + timedelta(seconds=created.poll_interval_s or STRIPE_LOOK_S)
    fact = Fact(
        payment_id=payment_id,
        news=News.OPENED,
        at=now,
        source=actor.source,
        actor=actor.name,
        request_id=actor.request_id,
        ids=created.ids,
    )
    await settle_in(session, desk, fact, held)


async def refuse(desk: Desk, payment_id: str, actor: Actor, reason: str) -> None:
    """The provider made nothing and never will for this payment."""
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        held.detail.create_state = CreateState.NEVER
        fact = Fact(
            payment_id=payment_id,
            news=News.FAILED,
            at=desk.clock(),
            source=_api_source(held.detail.channel),
            actor=actor.name,
            request_id=actor.request_id,
            reason=reason,
            final_at_provider=True,
        )
        await settle_in(session, desk, fact, held)


async def give_up(desk: Desk, payment_id: str) -> None:
    """The payment's life ended before the provider made anything that somebody could have seen."""
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        held.detail.create_state = CreateState.NEVER
        await settle_in(session, desk, _expired(desk, payment_id), held)


def _expired(desk: Desk, payment_id: str) -> Fact:
    return Fact(
        payment_id=payment_id,
        news=News.EXPIRED,
        at=desk.clock(),
        source=Source.CLOCK,
        actor="clock",
        reason="The provider never answered",
        final_at_provider=True,
    )


async def _not_sent(desk: Desk, payment_id: str) -> None:
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        if held.detail.create_state is CreateState.SENT:
            held.detail.create_state = CreateState.PLANNED


def _api_source(channel: Channel) -> Source:
    return Source.KASPI_STATUS if channel.is_kaspi else Source.STRIPE_API


def _with_payment(error: ProviderUnavailable | OutcomeUnknown, payment_id: str) -> Exception:
    return type(error)(
        f"{error.message}. Payment {payment_id} stays PENDING; nothing is lost",
        next_step="start it again in a minute (the same payment is taken up), or: procomp-pay maintain",
        retry_after=error.retry_after or 5,
    )


def _encrypted(desk: Desk, secret: str | None) -> str | None:
    return None if secret is None else desk.keyring.encrypt(secret)
