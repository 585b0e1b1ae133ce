"""Fixtures: a real server on an ephemeral port, with the sandbox as its providers and a real database."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from procomp_pay.config import Settings
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.app import make_app
from procomp_pay.server.background.loops import Background, Loop
from procomp_pay.server.http.connections import listening
from procomp_pay.server.http.route import BASE
from procomp_pay.server.http.state import STATE
from procomp_pay.services.bootstrap import open_context
from tests.support import openapi_contract as contract
from tests.support.http_requests import ENCRYPTION_KEY, JWT_SECRET, clear_environment, make_people
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.processes import Command, environment
from tests.support.secret_watch import register_settings
from tests.support.server import Eventually, Serve, Served, Start

#: The pause before the first round of a loop that no test waits for, in seconds.
_REST_S = 5.0


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clear_environment(monkeypatch)
    monkeypatch.chdir(tmp_path)  # without the .env of a checkout


@pytest.fixture
def time_scale() -> float:
    """Return how fast the sandbox's timers are."""
    return 60


@pytest.fixture
async def sandbox(time_scale: float) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxOptions(time_scale=time_scale))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def settings(database_url: str, sandbox: Sandbox, tmp_path: Path) -> Settings:
    info: dict[str, Any] = sandbox.info()
    kaspi: Any = sandbox.providers["kaspi"]
    sandbox.stripe.set_endpoint("http://127.0.0.1:9/", None)  # replaced when the server has a port
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


def _rest_first(background: Background) -> None:
    """Let each loop begin with a pause, which ends when it is woken, in place of a round.

    The first rounds of all loops cost more than most requests, and most tests wait for none of them.
    """

    def rest_before(work: Callable[[Loop], Awaitable[float]]) -> Callable[[Loop], Awaitable[float]]:
        async def rest(loop: Loop) -> float:
            loop.work = work
            return _REST_S

        return rest

    for loop in background._loops:
        loop.work = rest_before(loop.work)


@pytest.fixture
async def serve(settings: Settings, sandbox: Sandbox, request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Return a function that starts a server, with changed settings."""
    waits = "eventually" in request.fixturenames
    async with AsyncExitStack() as stack:

        async def start(**changed: Any) -> Served:
            used = settings.model_copy(update=changed)
            ctx = await stack.enter_async_context(open_context(used))
            await make_people(ctx)
            app = make_app(ctx, used)
            if not waits:
                _rest_first(app[STATE].background)
            bound = socket.create_server(("127.0.0.1", 0))
            await stack.enter_async_context(listening(app, bound, shutdown_timeout=5))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            # links to QR images must lead to this server
            object.__setattr__(app[STATE], "ctx", replace(ctx, base_url=url))
            sandbox.stripe.set_endpoint(f"{url}{BASE}/webhooks/stripe", None)
            api = await stack.enter_async_context(
                httpx.AsyncClient(
                    verify=False,
                    base_url=url,
                    timeout=PATIENCE_S,
                    event_hooks={"response": [contract.check_response]},
                )
            )
            control = await stack.enter_async_context(
                httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S)
            )
            return Served(ctx, app, url, api, sandbox, control, str(sandbox.info()["webhook_secret"]))

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """Return a server with the default settings."""
    return await serve()


@pytest.fixture
async def command(settings: Settings, tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts ``procomp-pay …``; running commands are killed at the end."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, **env: str) -> Command:
            made = await Command.start(*arguments, env=environment(settings, **env), cwd=tmp_path)
            stack.push_async_callback(made.clean_up)
            return made

        yield start


@pytest.fixture
def eventually() -> Eventually:
    return wait_until
