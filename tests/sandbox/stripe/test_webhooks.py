"""Events and their delivery: signatures, retries, order, loss, rotation."""

from __future__ import annotations

import json
import time

import pytest
import stripe

PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


async def test_events_arrive_signed(sandbox, client, receiver, make_intent, eventually):
    paid = await make_intent("pm_card_visa", description="Взнос")
    await eventually(lambda: len(receiver.got) == 3)
    events = receiver.events(sandbox.info()["webhook_secret"])
    assert sorted(event.type for event in events) == sorted(PAID)
    [done] = [event for event in events if event.type == "payment_intent.succeeded"]
    assert (done.data.object.id, done.data.object.description) == (paid.id, "Взнос")
    body, header = receiver.got[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", header, sandbox.info()["webhook_secret"])
    kept = await client.v1.events.retrieve_async(done.id)
    assert (kept.type, kept.data.object.id) == (done.type, paid.id)
    assert kept.request.id.startswith("req_")


async def test_events_have_the_request_and_its_key(client):
    key = {"idempotency_key": "key-1"}
    await client.v1.payment_intents.create_async({"amount": 5000, "currency": "usd"}, key)
    [event] = (await client.v1.events.list_async()).data
    assert event.request.idempotency_key == "key-1"
    assert event.api_version == stripe.api_version


async def test_a_failed_delivery_is_tried_again_with_growing_pauses(
    sandbox, client, http, receiver, make_intent, eventually
):
    receiver.statuses = [500, 302, 404]
    await make_intent()
    [event] = (await client.v1.events.list_async()).data
    undelivered = await client.v1.events.list_async({"delivery_success": False})
    assert [item.id for item in undelivered.data] == [event.id]
    await eventually(lambda: len(receiver.got) == 4)
    assert len({item.id for item in receiver.events(sandbox.info()["webhook_secret"])}) == 1

    def settled() -> bool:
        [row] = sandbox.stripe.webhooks.to_json()
        return row["state"] == "delivered"

    await eventually(settled)
    [row] = (await http.get("/_sandbox/webhooks")).json()["deliveries"]
    assert [attempt["status"] for attempt in row["attempts"]] == [500, 302, 404, 200]
    done = await client.v1.events.retrieve_async(event.id)
    assert done.pending_webhooks == 0
    assert (await client.v1.events.list_async({"delivery_success": True})).data[0].id == event.id


async def test_events_wait_for_an_endpoint_that_is_down(http, receiver, make_intent, eventually, sandbox):
    await http.post("/_sandbox/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    await make_intent()
    await eventually(lambda: sandbox.stripe.webhooks.to_json()[0]["tries"] >= 2)
    [row] = sandbox.stripe.webhooks.to_json()
    assert row["state"] == "pending"
    assert row["attempts"][0] == {
        "at": row["attempts"][0]["at"],
        "status": None,
        "error": "ClientConnectorError",
    }
    assert receiver.got == []


@pytest.mark.parametrize(("mode", "expected"), [("hold", PAID), ("reverse", PAID[::-1])])
async def test_held_events_are_sent_by_flush(sandbox, http, receiver, make_intent, mode, expected):
    assert (await http.post("/_sandbox/webhooks", json={"mode": mode})).json() == {"mode": mode}
    await make_intent("pm_card_visa")
    assert receiver.got == []
    done = (await http.post("/_sandbox/webhooks/flush")).json()
    assert done == {"tried": 3, "delivered": 3, "pending": 0}
    assert [event.type for event in receiver.events(sandbox.info()["webhook_secret"])] == expected


async def test_dropped_events_are_still_listed(client, http, receiver, make_intent):
    await http.post("/_sandbox/webhooks", json={"mode": "drop"})
    await make_intent("pm_card_visa")
    await http.post("/_sandbox/webhooks", json={"mode": "normal"})
    await http.post("/_sandbox/webhooks/flush")
    assert receiver.got == []
    assert len((await client.v1.events.list_async({"delivery_success": False})).data) == 3


async def test_duplicates_carry_the_same_id(sandbox, http, receiver, make_intent, eventually):
    await http.post("/_sandbox/webhooks", json={"mode": "duplicate"})
    await make_intent()
    await eventually(lambda: len(receiver.got) == 2)
    first, second = receiver.events(sandbox.info()["webhook_secret"])
    assert first.id == second.id
    assert (await http.post("/_sandbox/webhooks", json={"mode": "odd"})).status_code == 400


async def test_both_secrets_sign_during_a_rotation(sandbox, http, receiver, make_intent, eventually):
    old = sandbox.info()["webhook_secret"]
    new = (await http.post("/_sandbox/webhooks/rotate", json={"keep_old": True})).json()["webhook_secret"]
    await make_intent()
    await eventually(lambda: receiver.got)
    assert receiver.got[0][1].count("v1=") == 2
    assert receiver.events(old)[0].id == receiver.events(new)[0].id
    await http.post("/_sandbox/webhooks/rotate", json={"keep_old": False})
    await make_intent()
    await eventually(lambda: len(receiver.got) == 2)
    body, header = receiver.got[1]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, header, new)


async def test_endpoints_choose_their_events(client, receiver, make_intent, eventually):
    params = {"url": receiver.url, "enabled_events": ["payment_intent.succeeded"]}
    made = await client.v1.webhook_endpoints.create_async(params)
    await make_intent("pm_card_visa")
    await eventually(lambda: len(receiver.got) == 4)
    mine = []
    for body, header in receiver.got:
        try:
            mine.append(stripe.Webhook.construct_event(body, header, made.secret).type)
        except stripe.SignatureVerificationError:
            continue
    assert mine == ["payment_intent.succeeded"]
    listed = await client.v1.webhook_endpoints.list_async()
    assert {item.url for item in listed.data} == {receiver.url}
    assert all("secret" not in item.to_dict() for item in listed.data)


async def test_events_are_filtered_by_type_and_time(client, make_intent):
    await make_intent("pm_card_visa")
    only = await client.v1.events.list_async({"type": "charge.*"})
    assert [event.type for event in only.data] == ["charge.succeeded"]
    both = await client.v1.events.list_async({"types": ["charge.succeeded", "payment_intent.succeeded"]})
    assert len(both.data) == 2
    assert (await client.v1.events.list_async({"created": {"gt": int(time.time()) + 60}})).data == []
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.events.list_async({"type": "charge.*", "types": ["charge.succeeded"]})


async def test_an_update_event_has_the_previous_values(client, make_intent):
    paid = await make_intent("pm_card_visa")
    await client.v1.refunds.create_async({"payment_intent": paid.id})
    [event] = (await client.v1.events.list_async({"type": "charge.refunded"})).data
    assert event.data.previous_attributes["amount_refunded"] == 0
    assert event.data.object["amount_refunded"] == 5000
    assert json.dumps(event.to_dict())
