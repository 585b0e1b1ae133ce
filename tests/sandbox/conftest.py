"""A sandbox on an ephemeral port, the official SDK against it, and a receiver of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import stripe
from aiohttp import web

from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from tests.support.patience import PATIENCE_S, wait_until

# One async HTTP client for each test: the SDK's own would outlive the test's event loop.


@pytest.fixture
async def sandbox(receiver: Receiver) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxOptions(webhook_url=receiver.url, time_scale=20))
    await running.start()
    yield running
    await running.stop()


class Receiver:
    """A webhook endpoint that stores the requests and answers as the test says."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    def events(self, secret: str) -> list[Any]:
        return [stripe.Webhook.construct_event(body, header, secret) for body, header in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[stripe.StripeClient]:
    http = stripe.AIOHTTPClient()
    yield stripe.StripeClient(
        sandbox.info()["stripe_secret_key"],
        base_addresses={"api": sandbox.url},
        http_client=http,
        max_network_retries=0,
    )
    await http.close_async()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    key = sandbox.info()["stripe_secret_key"]
    async with httpx.AsyncClient(
        base_url=sandbox.url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S
    ) as made:
        yield made


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    return wait_until


RETURN = "https://example.test/back"


@pytest.fixture
def make_intent(client: stripe.StripeClient) -> Callable[..., Awaitable[Any]]:
    """Create an intent of 50.00 USD; with `method`, confirm it."""

    async def make(method: str | None = None, **params: Any) -> Any:
        given: dict[str, Any] = {"amount": 5000, "currency": "usd", **params}
        if method is not None:
            given |= {"confirm": True, "payment_method": method, "return_url": RETURN}
        return await client.v1.payment_intents.create_async(given)

    return make


@pytest.fixture
def make_session(client: stripe.StripeClient) -> Callable[..., Awaitable[Any]]:
    """Create a checkout session for one entry fee of 50.00 USD."""

    async def make(**params: Any) -> Any:
        price = {"currency": "usd", "unit_amount": 5000, "product_data": {"name": "Entry <fee>"}}
        given: dict[str, Any] = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "success_url": "https://example.test/done?s={CHECKOUT_SESSION_ID}",
            **params,
        }
        return await client.v1.checkout.sessions.create_async(given)

    return make
