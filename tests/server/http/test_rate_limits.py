"""How often a client may ask: by user, else by address; and never a provider."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from sqlmodel import select

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.http.rate_limits import Limits, TooManyRequests, limits_of
from procomp_pay.server.http.route import BASE, Budget
from procomp_pay.storage.models.platform import Payment
from tests.server.conftest import Serve, Served
from tests.support.http_requests import bearer, sign

BAD_TOKEN = {"Authorization": "Bearer nonsense"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Counted in memory: one kind of database is enough."""
    return sqlite_url


async def _ask(served: Served, path: str, headers: dict[str, str] | None = None) -> int:
    return (await served.api.get(f"{BASE}{path}", headers=headers)).status_code


async def test_each_user_has_a_budget_of_reads(serve: Serve) -> None:
    served = await serve(rate_limit_reads="3/hour")
    history = "/participant/p1/history"
    assert [await _ask(served, history, bearer("u1")) for _ in range(3)] == [200] * 3
    refused = await served.api.get(f"{BASE}{history}", headers=bearer("u1"))
    assert refused.status_code == 429
    assert refused.json() == {
        "detail": "Too many requests; nothing was done, try again later",
        "status_code": 429,
    }
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert await _ask(served, "/status/p1", bearer("u1")) == 429, "one budget for all reads"
    assert await _ask(served, history, bearer("u1", "admin")) == 429, "the user counts, not the token"
    assert await _ask(served, history, bearer("u9", "staff")) == 200, "others have their own"
    started = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "apple_pay"}, headers=bearer("u1")
    )
    assert started.status_code == 200, "writes are counted apart"


async def test_what_is_refused_is_not_done(serve: Serve) -> None:
    served = await serve(rate_limit_writes="1/hour")
    body = {"participant_id": "p1", "method": "apple_pay"}
    answers = [
        await served.api.post(f"{BASE}/initiate", json=body | {"participant_id": p}, headers=bearer("u1"))
        for p in ("nobody", "p1")
    ]
    assert [answer.status_code for answer in answers] == [404, 429]
    refund = await served.api.post(
        f"{BASE}/admin/payments/x/refund", json={"reason": "x"}, headers=bearer("u1", "admin")
    )
    assert refund.status_code == 429, "refunds are writes too"
    async with served.ctx.db.reading() as session:
        assert (await session.exec(select(Payment))).all() == []
    assert served.sandbox.stripe.core.tables["payment_intents"] == {}


async def test_failures_are_counted_by_address_and_lock_nobody_out(serve: Serve) -> None:
    served = await serve(rate_limit_failures="3/hour", trusted_proxies="127.0.0.1")
    history = "/participant/p1/history"
    answers = [await _ask(served, history, headers) for headers in (BAD_TOKEN, {}, BAD_TOKEN, BAD_TOKEN, {})]
    assert answers == [401, 401, 401, 429, 429]
    assert await _ask(served, history, bearer("u1")) == 200, "a token that holds is never locked out"
    elsewhere = BAD_TOKEN | {"X-Forwarded-For": "203.0.113.7"}
    assert await _ask(served, history, elsewhere) == 401


async def test_a_provider_is_never_throttled(serve: Serve) -> None:
    lowest = dict.fromkeys(("rate_limit_open", "rate_limit_writes", "rate_limit_reads"), "1/hour")
    served = await serve(rate_limit_failures="2/hour", **lowest)
    hook = f"{BASE}/webhooks/stripe"

    async def deliver(number: int, secret: str) -> int:
        body = b'{"id":"evt_%d","type":"a.b","created":1700000000,"data":{"object":{}}}' % number
        headers = {"Stripe-Signature": sign(body, secret), "Content-Type": "application/json"}
        return (await served.api.post(hook, content=body, headers=headers)).status_code

    assert [await deliver(0, "whsec_another") for _ in range(4)] == [400, 400, 429, 429]
    assert {await deliver(number, served.secret) for number in range(50)} == {200}
    for path in ("/health", "/health/live"):
        assert {await _ask(served, path) for _ in range(5)} == {200}, "nor is who watches it"


async def test_open_addresses_are_counted_by_address(serve: Serve) -> None:
    served = await serve(rate_limit_open="2/minute", trusted_proxies="127.0.0.1")
    paths = ("/thanks", "/x/qr.png?s=x", "/openapi.json")
    assert [await _ask(served, path) for path in paths] == [200, 404, 429]
    # a /64 is one customer
    ends = ("0:1::1", "0:1::ffff:1", "0:1:aaaa::", "0:2::1")
    from_there = [await _ask(served, "/thanks", {"X-Forwarded-For": f"2001:db8:{end}"}) for end in ends]
    assert from_there == [200, 200, 429, 200]


async def test_no_limits(serve: Serve) -> None:
    served = await serve(rate_limit_open="off", rate_limit_reads="OFF")
    assert {await _ask(served, "/thanks") for _ in range(20)} == {200}


async def test_the_clients_that_are_remembered_are_bounded() -> None:
    limits = Limits({Budget.OPEN: parse("2/hour")}, most=100)
    for number in range(1000):
        await limits.spend(Budget.OPEN, f"10.0.{number}")
    storage: Any = limits._limiter.storage
    assert len(limits._seen) == len(storage.storage) == len(storage.expirations) == 100
    assert len(storage.locks) <= 100
    for _ in range(2):  # the one that goes on asking is not forgotten for it
        await limits.spend(Budget.OPEN, "busy")
    for number in range(500):
        await limits.spend(Budget.OPEN, f"10.1.{number}")
        if number % 50 == 0:
            with pytest.raises(TooManyRequests):
                await limits.spend(Budget.OPEN, "busy")


@pytest.mark.parametrize("rate", ["", "lots", "0/minute", "-1/minute", "1.5/minute", "10/fortnight"])
def test_a_rate_that_is_none(tmp_path: Path, rate: str) -> None:
    settings = Settings(_env_file=None, procomp_home=tmp_path, rate_limit_writes=rate)
    with pytest.raises(ConfigurationError, match="RATE_LIMIT_WRITES"):
        limits_of(settings)


async def test_a_budget_comes_back() -> None:
    limits = Limits({Budget.READS: parse("1/second")})
    await limits.spend(Budget.READS, "u1")
    with pytest.raises(TooManyRequests) as refused:
        await limits.spend(Budget.READS, "u1")
    assert refused.value.retry_after == 1
    await asyncio.sleep(1.01)
    await limits.spend(Budget.READS, "u1")


async def test_many_clients_do_not_make_it_slower() -> None:
    """The library looks through all clients each time: whoever has many addresses makes everybody wait."""
    limits = Limits({Budget.OPEN: parse("9/hour")})
    for number in range(5000):
        await limits.spend(Budget.OPEN, f"10.0.{number}")
    assert len(asyncio.all_tasks()) == 1, "nothing goes on behind it"
