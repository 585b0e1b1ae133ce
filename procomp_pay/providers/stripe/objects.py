"""Parse Stripe's objects: PaymentIntents, Checkout Sessions, charges, refunds, disputes and events.

They are plain mappings, so that objects from the API and from a webhook's raw body are parsed by the same
code. The SDK is not imported, which keeps the webhook path light.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import DisputeEvent, DisputeState, RefundEvent, RefundState
from procomp_pay.domain.text import N_
from procomp_pay.providers.protocol import ProviderStatus

log = logging.getLogger(__name__)

Object = Mapping[str, Any]

#: Why Stripe itself closes an intent: https://docs.stripe.com/api/payment_intents/object
_BY_TIME = ("automatic", "expired")


def parse_intent(intent: Object) -> ProviderStatus:
    """Parse a PaymentIntent. ``latest_charge`` may be expanded or an id."""
    status = intent["status"]
    ids = intent_ids(intent)
    if status == "succeeded":
        money = read_money(intent.get("amount_received"), intent.get("currency"))
        return ProviderStatus(
            EventType.SUCCEEDED, final=True, ids=ids, raw_status=status, refunded=_refunded(intent), **money
        )
    if status == "canceled":
        # Stripe cancels the intent of an expired session: that is an expiry, not a cancellation.
        event_type = (
            EventType.EXPIRED if intent.get("cancellation_reason") in _BY_TIME else EventType.CANCELLED
        )
        return ProviderStatus(
            event_type, final=True, ids=ids, reason=_cancel_reason(intent), raw_status=status
        )
    if status in ("processing", "requires_capture"):
        return ProviderStatus(EventType.PROCESSING, ids=ids, raw_status=status)
    if intent.get("last_payment_error"):
        return ProviderStatus(EventType.FAILED, ids=ids, reason=failure_reason(intent), raw_status=status)
    return ProviderStatus(
        EventType.RETRIABLE if status == "requires_action" else None, ids=ids, raw_status=status
    )


def read_money(units: object, currency: object) -> dict[str, Any]:
    """Return the fields of a status for an amount in minor units: ``money``, or the text of what is none,
    such as a currency that we do not take.
    """
    known = str(currency).upper() in Currency.__members__
    try:
        if isinstance(units, int) and not isinstance(units, bool):
            return {"money": Money.from_minor_units(units, str(currency))}
    except InvalidAmount:
        pass
    return {"money_unreadable": f"{units!r} in {currency!r}"[:60], "currency_unknown": not known}


def parse_session(session: Object) -> ProviderStatus:
    """Parse a Checkout Session; ``payment_intent`` may be expanded, an id, or absent."""
    intent = session.get("payment_intent")
    ids = session_ids(session)
    if session["status"] == "complete" and session["payment_status"] == "paid":
        money = read_money(session.get("amount_total"), session.get("currency"))
        refunded = _refunded(intent) if isinstance(intent, Mapping) else None
        return ProviderStatus(
            EventType.SUCCEEDED, final=True, ids=ids, raw_status="complete", refunded=refunded, **money
        )
    if isinstance(intent, Mapping):
        status = parse_intent(intent)
        if status.event_type is not None and session["status"] != "expired":
            return replace(status, ids=ids)
    if session["status"] == "expired":
        return ProviderStatus(
            EventType.EXPIRED,
            final=True,
            ids=ids,
            reason=N_("The payment page expired"),
            raw_status="expired",
        )
    if session["status"] == "complete":
        return ProviderStatus(EventType.PROCESSING, ids=ids, raw_status="complete, unpaid")
    return ProviderStatus(None, ids=ids, raw_status="open")


def intent_ids(intent: Object) -> ProviderIds:
    """Return the ids of a PaymentIntent, with the wallet if its charge is expanded."""
    charge = intent.get("latest_charge")
    if isinstance(charge, Mapping):
        return ProviderIds(payment_intent=intent["id"], charge=charge["id"], wallet=wallet_of(charge))
    return ProviderIds(payment_intent=intent["id"], charge=charge)


def _refunded(intent: Object) -> bool | None:
    """Return whether some of the charge was refunded; ``None`` where the charge is not expanded."""
    charge = intent.get("latest_charge")
    return bool(charge.get("amount_refunded")) if isinstance(charge, Mapping) else None


def session_ids(session: Object) -> ProviderIds:
    """Return the ids of a Checkout Session."""
    intent = session.get("payment_intent")
    if not isinstance(intent, Mapping):
        return ProviderIds(checkout_session=session["id"], payment_intent=intent)
    ids = intent_ids(intent)
    return replace(ids, checkout_session=session["id"])


_REFUND_STATES = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.CANCELLED,
}


def parse_refund(refund: Object) -> RefundEvent:
    """Parse a Refund; its metadata names our refund if it was requested here.

    ``status`` may be null (https://docs.stripe.com/api/refunds/object) or a word that is not known: then the
    refund is not over yet.
    """
    status = str(refund.get("status"))
    if status not in _REFUND_STATES:
        log.warning(
            "refund %s has the status %r, which is not known: taken for pending", refund["id"], status
        )
    return RefundEvent(
        state=_REFUND_STATES.get(status, RefundState.PENDING),
        money=Money.from_minor_units(refund["amount"], refund["currency"]),
        refund_id=(refund.get("metadata") or {}).get("refund_id"),
        provider_refund_id=refund["id"],
        reason=refund.get("reason"),
        failure_reason=refund.get("failure_reason"),
    )


def parse_dispute(dispute: Object) -> DisputeEvent:
    """Parse a Dispute. A closed inquiry and a prevented dispute took no money and count as won."""
    state = {
        "won": DisputeState.WON,
        "warning_closed": DisputeState.WON,
        "prevented": DisputeState.WON,
        "lost": DisputeState.LOST,
    }
    return DisputeEvent(
        dispute_id=dispute["id"],
        state=state.get(dispute["status"], DisputeState.OPEN),
        money=Money.from_minor_units(dispute["amount"], dispute["currency"]),
        reason=dispute.get("reason"),
        due_at=(dispute.get("evidence_details") or {}).get("due_by"),
    )


def wallet_of(charge: Object) -> str | None:
    """Return the wallet of a charge: ``apple_pay``, ``google_pay``, or ``card`` if none was used.

    For what is no card, the name of the payment method, such as ``link``; ``None`` if the charge has none.
    """
    details = charge.get("payment_method_details") or {}
    card = details.get("card")
    if card is None:
        return details.get("type")
    return str((card.get("wallet") or {}).get("type") or "card")


def failure_reason(intent: Object) -> str:
    """Return Stripe's message for the customer with its code: ``Your card was declined. (card_declined)``."""
    error = intent.get("last_payment_error") or {}
    code = error.get("decline_code") or error.get("code")
    message = error.get("message") or N_("The payment failed")
    return f"{message} ({code})" if code else str(message)


def event_time(event: Object) -> datetime:
    """Return when Stripe made the event, in whole seconds."""
    return datetime.fromtimestamp(event["created"], UTC)


def _cancel_reason(intent: Object) -> str | None:
    reason = intent.get("cancellation_reason")
    return N_("Cancelled at Stripe: %(reason)s", reason=reason) if reason else None
