"""Payouts to the bank: of all that is on the balance in a currency, when the control route asks for one.

Source: https://docs.stripe.com/api/payouts.
"""

from __future__ import annotations

from procomp_pay.sandbox.stripe import records
from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, invalid_param
from procomp_pay.sandbox.stripe.schema import Reader, text

FILTERS: dict[str, Reader] = {"status": text(20)}
ARRIVES_AFTER_DAYS = 2


def parts(core: Core, payout: str) -> set[str]:
    """Return the ids of the balance transactions of a payout."""
    return set(core.private(payout).get("entries", ()))


def make(core: Core, currency: str, status: str = "paid", days: int = ARRIVES_AFTER_DAYS) -> Json:
    """Pay out all that no payout has yet, to arrive in some days. Raises StripeError for an empty balance."""
    taken = {entry for payout in core.tables["payouts"] for entry in parts(core, payout)}
    mine = [
        row
        for row in core.tables["balance_transactions"].values()
        if row["currency"] == currency and row["id"] not in taken
    ]
    amount = sum(row["net"] for row in mine)
    if not mine:
        raise invalid_param(f"There is nothing to pay out in {currency}.", "currency")
    payout = core.put("payouts", _object(core, currency, amount, status, days))
    entry = records.balance_transaction(core, amount=-amount, fee=0, source=payout, type_="payout")
    payout["balance_transaction"] = entry["id"]
    core.private(payout["id"])["entries"] = [*(row["id"] for row in mine), entry["id"]]
    core.emit("payout.created", payout)
    return core.view(payout)


def fail(core: Core, payout_id: str) -> Json:
    """Fail a payout: the bank sent it back, and the money is on the balance again."""
    payout = core.get("payouts", payout_id)
    entry = records.balance_transaction(
        core,
        amount=payout["amount"],
        fee=0,
        source=payout,
        type_="payout_failure",
        category="payout_reversal",
    )
    payout |= {
        "status": "failed",
        "failure_code": "account_closed",
        "failure_message": "The bank account has been closed",
        "failure_balance_transaction": entry["id"],
    }
    core.changed()
    core.emit("payout.failed", payout)
    return core.view(payout)


def charge_account(core: Core, amount: int, currency: str, description: str) -> Json:
    """Charge the account a fee of its own, such as Radar's, which has no source."""
    source: Json = {"id": None, "currency": currency, "description": description}
    return core.view(
        records.balance_transaction(
            core, amount=-amount, fee=0, source=source, type_="stripe_fee", category="fee"
        )
    )


def _object(core: Core, currency: str, amount: int, status: str, days: int) -> Json:
    return {
        "id": core.new_id("po"),
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": (core.now() // 86400 + days) * 86400,
        "automatic": True,
        "balance_transaction": None,
        "created": core.now(),
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": "ba_sandbox",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": status,
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
