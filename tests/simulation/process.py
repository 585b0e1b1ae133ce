"""A process that can be killed between any two of its steps, on a SQLite file that it shares with others."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor
from sqlalchemy.util import await_only, greenlet_spawn, immutabledict

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.destinations import Destination
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
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
#: Pauses between attempts to take a lock, and for how long.
_RETRY_S, _LOCKED_S = 0.02, 30.0
#: Calls of the driver that nobody else can notice.
_NO_STEPS = ("cursor", "close", "fetchall", "rollback")
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
        """Pass a point between two steps, at which others may run."""
        pause = self.reach(what)
        if pause is not None:
            await self.wait(pause)

    def reach(self, what: str) -> float | None:
        """Reach a point between two steps; return the seconds to :meth:`wait` there, or None.

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
        return self._chance.choice((0, 0, 0.003)) if self._chance.random() < 0.2 else None

    async def wait(self, pause: float) -> None:
        """Let others run."""
        await asyncio.sleep(pause)
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

    def __init__(self, database: str, options: dict[str, Any]) -> None:
        settings = options | {"timeout": 0, "check_same_thread": False}
        super().__init__(lambda: sqlite3.connect(database, **settings), 64)
        self._connection = self._connector()
        self.process = current.get()
        if self.process is not None:
            self.process.connections.append(self)

    async def _execute(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        pause = self.reach(work, *args)
        if pause is not None and self.process is not None:
            await self.process.wait(pause)
        waited = 0.0
        while True:
            try:
                return work(*args, **kwargs)
            except sqlite3.OperationalError as error:
                waited = _longer(waited, error)
            await asyncio.sleep(_RETRY_S)  # another process writes

    def reach(self, work: Callable[..., Any], *args: Any) -> float | None:
        """Reach a call of the driver, as :meth:`Process.reach`."""
        if self._connection is None:
            raise asyncio.CancelledError
        if self.process is None or work.__name__ in _NO_STEPS:
            return None
        return self.process.reach(args[0] if args else work.__name__)

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do as :meth:`_execute` does, in SQLAlchemy's greenlet, which waits only if others run: through its
        coroutines each call takes several times as long."""
        pause = self.reach(work, *args)
        if pause is not None and self.process is not None:
            await_only(self.process.wait(pause))
        waited = 0.0
        while True:
            try:
                return work(*args)
            except sqlite3.OperationalError as error:
                waited = _longer(waited, error)
            await_only(asyncio.sleep(_RETRY_S))  # another process writes

    def stop(self) -> None:
        self.drop()

    def drop(self) -> None:
        raw, self._connection = self._connection, None
        if raw is not None:
            raw.rollback()
            raw.close()


def _longer(waited: float, error: sqlite3.OperationalError) -> float:
    """Return for how long a statement will have waited, in seconds, if it waits once more.

    :raises sqlite3.OperationalError: it has waited long enough, or not for a lock.
    """
    if "database is locked" not in str(error) or waited > _LOCKED_S:
        raise error
    return waited + _RETRY_S


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """SQLAlchemy's cursor, on that of ``sqlite3``."""

    _cursor: Any

    def __init__(self, adapted: _Adapted) -> None:
        self._adapt_connection, self._connection = adapted, adapted._connection
        try:
            self._cursor = self._connection._conn.cursor()
        except Exception as error:
            adapted._handle_exception(error)
        self._soft_closed_memoized = immutabledict()
        self._rows = deque()

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        args = (operation,) if parameters is None else (operation, parameters)
        self._do(self._cursor.execute, *args)
        if self._cursor.description:
            self._rows = deque(self._cursor.fetchall())

    def executemany(self, operation: Any, parameters: Any) -> Any:
        self._do(self._cursor.executemany, operation, parameters)

    def _do(self, work: Callable[..., Any], *args: Any) -> None:
        if args[0] == "PRAGMA synchronous=FULL":
            args = ("PRAGMA synchronous=OFF",)  # processes die here, the machine never does
        try:
            self._connection.do(work, *args)
        except Exception as error:
            self._adapt_connection._handle_exception(error)

    async def _async_soft_close(self) -> None:
        self._soft_closed_memoized = immutabledict({"description": self._cursor.description})
        self._connection.do(self._cursor.close)

    def close(self) -> None:
        self._rows.clear()
        if not self._soft_closed_memoized:
            self._connection.do(self._cursor.close)


class _Adapted(AsyncAdapt_aiosqlite_connection):
    """SQLAlchemy's connection, on ours."""

    _cursor_cls = _Cursor
    _connection: Any

    def rollback(self) -> None:
        self._end("rollback")

    def commit(self) -> None:
        self._end("commit")

    def _end(self, how: str) -> None:
        raw = self._connection._connection
        if raw is not None:
            try:
                self._connection.do(getattr(raw, how))
            except Exception as error:
                self._handle_exception(error)


def connect(dbapi: Any, database: str, **options: Any) -> _Adapted:
    """Take the place of ``AsyncAdapt_aiosqlite_dbapi.connect``."""
    return _Adapted(dbapi, Connection(database, options))


def spawn(
    work: Callable[..., Any], *args: Any, _require_await: bool = False, **more: Any
) -> Coroutine[Any, Any, Any]:
    """Take the place of SQLAlchemy's ``greenlet_spawn``, which expects a driver to wait at least once."""
    return greenlet_spawn(work, *args, **more)


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
