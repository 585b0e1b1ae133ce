"""An environment for random operations, with a process that can crash at any step."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any, cast

import httpx
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.config import KaspiScheme, ProviderMode
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.service import KaspiPaymentService, kaspi_http
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.environment import ServiceEnvironment

_KEY = new_key()
#: Seconds for a provider request, enough for one attempt: the operations themselves are repeated.
_TOTAL_S = 0.01


class CrashPoints:
    """Counts the points at which a process can crash, and crashes it at the chosen one."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._root: asyncio.Task[Any] | None = None

    async def point(self) -> None:
        """Mark a point between two atomic steps, and crash here if it was chosen."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0 and self._root is not None:
            self._root.cancel()
            await asyncio.Event().wait()  # the crashed process does nothing more

    async def run(self, work: Coroutine[Any, Any, Any], crash_at: int | None) -> str:
        """Run a service call and return how it ended, in a word."""
        self._root = asyncio.create_task(work)
        self._left = crash_at
        try:
            await self._root
        except PaymentError as error:
            return type(error).__name__
        except asyncio.CancelledError:
            return "crashed"
        finally:
            self._left = self._root = None
        return "done"

    async def cancelled_after(self, work: Coroutine[Any, Any, Any], steps: int) -> str:
        """Run a service call and cancel it after a number of steps of the event loop."""
        task = asyncio.create_task(work)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except PaymentError as error:
            return type(error).__name__
        except asyncio.CancelledError:
            return "cancelled"
        return "done"


class CrashingDatabase:
    """The database service with crash points in and after every writing transaction."""

    def __init__(self, real: PaymentDatabaseService, crash_points: CrashPoints) -> None:
        self._real, self._crash_points = real, crash_points

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        async with self._real.writing() as session:
            yield session
            await self._crash_points.point()  # not committed
        await self._crash_points.point()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class CrashingProvider:
    """A provider's service with crash points before and after every request."""

    def __init__(self, real: Any, crash_points: CrashPoints) -> None:
        self._real, self._crash_points = real, crash_points

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._real, name)
        if not inspect.iscoroutinefunction(real):
            return cast(Callable[..., Any], real)

        async def call(*args: Any) -> Any:
            await self._crash_points.point()
            answer = await real(*args)
            await self._crash_points.point()  # the provider has executed the request, but we do not know
            return answer

        return call


class CrashingProviders:
    """The providers of a process that can crash."""

    def __init__(
        self, stripe: StripePaymentService, kaspi: KaspiPaymentService, crash_points: CrashPoints
    ) -> None:
        self._stripe, self._kaspi = (
            CrashingProvider(stripe, crash_points),
            CrashingProvider(kaspi, crash_points),
        )

    stripe_mode = ProviderMode.SANDBOX

    @property
    def circuits(self) -> list[Any]:
        return []

    def certificate(self, _now: object) -> None:
        return None

    def of(self, channel: Channel) -> Any:
        return self._kaspi if channel.is_kaspi else self._stripe


class ErrorLog(logging.Handler):
    """Collects logged errors, since background work logs its exceptions."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[1] if record.exc_info else None
        self.errors.append(f"{record.getMessage()}: {kind!r}")


@asynccontextmanager
async def crashing_environment(database_url: str) -> AsyncIterator[tuple[ServiceEnvironment, CrashPoints]]:
    """Yield a sandbox and a context on a database, and the crash points of its process."""
    crash_points, made = CrashPoints(), []
    async with AsyncExitStack() as stack:
        sandbox = Sandbox(SandboxOptions())
        await sandbox.start()
        stack.push_async_callback(sandbox.stop)
        sandbox.kaspi._book.settings.require_client_cert = False
        real = PaymentDatabaseService(database_url)
        stack.push_async_callback(real.dispose)
        stripe = StripePaymentService(
            sandbox.info()["stripe_secret_key"], api_base=sandbox.url, timeout_s=5.0, total_s=_TOTAL_S
        )
        stack.push_async_callback(stripe.aclose)
        kaspi = KaspiPaymentService(
            kaspi_http(sandbox.url),
            scheme=KaspiScheme.ENHANCED,
            device_token=sandbox.kaspi.device_token,
            organization_bin=sandbox.kaspi.organization_bin,
            total_s=_TOTAL_S,
        )
        stack.push_async_callback(kaspi.aclose)
        http = await stack.enter_async_context(httpx.AsyncClient(verify=False, base_url=sandbox.url))
        database: Any = CrashingDatabase(real, crash_points)
        ctx = AppContext(
            db=database,
            providers=CrashingProviders(stripe, kaspi, crash_points),
            keyring=Keyring([_KEY]),
            clock=lambda: made[0].now(),  # noqa: PLW0108 - created after the context
            new_id=new_id,
            base_url="http://127.0.0.1:8080",
            intake=WebhookIntake(real),
        )
        made.append(ServiceEnvironment(ctx, sandbox, http))
        yield made[0], crash_points


def cents(amount: Decimal) -> int:
    return int(amount * 100)
