"""Decide how a payment that the platform created on its own is adopted into the payment module. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from procomp_pay.domain.labels import NO_LABEL, UnknownLabel
from procomp_pay.domain.money import AnyCurrency
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    PAID_STATUSES,
    AnyMethod,
    AnyStatus,
    Channel,
    CreateState,
    PaymentMethod,
    PaymentStatus,
)

#: An unpaid payment that is not older than this is still polled: it may have been paid since. Hosted pages
#: and QRs expire long before.
STILL_ASKED = timedelta(days=30)
#: Digits of a Kaspi purchase number (int64). The content of a QR may also be digits only, but has 41 of them.
_KASPI_DIGITS = 19
#: The longest id, in characters: longer values do not fit into a database index.
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class PlatformPayment:
    """The relevant columns of a row of the platform's ``"Payment"``.

    :param named: the participant in ``metadata``. :param settles: the participant whose fee it settled.
    :param registered: the only participant of its user and tournament.
    :param kaspi_code: ``kaspiQrCode``. :param kaspi_number: ``kaspiTransactionId``.
    """

    id: str
    status: AnyStatus
    method: AnyMethod | None
    amount: Decimal | None
    currency: AnyCurrency
    created_at: datetime
    named: str | None = None
    settles: str | None = None
    registered: str | None = None
    payment_intent: str | None = None
    checkout_session: str | None = None
    kaspi_code: str | None = None
    kaspi_number: str | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """The values to store for an adopted payment.

    :param provider_ref: the provider's object, which can be polled; ``None`` if there is none.
    :param provider_open: money may still be paid through the object.
    :param ask: poll the provider at once, in the usual background work.
    :param number: the Kaspi operation number that settled the payment.
    :param given_back: REFUNDED without a provider to ask for details: the whole amount counts as refunded.
    """

    participant_id: str
    channel: Channel
    create_state: CreateState
    provider_ref: str | None
    provider_open: bool
    ask: bool
    number: str | None
    given_back: bool


def assess(payment: PlatformPayment, now: datetime) -> Adoption | str:
    """Return how to adopt a payment, or the reason for manual review, as the end of a sentence."""
    if (reason := _unfit(payment)) is not None:
        return reason
    participant = payment.settles or payment.named or payment.registered
    if participant is None:
        return "names no participant in its metadata, settles no fee, and its user has not one registration"
    if payment.method is None:
        return "has no method"
    channel, ref = _object(payment)
    if payment.status in OPEN_STATUSES and ref is None:
        return f"is {payment.status} and has no id that its provider could be asked about"
    number = None
    if channel.is_kaspi and payment.status in PAID_STATUSES and payment.kaspi_number:
        number = canonical(payment.kaspi_number)
    is_open = ref is not None and _may_still_be_paid(payment, now)
    refunded = payment.status is PaymentStatus.REFUNDED
    stripe_knows = ref is not None and not channel.is_kaspi
    return Adoption(
        participant_id=participant,
        channel=channel,
        create_state=CreateState.NEVER if ref is None else CreateState.OPEN,
        provider_ref=ref,
        provider_open=is_open,
        # Stripe can report its refunds
        ask=is_open or (refunded and stripe_knows),
        number=number,
        given_back=refunded and not stripe_knows,
    )


def is_platforms_own(payment: PlatformPayment) -> bool:
    """Return whether a payment is the platform's alone, such as cash: it has a method that only the platform
    knows, or was paid without one, and no id of a provider. One that is not paid yet may get its method yet.
    """
    ids = (payment.payment_intent, payment.checkout_session, payment.kaspi_code, payment.kaspi_number)
    if any(ids) or isinstance(payment.method, PaymentMethod):
        return False
    return payment.method is not None or payment.status in PAID_STATUSES


def _unfit(payment: PlatformPayment) -> str | None:
    labels = {"status": payment.status, "method": payment.method, "currency": payment.currency}
    for column, label in labels.items():
        if label is NO_LABEL:
            return f"has no {column}"
        if isinstance(label, UnknownLabel):
            return f"has the {column} {label}, which procomp-pay does not know"
    if payment.amount is None or payment.amount <= 0:
        return "has no amount"
    ids = (payment.named, payment.payment_intent, payment.checkout_session, payment.kaspi_number)
    if any(len(value or "") > _LONGEST_ID for value in ids):
        return f"has an id longer than {_LONGEST_ID} characters"
    if payment.named and payment.settles and payment.named != payment.settles:
        return f"names participant {payment.named} but settles the fee of {payment.settles}"
    return None


def _may_still_be_paid(payment: PlatformPayment, now: datetime) -> bool:
    if payment.status in OPEN_STATUSES:
        return True
    return payment.status not in PAID_STATUSES and now - payment.created_at < STILL_ASKED


def _object(payment: PlatformPayment) -> tuple[Channel, str | None]:
    """Return the provider's object. A ``kaspiQrCode`` counts only if it is a purchase number."""
    if payment.method is PaymentMethod.KASPI_QR:
        code = (payment.kaspi_code or "").strip()
        is_number = code.isascii() and code.isdigit() and len(code) <= _KASPI_DIGITS
        return Channel.KASPI_QR, code if is_number else None
    if payment.checkout_session:
        return Channel.STRIPE_CHECKOUT, payment.checkout_session
    return Channel.STRIPE_INTENT, payment.payment_intent
