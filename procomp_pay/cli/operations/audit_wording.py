"""The audit trail in words. Pure, as :mod:`words`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procomp_pay.cli.payments import wording

if TYPE_CHECKING:
    from procomp_pay.services.audit.trail import Change, Step
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.models.payments import AuditEntry

_WHERE = {
    "person": "{actor}, at the terminal",
    "app": "user {actor}, in the app",
    "stripe_webhook": "Stripe, by webhook",
    "stripe_api": "Stripe, when we asked",
    "kaspi_status": "Kaspi, when we asked",
    "kaspi_api": "Kaspi, when we asked",
    "kaspi_callback": "the gateway, by callback",
    "kaspi_bill": "Kaspi, by bill",
    "reconcile": "procomp-pay, reconciling",
    "clock": "procomp-pay, by the clock",
}
_NAMES = {
    "status": "status",
    "failure_reason": "why it failed",
    "provider_open": "can still be paid",
    "create_state": "at the provider",
    "payment_intent": "Stripe PaymentIntent",
    "checkout_session": "Stripe Checkout Session",
    "kaspi_payment": "Kaspi payment",
    "kaspi_operation": "Kaspi operation number",
    "charge": "Stripe charge",
    "charged": "amount",
    "refunded": "paid back",
    "dispute": "dispute",
    "late": "came late",
    "duplicate": "paid twice",
    "participant_status": "participant",
    "participant_payment": "place taken by payment",
    "participant_id": "participant",
    "provider_ref": "at the provider",
    "refund_id": "refund",
    "force": "against the warnings",
}
_DEEDS = {
    "started": "started this payment",
    "adopted": "took this payment of the platform over",
    "cancel_requested": "asked to cancel it",
}
_STATES = {
    "planned": "not sent yet",
    "sent": "sent, no answer seen",
    "open": "made",
    "never": "never made",
}


def who(entry: AuditEntry) -> str:
    """Who did it, and on whose word."""
    return _WHERE.get(entry.source, "{actor} ({source})").format(actor=entry.actor, source=entry.source)


def what(step: Step, view: PaymentView | None) -> str:
    """What happened, without who."""
    if step.entry is None:
        return "this entry cannot be read"
    if view is None or step.move is None:
        return step.entry.action.replace("_", " ").replace(":", ", ")
    return _DEEDS.get(step.entry.action) or wording.deed(step.move, view)


def change(each: Change) -> str:
    """``paid back: 0.00 → 20.00``; what is new has no arrow."""
    name = _NAMES.get(each.name, each.name.replace("_", " "))
    after = _value(each.name, each.after)
    if each.before is None:
        return f"{name}: {after}"
    return f"{name}: {_value(each.name, each.before)} → {after}"


def counted(number: int, name: str) -> str:
    """``1 chain``, ``2 chains``."""
    return f"{number} {name}" if number == 1 else f"{number} {name.removesuffix('y')}{_plural(name)}"


def _plural(name: str) -> str:
    return "ies" if name.endswith("y") else "s"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "create_state":
        return _STATES.get(str(value), str(value))
    return str(value)
