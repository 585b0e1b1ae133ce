"""List a window of Stripe's records page by page: payments, refunds, disputes and fees.

Sources: https://docs.stripe.com/api/pagination, https://docs.stripe.com/api/balance_transactions and
https://docs.stripe.com/reports/reporting-categories.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import ProviderRecord, ProviderState
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeEvent
from procomp_pay.providers.stripe.objects import Object, parse_dispute, wallet_of

#: The kinds of records, in the order in which they are read.
PARTS = {"payment_intents": "payment intents", "refunds": "refunds", "disputes": "disputes"}
_REFUND_STANDS = {
    "succeeded": ProviderState.PAID,
    "failed": ProviderState.ENDED,
    "canceled": ProviderState.ENDED,
}


class StripeBooks(Protocol):
    """The listing calls of :class:`procomp_pay.providers.stripe.service.StripePaymentService`."""

    def pages(self, kind: str, params: dict[str, Any]) -> AsyncGenerator[list[Object], None]: ...

    async def dispute(self, dispute_id: str) -> DisputeEvent: ...

    async def origin(self, payment_intent: str) -> Origin | None: ...

    async def open_pages_since(self, since: datetime) -> list[Origin]: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """The payment of ours for which Stripe's object was created, from the object's metadata.

    :param checkout_session, payment_intent: Stripe's objects; a page that nobody has paid has no intent yet.
    :param wallet: ``apple_pay``, ``google_pay`` or ``card``; ``None`` before it is paid.
    """

    payment_id: str
    participant_id: str
    money: Money
    created_at: datetime
    payment_intent: str | None = None
    checkout_session: str | None = None
    expires_at: datetime | None = None
    wallet: str | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """A balance transaction. Amounts are in the balance's currency; positive ones increase the balance."""

    txn: str
    kind: LineKind
    ref: str
    payment_ref: str | None
    amount: Decimal
    fee: Decimal
    net: Decimal
    currency: str
    at: datetime


def origin_of(intent: Object | None, session: Object | None = None) -> Origin | None:
    """Return the payment of ours that these objects belong to; ``None`` if their metadata names none.

    :param intent: with its charge expanded, if there is one; ``None`` for a page that was not paid.
    """
    thing = intent or session or {}
    metadata = thing.get("metadata") or {}
    payment_id, participant_id = metadata.get("payment_id"), metadata.get("participant_id")
    if not payment_id or not participant_id:
        return None
    charge = (intent or {}).get("latest_charge")
    expires_at = (session or {}).get("expires_at")
    return Origin(
        payment_id=payment_id,
        participant_id=participant_id,
        money=Money.from_minor_units(thing["amount"] if intent else thing["amount_total"], thing["currency"]),
        created_at=_created_at(thing),
        payment_intent=intent["id"] if intent else thing.get("payment_intent"),
        checkout_session=session["id"] if session else None,
        expires_at=datetime.fromtimestamp(expires_at, UTC) if expires_at else None,
        wallet=wallet_of(charge) if isinstance(charge, Mapping) else None,
    )


def window(since: datetime, until: datetime) -> dict[str, Any]:
    """Return Stripe's filter for objects created from ``since`` until before ``until``."""
    return {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}}


async def read(
    books: StripeBooks, part: str, since: datetime, until: datetime
) -> AsyncIterator[list[ProviderRecord]]:
    """Yield one of :data:`PARTS`, a page at a time.

    The key of a record is its PaymentIntent; its hint is the id of our payment or refund, from the metadata.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    reader = {"payment_intents": _intent, "refunds": _refund, "disputes": _dispute}[part]
    async for page in books.pages(part, window(since, until)):
        yield [reader(item) for item in page]


def balance(books: StripeBooks, since: datetime, until: datetime) -> AsyncGenerator[list[Object], None]:
    """Yield the balance transactions of a window with their sources, a page at a time.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    params = {**window(since, until), "expand": ["data.source"]}
    return books.pages("balance_transactions", params)


def movements(page: list[Object]) -> list[Movement]:
    """Return the balance transactions of payments, refunds and disputes."""
    return [_movement(entry) for entry in page if entry.get("source")]


def _units(amount: int) -> Decimal:
    # the currencies that we accept have two decimals; any other currency is reported as a difference anyway
    return Decimal(amount).scaleb(-2)


def _created_at(thing: Object) -> datetime:
    return datetime.fromtimestamp(thing["created"], UTC)


def _intent(intent: Object) -> ProviderRecord:
    metadata = intent.get("metadata") or {}
    paid = intent["status"] == "succeeded"
    over = intent["status"] == "canceled"
    return ProviderRecord(
        key=intent["id"],
        ref=intent["id"],
        kind=LineKind.PAYMENT,
        stand=ProviderState.PAID if paid else ProviderState.ENDED if over else ProviderState.OPEN,
        at=_created_at(intent),
        amount=_units(intent["amount_received"] if paid else intent["amount"]),
        currency=str(intent["currency"]).upper(),
        hint=metadata.get("payment_id"),
        participant_id=metadata.get("participant_id"),
    )


def _refund(refund: Object) -> ProviderRecord:
    return ProviderRecord(
        key=refund.get("payment_intent") or refund.get("charge") or refund["id"],
        ref=refund["id"],
        kind=LineKind.REFUND,
        stand=_REFUND_STANDS.get(refund["status"], ProviderState.OPEN),
        at=_created_at(refund),
        amount=_units(refund["amount"]),
        currency=str(refund["currency"]).upper(),
        hint=(refund.get("metadata") or {}).get("refund_id"),
    )


def _dispute(dispute: Object) -> ProviderRecord:
    return ProviderRecord(
        key=dispute.get("payment_intent") or dispute["charge"],
        ref=dispute["id"],
        kind=LineKind.DISPUTE,
        stand=ProviderState.PAID,
        at=_created_at(dispute),
        amount=_units(dispute["amount"]),
        currency=str(dispute["currency"]).upper(),
        dispute=parse_dispute(dispute).state,
    )


#: The kind of each reporting category that is about a payment.
KINDS = {
    "charge": LineKind.PAYMENT,
    "refund": LineKind.REFUND,
    "refund_failure": LineKind.REFUND_FAILED,
    "partial_capture_reversal": LineKind.REFUND,
    "dispute": LineKind.DISPUTE,
    "dispute_reversal": LineKind.DISPUTE_REVERSED,
}


def _movement(entry: Object) -> Movement:
    expanded = entry["source"]
    source = expanded if not isinstance(expanded, str) else {"id": expanded}
    return Movement(
        txn=entry["id"],
        kind=KINDS.get(entry["reporting_category"], LineKind.OTHER),
        ref=source["id"],
        payment_ref=source.get("payment_intent"),
        amount=_units(entry["amount"]),
        fee=_units(entry["fee"]),
        net=_units(entry["net"]),
        currency=str(entry["currency"]).upper(),
        at=_created_at(entry),
    )
