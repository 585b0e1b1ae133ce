"""The connections to Stripe: what is known about a request whose answer did not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from procomp_pay.domain.errors import OutcomeUnknown, PaymentError, ProviderUnavailable
from procomp_pay.domain.states import Channel
from procomp_pay.providers.stripe.service import StripePaymentService
from tests.support.provider_services import create_request

KEY = "sk_test_" + "1" * 24


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
    begun = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"id": "pi_1"'
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


async def test_requests_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stripe(b"") as (proxy, requests):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await failure("http://stripe.example")
    assert requests[0].startswith(b"POST http://stripe.example/v1/payment_intents ")
