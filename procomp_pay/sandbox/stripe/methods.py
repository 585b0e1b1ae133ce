"""Stripe's test payment methods, and what each does when it is charged.

Source: https://docs.stripe.com/testing. `pm_apple_pay`, `pm_google_pay` and `pm_sandbox_processing` are ours:
Stripe reaches the wallets through the browser alone, which a desk's tests do not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.sandbox.stripe import objects
from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, invalid_param, missing_object


@dataclass(frozen=True)
class TestMethod:
    """A card and its behaviour. `decline` is (code, decline_code, message)."""

    brand: str = "visa"
    last4: str = "4242"
    wallet: str | None = None
    decline: tuple[str, str | None, str] | None = None
    authenticate: bool = False
    processing: bool = False
    disputed: bool = False
    refund: str = "succeeded"  # or "failed", "pending": how a refund ends


def _declined(last4: str, code: str, decline_code: str | None, message: str) -> TestMethod:
    return TestMethod(last4=last4, decline=(code, decline_code, message))


_GENERIC = _declined("0002", "card_declined", "generic_decline", "Your card was declined.")
_FUNDS = _declined("9995", "card_declined", "insufficient_funds", "Your card has insufficient funds.")
_EXPIRED = _declined("0069", "expired_card", "expired_card", "Your card has expired.")
_CVC = _declined("0127", "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
_PROCESSING_ERROR = _declined(
    "0119", "processing_error", "processing_error", "An error occurred while processing your card."
)

METHODS: dict[str, TestMethod] = {
    "pm_card_visa": TestMethod(),
    "pm_card_mastercard": TestMethod(brand="mastercard", last4="4444"),
    "pm_card_amex": TestMethod(brand="amex", last4="8431"),
    "pm_apple_pay": TestMethod(wallet="apple_pay"),
    "pm_google_pay": TestMethod(brand="mastercard", last4="4444", wallet="google_pay"),
    "pm_card_chargeDeclined": _GENERIC,
    "pm_card_visa_chargeDeclined": _GENERIC,
    "pm_card_chargeDeclinedInsufficientFunds": _FUNDS,
    "pm_card_visa_chargeDeclinedInsufficientFunds": _FUNDS,
    "pm_card_chargeDeclinedExpiredCard": _EXPIRED,
    "pm_card_visa_chargeDeclinedExpiredCard": _EXPIRED,
    "pm_card_chargeDeclinedIncorrectCvc": _CVC,
    "pm_card_visa_chargeDeclinedIncorrectCvc": _CVC,
    "pm_card_chargeDeclinedProcessingError": _PROCESSING_ERROR,
    "pm_card_visa_chargeDeclinedProcessingError": _PROCESSING_ERROR,
    "pm_card_authenticationRequired": TestMethod(last4="3184", authenticate=True),
    "pm_card_threeDSecure2Required": TestMethod(last4="3220", authenticate=True),
    "pm_card_createDispute": TestMethod(last4="0259", disputed=True),
    "pm_card_refundFail": TestMethod(last4="5126", refund="failed"),
    "pm_card_pendingRefund": TestMethod(last4="7726", refund="pending"),
    "pm_sandbox_processing": TestMethod(processing=True),
}
DATA_TYPES = ("card",)


def attach(core: Core, params: Json) -> str | None:
    """Return the id of the payment method that the parameters name or describe; create it if needed.

    Raises StripeError for an unknown id.
    """
    if params.get("payment_method_data") is not None:
        return make(core, "pm_card_visa")
    wanted = params.get("payment_method")
    if wanted is None:
        return None
    if wanted in core.tables["payment_methods"]:
        return str(wanted)
    if wanted not in METHODS:
        raise missing_object("PaymentMethod", wanted, "payment_method", status=400)
    return make(core, wanted)


def make(core: Core, name: str) -> str:
    """Create a payment method that behaves as the test method `name`; return its id."""
    method = METHODS[name]
    row = objects.payment_method(core, brand=method.brand, last4=method.last4, wallet=method.wallet)
    core.put("payment_methods", row)
    core.private(row["id"])["behaviour"] = name
    return str(row["id"])


def behaviour(core: Core, payment_method_id: str) -> TestMethod:
    """Return what the payment method does when it is charged."""
    name = core.private(payment_method_id).get("behaviour", "pm_card_visa")
    return METHODS[name]


def card_data(value: object, name: str) -> Json:
    """Read `payment_method_data`: a bare card; numbers are refused, so that none ever enters."""
    if not isinstance(value, dict) or value.get("type") not in DATA_TYPES:
        raise invalid_param(f"Invalid {name}[type]: the sandbox takes card.", f"{name}[type]")
    if value.get("card"):
        message = "Sending card numbers to the API is unsafe: use a test payment method such as pm_card_visa."
        raise invalid_param(message, f"{name}[card]")
    return {"type": "card"}
