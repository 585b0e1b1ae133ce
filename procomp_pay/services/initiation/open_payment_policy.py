"""Decide what to do with the open payment of a participant when a new one is requested. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from procomp_pay.domain.errors import Conflict, ErrorCode, OutcomeUnknown, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import OPEN_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.initiation.request import InitiateRequest, Registration
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: Seconds in which a request and its retries are over. Until then its response is not considered lost.
_IN_PROGRESS_S = 35
#: Seconds until the creation of a Stripe page by another process is resumed: it is safe to send the same
#: request with the same key at the same time.
_PAGE_IN_PROGRESS_S = 8
#: Stripe creates no page that expires in less than 30 minutes.
_PAGE_MINIMUM = timedelta(minutes=35)


class Step(StrEnum):
    """The step to take with an open payment."""

    REUSE = "reuse"  # return it: it is the requested payment
    SEND = "send"  # it is the requested payment, and its creation is resumed
    WAIT = "wait"  # another process is creating it at this moment
    CANCEL = "cancel"  # cancel it, or poll it once more if it has expired
    REFRESH = "refresh"  # it cannot be cancelled: poll once whether it is being paid


def for_open_payment(
    locked: OrmLockedPayment,
    request: InitiateRequest,
    registration: Registration,
    now: datetime,
    *,
    phone: str | None = None,
) -> Step | None:
    """Return the step to take with an open payment before a new one is started; ``None`` if none is needed.

    :param phone: the phone number to which the invoice of the open payment was sent.
    :raises OutcomeUnknown: Kaspi's response to an invoice was lost, and it has not expired yet.
    """
    payment, detail = locked.payment, locked.detail
    alive = payment.status in OPEN_STATUSES or payment.status is PaymentStatus.FAILED
    if detail.channel is Channel.KASPI_REMOTE and detail.create_state is CreateState.SENT:
        # without its number it cannot be cancelled, and a second invoice is never sent
        return resume(locked, now) if request.channel is Channel.KASPI_REMOTE else None
    if not alive or detail.cancel_requested_by is not None:
        return Step.CANCEL if detail.channel.recallable else None
    if _is_the_same(locked, request, registration) and phone == request.phone:
        return Step.CANCEL if _is_over(locked, now) else resume(locked, now)
    if detail.channel.recallable:
        return Step.CANCEL
    return Step.REFRESH if detail.create_state is CreateState.OPEN else None


def for_replayed_key(locked: OrmLockedPayment, now: datetime) -> Step:
    """Return the step for a repeated idempotency key: the same result, and no new payment if it has ended.

    :raises Refused: the first request was rejected. :raises Conflict: it ended before it was created.
    :raises OutcomeUnknown: as in :func:`for_open_payment`.
    """
    payment, detail = locked.payment, locked.detail
    if detail.create_state is CreateState.OPEN:
        return Step.REUSE
    if payment.status is PaymentStatus.FAILED:
        raise Refused(
            payment.failure_reason or N_("The provider rejected it"),
            next_step=N_("use a new key to try again"),
            code=ErrorCode.PROVIDER_REFUSED,
        )
    if payment.status is not PaymentStatus.PENDING or detail.cancel_requested_by or _is_over(locked, now):
        raise Conflict(
            N_("Payment %(payment)s has ended", payment=payment.id),
            next_step=N_("use a new key for a new payment"),
            code=ErrorCode.PAYMENT_ENDED,
        )
    return resume(locked, now)


def is_on_the_phone(locked: OrmLockedPayment) -> bool:
    """Return True for an invoice that the customer can pay at this moment."""
    detail = locked.detail
    return detail.channel is Channel.KASPI_REMOTE and detail.create_state is CreateState.OPEN


def resume(locked: OrmLockedPayment, now: datetime) -> Step:
    """Return the step to take with a payment that was started before.

    :raises OutcomeUnknown: as in :func:`for_open_payment`.
    """
    detail = locked.detail
    if detail.create_state in (CreateState.OPEN, CreateState.NEVER):
        return Step.REUSE
    if detail.create_state is CreateState.PLANNED:
        return Step.SEND
    in_progress = _IN_PROGRESS_S if detail.channel.is_kaspi else _PAGE_IN_PROGRESS_S
    if detail.sent_at is not None and now - detail.sent_at < timedelta(seconds=in_progress):
        return Step.WAIT
    if not detail.channel.is_kaspi:
        return Step.SEND
    left = int((kaspi_schedule(locked).final_poll_at - now).total_seconds())
    if detail.channel is not Channel.KASPI_REMOTE or left <= 0:
        return Step.CANCEL
    raise OutcomeUnknown(
        N_(
            "Kaspi did not confirm invoice %(payment)s; it may be on the phone, so no second one was sent",
            payment=locked.payment.id,
        ),
        next_step=N_("check the customer's phone, or charge the fee with a QR"),
        retry_after=left,
    )


def seconds_to_wait(locked: OrmLockedPayment, now: datetime) -> int:
    """Return the seconds until another process's request counts as lost."""
    in_progress = _IN_PROGRESS_S if locked.detail.channel.is_kaspi else _PAGE_IN_PROGRESS_S
    since = now - (locked.detail.sent_at or now)
    return max(1, in_progress - int(since.total_seconds()))


def _is_the_same(locked: OrmLockedPayment, request: InitiateRequest, registration: Registration) -> bool:
    payment, detail = locked.payment, locked.detail
    shown = (Channel.KASPI_QR, Channel.KASPI_LINK)
    same_form = detail.channel is request.channel or (detail.channel in shown and request.channel in shown)
    same_fee = locked.charged == registration.charge.charged or (
        request.requested is None and locked.charged == _fee_when_started(locked, registration)
    )
    same_tournament = payment.tournament_id == registration.tournament.id
    return payment.method is request.method and same_form and same_fee and same_tournament


def _fee_when_started(locked: OrmLockedPayment, registration: Registration) -> Money | None:
    """Return the fee that held when a payment was started: it keeps this price until it expires."""
    if registration.schedule is None:
        return None
    fees = registration.schedule.at(locked.payment.created_at)
    return fees.in_currency(registration.charge.charged.currency)


def _is_over(locked: OrmLockedPayment, now: datetime) -> bool:
    """Return True if it can no longer be paid, or not be created in time."""
    payment, detail = locked.payment, locked.detail
    if detail.channel.is_kaspi:
        return detail.create_state is CreateState.OPEN and now >= kaspi_schedule(locked).over_at
    if payment.status is PaymentStatus.PROCESSING or detail.expires_at is None:
        return False
    page = detail.channel is Channel.STRIPE_CHECKOUT
    unopened = detail.create_state is not CreateState.OPEN
    return now >= detail.expires_at - (_PAGE_MINIMUM if page and unopened else timedelta())
