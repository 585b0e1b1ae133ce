"""A real server on an ephemeral port, with a real sandbox behind it and a real database under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from procomp_pay.config import Settings
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.app import make_app
from procomp_pay.server.http.connections import make_runner
from procomp_pay.server.http.route import BASE
from procomp_pay.server.http.state import STATE
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.context import AppContext
from tests.support import openapi_contract as contract
from tests.support.http_requests import ENCRYPTION_KEY, JWT_SECRET, clear_environment, make_people, token
from tests.support.processes import Command, environment
from tests.support.secret_watch import register_settings


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
        """Start a payment as staff; the body of the answer."""
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

    async def deliver(self, mode: str) -> None:
        """How the sandbox sends its events from now on."""
        await self.control.post("/_sandbox/webhooks", json={"mode": mode})

    async def pay(self, client_secret: str, method: str = "pm_apple_pay") -> Any:
        """The customer confirms the intent in the app."""
        intent = client_secret.partition("_secret_")[0]
        answer = await self.control.post(
            f"/_sandbox/stripe/payment_intents/{intent}/pay", json={"method": method}
        )
        return answer.json()


Serve = Callable[..., Awaitable[Served]]
Start = Callable[..., Awaitable[Command]]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_environment(monkeypatch)
    monkeypatch.chdir(tmp_path)  # no .env of a checkout


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxOptions(time_scale=60))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def settings(database_url: str, sandbox: Sandbox, tmp_path: Path) -> Settings:
    info: dict[str, Any] = sandbox.info()
    kaspi: Any = sandbox.providers["kaspi"]
    sandbox.stripe.set_endpoint("http://127.0.0.1:9/", None)  # to be corrected when the server has a port
    made = Settings(
        _env_file=None,
        procomp_home=tmp_path,
        database_url=SecretStr(database_url),
        stripe_secret_key=SecretStr(info["stripe_secret_key"]),
        stripe_webhook_secret=SecretStr(sandbox.info()["webhook_secret"]),
        stripe_api_base=sandbox.url,
        kaspi_api_key=SecretStr(info["kaspi_api_key"]),
        kaspi_api_url=sandbox.url,
        kaspi_device_token=SecretStr(kaspi.device_token),
        jwt_secret=SecretStr(JWT_SECRET),
        encryption_keys=SecretStr(ENCRYPTION_KEY),
    )
    register_settings(made)
    return made


@pytest.fixture
async def serve(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Serve]:
    """Starts a server; the settings may be changed first."""
    async with AsyncExitStack() as stack:

        async def start(**changed: Any) -> Served:
            used = settings.model_copy(update=changed)
            ctx = await stack.enter_async_context(open_context(used))
            await make_people(ctx)
            app = make_app(ctx, used)
            runner = make_runner(app, shutdown_timeout=5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            # the QR pictures' addresses must be those of this server
            object.__setattr__(app[STATE], "ctx", replace(ctx, base_url=url))
            sandbox.stripe.set_endpoint(f"{url}{BASE}/webhooks/stripe", None)
            api = await stack.enter_async_context(
                httpx.AsyncClient(
                    verify=False, base_url=url, timeout=20, event_hooks={"response": [contract.hold]}
                )
            )
            control = await stack.enter_async_context(
                httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=20)
            )
            return Served(ctx, app, url, api, sandbox, control, str(sandbox.info()["webhook_secret"]))

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A server as it comes."""
    return await serve()


@pytest.fixture
async def command(settings: Settings, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts ``procomp-pay …``; what still runs at the end is stopped."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, **env: str) -> Command:
            made = await Command.start(*arguments, env=environment(settings, **env), cwd=tmp_path)
            stack.push_async_callback(made.clean_up)
            return made

        yield start


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    async def wait(check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not happen within {seconds} s")

    return wait
