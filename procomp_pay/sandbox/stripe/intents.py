"""Payment intents: create, confirm, cancel.

Source: https://docs.stripe.com/api/payment_intents and https://docs.stripe.com/payments/paymentintents/lifecycle.
"""

from __future__ import annotations

from procomp_pay.sandbox.stripe import methods, objects, paying
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.currencies import MAX_AMOUNT, display, minimum_amount
from procomp_pay.sandbox.stripe.errors import Json, StripeError, invalid_param, unexpected_state
from procomp_pay.sandbox.stripe.schema import (
    Reader,
    array,
    boolean,
    currency,
    email,
    integer,
    metadata,
    one_of,
    table,
    text,
    url,
)

#: The statuses that no money has reached: they can be confirmed or canceled.
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CREATE: dict[str, Reader] = {
    "description": text(1000),
    "metadata": metadata,
    "payment_method": text(255),
    "payment_method_data": methods.card_data,
    "receipt_email": email,
    "payment_method_types": array(one_of("card")),
    "amount": integer,
    "currency": currency,
    "automatic_payment_methods": table(
        {"enabled": boolean, "allow_redirects": one_of("always", "never")}, ("enabled",)
    ),
    "confirm": boolean,
    "return_url": url,
}
CONFIRM: dict[str, Reader] = {
    "payment_method": text(255),
    "payment_method_data": methods.card_data,
    "receipt_email": email,
    "return_url": url,
}
CANCEL: dict[str, Reader] = {
    "cancellation_reason": one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned")
}


def create(core: Core, call: Call) -> Json:
    """POST /v1/payment_intents. Raises StripeError for bounds and declines."""
    params = call.params
    check_amount(params["amount"], params["currency"], "amount")
    if params.get("automatic_payment_methods", {}).get("enabled") and params.get("payment_method_types"):
        message = (
            "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
        )
        raise invalid_param(message, "automatic_payment_methods")
    method_id = methods.attach(core, params)
    if params.get("confirm") and method_id is None:
        raise _needs_method()
    intent = objects.payment_intent(core, params)
    if params.get("confirm"):
        _check_return_url(intent, params)
    start(core, intent)
    if method_id is not None:
        intent.update(payment_method=method_id, status="requires_confirmation")
    if params.get("confirm") and method_id is not None:
        paying.attempt(core, intent, method_id, params.get("return_url"))
    return core.view(intent)


def start(core: Core, intent: Json) -> None:
    """Store a new intent and emit its event."""
    core.put("payment_intents", intent)
    core.emit("payment_intent.created", intent)


def confirm(core: Core, call: Call) -> Json:
    """POST /v1/payment_intents/{id}/confirm. Raises StripeError 402 for a decline."""
    intent, params = _find(core, call), call.params
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(core.view(intent), "confirm", CONFIRMABLE)
    _check_return_url(intent, params)
    method_id = methods.attach(core, params) or intent["payment_method"]
    if method_id is None:
        raise _needs_method(core.view(intent))
    if "receipt_email" in params:
        intent["receipt_email"] = params["receipt_email"]
    paying.attempt(core, intent, method_id, params.get("return_url"))
    return core.view(intent)


def cancel(core: Core, call: Call) -> Json:
    """POST /v1/payment_intents/{id}/cancel."""
    intent = _find(core, call)
    session_id = core.tables["private"].get(intent["id"], {}).get("session")
    if session_id and core.tables["sessions"][session_id]["status"] == "open":
        message = (
            "You cannot cancel this PaymentIntent because it was created by Checkout. "
            f"Expire the Checkout Session instead: {session_id}."
        )
        raise StripeError(message, code="payment_intent_unexpected_state", payment_intent=core.view(intent))
    close(core, intent, call.params.get("cancellation_reason"))
    return core.view(intent)


def close(core: Core, intent: Json, reason: str | None) -> None:
    """Cancel an intent that no money has reached. Raises StripeError `payment_intent_unexpected_state`."""
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(core.view(intent), "cancel", CONFIRMABLE)
    intent.update(status="canceled", canceled_at=core.now(), cancellation_reason=reason, next_action=None)
    core.emit("payment_intent.canceled", intent)
    core.changed()


def check_amount(amount: int, code: str, param: str) -> None:
    """Refuse what Stripe does not charge: too little, too much. Amounts in minor units of `code`."""
    least = minimum_amount(code)
    if amount < 1:
        raise invalid_param(
            "This value must be greater than or equal to 1.", param, "parameter_invalid_integer"
        )
    if amount < least:
        raise invalid_param(f"Amount must be at least {display(least, code)}", param, "amount_too_small")
    if amount > MAX_AMOUNT:
        raise invalid_param(
            f"Amount must be no more than {display(MAX_AMOUNT, code)}", param, "amount_too_large"
        )


def _find(core: Core, call: Call) -> Json:
    return core.get("payment_intents", call.path["id"], "intent")


def _check_return_url(intent: Json, params: Json) -> None:
    automatic = intent["automatic_payment_methods"]
    if automatic and automatic.get("allow_redirects") != "never" and not params.get("return_url"):
        message = (
            "This PaymentIntent accepts payment methods that may redirect the customer: give a `return_url`, "
            "or create it with automatic_payment_methods[allow_redirects]=never."
        )
        raise invalid_param(message, "return_url")


def _needs_method(intent: Json | None = None) -> StripeError:
    message = "You cannot confirm this PaymentIntent because it's missing a payment method."
    return StripeError(message, code="payment_intent_unexpected_state", payment_intent=intent)
