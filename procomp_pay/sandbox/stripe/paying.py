"""Charge an intent's payment method: success, decline, authentication."""

from __future__ import annotations

from typing import Any

from procomp_pay.sandbox.stripe import disputes, methods, objects, records
from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError

PROCESSING_SECONDS = 2.0


def attempt(core: Core, intent: Json, method_id: str, return_url: str | None = None) -> None:
    """Charge the intent with a payment method. Raises StripeError 402 when the card is declined."""
    behaviour = methods.behaviour(core, method_id)
    intent.update(payment_method=method_id, last_payment_error=None, next_action=None)
    if behaviour.authenticate:
        _require_action(core, intent, return_url)
    elif behaviour.processing:
        intent.update(status="processing")
        core.emit("payment_intent.processing", intent)
        core.schedule(PROCESSING_SECONDS / core.time_scale, "finish_processing", intent["id"])
    else:
        complete(core, intent)
    core.changed()


def complete(core: Core, intent: Json, *, authenticated: bool = False) -> None:
    """Make the charge and decide it. Raises StripeError 402 when the card is declined."""
    method = core.get("payment_methods", intent["payment_method"])
    behaviour = methods.behaviour(core, method["id"])
    charge = core.put("charges", objects.charge(core, intent, method))
    intent.update(latest_charge=charge["id"], next_action=None)
    if authenticated:
        charge["payment_method_details"]["card"]["three_d_secure"] = _authentication()
    if behaviour.decline is not None:
        code, decline_code, message = behaviour.decline
        _fail_charge(core, charge, code, decline_code, message)
        raise _decline(core, intent, code, decline_code, message, charge["id"])
    charge.update(paid=True, status="succeeded", outcome=objects.outcome())
    _book(core, intent, charge, intent["amount"])
    core.emit("charge.succeeded", charge)
    _succeed(core, intent)
    if behaviour.disputed:
        disputes.open_dispute(core, charge, "fraudulent")


def finish_processing(core: Core, intent_id: str) -> None:
    """Complete an intent that was processing, at its deadline."""
    intent = core.tables["payment_intents"][intent_id]
    if intent["status"] == "processing":
        complete(core, intent)


def authenticate(core: Core, intent: Json, *, passed: bool) -> None:
    """Complete the intent after 3-D Secure. Raises StripeError 402 if that failed."""
    if passed:
        complete(core, intent, authenticated=True)
        return
    message = (
        "We are unable to authenticate your payment method. Please choose a different one and try again."
    )
    raise _decline(core, intent, "payment_intent_authentication_failure", None, message, None)


def _book(core: Core, intent: Json, charge: Json, amount: int) -> None:
    fee = records.card_fee(amount)
    entry = records.balance_transaction(core, amount=amount, fee=fee, source=charge, type_="charge")
    charge.update(captured=True, amount_captured=amount, balance_transaction=entry["id"])
    intent["amount_received"] = amount


def _succeed(core: Core, intent: Json) -> None:
    intent["status"] = "succeeded"
    core.emit("payment_intent.succeeded", intent)
    for listener in core.on_paid:
        listener(intent)
    core.changed()


def _require_action(core: Core, intent: Json, return_url: str | None) -> None:
    page = f"{core.base_url}/c/3ds/{intent['id']}"
    action: dict[str, Any] = {
        "redirect_to_url": {"return_url": return_url, "url": page},
        "type": "redirect_to_url",
    }
    intent.update(status="requires_action", next_action=action)
    core.private(intent["id"])["return_url"] = return_url
    core.emit("payment_intent.requires_action", intent)


def _fail_charge(core: Core, charge: Json, code: str, decline_code: str | None, message: str) -> None:
    charge.update(
        failure_code=code,
        failure_message=message,
        outcome=objects.outcome(declined=decline_code or code),
        status="failed",
    )
    core.emit("charge.failed", charge)


def _decline(
    core: Core, intent: Json, code: str, decline_code: str | None, message: str, charge_id: str | None
) -> StripeError:
    """Take the intent back to `requires_payment_method`, so that the customer can try again."""
    error: Json = {
        "code": code,
        "doc_url": f"https://docs.stripe.com/error-codes/{code.replace('_', '-')}",
        "message": message,
        "payment_method": core.view(core.get("payment_methods", intent["payment_method"])),
        "type": "card_error",
    }
    if decline_code is not None:
        error["decline_code"] = decline_code
    if charge_id is not None:
        error["charge"] = charge_id
    intent.update(
        last_payment_error=error, next_action=None, payment_method=None, status="requires_payment_method"
    )
    core.emit("payment_intent.payment_failed", intent)
    core.changed()
    fields = {name: value for name, value in error.items() if name not in ("message", "type")}
    return StripeError(message, status=402, type="card_error", payment_intent=core.view(intent), **fields)


def _authentication() -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": None,
        "version": "2.2.0",
    }
