"""Disputes: opened by a test card or by hand, closed by the bank.

Source: https://docs.stripe.com/api/disputes and https://docs.stripe.com/testing#disputes.
"""

from __future__ import annotations

from procomp_pay.sandbox.stripe import records
from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError
from procomp_pay.sandbox.stripe.schema import Reader, text

FILTERS: dict[str, Reader] = {"charge": text(255), "payment_intent": text(255)}


def open_dispute(core: Core, charge: Json, reason: str) -> Json:
    """Open a dispute as the cardholder: the money leaves the balance at once, with a fee."""
    if charge["disputed"] or not charge["captured"]:
        raise StripeError(f"Charge {charge['id']} cannot be disputed (again).")
    row = records.dispute(core, charge, reason)
    if row["amount"] < 1:
        raise StripeError(f"Charge {charge['id']} is refunded in full: nothing is left to dispute.")
    charge["disputed"] = True
    core.put("disputes", row)
    core.emit("charge.dispute.created", row)
    _move(core, row, -row["amount"], records.DISPUTE_FEE, "dispute")
    core.emit("charge.dispute.funds_withdrawn", row)
    return core.view(row)


def close_dispute(core: Core, dispute_id: str, *, won: bool) -> Json:
    """Decide a dispute; a won one brings the money back. Raises StripeError if it is decided already."""
    row = core.get("disputes", dispute_id)
    if row["status"] != "needs_response":
        raise StripeError(f"This dispute is already closed: {row['status']}.")
    row["status"] = "won" if won else "lost"
    if won:
        _move(core, row, row["amount"], -records.DISPUTE_FEE, "dispute_reversal")
        core.emit("charge.dispute.funds_reinstated", row)
    core.changed()
    core.emit("charge.dispute.closed", row)
    return core.view(row)


def _move(core: Core, row: Json, amount: int, fee: int, category: str) -> None:
    entry = records.balance_transaction(
        core, amount=amount, fee=fee, source=row, type_="adjustment", category=category
    )
    row["balance_transactions"].append(core.view(entry))
