"""The API's endpoints that the desk, the app and the tests call: which function answers which path, and which
parameters it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from procomp_pay.sandbox.stripe import checkout, disputes, events, intents, lists, payouts, records, refunds
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.errors import Json
from procomp_pay.sandbox.stripe.schema import LIST, Reader, currency, text

CHARGES: dict[str, Reader] = {**LIST, "payment_intent": text(255)}
ENTRIES: dict[str, Reader] = {
    **LIST,
    "source": text(255),
    "type": text(255),
    "currency": currency,
    "payout": text(255),
}


def retrieve_charge(core: Core, call: Call) -> Json:
    """GET /v1/charges/{id}."""
    return core.view(core.get("charges", call.path["id"]))


def list_charges(core: Core, call: Call) -> Json:
    """GET /v1/charges."""
    keep = lists.same(call.params, "payment_intent")
    return lists.page(core, "charges", call.params, "/v1/charges", keep)


def retrieve_entry(core: Core, call: Call) -> Json:
    """GET /v1/balance_transactions/{id}."""
    return core.view(core.get("balance_transactions", call.path["id"]))


def list_entries(core: Core, call: Call) -> Json:
    """GET /v1/balance_transactions."""
    same = lists.same(call.params, "source", "type", "currency")
    payout = call.params.get("payout")
    mine = payouts.parts(core, core.get("payouts", payout)["id"]) if payout else None

    def keep(row: Json) -> bool:
        return same(row) and (mine is None or row["id"] in mine)

    return lists.page(core, "balance_transactions", call.params, "/v1/balance_transactions", keep)


def balance(core: Core, call: Call) -> Json:  # noqa: ARG001 - every endpoint takes both
    """GET /v1/balance."""
    return records.balance(core)


def retrieve_method(core: Core, call: Call) -> Json:
    """GET /v1/payment_methods/{id}."""
    return core.view(core.get("payment_methods", call.path["id"]))


Function = Callable[[Core, Call], Json]
_NONE: dict[str, Reader] = {}


@dataclass(frozen=True)
class Endpoint:
    """One method and path, and the parameters that it takes."""

    method: str
    path: str
    function: Function
    fields: Mapping[str, Reader]
    required: tuple[str, ...] = ()


def _family(
    path: str, listing: Mapping[str, Reader], list_all: Function, retrieve: Function
) -> list[Endpoint]:
    return [
        Endpoint("GET", path, list_all, listing),
        Endpoint("GET", f"{path}/{{id}}", retrieve, _NONE),
    ]


_INTENT = "/v1/payment_intents/{id}"
_SESSIONS = "/v1/checkout/sessions"
_HOOKS = "/v1/webhook_endpoints"
_SESSION_NEEDS = ("mode", "line_items", "success_url")

ENDPOINTS: list[Endpoint] = [
    Endpoint("POST", "/v1/payment_intents", intents.create, intents.CREATE, ("amount", "currency")),
    Endpoint("GET", "/v1/payment_intents", intents.list_all, LIST),
    Endpoint("GET", _INTENT, intents.retrieve, _NONE),
    Endpoint("POST", f"{_INTENT}/confirm", intents.confirm, intents.CONFIRM),
    Endpoint("POST", f"{_INTENT}/cancel", intents.cancel, intents.CANCEL),
    *_family("/v1/charges", CHARGES, list_charges, retrieve_charge),
    *_family("/v1/balance_transactions", ENTRIES, list_entries, retrieve_entry),
    *_family("/v1/payouts", payouts.LISTING, payouts.list_all, payouts.retrieve),
    Endpoint("GET", "/v1/balance", balance, _NONE),
    Endpoint("GET", "/v1/payment_methods/{id}", retrieve_method, _NONE),
    *_family("/v1/refunds", refunds.LISTING, refunds.list_all, refunds.retrieve),
    Endpoint("POST", "/v1/refunds", refunds.create, refunds.CREATE),
    *_family("/v1/disputes", disputes.LISTING, disputes.list_all, disputes.retrieve),
    *_family(_SESSIONS, checkout.LISTING, checkout.list_all, checkout.retrieve),
    Endpoint("POST", _SESSIONS, checkout.create, checkout.CREATE, _SESSION_NEEDS),
    Endpoint("POST", f"{_SESSIONS}/{{id}}/expire", checkout.expire, _NONE),
    *_family("/v1/events", events.LISTING, events.list_all, events.retrieve),
    Endpoint("GET", _HOOKS, events.list_endpoints, LIST),
    Endpoint("POST", _HOOKS, events.create_endpoint, events.CREATE_ENDPOINT, ("url", "enabled_events")),
]
