"""A running server of the tests, and how to talk to it and to the sandbox behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from aiohttp import web

from procomp_pay.sandbox.app import Sandbox
from procomp_pay.server.http.route import BASE
from procomp_pay.services.context import AppContext
from tests.support.http_requests import token
from tests.support.patience import wait_until
from tests.support.processes import Command


@dataclass
class Served:
    """A running server, and how to talk to everything around it."""

    ctx: AppContext
    app: web.Application
    url: str
    api: httpx.AsyncClient
    sandbox: Sandbox
    control: httpx.AsyncClient
    secret: str

    async def initiate(self, participant: str = "p1", method: str = "apple_pay", **more: Any) -> Any:
        """Start a payment as staff, and return the body of the response."""
        headers = more.pop("headers", {}) | {"Authorization": f"Bearer {token(role='staff')}"}
        body = {"participant_id": participant, "method": method, **more}
        answer = await self.api.post(f"{BASE}/initiate", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self, participant: str = "p1") -> Any:
        answer = await self.api.get(
            f"{BASE}/status/{participant}", headers={"Authorization": f"Bearer {token(role='staff')}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until_completed(self, participant: str = "p1") -> None:
        async def is_completed() -> bool:
            return bool((await self.status(participant))["status"] == "COMPLETED")

        await wait_until(is_completed)

    async def deliver(self, mode: str) -> None:
        """Set how the sandbox delivers its events from now on."""
        await self.control.post("/_sandbox/webhooks", json={"mode": mode})

    async def pay(self, client_secret: str, method: str = "pm_apple_pay") -> Any:
        """Confirm the intent as the customer does in the app."""
        intent = client_secret.partition("_secret_")[0]
        answer = await self.control.post(
            f"/_sandbox/stripe/payment_intents/{intent}/pay", json={"method": method}
        )
        return answer.json()


#: The fixtures that start a server and a command, and the one that waits until something has happened.
Serve = Callable[..., Awaitable[Served]]
Start = Callable[..., Awaitable[Command]]
Eventually = Callable[..., Awaitable[Any]]


async def paid(
    served: Served, eventually: Eventually, participant_id: str = "p1", method: str = "pm_apple_pay"
) -> str:
    """Complete a payment of 50 USD, and return its id."""
    started = await served.initiate(participant_id)
    await served.pay(started["client_secret"], method)
    await served.until_completed(participant_id)
    return str(started["payment_id"])
