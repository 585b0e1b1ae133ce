"""The sandbox as one server: options, keys, state, providers."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.sandbox import faults
from procomp_pay.sandbox.control import Control
from procomp_pay.sandbox.kaspi import KaspiSandbox
from procomp_pay.sandbox.store import Store, read_state
from procomp_pay.sandbox.stripe.provider import StripeSandbox

if TYPE_CHECKING:
    from procomp_pay.sandbox.tls import TlsFolder


class Provider(Protocol):
    """The interface of a provider in the sandbox. `dump` returns JSON-ready state, `load` restores it."""

    def routes(self) -> list[web.RouteDef]: ...
    def dump(self) -> dict[str, Any]: ...
    def load(self, data: dict[str, Any]) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True)
class SandboxOptions:
    """The options of the sandbox. Keys that are None are created at the first start and then kept.

    With `tls_folder` a second port speaks TLS and asks for a client certificate; authority and client
    certificate are made anew in that folder at each start.
    `time_scale` 60 makes Kaspi's lifetimes and webhook retries sixty times faster. Raises ValueError for a
    host that is not loopback, a live key or a scale that is not positive.
    """

    host: str = "127.0.0.1"
    port: int = 0
    state_file: Path | None = None
    stripe_secret_key: str | None = field(default=None, repr=False)
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    kaspi_api_key: str | None = field(default=None, repr=False)
    time_scale: float = 1.0
    tls_folder: Path | None = None

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise ValueError(f"the sandbox listens on loopback addresses only, not on {self.host}")
        if self.time_scale <= 0:
            raise ValueError("time_scale must be positive")
        if self.stripe_secret_key is not None and not self.stripe_secret_key.startswith("sk_test_"):
            raise ValueError("the sandbox takes Stripe test keys only: sk_test_…")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sandbox:
    """A running sandbox. `start` before use, `stop` after; both once."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        """Read the state file. Raises StateError when it cannot be read."""
        self.options = options or SandboxOptions()
        state = read_state(self.options.state_file)
        self._offset = float(state.get("clock_offset", 0.0))
        self._keys = self._choose_keys(state.get("keys", {}))
        self._store = Store(self.options.state_file, self._collect)
        self.faults = faults.Faults()
        self.requests = faults.RequestLog()
        self.stripe = StripeSandbox(
            clock=self.clock,
            changed=self._store.changed,
            secret_key=self._keys["stripe_secret_key"],
            saved=self._store.save,
            time_scale=self.options.time_scale,
        )
        self.kaspi = self._kaspi()
        self.providers: dict[str, Provider] = {"stripe": self.stripe, "kaspi": self.kaspi}
        for name, data in state.get("providers", {}).items():
            if name in self.providers:
                self.providers[name].load(data)
        self.url = ""
        self.tls_url = ""
        self.tls: TlsFolder | None = None
        self._runner: web.AppRunner | None = None
        self._saver: asyncio.Task[None] | None = None

    def _choose_keys(self, kept: dict[str, str]) -> dict[str, str]:
        given = {
            "stripe_secret_key": self.options.stripe_secret_key,
            "kaspi_api_key": self.options.kaspi_api_key,
        }
        made: dict[str, Callable[[], str]] = {
            "stripe_secret_key": lambda: f"sk_test_{secrets.token_hex(16)}",
            "kaspi_api_key": lambda: f"kaspi_test_{secrets.token_hex(16)}",
        }
        return {name: given.get(name) or kept.get(name) or make() for name, make in made.items()}

    def _kaspi(self) -> KaspiSandbox:
        return KaspiSandbox(
            clock=self.clock,
            changed=self._store.changed,
            api_key=self._keys["kaspi_api_key"],
            time_scale=self.options.time_scale,
        )

    def clock(self) -> float:
        """Return Unix seconds, including what `advance` added."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> float:
        """Move the clock forward; timers that become due run now. Return the new time."""
        self._offset += seconds
        self._store.changed()
        self.stripe.core.run_due()
        self.stripe.wake()
        return self.clock()

    def info(self) -> dict[str, Any]:
        """Return the address and the keys, for a program that starts the sandbox. All keys are test keys."""
        secret = self.stripe.core.private("we_sandbox").get("secrets", [None])[0]
        return {
            **self._keys,
            "kaspi": {
                "device_token": self.kaspi.device_token,
                "organization_bin": self.kaspi.organization_bin,
                "trade_point_id": self.kaspi.trade_point_id,
            },
            "livemode": False,
            "providers": sorted(self.providers),
            "sandbox": True,
            "state_file": str(self.options.state_file) if self.options.state_file else None,
            "time_scale": self.options.time_scale,
            "tls": self._tls_info(),
            "url": self.url,
            "webhook_secret": secret,
            "webhook_url": self.options.webhook_url,
        }

    async def start(self) -> None:
        """Listen, and begin background work. Raises OSError when the port is taken."""
        self.stripe.set_endpoint(self.options.webhook_url, self.options.webhook_secret)
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        await site.start()
        self.url = f"http://{self._address()}"
        if self.options.tls_folder is not None:
            await self._listen_tls(self._runner, self.options.tls_folder)
        self.stripe.core.base_url = self.url
        self._store.changed()
        await self._store.save()  # keys must survive even if nothing else ever happens
        self._saver = asyncio.create_task(self._store.run())
        for provider in self.providers.values():
            await provider.start()

    async def _listen_tls(self, runner: web.AppRunner, folder: Path) -> None:
        from procomp_pay.sandbox.tls import make_folder

        self.tls = make_folder(folder, self.options.host)
        await web.TCPSite(runner, self.options.host, 0, ssl_context=self.tls.server).start()
        self.tls_url = f"https://{self._address()}"

    def _address(self) -> str:
        """Return the host and port of the site that was started last."""
        if self._runner is None:
            raise RuntimeError("the sandbox is not running")
        host, port = self._runner.addresses[-1][:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _tls_info(self) -> dict[str, str] | None:
        if self.tls is None:
            return None
        return {
            "url": self.tls_url,
            "ca_cert": str(self.tls.ca),
            "client_cert": str(self.tls.client_cert),
            "client_key": str(self.tls.client_key),
            "client_key_password": self.tls.password,
        }

    async def stop(self) -> None:
        """Stop listening, stop background work, save what is left."""
        for provider in self.providers.values():
            await provider.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        await self._store.save()

    def _app(self) -> web.Application:
        # From the outside in: log, lock of idempotency keys, faults, saving. A cut answer was saved before.
        app = web.Application(
            middlewares=[
                faults.log_middleware(self.requests),
                self.stripe.lock_keys,
                faults.fault_middleware(self.faults),
                self._save,
            ]
        )
        control = Control(self.faults, self.requests, self.info, self.advance)
        app.add_routes(control.routes())
        for provider in self.providers.values():
            app.add_routes(provider.routes())
        return app

    @web.middleware
    async def _save(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            await self._store.save()

    def _collect(self) -> dict[str, Any]:
        return {
            "clock_offset": self._offset,
            "keys": self._keys,
            "providers": {name: provider.dump() for name, provider in self.providers.items()},
        }
