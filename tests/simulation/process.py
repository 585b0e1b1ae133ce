"""A process that can be killed between any two of its steps, on a SQLite file that it shares with others."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import aiosqlite

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.destinations import Destination
from procomp_pay.providers.kaspi.service import KaspiPaymentService, kaspi_http
from procomp_pay.providers.notifications.http_hooks import Hook, SignedHook
from procomp_pay.providers.notifications.senders import NotificationSenders
from procomp_pay.providers.resilience.circuit_breaker import Circuit
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.simulation import clock
from tests.simulation.network import PLATFORM, PROVIDERS, Network
from tests.support.environment import TestProviders

if TYPE_CHECKING:
    from procomp_pay.sandbox.app import Sandbox

#: The process whose task is running; None for customers and providers.
current: ContextVar[Process | None] = ContextVar("process", default=None)
_LOCKED_S = 30.0
_COUNTED = ("commit", "GET ", "POST ", "answer ")


class Process:
    """One ``serve``, or one command: its own connections, HTTP clients and circuit breakers.

    ``dies_at`` is the number of the step before which it is killed, if any.
    """

    def __init__(
        self,
        name: str,
        database_url: str,
        keyring: Keyring,
        sandbox: Sandbox,
        scheme: KaspiScheme,
        chance: random.Random,
        network: Network,
    ) -> None:
        self.name, self.network = name, network
        self.dies_at: int | None = None
        self.is_dead = False
        self.died = asyncio.Event()
        self.steps = 0
        self.last_step = ""
        self._chance = chance
        self._tasks: list[asyncio.Task[Any]] = []
        self.connections: list[Connection] = []
        self._circuits = [Circuit("Stripe"), Circuit("Kaspi")]
        info = sandbox.info()
        stripe = StripePaymentService(
            info["stripe_secret_key"], api_base=PROVIDERS, circuit=self._circuits[0]
        )
        kaspi = KaspiPaymentService(
            kaspi_http(PROVIDERS, api_key=info["kaspi_api_key"]),
            scheme=scheme,
            device_token=info["kaspi"]["device_token"],
            organization_bin=info["kaspi"]["organization_bin"],
            circuit=self._circuits[1],
        )
        self._db = PaymentDatabaseService(database_url)
        self.ctx = AppContext(
            db=self._db,
            providers=TestProviders(stripe, kaspi, self._circuits),
            keyring=keyring,
            clock=clock.now,
            new_id=new_id,
            base_url="http://127.0.0.1:8080",
            intake=WebhookIntake(self._db),
            senders=_PlatformAlone(),
        )

    def start(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Begin work in this process. If it is killed, the task ends as cancelled."""
        context = copy_context()
        context.run(current.set, self)
        task: asyncio.Task[Any] = context.run(asyncio.ensure_future, work)
        self.own(task)
        return task

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)
        if self.is_dead:
            task.cancel()

    async def step(self, what: str) -> None:
        """Pass a point between two steps, at which others may run.

        Before a commit, a request or its answer the process may be killed: all other points of a transaction
        come to the same, since it is lost.
        """
        if self.is_dead:
            raise asyncio.CancelledError
        matters = what.startswith(_COUNTED)
        self.steps += matters
        self.last_step = what
        if matters and self.dies_at is not None and self.steps >= self.dies_at:
            self.kill()
            raise asyncio.CancelledError
        if self._chance.random() < 0.2:
            await asyncio.sleep(self._chance.choice((0, 0, 0.003)))
            if self.is_dead:
                raise asyncio.CancelledError

    def kill(self) -> None:
        """End as by SIGKILL: open transactions are lost, and nothing more reaches database or network."""
        self.is_dead = True
        self.died.set()
        for connection in self.connections:
            connection.drop()
        running = asyncio.current_task()
        for task in self._tasks:
            if task is not running:
                task.cancel()

    async def stop(self) -> None:
        """End in good order."""
        if not self.is_dead:
            await self._db.dispose()
        self.kill()


class Connection(aiosqlite.Connection):
    """The driver's connection without its thread: each statement is a step of its process."""

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> Connection:
        self._connection = self._connector()
        self._process = current.get()
        if self._process is not None:
            self._process.connections.append(self)
        return self

    async def _execute(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._connection is None:
            raise asyncio.CancelledError
        if self._process is not None and work.__name__ not in ("cursor", "close", "fetchall", "rollback"):
            await self._process.step(" ".join(str(args[0]).split())[:90] if args else work.__name__)
        if args and args[0] == "PRAGMA synchronous=FULL":
            args = ("PRAGMA synchronous=OFF", *args[1:])  # processes die here, the machine never does
        waited = 0.0
        while True:
            try:
                return work(*args, **kwargs)
            except sqlite3.OperationalError as error:
                if "database is locked" not in str(error) or waited > _LOCKED_S:
                    raise
            waited += 0.02
            await asyncio.sleep(0.02)  # another process writes

    def stop(self) -> None:
        self.drop()

    def drop(self) -> None:
        raw, self._connection = self._connection, None
        if raw is not None:
            raw.rollback()
            raw.close()


def connect(database: str, **options: Any) -> Connection:
    """Take the place of ``aiosqlite.connect``."""
    settings = options | {"timeout": 0, "check_same_thread": False}
    return Connection(lambda: sqlite3.connect(database, **settings), 64)


def make_task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """Make a task that belongs to the process that makes it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
    owner = current.get()
    if owner is not None:
        owner.own(task)
    return task


class _PlatformAlone(NotificationSenders):
    """Messages go to the platform's webhook alone."""

    def __init__(self) -> None:
        super().__init__()
        self._hook = SignedHook(Hook(PLATFORM), ["whsec_" + "c2ltdWxhdGlvbi1zZWNyZXQtMTIzNDU2"])

    def recipients(self, destination: Destination) -> tuple[str, ...]:
        return ("",) if destination is Destination.PLATFORM_WEBHOOK else ()

    def platform(self) -> SignedHook:
        return self._hook
