"""Send one delivery: look up its payment, write what its destination is told, and hand it to the sender."""

from __future__ import annotations

from procomp_pay.config import ProviderMode
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.notifications.smtp import Email
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts
from procomp_pay.services.notifications.emails.email import MessageContext
from procomp_pay.services.notifications.reminder import send_reminder
from procomp_pay.services.views.payment import PaymentView, many
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.notifications.outbox import ClaimedDelivery
from procomp_pay.storage.payments.listing import Filter

#: Topics that are not sent to a participant whose fee has been paid since.
_FAILURES = (Topic.PAYMENT_FAILED, Topic.PAYMENT_EXPIRED)


async def send_delivery(ctx: AppContext, claim: ClaimedDelivery) -> DeliveryResponse:
    """Send a delivery, and return the response of its destination.

    :raises ConfigurationError: its destination is no longer configured.
    """
    destination = claim.delivery.destination
    if destination is Destination.PLATFORM_WEBHOOK:
        body = event_body(claim.message)
        return await ctx.senders.platform().send(claim.delivery.id, body, ctx.clock())
    if claim.message.topic == Topic.LETTER_REMINDER:
        return await send_reminder(ctx, claim)
    if claim.message.topic == Topic.LETTER_REPORT:
        return await _send_report(ctx, claim)
    context = await _look_up(ctx, claim.message)
    if destination is Destination.PARTICIPANT_MAIL:
        return await _write_to_participant(ctx, claim, context)
    view = context.view if context else None
    alert = alerts.compose(claim.message.topic, claim.message.payload, view)
    prefix = _subject_prefix(ctx, view)
    if destination is Destination.ALERT_WEBHOOK:
        return await ctx.senders.chat().send(alert.as_chat(prefix), ctx.clock())
    return await ctx.senders.mailer().send(
        alert.as_email(prefix, claim.delivery.id, claim.delivery.recipient, claim.message.created_at)
    )


async def _send_report(ctx: AppContext, claim: ClaimedDelivery) -> DeliveryResponse:
    """Send a report as it was written when it was asked for."""
    payload = claim.message.payload
    modes = {ctx.senders.mode(kaspi=True), ctx.senders.mode(kaspi=False)}
    email = Email(
        key=claim.delivery.id,
        to=payload["to"],
        subject=_prefix_of(modes) + payload["subject"],
        text=payload["text"],
        html=payload["html"],
        language=payload["language"],
        at=claim.message.created_at,
    )
    return await ctx.senders.mailer().send(email)


def event_body(message: OutboxMessage) -> str:
    """Return the body of the platform's webhook: the same text at every attempt."""
    event = {"type": message.topic, "timestamp": instant(message.created_at), "data": message.payload}
    return exact_json.dumps(event)


async def _look_up(ctx: AppContext, message: OutboxMessage) -> MessageContext | None:
    if message.payment_id is None:
        return None
    views, _ = await many(ctx, Filter(payment_id=message.payment_id), limit=1)
    if not views:
        return None
    async with ctx.db.reading() as session:
        addressee = await outbox.addressee(session, message.payment_id)
    return MessageContext(views[0], addressee.email, addressee.settled_by, addressee.language)


async def _write_to_participant(
    ctx: AppContext, claim: ClaimedDelivery, context: MessageContext | None
) -> DeliveryResponse:
    message = claim.message
    if context is None:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "the payment was deleted")
    if message.topic in _FAILURES and _is_paid_after_all(context):
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "outdated: the fee has been paid since")
    if message.payload.get("participant_id", context.view.participant_id) != context.view.participant_id:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "outdated: the payment was moved since")
    if context.email is None:
        return DeliveryResponse(DeliveryOutcome.NO_ADDRESS, "the participant's user was deleted")
    # templates and their engine are imported only when an e-mail is written
    from procomp_pay.services.notifications.emails import render_email

    email = render_email(
        message.topic,
        message.payload,
        context,
        key=claim.delivery.id,
        language=context.language or ctx.senders.language,
        at=message.created_at,
        prefix=_subject_prefix(ctx, context.view),
    )
    return await ctx.senders.mailer().send(email)


def _is_paid_after_all(context: MessageContext) -> bool:
    return context.settled_by is not None or context.view.status in (
        PaymentStatus.COMPLETED,
        PaymentStatus.REFUNDED,
    )


def _subject_prefix(ctx: AppContext, view: PaymentView | None) -> str:
    """Return the prefix of every subject while no real money moves, else an empty string."""
    return _prefix_of({ctx.senders.mode(kaspi=view.channel.is_kaspi)} if view else set())


def _prefix_of(modes: set[ProviderMode]) -> str:
    prefixes = {ProviderMode.SANDBOX: "[SANDBOX] ", ProviderMode.TEST: "[TEST] "}
    return next((prefix for mode, prefix in prefixes.items() if mode in modes), "")
