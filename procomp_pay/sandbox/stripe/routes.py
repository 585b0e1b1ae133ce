"""The API's endpoints that the desk, the app and the tests call: which function answers which path, and which
parameters it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from procomp_pay.sandbox.stripe import checkout, disputes, events, intents, lists, payouts, records, refunds
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.errors import Json
from procomp_pay.sandbox.stripe.schema import LIST, Reader, currency, text

ENTRIES: dict[str, Reader] = {
    **LIST,
    "source": text(255),
    "type": text(255),
    "currency": currency,
    "payout": text(255),
}


def list_entries(core: Core, call: Call) -> Json:
    """GET /v1/balance_transactions."""
    same = lists.same(call.params, "source", "type", "currency")
    payout = call.params.get("payout")
    mine = payouts.parts(core, core.get("payouts", payout)["id"]) if payout else None

    def keep(row: Json) -> bool:
        return same(row) and (mine is None or row["id"] in mine)

    return lists.page(core, "balance_transactions", call.params, _ENTRIES, keep)


def balance(core: Core, call: Call) -> Json:  # noqa: ARG001 - every endpoint takes both
    """GET /v1/balance."""
    return records.balance(core)


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


def _list(path: str, table: str, filters: Mapping[str, Reader] = _NONE) -> Endpoint:
    """Return the endpoint that lists a table; each filter selects the objects whose field has its value."""

    def list_all(core: Core, call: Call) -> Json:
        return lists.page(core, table, call.params, path, lists.same(call.params, *filters))

    return Endpoint("GET", path, list_all, {**LIST, **filters})


def _one(path: str, table: str, param: str = "id") -> Endpoint:
    """Return the endpoint of one object of a table; ``param`` is how Stripe's error names its id."""

    def retrieve(core: Core, call: Call) -> Json:
        return core.view(core.get(table, call.path["id"], param))

    return Endpoint("GET", f"{path}/{{id}}", retrieve, _NONE)


_INTENTS = "/v1/payment_intents"
_ENTRIES = "/v1/balance_transactions"
_SESSIONS = "/v1/checkout/sessions"
_HOOKS = "/v1/webhook_endpoints"
_SESSION_NEEDS = ("mode", "line_items", "success_url")

ENDPOINTS: list[Endpoint] = [
    Endpoint("POST", _INTENTS, intents.create, intents.CREATE, ("amount", "currency")),
    _list(_INTENTS, "payment_intents"),
    _one(_INTENTS, "payment_intents", "intent"),
    Endpoint("POST", f"{_INTENTS}/{{id}}/confirm", intents.confirm, intents.CONFIRM),
    Endpoint("POST", f"{_INTENTS}/{{id}}/cancel", intents.cancel, intents.CANCEL),
    _list("/v1/charges", "charges", {"payment_intent": text(255)}),
    _one("/v1/charges", "charges"),
    Endpoint("GET", _ENTRIES, list_entries, ENTRIES),
    _one(_ENTRIES, "balance_transactions"),
    _list("/v1/payouts", "payouts", payouts.FILTERS),
    _one("/v1/payouts", "payouts"),
    Endpoint("GET", "/v1/balance", balance, _NONE),
    _one("/v1/payment_methods", "payment_methods"),
    _list("/v1/refunds", "refunds", refunds.FILTERS),
    _one("/v1/refunds", "refunds"),
    Endpoint("POST", "/v1/refunds", refunds.create, refunds.CREATE),
    _list("/v1/disputes", "disputes", disputes.FILTERS),
    _one("/v1/disputes", "disputes"),
    _list(_SESSIONS, "sessions", checkout.FILTERS),
    _one(_SESSIONS, "sessions", "session"),
    Endpoint("POST", _SESSIONS, checkout.create, checkout.CREATE, _SESSION_NEEDS),
    Endpoint("POST", f"{_SESSIONS}/{{id}}/expire", checkout.expire, _NONE),
    Endpoint("GET", "/v1/events", events.list_all, events.LISTING),
    _one("/v1/events", "events"),
    _list(_HOOKS, "webhook_endpoints"),
    Endpoint("POST", _HOOKS, events.create_endpoint, events.CREATE_ENDPOINT, ("url", "enabled_events")),
]
