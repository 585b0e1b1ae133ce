"""One delivery: look up what it is about, write it for its destination, send it."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.config import ProviderMode
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.notifications import Answer, Fate
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import Desk
from procomp_pay.services.notifications import alerts
from procomp_pay.services.views.payment import PaymentView, many
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.queues import OutboxMessage
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.notifications.outbox import Claim
from procomp_pay.storage.payments.listing import Filter

#: The platform's bare words for what a payment did; a person need not be told once it is paid after all.
_BAD_NEWS = (Topic.PAYMENT_FAILED, Topic.PAYMENT_EXPIRED)


@dataclass(frozen=True, slots=True)
class About:
    """What a message is about, as it stands now.

    :param settled_by: the payment that settles the participant's fee now.
    """

    view: PaymentView
    email: str | None = None
    settled_by: str | None = None
    language: str | None = None


async def tell(desk: Desk, claim: Claim) -> Answer:
    """Send a delivery.

    :raises ConfigurationError: its destination is not configured any more.
    """
    destination = claim.delivery.destination
    if destination is Destination.PLATFORM_WEBHOOK:
        body = event_body(claim.message)
        return await desk.post.platform().send(claim.delivery.id, body, desk.clock())
    about = await _look_up(desk, claim.message)
    if destination is Destination.PARTICIPANT_MAIL:
        return await _write_to_participant(desk, claim, about)
    view = about.view if about else None
    alert = alerts.compose(claim.message.topic, claim.message.payload, view)
    mark = _mark(desk, view)
    if destination is Destination.ALERT_WEBHOOK:
        return await desk.post.chat().send(alert.as_chat(mark), desk.clock())
    return await desk.post.mailer().send(
        alert.as_letter(mark, claim.delivery.id, claim.delivery.recipient, claim.message.created_at)
    )


def event_body(message: OutboxMessage) -> str:
    """The body of the platform's webhook; the same text at every attempt."""
    event = {"type": message.topic, "timestamp": instant(message.created_at), "data": message.payload}
    return exact_json.dumps(event)


async def _look_up(desk: Desk, message: OutboxMessage) -> About | None:
    if message.payment_id is None:
        return None
    found, _ = await many(desk, Filter(payment_id=message.payment_id), limit=1)
    if not found:
        return None
    async with desk.db.reading() as session:
        who = await outbox.addressee(session, message.payment_id)
    return About(found[0], who.email, who.settled_by, who.language)


async def _write_to_participant(desk: Desk, claim: Claim, about: About | None) -> Answer:
    message = claim.message
    if about is None:
        return Answer(Fate.SKIPPED, "the payment is gone")
    if message.topic in _BAD_NEWS and _is_paid_after_all(about):
        return Answer(Fate.SKIPPED, "overtaken: the fee is paid")
    if about.email is None:
        return Answer(Fate.NO_ADDRESS, "the participant has no user any more")
    # the texts and their engine are loaded where letters are written alone
    from procomp_pay.services.notifications.emails import write

    letter = write(
        message.topic,
        message.payload,
        about,
        key=claim.delivery.id,
        language=about.language or desk.post.language,
        at=message.created_at,
        mark=_mark(desk, about.view),
    )
    return await desk.post.mailer().send(letter)


def _is_paid_after_all(about: About) -> bool:
    return about.settled_by is not None or about.view.status in (
        PaymentStatus.COMPLETED,
        PaymentStatus.REFUNDED,
    )


def _mark(desk: Desk, view: PaymentView | None) -> str:
    """What stands before every subject while no real money moves."""
    mode = desk.post.mode(kaspi=view.method.is_kaspi) if view else None
    return {ProviderMode.SANDBOX: "[SANDBOX] ", ProviderMode.TEST: "[TEST] "}.get(mode, "") if mode else ""
