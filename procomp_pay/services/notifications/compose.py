"""One delivery: look up what it is about, write it for its destination, send it."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.config import ProviderMode
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts
from procomp_pay.services.views.payment import PaymentView, instant, many
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.queues import OutboxMessage
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.notifications.outbox import Claim
from procomp_pay.storage.payments.listing import Filter

#: The platform's bare words for what a payment did; a person need not be told once it is paid after all.
_BAD_NEWS = (Topic.PAYMENT_FAILED, Topic.PAYMENT_EXPIRED)


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a message is about, as it stands now.

    :param settled_by: the payment that settles the participant's fee now.
    """

    view: PaymentView
    email: str | None = None
    settled_by: str | None = None
    language: str | None = None


async def send_delivery(ctx: AppContext, claim: Claim) -> DeliveryResponse:
    """Send a delivery.

    :raises ConfigurationError: its destination is not configured any more.
    """
    destination = claim.delivery.destination
    if destination is Destination.PLATFORM_WEBHOOK:
        body = event_body(claim.message)
        return await ctx.senders.platform().send(claim.delivery.id, body, ctx.clock())
    about = await _look_up(ctx, claim.message)
    if destination is Destination.PARTICIPANT_MAIL:
        return await _write_to_participant(ctx, claim, about)
    view = about.view if about else None
    alert = alerts.compose(claim.message.topic, claim.message.payload, view)
    mark = _mark(ctx, view)
    if destination is Destination.ALERT_WEBHOOK:
        return await ctx.senders.chat().send(alert.as_chat(mark), ctx.clock())
    return await ctx.senders.mailer().send(
        alert.as_email(mark, claim.delivery.id, claim.delivery.recipient, claim.message.created_at)
    )


def event_body(message: OutboxMessage) -> str:
    """The body of the platform's webhook; the same text at every attempt."""
    event = {"type": message.topic, "timestamp": instant(message.created_at), "data": message.payload}
    return exact_json.dumps(event)


async def _look_up(ctx: AppContext, message: OutboxMessage) -> MessageContext | None:
    if message.payment_id is None:
        return None
    found, _ = await many(ctx, Filter(payment_id=message.payment_id), limit=1)
    if not found:
        return None
    async with ctx.db.reading() as session:
        who = await outbox.addressee(session, message.payment_id)
    return MessageContext(found[0], who.email, who.settled_by, who.language)


async def _write_to_participant(
    ctx: AppContext, claim: Claim, about: MessageContext | None
) -> DeliveryResponse:
    message = claim.message
    if about is None:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "the payment is gone")
    if message.topic in _BAD_NEWS and _is_paid_after_all(about):
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "overtaken: the fee is paid")
    if about.email is None:
        return DeliveryResponse(DeliveryOutcome.NO_ADDRESS, "the participant has no user any more")
    # the texts and their engine are loaded where letters are written alone
    from procomp_pay.services.notifications.emails import render_email

    letter = render_email(
        message.topic,
        message.payload,
        about,
        key=claim.delivery.id,
        language=about.language or ctx.senders.language,
        at=message.created_at,
        mark=_mark(ctx, about.view),
    )
    return await ctx.senders.mailer().send(letter)


def _is_paid_after_all(about: MessageContext) -> bool:
    return about.settled_by is not None or about.view.status in (
        PaymentStatus.COMPLETED,
        PaymentStatus.REFUNDED,
    )


def _mark(ctx: AppContext, view: PaymentView | None) -> str:
    """What stands before every subject while no real money moves."""
    mode = ctx.senders.mode(kaspi=view.method.is_kaspi) if view else None
    return {ProviderMode.SANDBOX: "[SANDBOX] ", ProviderMode.TEST: "[TEST] "}.get(mode, "") if mode else ""
