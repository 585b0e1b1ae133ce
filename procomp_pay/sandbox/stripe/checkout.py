"""Checkout Sessions: create, expire, and paying through the hosted page.

Source: https://docs.stripe.com/api/checkout/sessions.
The sandbox has mode `payment` with a hosted page.
"""

from __future__ import annotations

from procomp_pay.sandbox.stripe import intents, methods, objects, paying
from procomp_pay.sandbox.stripe.checkout_objects import line_item, session
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError, invalid_param
from procomp_pay.sandbox.stripe.schema import (
    Reader,
    array,
    currency,
    email,
    integer,
    metadata,
    one_of,
    table,
    text,
    url,
)

SHORTEST = 30 * 60
LONGEST = 24 * 3600
BUSY_SECONDS = 5.0
_PRODUCT = table(
    {"name": text(250), "description": text(5000), "metadata": metadata, "images": array(url, 8)}, ("name",)
)
_PRICE = table(
    {"currency": currency, "unit_amount": integer, "product_data": _PRODUCT},
    ("currency", "unit_amount", "product_data"),
)
_INTENT_DATA: dict[str, Reader] = {
    name: intents.CREATE[name] for name in ("description", "metadata", "receipt_email")
}
CREATE: dict[str, Reader] = {
    "mode": one_of("payment"),
    "line_items": array(table({"price_data": _PRICE, "quantity": integer}, ("price_data", "quantity"))),
    "success_url": url,
    "cancel_url": url,
    "expires_at": integer,
    "client_reference_id": text(200),
    "customer_email": email,
    "currency": currency,
    "locale": text(10),
    "metadata": metadata,
    "payment_intent_data": table(_INTENT_DATA),
    "payment_method_types": array(one_of("card")),
    "submit_type": one_of("auto", "book", "donate", "pay"),
    "ui_mode": one_of("hosted_page"),
}
FILTERS: dict[str, Reader] = {
    "payment_intent": text(255),
    "status": one_of("open", "complete", "expired"),
}


def create(core: Core, call: Call) -> Json:
    """POST /v1/checkout/sessions."""
    params = call.params
    items = [line_item(core, item) for item in params["line_items"]]
    if not items:
        raise invalid_param("Missing required param: line_items.", "line_items", "parameter_missing")
    total, code = _total(items)
    intents.check_amount(total, code, "line_items")
    expires_at = params.get("expires_at", core.now() + LONGEST)
    if not SHORTEST <= expires_at - core.now() + 1 <= LONGEST + 1:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Session creation."
        raise invalid_param(message, "expires_at")
    row = core.put("sessions", session(core, params, total=total, code=code, expires_at=expires_at))
    known = {"line_items": items, "payment_intent_data": params.get("payment_intent_data", {})}
    core.private(row["id"]).update(known)
    core.schedule(expires_at - core.clock(), "expire_session", row["id"])
    return core.view(row)


def expire(core: Core, call: Call) -> Json:
    """POST /v1/checkout/sessions/{id}/expire. Raises StripeError unless the session is open."""
    row = find(core, call.path["id"])
    if row["status"] != "open" or busy(core, row):
        message = (
            f'Only Checkout Sessions with a status in ["open"] can be expired. This one is {row["status"]}.'
        )
        raise StripeError(message)
    _expire(core, row)
    return core.view(row)


def expire_by_timer(core: Core, session_id: str) -> None:
    """Expire the session at its deadline; if it is being paid just now, try again soon."""
    row = core.tables["sessions"][session_id]
    if row["status"] != "open":
        return
    if busy(core, row):
        core.schedule(BUSY_SECONDS / core.time_scale, "expire_session", session_id)
        return
    _expire(core, row)


def busy(core: Core, row: Json) -> bool:
    """Return whether a payment of the session is in progress at the bank."""
    intent = core.tables["payment_intents"].get(row["payment_intent"] or "")
    return intent is not None and intent["status"] == "processing"


def pay(core: Core, session_id: str, method_name: str) -> Json:
    """Press a button of the hosted page as the customer; return the intent afterwards.

    Raises StripeError 402 for a decline (the session stays open) and 400 for a session that is not open.
    """
    row = find(core, session_id)
    if row["status"] != "open" or busy(core, row):
        raise StripeError(f"This Checkout Session cannot be paid any more: it is {row['status']}.")
    if method_name not in methods.METHODS:
        raise invalid_param(f"The sandbox has no payment method {method_name}.", "wallet")
    intent = _intent(core, row)
    if intent["status"] not in intents.CONFIRMABLE:
        raise StripeError(f"This payment cannot be tried again: it is {intent['status']}.")
    paying.attempt(core, intent, methods.make(core, method_name), row["success_url"])
    return intent


def on_paid(core: Core, intent: Json) -> None:
    """Complete the session that the intent belongs to, if there is one."""
    session_id = core.tables["private"].get(intent["id"], {}).get("session")
    if session_id is None:
        return
    row = core.tables["sessions"][session_id]
    address = row["customer_email"] or intent["receipt_email"]
    row.update(
        customer_details={
            "address": objects.billing_details()["address"],
            "business_name": None,
            "email": address,
            "individual_name": None,
            "name": None,
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        payment_status="paid",
        status="complete",
        url=None,
    )
    core.emit("checkout.session.completed", row)


def redirect(row: Json) -> str:
    """Return the address to which the customer goes after paying, with the session's id filled in; "" if
    none.
    """
    return str(row["success_url"] or "").replace("{CHECKOUT_SESSION_ID}", row["id"])


def find(core: Core, session_id: str) -> Json:
    """Return the session itself. Raises StripeError `resource_missing`."""
    return core.get("sessions", session_id, "session")


def _expire(core: Core, row: Json) -> None:
    intent = core.tables["payment_intents"].get(row["payment_intent"] or "")
    row.update(status="expired", url=None)
    if intent is not None and intent["status"] in intents.CONFIRMABLE:
        intents.close(core, intent, "expired")
    core.changed()
    core.emit("checkout.session.expired", row)


def _intent(core: Core, row: Json) -> Json:
    """Return the session's intent, which is created when paying starts."""
    if row["payment_intent"] is not None:
        return core.tables["payment_intents"][row["payment_intent"]]
    data = core.private(row["id"])["payment_intent_data"]
    params = {
        **data,
        "amount": row["amount_total"],
        "currency": row["currency"],
        "payment_method_types": row["payment_method_types"],
        "receipt_email": data.get("receipt_email"),
    }
    intent = objects.payment_intent(core, params)
    core.private(intent["id"])["session"] = row["id"]
    row["payment_intent"] = intent["id"]
    intents.start(core, intent)
    return intent


def _total(items: list[Json]) -> tuple[int, str]:
    """Return the sum in minor units and its currency. Raises StripeError for mixed currencies."""
    codes = {item["currency"] for item in items}
    if len(codes) > 1:
        raise invalid_param("All line items must have the same currency.", "line_items")
    return sum(item["amount_total"] for item in items), codes.pop()
