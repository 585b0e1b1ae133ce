"""Faults, the request log and the other control routes."""

from __future__ import annotations

import time

import httpx
import pytest
import stripe

from procomp_pay.sandbox.app import SandboxOptions
from procomp_pay.sandbox.faults import Fault, Faults

PATH = "/v1/payment_intents"
INTENT = {"amount": "5000", "currency": "usd"}


async def strike(http, **fault):
    answer = await http.post("/_sandbox/faults", json={"path": PATH, **fault})
    assert answer.status_code == 201, answer.text


async def count(http) -> int:
    return len((await http.get(PATH)).json()["data"])


async def test_cut_before_prevents_the_work_and_cut_after_does_not(http, caplog):
    await strike(http, kind="cut_before", method="POST")
    with pytest.raises(httpx.TransportError):
        await http.post(PATH, data=INTENT, headers={"Idempotency-Key": "k"})
    assert await count(http) == 0
    await strike(http, kind="cut_after", method="POST")
    with pytest.raises(httpx.TransportError):
        await http.post(PATH, data=INTENT, headers={"Idempotency-Key": "k"})
    assert await count(http) == 1
    replay = await http.post(PATH, data=INTENT, headers={"Idempotency-Key": "k"})
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert await count(http) == 1
    lines = (await http.get("/_sandbox/requests")).json()["requests"]
    cut = [(line["status"], line["fault"]) for line in lines if line["fault"]]
    assert cut == [(None, "cut_before"), (None, "cut_after")]
    assert "Traceback" not in caplog.text


async def test_the_sdk_sees_a_lost_connection(client, http):
    await strike(http, kind="cut_after", method="POST")
    with pytest.raises(stripe.APIConnectionError):
        await client.v1.payment_intents.create_async({"amount": 5000, "currency": "usd"})
    assert await count(http) == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_delay_comes_before_or_after_the_work(http, after):
    await strike(http, kind="delay", seconds=60, after=after, method="POST")
    begun = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        await http.post(PATH, data=INTENT, timeout=1)
    assert await count(http) == (1 if after else 0)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("status", [429, 503])
async def test_a_status_is_in_stripes_shape(client, http, status):
    await strike(http, kind="status", status=status, retry_after=7, times=2)
    expected = stripe.RateLimitError if status == 429 else stripe.APIError
    for _ in range(2):
        with pytest.raises(expected) as caught:
            await client.v1.payment_intents.create_async({"amount": 5000, "currency": "usd"})
        assert caught.value.http_status == status
        assert caught.value.headers["Retry-After"] == "7"
    assert await count(http) == 0


async def test_a_status_after_the_work_replaces_the_answer(http):
    await strike(http, kind="status", status=500, after=True)
    key = {"Idempotency-Key": "k"}
    assert (await http.post(PATH, data=INTENT, headers=key)).status_code == 500
    assert (await http.post(PATH, data=INTENT, headers=key)).status_code == 200
    assert await count(http) == 1


async def test_skip_and_times_count(http):
    await strike(http, kind="status", method="GET", skip=1, times=2)
    assert [(await http.get(PATH)).status_code for _ in range(4)] == [200, 503, 503, 200]
    await strike(http, kind="status", times=None)
    assert (await http.get("/_sandbox/faults")).json()["faults"][0]["hits"] == 0
    assert (await http.get(PATH)).status_code == 503
    assert (await http.delete("/_sandbox/faults")).json() == {"faults": []}
    assert (await http.get(PATH)).status_code == 200


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"kind": "explode"},
        {"kind": "delay", "seconds": -1},
        {"kind": "delay", "seconds": "2"},
        {"kind": "status", "status": 200},
        {"kind": "status", "times": True},
        {"kind": "status", "colour": "red"},
    ],
)
async def test_invalid_faults_are_refused(http, bad):
    answer = await http.post("/_sandbox/faults", json=bad)
    assert answer.status_code == 400
    assert (await http.get("/_sandbox/faults")).json() == {"faults": []}
    assert (await http.post("/_sandbox/faults", content=b"[1]")).status_code == 400


def test_paths_are_prefixes_or_globs():
    assert Fault(1, "delay", "/v1/refunds").matches("POST", "/v1/refunds/re_1")
    assert not Fault(1, "delay", "/v1/refunds").matches("POST", "/v1/charges")
    assert Fault(1, "delay", "/v1/*/confirm").matches("POST", "/v1/payment_intents/confirm")
    assert not Fault(1, "delay", "/v1/*/confirm").matches("POST", "/v1/payment_intents")
    assert not Fault(1, "delay", "/", "POST").matches("GET", "/v1")
    rules = Faults()
    for _ in range(100):
        rules.add({"kind": "delay"})
    with pytest.raises(ValueError, match="at most"):
        rules.add({"kind": "delay"})


async def test_the_request_log_counts_calls_and_holds_no_secret(sandbox, http):
    await strike(http, kind="status", method="GET")
    await http.get(f"{PATH}?limit=1")
    made = (await http.post(PATH, data=INTENT, headers={"Idempotency-Key": "k"})).json()
    await http.get(f"{PATH}/{made['id']}", params={"client_secret": made["client_secret"]})
    answer = await http.get("/_sandbox/requests")
    lines = [
        (row["method"], row["status"], row["idempotency_key"], row["fault"])
        for row in answer.json()["requests"]
    ]
    assert lines == [("GET", 503, None, "status"), ("POST", 200, "k", None), ("GET", 400, None, None)]
    assert answer.json()["total"] == 3
    assert "secret" not in answer.text
    assert sandbox.info()["stripe_secret_key"] not in answer.text
    await http.delete("/_sandbox/requests")
    assert (await http.get("/_sandbox/requests")).json()["requests"] == []


async def test_the_front_page_and_info(sandbox, http):
    info = (await http.get("/_sandbox")).json()
    assert (info["url"], info["livemode"], info["sandbox"]) == (sandbox.url, False, True)
    assert info["stripe_secret_key"].startswith("sk_test_")
    for path, accept in (("/", "*/*"), ("/_sandbox", "text/html")):
        page = await http.get(path, headers={"Accept": accept})
        assert "SANDBOX" in page.text
        assert info["stripe_secret_key"] not in page.text
    for bad in ({}, {"advance": -1}, {"advance": True}, {"advance": "1"}):
        assert (await http.post("/_sandbox/clock", json=bad)).status_code == 400


@pytest.mark.parametrize(
    "options",
    [{"host": "0.0.0.0"}, {"host": "example.test"}, {"time_scale": 0}, {"stripe_secret_key": "sk_live_x"}],
)
def test_options_that_are_refused(options):
    with pytest.raises(ValueError, match=r"loopback|positive|test keys"):
        SandboxOptions(**options)


def test_options_do_not_show_keys():
    shown = repr(SandboxOptions(stripe_secret_key="sk_test_abc", webhook_secret="hidden"))
    assert "abc" not in shown
    assert "hidden" not in shown


async def test_faults_apply_to_kaspi_too(sandbox, http):
    await http.post("/_sandbox/faults", json={"path": "/r1/", "kind": "status", "status": 503})
    path, key = "/r1/v01/partner/tradepoints", {"Api-Key": sandbox.info()["kaspi_api_key"]}
    struck = await http.get(path, headers=key)
    assert (struck.status_code, "statusCode" in struck.json()) == (503, True)
    assert (await http.get(path, headers=key)).status_code != 503
