"""Every object that the sandbox serves has the fields of Stripe's own fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FIELDS = json.loads((Path(__file__).parents[2] / "data" / "stripe-fields.json").read_text("utf-8"))
# Nested objects whose shape depends on the case: the fixture shows another case than ours.
OTHER_CASE = {("payment_intent", "payment_method_configuration_details")}


def missing(kind: str, served: dict[str, Any]) -> list[str]:
    """Return the names that the fixture has and the served object lacks, one level deep."""
    expected = FIELDS[kind]
    names = [name for name in expected["fields"] if name not in served]
    for name, inner in expected["nested"].items():
        value = served.get(name)
        if isinstance(value, dict) and (kind, name) not in OTHER_CASE:
            names += [f"{name}.{part}" for part in inner if part not in value]
    return names


async def collect(
    client: Any, http: Any, make_intent: Any, make_session: Any
) -> dict[str, list[dict[str, Any]]]:
    paid = await make_intent("pm_apple_pay")
    await make_intent("pm_card_threeDSecure2Required")
    await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 1000})
    await make_intent("pm_card_createDispute")
    session = await make_session()
    await http.post(
        f"/c/pay/{session.id}", json={"wallet": "declined"}, headers={"Accept": "application/json"}
    )
    await http.post(f"/c/pay/{session.id}", json={"wallet": "card"}, headers={"Accept": "application/json"})
    await make_session()
    paths = {
        "payment_intent": "/v1/payment_intents",
        "charge": "/v1/charges",
        "refund": "/v1/refunds",
        "event": "/v1/events",
        "balance_transaction": "/v1/balance_transactions",
        "checkout.session": "/v1/checkout/sessions",
        "dispute": "/v1/disputes",
        "webhook_endpoint": "/v1/webhook_endpoints",
    }
    objects = {kind: (await http.get(f"{path}?limit=100")).json()["data"] for kind, path in paths.items()}
    methods = {item["payment_method"] for item in objects["charge"]}
    objects["payment_method"] = [(await http.get(f"/v1/payment_methods/{one}")).json() for one in methods]
    return objects


async def test_every_object_has_all_fields_of_stripes_fixture(client, http, make_intent, make_session):
    found = await collect(client, http, make_intent, make_session)
    assert set(found) == {kind for kind in FIELDS if not kind.startswith("_")}
    for kind, objects in found.items():
        assert objects, kind
        for served in objects:
            assert served["object"] == kind
            assert missing(kind, served) == []
    for event in found["event"]:
        assert missing(event["data"]["object"]["object"], event["data"]["object"]) == []


def test_a_missing_field_is_detected():
    served = dict.fromkeys(FIELDS["refund"]["fields"])
    del served["amount"]
    assert missing("refund", served) == ["amount"]
