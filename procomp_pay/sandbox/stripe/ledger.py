"""Reading endpoints: charges, balance transactions, the balance, payment methods, the account."""

from __future__ import annotations

from procomp_pay.sandbox.stripe import lists, records
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.errors import Json
from procomp_pay.sandbox.stripe.schema import LIST, Reader, currency, text

CHARGES: dict[str, Reader] = {**LIST, "payment_intent": text(255), "customer": text(255)}
ENTRIES: dict[str, Reader] = {**LIST, "source": text(255), "type": text(255), "currency": currency}


def retrieve_charge(core: Core, call: Call) -> Json:
    """GET /v1/charges/{id}."""
    return core.view(core.get("charges", call.path["id"]))


def list_charges(core: Core, call: Call) -> Json:
    """GET /v1/charges."""
    keep = lists.same(call.params, "payment_intent", "customer")
    return lists.page(core, "charges", call.params, "/v1/charges", keep)


def retrieve_entry(core: Core, call: Call) -> Json:
    """GET /v1/balance_transactions/{id}."""
    return core.view(core.get("balance_transactions", call.path["id"]))


def list_entries(core: Core, call: Call) -> Json:
    """GET /v1/balance_transactions."""
    keep = lists.same(call.params, "source", "type", "currency")
    return lists.page(core, "balance_transactions", call.params, "/v1/balance_transactions", keep)


def balance(core: Core, call: Call) -> Json:  # noqa: ARG001 - every endpoint takes both
    """GET /v1/balance."""
    return records.balance(core)


def account(core: Core, call: Call) -> Json:  # noqa: ARG001
    """GET /v1/account."""
    return records.account(core)


def retrieve_method(core: Core, call: Call) -> Json:
    """GET /v1/payment_methods/{id}."""
    return core.view(core.get("payment_methods", call.path["id"]))
