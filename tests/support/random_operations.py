"""What the state machine acts with: a world that is made in milliseconds, and a desk that can be killed."""

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

from procomp_pay.config import KaspiScheme
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
#: One attempt for each call: the machine itself tries again.
_TOTAL_S = 0.01


class FaultPlan:
    """Counts the points at which a process can die, and kills it at the chosen one."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._root: asyncio.Task[Any] | None = None

    async def point(self) -> None:
        """Between two steps that each are whole; dies here if it was so decided."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0 and self._root is not None:
            self._root.cancel()
            await asyncio.Event().wait()  # nothing of this process goes on

    async def run(self, work: Coroutine[Any, Any, Any], dies_at: int | None) -> str:
        """Run a use case; how it ended, in a word."""
        self._root = asyncio.create_task(work)
        self._left = dies_at
        try:
            await self._root
        except PaymentError as error:
            return type(error).__name__
        except asyncio.CancelledError:
            return "killed"
        finally:
            self._left = self._root = None
        return "done"

    async def cancelled_after(self, work: Coroutine[Any, Any, Any], steps: int) -> str:
        """Run a use case and cancel it after so many steps of the event loop, wherever it is."""
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


class MortalDatabase:
    """The database service with points before, in and after every transaction that writes."""

    def __init__(self, real: PaymentDatabaseService, faults: FaultPlan) -> None:
        self._real, self._fate = real, faults

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        async with self._real.writing() as session:
            yield session
            await self._fate.point()  # not committed
        await self._fate.point()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class MortalProvider:
    """A provider's service with points before and after every call."""

    def __init__(self, real: Any, faults: FaultPlan) -> None:
        self._real, self._fate = real, faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._real, name)
        if not inspect.iscoroutinefunction(real):
            return cast(Callable[..., Any], real)

        async def call(*args: Any) -> Any:
            await self._fate.point()
            answer = await real(*args)
            await self._fate.point()  # it was done there, and nobody here knows
            return answer

        return call


class MortalProviders:
    """Gives the providers of a process that may die."""

    def __init__(self, stripe: StripePaymentService, kaspi: KaspiPaymentService, faults: FaultPlan) -> None:
        self._stripe, self._kaspi = MortalProvider(stripe, faults), MortalProvider(kaspi, faults)

    @property
    def circuits(self) -> list[Any]:
        return []

    def certificate(self, _now: object) -> None:
        return None

    def of(self, channel: Channel) -> Any:
        return self._kaspi if channel.is_kaspi else self._stripe


class Bugs(logging.Handler):
    """Collects what our own code logs as an error: background work hides exceptions there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.getMessage()}: {kind!r}")


@asynccontextmanager
async def random_environment(database_url: str) -> AsyncIterator[tuple[ServiceEnvironment, FaultPlan]]:
    """A sandbox, a database and a desk between them."""
    faults, made = FaultPlan(), []
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
        database: Any = MortalDatabase(real, faults)
        ctx = AppContext(
            db=database,
            providers=MortalProviders(stripe, kaspi, faults),
            keyring=Keyring([_KEY]),
            clock=lambda: made[0].now(),  # noqa: PLW0108 - the world is made after its desk
            new_id=new_id,
            base_url="http://127.0.0.1:8080",
            intake=WebhookIntake(real),
        )
        made.append(ServiceEnvironment(ctx, sandbox, http))
        yield made[0], faults


def cents(amount: Decimal) -> int:
    return int(amount * 100)
