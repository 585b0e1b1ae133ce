"""The statuses of payments and participants, and the table of allowed status changes."""

from __future__ import annotations

from enum import StrEnum

from procomp_pay.domain.labels import UnknownLabel


class PaymentStatus(StrEnum):
    """The status of a payment (the platform's native enum ``"PaymentStatus"``)."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class PaymentMethod(StrEnum):
    """The payment method. Lower case in the API and at the terminal."""

    KASPI_QR = "KASPI_QR"
    APPLE_PAY = "APPLE_PAY"
    GOOGLE_PAY = "GOOGLE_PAY"

    @property
    def public_name(self) -> str:
        """The name in the API and at the terminal: ``kaspi_qr``."""
        return self.value.lower()

    @property
    def is_kaspi(self) -> bool:
        return self is PaymentMethod.KASPI_QR


#: The names that people read; they are the providers' own, and the same in every language.
METHOD_NAMES: dict[str, str] = {
    PaymentMethod.KASPI_QR: "Kaspi QR",
    PaymentMethod.APPLE_PAY: "Apple Pay",
    PaymentMethod.GOOGLE_PAY: "Google Pay",
}


def method_name(label: str) -> str:
    """Return a payment method's name; one that the platform added is shown as it is."""
    return METHOD_NAMES.get(label, label)


class ParticipantStatus(StrEnum):
    """The status of a registration (the platform's native enum ``"ParticipantStatus"``)."""

    REGISTERED = "REGISTERED"
    PAID = "PAID"
    CANCELLED = "CANCELLED"


class UserRole(StrEnum):
    """The role of a platform user (the platform's native enum ``"UserRole"``)."""

    USER = "USER"
    STAFF = "STAFF"
    ADMIN = "ADMIN"


#: What a column of the platform may contain: see :class:`~procomp_pay.domain.labels.UnknownLabel`.
AnyStatus = PaymentStatus | UnknownLabel
AnyMethod = PaymentMethod | UnknownLabel
AnyParticipantStatus = ParticipantStatus | UnknownLabel
AnyRole = UserRole | UnknownLabel


class Channel(StrEnum):
    """The kind of provider object that a payment is made through."""

    KASPI_QR = "kaspi_qr"
    KASPI_LINK = "kaspi_link"
    #: The customer typed an account number in the Kaspi app: Kaspi calls us, and there is no object to poll.
    KASPI_BILL = "kaspi_bill"
    KASPI_REMOTE = "kaspi_remote"  # an invoice to a phone number
    STRIPE_CHECKOUT = "stripe_checkout"
    STRIPE_INTENT = "stripe_intent"

    @property
    def is_kaspi(self) -> bool:
        return self in (Channel.KASPI_QR, Channel.KASPI_LINK, Channel.KASPI_REMOTE, Channel.KASPI_BILL)

    @property
    def recallable(self) -> bool:
        """True if the provider can cancel the object; Kaspi cannot cancel a QR or a link."""
        return not self.is_kaspi or self is Channel.KASPI_REMOTE


#: The channels of each provider.
KASPI_CHANNELS = frozenset(channel for channel in Channel if channel.is_kaspi)
STRIPE_CHANNELS = frozenset(Channel) - KASPI_CHANNELS


class CreateState(StrEnum):
    """The state of the creation of the provider's object; written before the request is sent.

    A time-out means "unknown", never "failed": only a response ends SENT.
    """

    PLANNED = "planned"  # not sent, or certain not to have arrived
    SENT = "sent"  # sent, no response seen: the object may exist
    OPEN = "open"  # the object exists and its id is known
    NEVER = "never"  # rejected, or not created before the payment expired


_S = PaymentStatus

#: Every allowed status change. Settlement ignores all others, whoever requests them.
MOVES: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    _S.PENDING: frozenset({_S.PROCESSING, _S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    _S.PROCESSING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    # the customer may try the same PaymentIntent again
    _S.FAILED: frozenset({_S.PENDING, _S.PROCESSING, _S.COMPLETED, _S.CANCELLED}),
    # money arrived all the same: flagged as late, never dropped
    _S.EXPIRED: frozenset({_S.COMPLETED}),
    _S.CANCELLED: frozenset({_S.COMPLETED}),
    _S.COMPLETED: frozenset({_S.REFUNDED}),
    # only when the provider reports that the refund failed
    _S.REFUNDED: frozenset({_S.COMPLETED}),
}

#: The customer may still pay.
OPEN_STATUSES = frozenset({_S.PENDING, _S.PROCESSING})

#: The money was received, whatever was refunded since.
PAID_STATUSES = frozenset({_S.COMPLETED, _S.REFUNDED})

#: A participant who is linked to a payment in one of these has not paid: a platform may set the link when the
#: payment begins.
UNPAID_STATUSES = frozenset(_S) - {_S.COMPLETED}


def status_of(label: str) -> AnyStatus:
    """Return the status with this label, as an audit entry names it."""
    return PaymentStatus(label) if label in PaymentStatus.__members__ else UnknownLabel(label)


def may_move(before: AnyStatus, after: PaymentStatus) -> bool:
    """Return True if the status change is allowed; keeping the same status is not a change."""
    return isinstance(before, PaymentStatus) and after in MOVES[before]
