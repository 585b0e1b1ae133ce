"""Idempotency keys, by Stripe's rules."""

from __future__ import annotations

import asyncio

import pytest
import stripe

from procomp_pay.sandbox.stripe import records

INTENT = {"amount": "5000", "currency": "usd"}
PATH = "/v1/payment_intents"


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def count(http) -> int:
    return len((await http.get(PATH)).json()["data"])


async def test_a_repeated_request_gets_the_first_answer(http):
    first = await http.post(PATH, data=INTENT, headers=keyed("k"))
    assert "Idempotent-Replayed" not in first.headers
    second = await http.post(PATH, data=dict(reversed(INTENT.items())), headers=keyed("k"))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Original-Request"] == first.headers["Request-Id"]
    assert second.json() == first.json()
    assert await count(http) == 1


async def test_a_key_is_for_one_request(client, http):
    await http.post(PATH, data=INTENT, headers=keyed("k"))
    with pytest.raises(stripe.IdempotencyError) as caught:
        await client.v1.payment_intents.create_async(
            {"amount": 6000, "currency": "usd"}, {"idempotency_key": "k"}
        )
    assert caught.value.http_status == 400
    other = await http.post("/v1/refunds", data={"charge": "ch_1"}, headers=keyed("k"))
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    assert await count(http) == 1


async def test_a_decline_is_stored_under_its_key(http, make_intent):
    made = await make_intent()
    confirm = {"payment_method": "pm_card_chargeDeclined", "return_url": "https://example.test/"}
    responses = [
        await http.post(f"{PATH}/{made.id}/confirm", data=confirm, headers=keyed("k")) for _ in range(2)
    ]
    assert [answer.status_code for answer in responses] == [402, 402]
    assert responses[0].json() == responses[1].json()
    assert len((await http.get("/v1/charges")).json()["data"]) == 1


async def test_a_validation_error_uses_up_no_key(http):
    assert (await http.post(PATH, data={"amount": "5000"}, headers=keyed("k"))).status_code == 400
    wrong = {**keyed("k"), "Authorization": "Bearer sk_test_wrong"}
    assert (await http.post(PATH, data=INTENT, headers=wrong)).status_code == 401
    done = await http.post(PATH, data=INTENT, headers=keyed("k"))
    assert (done.status_code, "Idempotent-Replayed" in done.headers) == (200, False)


async def test_a_server_error_is_stored_under_its_key(http, make_intent, monkeypatch, caplog):
    paid = await make_intent("pm_card_visa")

    def broken(*args, **kwargs):
        raise RuntimeError("out of order")

    refund = {"payment_intent": paid.id}
    with monkeypatch.context() as patch:
        patch.setattr(records, "refund", broken)
        first = await http.post("/v1/refunds", data=refund, headers=keyed("k"))
    assert (first.status_code, first.json()["error"]["type"]) == (500, "api_error")
    assert "out of order" in caplog.text
    second = await http.post("/v1/refunds", data=refund, headers=keyed("k"))
    assert (second.status_code, second.headers["Idempotent-Replayed"]) == (500, "true")
    assert (await http.post("/v1/refunds", data=refund, headers=keyed("k2"))).status_code == 200


async def test_concurrent_use_of_a_key_is_refused(http):
    await http.post("/_sandbox/faults", json={"path": PATH, "kind": "delay", "seconds": 0.3})
    first = asyncio.create_task(http.post(PATH, data=INTENT, headers=keyed("k")))
    await asyncio.sleep(0.1)
    second = await http.post(PATH, data=INTENT, headers=keyed("k"))
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert (await first).status_code == 200
    assert (await http.post(PATH, data=INTENT, headers=keyed("k"))).headers["Idempotent-Replayed"] == "true"
    assert await count(http) == 1


async def test_concurrent_requests_with_one_key_create_one_object(http):
    async def once():
        return (await http.post(PATH, data=INTENT, headers=keyed("k"))).status_code

    statuses = await asyncio.gather(*(once() for _ in range(10)))
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    assert await count(http) == 1


async def test_a_key_is_kept_for_a_day(sandbox, http):
    await http.post(PATH, data=INTENT, headers=keyed("k"))
    sandbox.advance(23 * 3600)
    again = await http.post(PATH, data=INTENT, headers=keyed("k"))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await http.post(PATH, data=INTENT, headers=keyed("k" * 256))).status_code == 400
