"""The connections to Stripe: what is known about a request whose answer did not come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext

import pytest

from procomp_pay.domain.errors import ConfigurationError, OutcomeUnknown, PaymentError, ProviderUnavailable
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import Channel
from procomp_pay.providers.protocol import ProviderRef, RefundRequest
from procomp_pay.providers.resilience.retry import Throttled
from procomp_pay.providers.stripe.service import StripePaymentService
from tests.support.provider_services import create_request

KEY = "sk_test_" + "1" * 24
BY_INTENT = ProviderRef(Channel.STRIPE_INTENT, "pi_1", "pi_1")
BY_PAGE = ProviderRef(Channel.STRIPE_CHECKOUT, "cs_1")


def with_length(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def stripe(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer each request with these bytes and close its connection; yield the address and the requests."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(65536))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def failure(url: str) -> PaymentError:
    service = StripePaymentService(KEY, api_base=url, total_s=0.1)
    try:
        with pytest.raises(PaymentError) as raised:
            await service.create(create_request(Channel.STRIPE_INTENT))
    finally:
        await service.aclose()
    return raised.value


async def test_an_answer_that_breaks_off_leaves_the_outcome_unknown() -> None:
    begun = b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"id": "pi_1"'
    for answer in (b"", b"HTTP/1.1 200 OK\r\n", begun):
        async with stripe(answer) as (url, requests):
            assert isinstance(await failure(url), OutcomeUnknown), answer
        assert requests[0].startswith(b"POST /v1/payment_intents ")


async def test_without_a_connection_nothing_was_sent() -> None:
    async with stripe(b"") as (url, _):
        pass  # nothing listens there any more
    assert isinstance(await failure(url), ProviderUnavailable)


async def test_a_redirect_is_not_followed() -> None:
    """A payment is never created at another address."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    async with stripe(moved) as (url, requests):
        assert isinstance(await failure(url), OutcomeUnknown)
    assert all(request.startswith(b"POST /v1/payment_intents ") for request in requests)


@pytest.mark.parametrize(
    "answer",
    [
        with_length(b"null"),
        with_length(b"[]"),
        with_length(b"7"),
        with_length(b'{"id": "pi_1"}'),
        with_length(b'{"object": "payment_intent", "id": "pi_1", "client_secret": "s", "metadata": {}}'),
        with_length(
            b'{"object": "payment_intent", "id": "pi_1", "client_secret": "s",'
            b' "metadata": {"payment_id": "p2"}}'
        ),
        with_length(b'{"error": {"message": "no"}}'),
        with_length(b"\xff\xfe{}"),
        with_length(b'{"error": "upstream timeout"}', status="502 Bad Gateway"),
        with_length(b'{"error": []}', status="400 Bad Request"),
        with_length(b"garbage", headers="Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_stripes_leaves_the_outcome_unknown(answer: bytes) -> None:
    """A proxy between us may give it: it is no bug of ours, and says nothing about the payment."""
    async with stripe(answer) as (url, _):
        assert isinstance(await failure(url), OutcomeUnknown)


async def test_a_refund_of_another_request_leaves_the_outcome_unknown() -> None:
    fee = Money.parse("50", "USD")
    request = RefundRequest("r1", "pay1", BY_INTENT, fee, "key", fee - fee, again=False)
    for named, kind in (("r2", OutcomeUnknown), ("r1", None)):
        body = json.dumps(REFUND | {"metadata": {"refund_id": named}}).encode()
        async with stripe(with_length(body)) as (url, _):
            service = StripePaymentService(KEY, api_base=url, total_s=0.1)
            try:
                with pytest.raises(kind) if kind else nullcontext():
                    assert (await service.refund(request)).state is RefundState.SUCCEEDED
            finally:
                await service.aclose()


INTENT = {"object": "payment_intent", "status": "succeeded", "amount_received": 5000, "currency": "usd"}
SESSION = {
    "object": "checkout.session", "status": "complete", "payment_status": "paid", "amount_total": 5000,
    "currency": "usd",
}  # fmt: skip
REFUND = {"object": "refund", "id": "re_1", "status": "succeeded", "amount": 5000, "currency": "usd"}
DISPUTE = {"object": "dispute", "status": "lost", "amount": 5000, "currency": "usd"}
PAGE = {"object": "list", "has_more": False}
Ask = Callable[[StripePaymentService], Awaitable[object]]


@pytest.mark.parametrize(
    ("ask", "ours", "another"),
    [
        (lambda stripe: stripe.fetch(BY_INTENT), INTENT | {"id": "pi_1"}, INTENT | {"id": "pi_2"}),
        (lambda stripe: stripe.cancel(BY_INTENT), INTENT | {"id": "pi_1"}, INTENT | {"id": "pi_2"}),
        (lambda stripe: stripe.fetch(BY_PAGE), SESSION | {"id": "cs_1"}, SESSION | {"id": "cs_2"}),
        (lambda stripe: stripe.cancel(BY_PAGE), SESSION | {"id": "cs_1"}, SESSION | {"id": "cs_2"}),
        (
            lambda stripe: stripe.list_refunds(BY_INTENT),
            PAGE | {"data": [REFUND | {"payment_intent": "pi_1"}]},
            PAGE | {"data": [REFUND | {"payment_intent": "pi_1"}, REFUND | {"payment_intent": "pi_2"}]},
        ),
        (lambda stripe: stripe.dispute("du_1"), DISPUTE | {"id": "du_1"}, DISPUTE | {"id": "du_2"}),
    ],
)
async def test_an_answer_about_another_object_leaves_the_outcome_unknown(
    ask: Ask, ours: dict[str, object], another: dict[str, object]
) -> None:
    for body, kind in ((ours, None), (another, OutcomeUnknown), (another | {"id": None}, OutcomeUnknown)):
        async with stripe(with_length(json.dumps(body).encode())) as (url, _):
            service = StripePaymentService(KEY, api_base=url, total_s=0.1)
            try:
                with pytest.raises(kind, match="another request") if kind else nullcontext():
                    await ask(service)
            finally:
                await service.aclose()


@pytest.mark.parametrize("seconds", ["²", "9" * 400, "-1", "soon"])
async def test_nonsense_in_retry_after_is_left_out(seconds: str) -> None:
    busy = with_length(
        b'{"error": {}}', status="429 Too Many Requests", headers=f"Retry-After: {seconds}\r\n"
    )
    async with stripe(busy) as (url, _):
        error = await failure(url)
    assert (type(error), getattr(error, "retry_after", 0)) == (Throttled, None)


async def test_an_answer_that_nobody_asked_for_is_not_the_next_requests() -> None:
    """Otherwise each customer would get the payment of the one before."""
    ours, asked, opened = create_request(Channel.STRIPE_INTENT), 0, 0

    def intent(name: str) -> bytes:
        body = {"object": "payment_intent", "id": name, "client_secret": f"secret of {name}"}
        return with_length(json.dumps(body | {"metadata": {"payment_id": ours.payment_id}}).encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked, opened
        opened += 1
        async for line in reader:
            if line == b"\r\n":
                asked += 1
                writer.write(intent(f"pi_{asked}"))
                if asked == 1:
                    await more.wait()
                    writer.write(intent("pi_of_nobody"))
                    sent.set()
        writer.close()
        await writer.wait_closed()
        closed.release()

    more, sent, closed = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service = StripePaymentService(KEY, api_base=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        created = [await service.create(ours)]
        more.set()
        await sent.wait()
        await asyncio.sleep(0.1)  # until it has arrived
        created += [await service.create(ours) for _ in range(2)]
    finally:
        await service.aclose()
        server.close()
        for _ in range(opened):
            await closed.acquire()
    assert [(one.provider_ref, one.client_secret) for one in created] == [
        (f"pi_{number}", f"secret of pi_{number}") for number in (1, 2, 3)
    ]


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxy")
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_requests_go_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async with stripe(b"") as (proxy, requests):
        monkeypatch.setenv("http_proxy", proxy.replace("http://", scheme))
        await failure("http://stripe.example")
    assert requests[0].startswith(b"POST http://stripe.example/v1/payment_intents ")


@pytest.mark.usefixtures("no_proxy")
async def test_a_proxy_that_opens_no_tunnel_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stripe(with_length(b"", status="407 Proxy Authentication Required")) as (proxy, _):
        monkeypatch.setenv("https_proxy", proxy)
        assert isinstance(await failure("https://stripe.example"), ProviderUnavailable)


@pytest.mark.usefixtures("no_proxy")
async def test_a_proxy_that_does_not_speak_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stripe(b"") as (proxy, requests):
        monkeypatch.setenv("all_proxy", proxy.replace("http://", "socks5://"))
        assert isinstance(await failure("http://stripe.example"), ConfigurationError)
    assert requests == [], "the key is in each"


async def test_a_closed_service_leaves_the_outcome_unknown() -> None:
    """A task that outlives its server is no bug: the payment is recovered later."""
    async with stripe(b"") as (url, _):
        service = StripePaymentService(KEY, api_base=url, total_s=0.1)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await service.create(create_request(Channel.STRIPE_INTENT))
            await service.aclose()
