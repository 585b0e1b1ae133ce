"""The states of a payment and of a participant, and the one table of allowed moves."""

from __future__ import annotations

from enum import StrEnum


class PaymentStatus(StrEnum):
    """Where a payment stands (the platform's native enum ``"PaymentStatus"``)."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class PaymentMethod(StrEnum):
    """How the participant pays. The API and the terminal write it in lower case."""

    KASPI_QR = "KASPI_QR"
    APPLE_PAY = "APPLE_PAY"
    GOOGLE_PAY = "GOOGLE_PAY"

    @property
    def public_name(self) -> str:
        """The name in the API and the terminal: ``kaspi_qr``."""
        return self.value.lower()

    @property
    def is_kaspi(self) -> bool:
        return self is PaymentMethod.KASPI_QR


class ParticipantStatus(StrEnum):
    """A registration's state (the platform's native enum ``"ParticipantStatus"``)."""

    REGISTERED = "REGISTERED"
    PAID = "PAID"
    CANCELLED = "CANCELLED"


class UserRole(StrEnum):
    """What a platform user may do (the platform's native enum ``"UserRole"``)."""

    USER = "USER"
    STAFF = "STAFF"
    ADMIN = "ADMIN"


class Channel(StrEnum):
    """The provider object that a payment was opened with."""

    KASPI_QR = "kaspi_qr"
    KASPI_LINK = "kaspi_link"
    #: The customer typed an account number in the Kaspi app: Kaspi calls us, there is no object to ask about.
    KASPI_BILL = "kaspi_bill"
    KASPI_REMOTE = "kaspi_remote"  # an invoice to a phone number
    STRIPE_CHECKOUT = "stripe_checkout"
    STRIPE_INTENT = "stripe_intent"

    @property
    def is_kaspi(self) -> bool:
        return self in (Channel.KASPI_QR, Channel.KASPI_LINK, Channel.KASPI_REMOTE, Channel.KASPI_BILL)

    @property
    def recallable(self) -> bool:
        """Whether the provider can be told to take it back; Kaspi has no such call for a QR or a link."""
        return not self.is_kaspi or self is Channel.KASPI_REMOTE


class CreateState(StrEnum):
    """What is known of the provider's object for a payment; written ahead of the call.

    A time-out means "unknown", never "failed": SENT is left only by an answer.
    """

    PLANNED = "planned"  # committed by us; never sent, or proved not to have arrived
    SENT = "sent"  # sent; the answer was not seen: the object may exist
    OPEN = "open"  # the provider's id is known
    NEVER = "never"  # the provider refused, or nothing was made before the payment's life ended


_S = PaymentStatus

#: Every allowed move. Anything else is refused by the door, whoever asks.
MOVES: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    _S.PENDING: frozenset({_S.PROCESSING, _S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    _S.PROCESSING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    # the customer may try the same PaymentIntent again
    _S.FAILED: frozenset({_S.PENDING, _S.PROCESSING, _S.COMPLETED, _S.CANCELLED}),
    # money came all the same: flagged late, never dropped
    _S.EXPIRED: frozenset({_S.COMPLETED}),
    _S.CANCELLED: frozenset({_S.COMPLETED}),
    _S.COMPLETED: frozenset({_S.REFUNDED}),
    # only when the provider says that the refund failed
    _S.REFUNDED: frozenset({_S.COMPLETED}),
}

#: The customer can still be waited for.
OPEN_STATUSES = frozenset({_S.PENDING, _S.PROCESSING})

#: The money came, whatever went back since.
PAID_STATUSES = frozenset({_S.COMPLETED, _S.REFUNDED})


def may_move(before: PaymentStatus, after: PaymentStatus) -> bool:
    """Whether the table allows the move; staying is not a move."""
    return after in MOVES[before]
