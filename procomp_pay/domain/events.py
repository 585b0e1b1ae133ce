"""Payment events: one thing that happened to one payment, whichever source reports it.

A webhook, a polled status, a callback, an operator and the clock all produce a :class:`PaymentEvent`. Only
:mod:`procomp_pay.services.settlement.apply` acts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from procomp_pay.domain.money import Money
from procomp_pay.domain.redact import storable
from procomp_pay.domain.refunds import DisputeEvent, RefundEvent

#: Return the current time, with a time zone. A parameter, so that tests and replays are exact.
Clock = Callable[[], datetime]
#: Return a new id (25 characters of a-z and 0-9, as Prisma's ``cuid()``).
IdMaker = Callable[[], str]


class EventType(StrEnum):
    """The type of a payment event."""

    OPENED = "opened"  # the provider's object exists; its ids are known
    RETRIABLE = "retriable"  # after a failure the customer may try the same object again
    PROCESSING = "processing"  # scanned, or with the bank
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUND = "refund"  # a refund changed; see ``PaymentEvent.refund``
    DISPUTE = "dispute"  # a dispute changed; see ``PaymentEvent.dispute``
    UNPLACED = "unplaced"  # the payment is COMPLETED but its participant is not marked as paid


class Source(StrEnum):
    """The source that reports an event."""

    STRIPE_WEBHOOK = "stripe_webhook"
    STRIPE_API = "stripe_api"
    KASPI_API = "kaspi_api"
    KASPI_STATUS = "kaspi_status"
    KASPI_CALLBACK = "kaspi_callback"  # a signed callback of a Kaspi gateway
    KASPI_BILL = "kaspi_bill"  # a request of Kaspi's bill protocol
    CLOCK = "clock"
    PERSON = "person"
    APP = "app"
    RECONCILE = "reconcile"

    @property
    def is_person(self) -> bool:
        """True if an operator reports it by name: at the terminal or through the admin API."""
        return self in (Source.PERSON, Source.APP)


@dataclass(frozen=True, slots=True)
class ProviderIds:
    """The provider's ids of a payment. ``None`` means unknown to the source: the stored id is kept."""

    payment_intent: str | None = None
    checkout_session: str | None = None
    charge: str | None = None
    wallet: str | None = None  # how the customer really paid: apple_pay, google_pay, card
    kaspi_payment: str | None = None  # QrPaymentId
    kaspi_operation: str | None = None  # TransactionId, the number on the customer's receipt


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One thing that happened to a payment.

    :param at: time of the event by the clock of its source, with a time zone.
    :param source: who reports it; ``source_id`` is the id of the event or the request there.
    :param actor: name of the operator or the provider, for the audit trail.
    :param money: the amount, if the source reports one.
    :param money_unreadable: the reported amount as text, if it cannot be read as one; for manual review.
    :param currency_unknown: it cannot be read because its currency is none of ours.
    :param amount_accepted: an operator accepted a different amount as settling the fee; the received amount
        becomes the charged amount.
    :param final_at_provider: the provider's object is closed; no money can be paid through it any more.
    :param approved_by: the second operator, who approved it, for the audit trail.
    :param is_guess: matched by amount and time only; later reports on the provider's own object still count.
    """

    payment_id: str
    event_type: EventType
    at: datetime
    source: Source
    actor: str
    source_id: str | None = None
    request_id: str | None = None
    money: Money | None = None
    money_unreadable: str | None = None
    currency_unknown: bool = False
    amount_accepted: bool = False
    ids: ProviderIds = field(default_factory=ProviderIds)
    reason: str | None = None
    final_at_provider: bool = False
    is_guess: bool = False
    refund: RefundEvent | None = None
    dispute: DisputeEvent | None = None
    approved_by: str | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("the time of an event needs a time zone")
        object.__setattr__(self, "reason", storable(self.reason))
