"""What a participant's open payment means for a new order. Reads rows; writes and calls nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from procomp_pay.domain.errors import Conflict, OutcomeUnknown, Refused
from procomp_pay.domain.states import OPEN_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.services.initiation.request import InitiateRequest, Registration
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: A call is over, with its retries, in less; in seconds. Until then its answer is not lost but on its way.
_UNDER_WAY_S = 35
#: A Stripe page that another process may be opening at this moment is taken up after this, in seconds: the
#: same request under the same key is safe to send beside it.
_PAGE_UNDER_WAY_S = 8
#: Stripe opens no page that ends in less than 30 minutes.
_PAGE_NEEDS = timedelta(minutes=35)


class Step(StrEnum):
    """What to do about an open payment."""

    REUSE = "give"  # it is the one: return it
    SEND = "send"  # it is the one, and its opening is taken up
    WAIT = "wait"  # another process is opening it at this moment
    CANCEL = "clear"  # take it back, or look once more at one whose time is over
    REFRESH = "look"  # it cannot be taken back: ask once whether it is being paid


def for_open_payment(
    locked: OrmLockedPayment,
    order: InitiateRequest,
    what: Registration,
    now: datetime,
    *,
    phone: str | None = None,
) -> Step | None:
    """What to do about an open payment before a new one is started; ``None`` where it is not in the way.

    :param phone: to whom the open payment's invoice was sent.
    :raises OutcomeUnknown: Kaspi's answer was lost, and its QR's life is not over.
    """
    payment, detail = locked.payment, locked.detail
    alive = payment.status in OPEN_STATUSES or payment.status is PaymentStatus.FAILED
    if detail.channel is Channel.KASPI_REMOTE and detail.create_state is CreateState.SENT:
        # nothing can be taken back without its number; a second invoice is never sent beside it
        return take_up(locked, now) if order.channel is Channel.KASPI_REMOTE else None
    if not alive or detail.cancel_requested_by is not None:
        return Step.CANCEL if detail.channel.recallable else None
    if _is_the_same(locked, order, what) and phone == order.phone:
        return Step.CANCEL if _is_over(locked, now) else take_up(locked, now)
    if detail.channel.recallable:
        return Step.CANCEL
    return Step.REFRESH if detail.create_state is CreateState.OPEN else None


def for_replayed_key(locked: OrmLockedPayment, now: datetime) -> Step:
    """What an idempotency key's payment means when the key comes again: the same answer, and nothing new
    for a payment that is over.

    :raises Refused: the first answer was a refusal. :raises Conflict: it ended before it was opened.
    :raises OutcomeUnknown: as :func:`for_open_payment`.
    """
    payment, detail = locked.payment, locked.detail
    if detail.create_state is CreateState.OPEN:
        return Step.REUSE
    if payment.status is PaymentStatus.FAILED:
        raise Refused(
            payment.failure_reason or "The provider refused it", next_step="use a new key to try again"
        )
    if payment.status is not PaymentStatus.PENDING or detail.cancel_requested_by or _is_over(locked, now):
        raise Conflict(f"Payment {payment.id} is over", next_step="use a new key for a new payment")
    return take_up(locked, now)


def is_on_the_phone(locked: OrmLockedPayment) -> bool:
    """Whether it is an invoice that can be paid at this moment."""
    detail = locked.detail
    return detail.channel is Channel.KASPI_REMOTE and detail.create_state is CreateState.OPEN


def take_up(locked: OrmLockedPayment, now: datetime) -> Step:
    """Go on with a payment that was started before.

    :raises OutcomeUnknown: as :func:`for_open_payment`.
    """
    detail = locked.detail
    if detail.create_state in (CreateState.OPEN, CreateState.NEVER):
        return Step.REUSE
    if detail.create_state is CreateState.PLANNED:
        return Step.SEND
    under_way = _UNDER_WAY_S if detail.channel.is_kaspi else _PAGE_UNDER_WAY_S
    if detail.sent_at is not None and now - detail.sent_at < timedelta(seconds=under_way):
        return Step.WAIT
    if not detail.channel.is_kaspi:
        return Step.SEND
    left = int((kaspi_schedule(locked).final_poll_at - now).total_seconds())
    if left <= 0:
        return Step.CANCEL
    if detail.channel is Channel.KASPI_REMOTE:
        raise OutcomeUnknown(
            f"Kaspi's answer to invoice {locked.payment.id} was lost: the phone may show it, no second goes",
            next_step="look at the customer's phone; or take the fee with a QR",
            retry_after=left,
        )
    raise OutcomeUnknown(
        f"Kaspi's answer to payment {locked.payment.id} was lost; a new QR waits until the first is over",
        next_step=f"try again in {left} s, or take another method",
        retry_after=left,
    )


def _is_the_same(locked: OrmLockedPayment, order: InitiateRequest, what: Registration) -> bool:
    payment, detail = locked.payment, locked.detail
    shown = (Channel.KASPI_QR, Channel.KASPI_LINK)
    same_form = detail.channel is order.channel or (detail.channel in shown and order.channel in shown)
    same_fee = locked.charged == what.charge.charged and payment.tournament_id == what.tournament.id
    return payment.method is order.method and same_form and same_fee


def _is_over(locked: OrmLockedPayment, now: datetime) -> bool:
    """Whether it cannot be paid any more, or cannot be opened in time: giving it out would help nobody."""
    payment, detail = locked.payment, locked.detail
    if detail.channel.is_kaspi:
        return detail.create_state is CreateState.OPEN and now >= kaspi_schedule(locked).over_at
    if payment.status is PaymentStatus.PROCESSING or detail.expires_at is None:
        return False
    page = detail.channel is Channel.STRIPE_CHECKOUT
    unopened = detail.create_state is not CreateState.OPEN
    return now >= detail.expires_at - (_PAGE_NEEDS if page and unopened else timedelta())
