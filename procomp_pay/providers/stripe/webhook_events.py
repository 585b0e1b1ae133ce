"""Parse Stripe's webhook events. STRIPE.md lists the types that matter; the others are stored as ignored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from procomp_pay.config import ProviderMode
from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeEvent, DisputeState, RefundEvent
from procomp_pay.providers.protocol import ProviderStatus
from procomp_pay.providers.stripe.objects import (
    Object,
    event_time,
    parse_dispute,
    parse_intent,
    parse_refund,
    parse_session,
    read_money,
)


@dataclass(frozen=True, slots=True)
class ParsedWebhookEvent:
    """The parsed content of one event.

    :param payment_id: our payment, where the object's metadata names one.
    :param seen: the payment's status; its ids find the payment if the metadata does not.
    :param refunded_total: the total refunded, if the event reports only that: a hint to ask the provider.
    :param unreadable: the text of a refund's or a dispute's amount, if it is not a valid amount.
    """

    payment_id: str | None
    provider_status: ProviderStatus
    at: datetime
    refund: RefundEvent | None = None
    dispute: DisputeEvent | None = None
    refunded_total: Money | None = None
    unreadable: str | None = None


def _failed(intent: Object) -> ProviderStatus:
    # The event is about the failure, even if the same intent has been tried again meanwhile.
    status = parse_intent(intent)
    known = (EventType.FAILED, EventType.SUCCEEDED, EventType.CANCELLED)
    return status if status.event_type in known else ProviderStatus(EventType.FAILED, ids=status.ids)


def _of_intent(thing: Object) -> ProviderStatus:
    """Return an open status for an object that only names its payment's intent."""
    return ProviderStatus(None, ids=ProviderIds(payment_intent=thing.get("payment_intent")))


#: Event types that are understood, with the reader of their object.
READERS: dict[str, Callable[[Object], ProviderStatus]] = {
    "payment_intent.succeeded": parse_intent,
    "payment_intent.payment_failed": _failed,
    "payment_intent.processing": parse_intent,
    "payment_intent.requires_action": parse_intent,
    "payment_intent.canceled": parse_intent,
    "checkout.session.completed": parse_session,
    "checkout.session.expired": parse_session,
    "charge.refunded": _of_intent,
    "refund.created": _of_intent,
    "refund.updated": _of_intent,
    "refund.failed": _of_intent,
    "charge.dispute.created": _of_intent,
    "charge.dispute.updated": _of_intent,
    "charge.dispute.funds_withdrawn": _of_intent,
    "charge.dispute.funds_reinstated": _of_intent,
    "charge.dispute.closed": _of_intent,
}


def is_foreign(event: Object, mode: ProviderMode) -> bool:
    """Return True for an event of another account (Connect) or of the other mode, live or test: a test card
    must not settle a payment. Without a key (mode ``off``) the mode is not known.
    """
    live = None if mode is ProviderMode.OFF else mode is ProviderMode.LIVE
    return event.get("account") is not None or (
        live is not None and event.get("livemode") not in (None, live)
    )


def read_event(event: Object) -> ParsedWebhookEvent | None:
    """Parse a webhook event; ``None`` if its type does not concern payments.

    :raises KeyError, TypeError: the event lacks what its type promises.
    """
    kind = event["type"]
    reader = READERS.get(kind)
    if reader is None:
        return None
    thing = event["data"]["object"]
    payment_id = (thing.get("metadata") or {}).get("payment_id") or thing.get("client_reference_id")
    if not is_identifier(payment_id):
        payment_id = None  # of another shop: no id of ours, and no database could look it up
    parsed = ParsedWebhookEvent(payment_id, reader(thing), event_time(event))
    if reader is _of_intent:
        amount = thing.get("amount_refunded" if kind == "charge.refunded" else "amount")
        money = read_money(amount, thing.get("currency"))
        if "money" not in money:
            # a total alone is a hint; the refund's own event has it too
            unreadable = None if kind == "charge.refunded" else money["money_unreadable"]
            return replace(parsed, unreadable=unreadable)
    if kind.startswith("refund."):
        return replace(parsed, refund=parse_refund(thing))
    if kind == "charge.refunded":
        return replace(
            parsed, refunded_total=Money.from_minor_units(thing["amount_refunded"], thing["currency"])
        )
    if kind.startswith("charge.dispute."):
        dispute = parse_dispute(thing)
        if kind.endswith("funds_withdrawn") and dispute.state is DisputeState.OPEN:
            dispute = replace(dispute, state=DisputeState.WITHDRAWN)
        return replace(parsed, dispute=dispute)
    return parsed
