"""Refunds, balance transactions, disputes, endpoints and the account, with every field that Stripe sends."""

from __future__ import annotations

from procomp_pay.sandbox.stripe.core import API_VERSION, Core
from procomp_pay.sandbox.stripe.errors import Json

SETTLES_AFTER = 2 * 86400
DISPUTE_FEE = 1500
_EVIDENCE_TEXT = """
access_activity_log billing_address cancellation_policy cancellation_policy_disclosure
cancellation_rebuttal customer_communication customer_email_address customer_name
customer_purchase_ip customer_signature duplicate_charge_documentation duplicate_charge_explanation
duplicate_charge_id product_description receipt refund_policy refund_policy_disclosure
refund_refusal_explanation service_date service_documentation shipping_address shipping_carrier
shipping_date shipping_documentation shipping_tracking_number uncategorized_file uncategorized_text
"""
_EVIDENCE = tuple(_EVIDENCE_TEXT.split())


def card_fee(amount: int) -> int:
    """Return Stripe's US card price in minor units: 2.9 %, rounded half up, plus 30."""
    return (amount * 29 + 500) // 1000 + 30


def balance_transaction(
    core: Core, *, amount: int, fee: int, source: Json, type_: str, category: str | None = None
) -> Json:
    """Return a movement of `amount` minor units (negative: out), less `fee`, in its source's currency."""
    details = [
        {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    row = {
        "id": core.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": core.now() + SETTLES_AFTER,
        "balance_type": "payments",
        "created": core.now(),
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": fee,
        "fee_details": details if fee else [],
        "net": amount - fee,
        "reporting_category": category or type_,
        "source": source["id"],
        "status": "pending",
        "type": type_,
    }
    return core.put("balance_transactions", row)


def refund(core: Core, charge: Json, amount: int, params: Json) -> Json:
    """Return a refund of `amount` minor units of the charge; status `pending` until it is decided."""
    return {
        "id": core.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": core.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": {key: value for key, value in params.get("metadata", {}).items() if value != ""},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending",
        "transfer_reversal": None,
    }


def dispute(core: Core, charge: Json, reason: str) -> Json:
    """Return a dispute of the whole charge that waits for an answer."""
    card = charge["payment_method_details"]["card"]
    return {
        "id": core.new_id("du"),
        "object": "dispute",
        "amount": charge["amount"] - charge["amount_refunded"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": core.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": core.now() + 9 * 86400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card["brand"],
                "case_type": "chargeback",
                "network": card["brand"],
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


def webhook_endpoint(core: Core, params: Json) -> Json:
    """Return an enabled endpoint; its secret is stored elsewhere and shown once."""
    return {
        "id": core.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version") or API_VERSION,
        "application": None,
        "created": core.now(),
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "livemode": False,
        "metadata": {key: value for key, value in params.get("metadata", {}).items() if value != ""},
        "status": "enabled",
        "url": params["url"],
    }


def balance(core: Core) -> Json:
    """Return the sums of all balance transactions by currency: settled (`available`) and pending."""
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for row in core.tables["balance_transactions"].values():
        part = sums[core.view(row)["status"]]
        part[row["currency"]] = part.get(row["currency"], 0) + row["net"]
    currencies = sorted({"usd", *sums["available"], *sums["pending"]})
    shown = {
        name: [
            {"amount": part.get(code, 0), "currency": code, "source_types": {"card": part.get(code, 0)}}
            for code in currencies
        ]
        for name, part in sums.items()
    }
    return {"object": "balance", "connect_reserved": [], "livemode": False, **shown}
