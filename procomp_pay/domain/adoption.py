"""What a payment that the platform wrote without this desk becomes when the desk takes it over. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    PAID_STATUSES,
    Channel,
    CreateState,
    PaymentMethod,
    PaymentStatus,
)

#: So long after its start the provider is still asked about a payment that did not work out: it may have been
#: paid since. Hosted pages and QRs are over long before.
STILL_ASKED = timedelta(days=30)
#: Digits of Kaspi's own numbers (int64). The text of a QR may be digits alone, too, but has 41 of them.
_KASPI_DIGITS = 19
#: Characters of an id; an index of the database holds no name of kilobytes.
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class PlatformPayment:
    """A row of the platform's ``"Payment"``, as far as it matters here.

    :param named: the participant in its ``metadata``. :param settles: the participant whose fee it settled.
    :param kaspi_code: ``kaspiQrCode``. :param kaspi_number: ``kaspiTransactionId``.
    """

    id: str
    status: PaymentStatus
    method: PaymentMethod | None
    amount: Decimal
    created_at: datetime
    named: str | None = None
    settles: str | None = None
    payment_intent: str | None = None
    checkout_session: str | None = None
    kaspi_code: str | None = None
    kaspi_number: str | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What the desk writes about it.

    :param provider_ref: the object that its provider can be asked about; ``None`` where there is none.
    :param provider_open: money may still come through it.
    :param ask: the provider is to be asked at once, by the usual background work.
    :param number: Kaspi's operation number that it has used up.
    :param given_back: it is REFUNDED, and no provider can be asked how: the whole amount went back.
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
    """How to take a payment over, or why a person has to look first, as the end of a sentence."""
    if (wrong := _unfit(payment)) is not None:
        return wrong
    participant = payment.settles or payment.named
    if participant is None:
        return "names no participant in its metadata, and settles nobody's fee"
    if payment.method is None:
        return "names no method"
    channel, ref = _object(payment)
    if payment.status in OPEN_STATUSES and ref is None:
        return f"is {payment.status} and names nothing that its provider could be asked about"
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
        # what went back through Stripe, Stripe tells
        ask=is_open or (refunded and stripe_knows),
        number=number,
        given_back=refunded and not stripe_knows,
    )


def _unfit(payment: PlatformPayment) -> str | None:
    if payment.amount <= 0:
        return "has no amount"
    ids = (payment.named, payment.payment_intent, payment.checkout_session, payment.kaspi_number)
    if any(len(each or "") > _LONGEST_ID for each in ids):
        return f"has an id that is longer than any, {_LONGEST_ID} characters"
    if payment.named and payment.settles and payment.named != payment.settles:
        return f"names participant {payment.named}, and settles the fee of {payment.settles}"
    return None


def _may_still_be_paid(payment: PlatformPayment, now: datetime) -> bool:
    if payment.status in OPEN_STATUSES:
        return True
    return payment.status not in PAID_STATUSES and now - payment.created_at < STILL_ASKED


def _object(payment: PlatformPayment) -> tuple[Channel, str | None]:
    """The provider's object. ``kaspiQrCode`` is one where it is Kaspi's number, not the QR's text."""
    if payment.method is PaymentMethod.KASPI_QR:
        code = (payment.kaspi_code or "").strip()
        is_number = code.isascii() and code.isdigit() and len(code) <= _KASPI_DIGITS
        return Channel.KASPI_QR, code if is_number else None
    if payment.checkout_session:
        return Channel.STRIPE_CHECKOUT, payment.checkout_session
    return Channel.STRIPE_INTENT, payment.payment_intent
