"""Refunds: create, and what the bank later says.

Source: https://docs.stripe.com/api/refunds and https://docs.stripe.com/refunds#failed-refunds.
"""

from __future__ import annotations

from procomp_pay.sandbox.stripe import methods, records
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.currencies import display
from procomp_pay.sandbox.stripe.errors import Json, StripeError, invalid_param
from procomp_pay.sandbox.stripe.schema import Reader, integer, metadata, one_of, text

OUTCOME_SECONDS = 2.0
CREATE: dict[str, Reader] = {
    "payment_intent": text(255),
    "charge": text(255),
    "amount": integer,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": metadata,
}
FILTERS: dict[str, Reader] = {"charge": text(255), "payment_intent": text(255)}


def create(core: Core, call: Call) -> Json:
    """POST /v1/refunds. Raises StripeError when there is nothing, or not enough, to pay back."""
    charge = _charge(core, call.params)
    amount = _amount(charge, call.params.get("amount"))
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    row = core.put("refunds", records.refund(core, charge, amount, call.params))
    entry = records.balance_transaction(core, amount=-amount, fee=0, source=row, type_="refund")
    ending = methods.behaviour(core, charge["payment_method"]).refund
    row.update(balance_transaction=entry["id"], status="pending" if ending == "pending" else "succeeded")
    _count(charge, amount)
    core.emit("refund.created", row)
    core.emit("charge.refunded", charge, before)
    if ending != "succeeded":
        core.schedule(OUTCOME_SECONDS / core.time_scale, f"refund_{ending}", row["id"])
    return core.view(row)


def succeed(core: Core, refund_id: str) -> None:
    """Complete a pending refund at its deadline."""
    row = core.tables["refunds"][refund_id]
    if row["status"] == "pending":
        row["status"] = "succeeded"
        _say_updated(core, row)


def fail_by_timer(core: Core, refund_id: str) -> None:
    """Fail a refund, at its deadline, that had seemed to succeed."""
    if core.tables["refunds"][refund_id]["status"] in ("pending", "succeeded"):
        fail(core, refund_id)


def fail(core: Core, refund_id: str) -> Json:
    """Fail a refund as the bank: the charge counts as paid again. Raises StripeError if it cannot."""
    row = core.get("refunds", refund_id)
    if row["status"] not in ("pending", "succeeded"):
        raise StripeError(f"This refund has already ended: {row['status']}.")
    charge = core.tables["charges"][row["charge"]]
    entry = records.balance_transaction(core, amount=row["amount"], fee=0, source=row, type_="refund_failure")
    row.update(
        status="failed",
        failure_balance_transaction=entry["id"],
        failure_reason="expired_or_canceled_card",
    )
    _count(charge, -row["amount"])
    _say_updated(core, row)
    core.emit("charge.updated", charge)
    core.emit("refund.failed", row)
    return core.view(row)


def _say_updated(core: Core, row: Json) -> None:
    core.changed()
    core.emit("refund.updated", row)
    core.emit("charge.refund.updated", row)


def _count(charge: Json, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]


def _charge(core: Core, params: Json) -> Json:
    wanted, intent_id = params.get("charge"), params.get("payment_intent")
    if not wanted and not intent_id:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid_param(message, "payment_intent", "parameter_missing")
    if intent_id:
        intent = core.get("payment_intents", intent_id, "payment_intent", status=400)
        if wanted and wanted != intent["latest_charge"]:
            raise invalid_param("The charge does not belong to this PaymentIntent.", "charge")
        wanted = intent["latest_charge"]
        if wanted is None or intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
            raise StripeError(
                message, code="payment_intent_unexpected_state", payment_intent=core.view(intent)
            )
    charge = core.get("charges", str(wanted), "charge", status=400)
    if not charge["captured"]:
        raise StripeError(f"Charge {charge['id']} was not paid: there is nothing to refund.")
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise StripeError(message, code="charge_disputed")
    return charge


def _amount(charge: Json, asked: int | None) -> int:
    """Return the minor units to refund; everything that is left if no amount was given."""
    left: int = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise StripeError(message, code="charge_already_refunded")
    if asked is None:
        return left
    if asked < 1:
        raise invalid_param("Invalid positive integer", "amount", "parameter_invalid_integer")
    if asked > left:
        code = charge["currency"]
        message = (
            f"Refund amount ({display(asked, code)}) is greater than unrefunded amount on charge "
            f"({display(left, code)})"
        )
        raise StripeError(message, code="amount_too_large", param="amount")
    return asked
