"""Checkout Sessions and their line items with every field that Stripe sends."""

from __future__ import annotations

from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, invalid_param


def line_item(core: Core, params: Json) -> Json:
    """Return a line item made of `price_data` and `quantity`; amounts in minor units."""
    data, quantity = params["price_data"], params["quantity"]
    if quantity < 1 or data["unit_amount"] < 0:
        raise invalid_param("Invalid positive integer", "line_items", "parameter_invalid_integer")
    total = data["unit_amount"] * quantity
    return {
        "id": core.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": data["currency"],
        "description": data["product_data"]["name"],
        "metadata": {},
        "price": _price(core, data),
        "quantity": quantity,
    }


def _price(core: Core, data: Json) -> Json:
    return {
        "id": core.new_id("price"),
        "object": "price",
        "active": False,
        "billing_scheme": "per_unit",
        "created": core.now(),
        "currency": data["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": core.new_id("prod", 14),
        "recurring": None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time",
        "unit_amount": data["unit_amount"],
        "unit_amount_decimal": str(data["unit_amount"]),
    }


def session(core: Core, params: Json, *, total: int, code: str, expires_at: int) -> Json:
    """Return an open, unpaid session of `total` minor units of `code`; no intent until paying starts."""
    session_id = core.new_id("cs_test", 58)
    return {
        "id": session_id,
        "object": "checkout.session",
        **_nothing(),
        "adaptive_pricing": {"enabled": False},
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": core.now(),
        "currency": code,
        "custom_fields": [],
        "custom_text": dict.fromkeys(
            ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        ),
        "customer_creation": "if_required",
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": expires_at,
        "invoice_creation": {"enabled": False, "invoice_data": _invoice_data()},
        "livemode": False,
        "locale": params.get("locale"),
        "managed_payments": {"enabled": False},
        "metadata": {key: value for key, value in params.get("metadata", {}).items() if value != ""},
        "mode": "payment",
        "payment_method_collection": "if_required",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": params.get("payment_method_types") or ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{core.base_url}/c/pay/{session_id}",
        "wallet_options": None,
    }


def _nothing() -> Json:
    """Return the fields that stay null for a plain one-time payment."""
    return dict.fromkeys(
        (
            "after_expiration",
            "allow_promotion_codes",
            "billing_address_collection",
            "client_secret",
            "collected_information",
            "consent",
            "consent_collection",
            "currency_conversion",
            "customer",
            "customer_account",
            "customer_details",
            "integration_identifier",
            "invoice",
            "origin_context",
            "payment_intent",
            "payment_link",
            "payment_method_configuration_details",
            "permissions",
            "recovered_from",
            "saved_payment_method_options",
            "setup_intent",
            "shipping_address_collection",
            "shipping_cost",
            "subscription",
        )
    )


def _invoice_data() -> Json:
    names = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    return {**dict.fromkeys(names), "metadata": {}}
