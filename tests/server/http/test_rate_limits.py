"""Rate limits by user or address; providers have none."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.http.rate_limits import Rate, RateLimits, TooManyRequests, limits_from
from procomp_pay.server.http.route import BASE, Budget
from procomp_pay.storage.models.platform import Payment
from tests.support.http_requests import bearer, sign
from tests.support.server import Serve, Served

BAD_TOKEN = {"Authorization": "Bearer nonsense"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: requests are counted in memory."""
    return sqlite_url


async def _ask(served: Served, path: str, headers: dict[str, str] | None = None) -> int:
    return (await served.api.get(f"{BASE}{path}", headers=headers)).status_code


async def test_reads_are_limited_per_user(serve: Serve) -> None:
    served = await serve(rate_limit_reads="3/hour")
    history = "/participant/p1/history"
    assert [await _ask(served, history, bearer("u1")) for _ in range(3)] == [200] * 3
    refused = await served.api.get(f"{BASE}{history}", headers=bearer("u1"))
    assert refused.status_code == 429
    assert refused.json() == {
        "detail": "Too many requests; nothing was done, try again later",
        "status_code": 429,
        "code": "too_many_requests",
    }
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert await _ask(served, "/status/p1", bearer("u1")) == 429, "one budget for all reads"
    assert await _ask(served, history, bearer("u1", "admin")) == 429, "the user counts, not the token"
    assert await _ask(served, history, bearer("u9", "staff")) == 200, "others have their own"
    started = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "apple_pay"}, headers=bearer("u1")
    )
    assert started.status_code == 200, "writes are counted apart"


async def test_refused_requests_change_nothing(serve: Serve) -> None:
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


async def test_failures_are_limited_per_address_and_do_not_block_valid_tokens(serve: Serve) -> None:
    served = await serve(rate_limit_failures="3/hour", trusted_proxies="127.0.0.1")
    history = "/participant/p1/history"
    answers = [await _ask(served, history, headers) for headers in (BAD_TOKEN, {}, BAD_TOKEN, BAD_TOKEN, {})]
    assert answers == [401, 401, 401, 429, 429]
    assert await _ask(served, history, bearer("u1")) == 200, "a token that holds is never locked out"
    elsewhere = BAD_TOKEN | {"X-Forwarded-For": "203.0.113.7"}
    assert await _ask(served, history, elsewhere) == 401


async def test_providers_and_health_checks_are_not_limited(serve: Serve) -> None:
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


async def test_open_routes_are_limited_per_address(serve: Serve) -> None:
    served = await serve(rate_limit_open="2/minute", trusted_proxies="127.0.0.1")
    paths = ("/thanks", "/x/qr.png?s=x", "/openapi.json")
    assert [await _ask(served, path) for path in paths] == [200, 404, 429]
    # a /64 is one customer
    ends = ("0:1::1", "0:1::ffff:1", "0:1:aaaa::", "0:2::1")
    from_there = [await _ask(served, "/thanks", {"X-Forwarded-For": f"2001:db8:{end}"}) for end in ends]
    assert from_there == [200, 200, 429, 200]


async def test_limits_can_be_off(serve: Serve) -> None:
    served = await serve(rate_limit_open="off", rate_limit_reads="OFF")
    assert {await _ask(served, "/thanks") for _ in range(20)} == {200}


class _Clock:
    """A clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_number_of_remembered_clients_is_bounded() -> None:
    limits = RateLimits({Budget.OPEN: Rate.parse("2/hour")}, most=100)
    for number in range(1000):
        limits.spend(Budget.OPEN, f"10.0.{number}")
    assert len(limits._windows) == 100
    for _ in range(2):  # an active client is not dropped
        limits.spend(Budget.OPEN, "busy")
    for number in range(500):
        limits.spend(Budget.OPEN, f"10.1.{number}")
        if number % 50 == 0:
            with pytest.raises(TooManyRequests):
                limits.spend(Budget.OPEN, "busy")


@pytest.mark.parametrize(
    "rate",
    ["", "lots", "0/minute", "-1/minute", "1.5/minute", "10/fortnight", "5/0 minutes", "1/hour; 2/day"],
)
def test_invalid_rates_are_refused(tmp_path: Path, rate: str) -> None:
    settings = Settings(_env_file=None, procomp_home=tmp_path, rate_limit_writes=rate)
    with pytest.raises(ConfigurationError, match="RATE_LIMIT_WRITES"):
        limits_from(settings)


@pytest.mark.parametrize(
    ("text", "requests", "period_s"),
    [
        ("600/minute", 600, 60),
        (" 1 / Second ", 1, 1),
        ("10 per 5 minutes", 10, 300),
        ("3/2 hours", 3, 7200),
        ("9/day", 9, 86_400),
        ("9/month", 9, 2_592_000),
        ("9/year", 9, 31_104_000),
    ],
)
def test_rates_are_parsed(text: str, requests: int, period_s: int) -> None:
    assert Rate.parse(text) == Rate(requests, period_s)


def test_a_window_starts_with_a_request_and_ends_after_its_period() -> None:
    clock = _Clock()
    limits = RateLimits({Budget.READS: Rate(2, 10)}, clock=clock)
    limits.spend(Budget.READS, "u1")
    clock.now = 9.0
    limits.spend(Budget.READS, "u1")
    with pytest.raises(TooManyRequests) as refused:
        limits.spend(Budget.READS, "u1")
    assert refused.value.retry_after == 1
    limits.spend(Budget.READS, "u2")
    limits.spend(Budget.WRITES, "u1")
    clock.now = 10.0
    for _ in range(2):
        limits.spend(Budget.READS, "u1")
    clock.now = 19.9
    with pytest.raises(TooManyRequests):
        limits.spend(Budget.READS, "u1")


def test_refused_requests_do_not_lengthen_the_window() -> None:
    clock = _Clock()
    limits = RateLimits({Budget.READS: Rate(1, 10)}, clock=clock)
    limits.spend(Budget.READS, "u1")
    for clock.now in (3.0, 6.0, 9.9):
        with pytest.raises(TooManyRequests):
            limits.spend(Budget.READS, "u1")
    clock.now = 10.0
    limits.spend(Budget.READS, "u1")
