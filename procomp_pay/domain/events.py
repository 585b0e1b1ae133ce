"""Facts: one piece of news about one payment, from whatever source.

Webhooks, polling, callbacks, a person at the desk and the clock all become a :class:`PaymentEvent`; the door
(:mod:`procomp_pay.services.settlement.apply`) is the one place that acts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeEvent, RefundEvent

#: Gives the time now, with a zone. Comes in as a parameter, so that a test or a replay is exact.
Clock = Callable[[], datetime]
#: Makes a new id (25 characters of a-z and 0-9, as Prisma's ``cuid()``).
IdMaker = Callable[[], str]


class EventType(StrEnum):
    """What happened to the payment."""

    OPENED = "opened"  # the provider's object exists; its ids are known
    RETRIABLE = "retriable"  # after a failure the customer may try the same object again
    PROCESSING = "processing"  # scanned, or with the bank
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUND = "refund"  # what a refund became; ``PaymentEvent.refund`` says which
    DISPUTE = "dispute"  # what a dispute became; ``PaymentEvent.dispute`` says which
    UNPLACED = "unplaced"  # the payment is settled, and its participant does not show it


class Source(StrEnum):
    """Who says so."""

    STRIPE_WEBHOOK = "stripe_webhook"
    STRIPE_API = "stripe_api"
    KASPI_API = "kaspi_api"
    KASPI_STATUS = "kaspi_status"
    KASPI_CALLBACK = "kaspi_callback"  # a gateway's signed callback
    KASPI_BILL = "kaspi_bill"  # Kaspi's own call, by the bill protocol
    CLOCK = "clock"
    PERSON = "person"
    APP = "app"
    RECONCILE = "reconcile"

    @property
    def is_person(self) -> bool:
        """Somebody vouches for it, by name, at the desk or through the admin's API."""
        return self in (Source.PERSON, Source.APP)


@dataclass(frozen=True, slots=True)
class ProviderIds:
    """The provider's ids for a payment, as far as a source knows them; ``None`` leaves what we have."""

    payment_intent: str | None = None
    checkout_session: str | None = None
    charge: str | None = None
    wallet: str | None = None  # what the customer really paid with: apple_pay, google_pay, card
    kaspi_payment: str | None = None  # QrPaymentId
    kaspi_operation: str | None = None  # TransactionId, the number on the customer's receipt


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One piece of news.

    :param payment_id: our payment.
    :param news: what happened.
    :param at: when, by the source's own clock, with a zone.
    :param source: who says so; ``source_id`` is the event's or request's id there.
    :param actor: the person's or provider's name for the audit.
    :param money: how much, where the source says it.
    :param money_unreadable: what the source said of the amount, where it is no amount: for a person.
    :param amount_accepted: a person decided that the money settles the fee although it is another amount: the
        books then have what came.
    :param final_at_provider: the provider's object is closed: no money can come through it any more.
    :param is_guess: the money fits by amount and time alone: what the provider says of its own object still
        counts.
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
    amount_accepted: bool = False
    ids: ProviderIds = field(default_factory=ProviderIds)
    reason: str | None = None
    final_at_provider: bool = False
    is_guess: bool = False
    refund: RefundEvent | None = None
    dispute: DisputeEvent | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a fact's time needs a zone")
