"""One simulated tournament day: people who pay, a desk that refunds, processes that die, a bad network."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import httpx
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.ext.asyncio import engine

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.states import KASPI_CHANNELS, STRIPE_CHANNELS
from procomp_pay.providers.stripe.http import StripeHttp
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.sandbox.stripe.webhooks import signature
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance.run import (
    Pass,
    one_pass,
    work_inbox,
    work_missed,
    work_outbox,
    work_refunds,
    work_watch,
)
from procomp_pay.services.reconciliation.run import PROVIDERS, ReconcileRequest, reconcile
from procomp_pay.services.webhooks.stripe import receive_stripe
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.models.terms import TournamentFee
from tests.simulation import books, clock
from tests.simulation import process as processes
from tests.simulation.network import Network
from tests.simulation.people import FEES, KZT, MORNING_S, USD, Person
from tests.simulation.process import Process
from tests.support.environment import CLERK

_SECRET = "whsec_simulation"
_TLS = httpx.create_ssl_context()
#: Pauses after which the sender of a webhook tries again, in seconds; then it gives up.
_RETRIES_S = (3, 20, 90, 400, 3600, 20_000)
#: The end of the day: pauses after which everything that waits has come to an end, in seconds.
_EVENING = (5, 130, 700, 4000, 90_000, 4000, 4000, 700)

#: The background work of ``serve``, and the query that tells which of it is due.
_WORK: tuple[Callable[[AppContext, Pass], Awaitable[None]], ...] = (
    partial(work_watch, channels=KASPI_CHANNELS), partial(work_watch, channels=STRIPE_CHANNELS),
    partial(work_refunds, channels=KASPI_CHANNELS), partial(work_refunds, channels=STRIPE_CHANNELS),
    work_outbox, work_inbox,
)  # fmt: skip
_DUE = """
    SELECT EXISTS (SELECT 1 FROM pay_payment_detail WHERE next_poll_at <= ?1 AND channel LIKE 'kaspi%'),
           EXISTS (SELECT 1 FROM pay_payment_detail WHERE next_poll_at <= ?1 AND channel LIKE 'stripe%'),
           EXISTS (SELECT 1 FROM pay_refund WHERE next_look_at <= ?1 AND currency = 'KZT'),
           EXISTS (SELECT 1 FROM pay_refund WHERE next_look_at <= ?1 AND currency = 'USD'),
           EXISTS (SELECT 1 FROM pay_outbox WHERE state = 'waiting' AND next_attempt_at <= ?1)
               OR EXISTS (SELECT 1 FROM pay_delivery WHERE state = 'waiting' AND next_attempt_at <= ?1),
           EXISTS (SELECT 1 FROM pay_webhook_event WHERE state = 'pending' AND next_attempt_at <= ?1)
"""

Work = Callable[[AppContext], Coroutine[Any, Any, Any]]


@dataclass
class Result:
    """What came of a day.

    :param problems: what must never be; empty for a good day.
    """

    seed: int
    problems: list[str]
    trace: list[str]
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


def run(seed: int, template: Path, make: Callable[[int, Path, random.Random], Day] | None = None) -> Result:
    """Run the day of a seed on a copy of an empty migrated SQLite file."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    path = folder / "day.sqlite3"
    shutil.copy(template, path)
    try:
        with clock.simulated(seed) as (loop, chance), _in_memory(loop):
            day = (make or Day)(seed, path, chance)
            try:
                loop.run_until_complete(day.run())
            except Exception as error:
                day.result.problems.append(f"the day broke off: {error!r}")
            day.end(loop)
            return day.result
    finally:
        shutil.rmtree(folder)


@contextmanager
def _in_memory(loop: asyncio.AbstractEventLoop) -> Any:
    """Replace the driver's threads and the HTTP clients' sockets."""

    async def send(_transport: Any, request: httpx.Request) -> httpx.Response:
        owner = processes.current.get()
        assert owner is not None
        return await owner.network.send(owner, request)

    @asynccontextmanager
    async def send_by_aiohttp(
        method: str, url: str, *, headers: Any, data: Any, **_: Any
    ) -> AsyncIterator[Any]:
        try:
            answer = await send(None, httpx.Request(method, url, headers=headers, content=data))
        except httpx.ConnectError as error:
            raise aiohttp.ConnectionTimeoutError from error
        except httpx.TransportError as error:
            raise aiohttp.SocketTimeoutError from error
        read = mock.AsyncMock(return_value=answer.content)
        yield mock.Mock(read=read, status=answer.status_code, headers=answer.headers)

    session = mock.Mock(request=send_by_aiohttp, close=mock.AsyncMock())
    loop.set_task_factory(processes.make_task)
    with (
        mock.patch.object(engine, "greenlet_spawn", processes.spawn),
        mock.patch.object(AsyncAdapt_aiosqlite_dbapi, "connect", processes.connect),
        mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", send),
        # a real session would complain that a killed process did not close it
        mock.patch.object(StripeHttp, "_open", return_value=session),
        # each process would read the certificates again, with which nobody is asked for
        mock.patch.object(httpx._transports.default, "create_ssl_context", return_value=_TLS),
    ):
        yield


class Day:
    """The people, the processes and the network of one day."""

    def __init__(self, seed: int, path: Path, chance: random.Random) -> None:
        self.chance, self.path = chance, path
        self.result = Result(seed, [], [])
        self.sandbox = Sandbox(SandboxOptions())
        self.sandbox.kaspi._book.settings.require_client_cert = False
        self.sandbox.stripe.core.on_event.append(self._on_event)
        trouble = chance.choice((0.0, 0.03, 0.1, 0.25))
        self.deadly = chance.choice((0.0, 0.1, 0.3))
        self.network = Network(self.sandbox, chance, trouble, self.trace)
        self.scheme = chance.choice((KaspiScheme.ENHANCED, KaspiScheme.ENHANCED, KaspiScheme.BASIC))
        self.keyring = Keyring([new_key()])
        self.sql = sqlite3.connect(path, isolation_level=None)
        self.people = [f"p{number}" for number in range(1, chance.randint(2, 4) + 1)]
        self.processes: dict[str, Process] = {}
        self.woken = {"serve-1": asyncio.Event(), "serve-2": asyncio.Event()}
        self.is_over = False
        #: Money that Kaspi took by its bill protocol: txn_id to tenge.
        self.bills: dict[str, Decimal] = {}
        self._deliveries: list[asyncio.Task[None]] = []
        self.trace(f"{len(self.people)} people, {self.scheme}, trouble {trouble}, deadly {self.deadly}")

    def trace(self, text: str) -> None:
        self.result.trace.append(f"{asyncio.get_event_loop().time():9.2f} {text}")

    # --- the day

    async def run(self) -> None:
        log = logging.getLogger("procomp_pay")
        errors = _ErrorLog(self)
        level, propagates, log.propagate = log.level, log.propagate, False
        log.setLevel(logging.ERROR)
        log.addHandler(errors)
        try:
            await self._register()
            await self.daytime()
            await self._evening()
        finally:
            log.removeHandler(errors)
            log.setLevel(level)
            log.propagate = propagates

    async def daytime(self) -> None:
        """Let people act while processes die and are started again."""
        keepers = [asyncio.create_task(self._keep(name)) for name in ("serve-1", "serve-2", "desk")]
        await asyncio.gather(self._outages(), *(Person(self, name).live() for name in self.people))
        self.is_over = True
        for running in list(self.processes.values()):
            running.kill()
        await asyncio.gather(*keepers)

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let what is left of killed processes end."""
        for _ in range(10):
            loop.run_until_complete(asyncio.sleep(0))
        self.sql.close()
        self.result.tally["faults"] += self.network.faults

    async def _register(self) -> None:
        now, first = clock.now(), self.process("registrations")
        stamps: Any = {"created_at": now, "updated_at": now}
        rows = [
            User(id="u", email="u@example.com", name="U"),
            Tournament(id="t", name="Open", entry_fee=FEES[USD], currency=USD, starts_at=now, **stamps),
            TournamentFee(tournament_id="t", currency=KZT, amount=FEES[KZT], **stamps),
        ]
        rows += [
            Participant(id=name, user_id="u", tournament_id="t", full_name=f"Person {name}", **stamps)
            for name in self.people
        ]

        async def write() -> None:
            async with first.ctx.db.writing() as session:
                for row in rows:
                    session.add(row)
                    await session.flush()

        await first.start(write())
        await first.stop()

    def process(self, name: str) -> Process:
        return Process(
            name, f"sqlite:///{self.path}", self.keyring, self.sandbox, self.scheme, self.chance, self.network
        )

    async def _keep(self, name: str) -> None:
        """Keep a process running: start it, and again some time after it died."""
        while not self.is_over:
            running = self.processes[name] = self.process(name)
            if name in self.woken:
                if self.deadly and self.chance.random() < 0.5:
                    running.dies_at = self.chance.randint(1, 150)
                running.start(self._rounds(running, self.woken[name]))
            await running.died.wait()
            if not self.is_over:
                self.result.tally["kills"] += 1
                self.trace(f"{name} was killed before: {running.last_step}")
                await asyncio.sleep(self.chance.uniform(1, 90))

    async def _rounds(self, running: Process, woken: asyncio.Event) -> None:
        """Do the background work of ``serve``: stored events at once, all else when it is due."""
        ctx = running.ctx
        while True:
            try:
                async with asyncio.timeout(self.chance.uniform(3, 40)):
                    await woken.wait()
                woken.clear()
                work: list[Awaitable[Any]] = [work_inbox(ctx, Pass())]
            except TimeoutError:
                work = [each(ctx, Pass()) for each in self._due()]
            for result in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(result, PaymentError):
                    self.trace(f"{running.name}: round: {type(result).__name__}")
                elif isinstance(result, Exception):
                    self.result.problems.append(f"a round failed unexpectedly: {result!r}")

    def _due(self) -> list[Callable[[AppContext, Pass], Awaitable[None]]]:
        """Return the work that finds something to do: to look for the rest takes most of a day's time."""
        now = clock.now().strftime("%Y-%m-%d %H:%M:%S.%f")
        found = self.sql.execute(_DUE, (now,)).fetchone()
        work = [each for each, is_due in zip(_WORK, found, strict=True) if is_due]
        return [*work, work_missed] if self.chance.random() < 0.03 else work

    async def _outages(self) -> None:
        for path in ("/v1/", "/r1/", "/r3/", "/hook"):
            if self.network.trouble and self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, MORNING_S))
                seconds = self.chance.uniform(10, 300)
                self.network.outages[path] = asyncio.get_running_loop().time() + seconds
                self.trace(f"{path} is out of reach for {seconds:.0f} s")

    async def use(self, what: str, work: Work, *, at: str | None = None) -> Any:
        """Do a piece of work in one of the processes, which may die of it; return None unless it was done."""
        while True:
            alive = [each for each in self.processes.values() if not each.is_dead]
            wanted = [each for each in alive if at is None or each.name.startswith(at)]
            if wanted:
                break
            await asyncio.sleep(1)
        running, result, why = self.chance.choice(wanted), None, ""
        if self.chance.random() < self.deadly:
            running.dies_at = running.steps + self.chance.randint(1, 9)
        task = running.start(work(running.ctx))
        if self.deadly and self.chance.random() < 0.05:  # the client hangs up
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 2), task.cancel)
        try:
            result = await task
            outcome = "done"
        except PaymentError as error:
            outcome, why = type(error).__name__, f" ({error.message[:90]})"
        except asyncio.CancelledError:
            outcome = "killed" if running.is_dead else "cancelled"
        except Exception as error:
            outcome = repr(error)
            self.result.problems.append(f"{what} failed unexpectedly: {error!r}")
        self.result.tally[f"{what.split(maxsplit=1)[0]}: {outcome}"] += 1
        self.trace(f"{running.name}: {what}: {outcome}{why}")
        return result

    # --- webhooks

    def _on_event(self, event: dict[str, Any]) -> None:
        """Send an event, sometimes twice or never, each delivery by itself: the order is not kept."""
        chance = self.chance
        if self.network.trouble and chance.random() < 0.04:
            self.trace(f"{event['type']} {event['id']}: never sent")
            self.network.faults += 1
            return
        body = json.dumps(self.sandbox.stripe.core.view(event)).encode()
        for _ in range(2 if chance.random() < self.network.trouble else 1):
            delay = chance.choice((0.05, 0.3, 2.0)) if chance.random() < 0.9 else chance.uniform(5, 600)
            self._deliveries.append(asyncio.create_task(self._deliver(event, body, delay)))

    async def _deliver(self, event: dict[str, Any], body: bytes, delay: float) -> None:
        """Deliver an event to one of the servers, and try again until it is accepted."""
        await asyncio.sleep(delay)
        for pause in (*_RETRIES_S, None):
            header = signature(body, [_SECRET], int(clock.now().timestamp()))
            alive = [p for p in self.processes.values() if not p.is_dead and p.name != "desk"]
            lost = self.chance.random() < self.network.trouble
            if alive and not (lost and self.chance.random() < 0.5):
                server = self.chance.choice(alive)
                task = server.start(receive_stripe(server.ctx, body, header, [_SECRET]))
                try:
                    is_new = await task
                except (PaymentError, asyncio.CancelledError) as error:
                    self.trace(f"{event['type']} {event['id']}: {type(error).__name__}")
                else:
                    if server.name in self.woken:
                        self.woken[server.name].set()
                    if not lost:
                        self.trace(f"{event['type']} {event['id']}: {'stored' if is_new else 'known'}")
                        return
            if pause is not None:
                await asyncio.sleep(pause)
        self.trace(f"{event['type']} {event['id']}: given up")

    # --- the evening

    async def _evening(self) -> None:
        """End all faults, let time pass, and compare the books."""
        self.network.trouble, self.deadly = 0.0, 0.0
        self.network.outages.clear()
        self.trace("evening")
        last = self.processes["serve-1"] = self.process("evening")
        for seconds in _EVENING:
            await asyncio.sleep(seconds)
            self.sandbox.stripe.core.run_due()
            for each in self._due():
                await last.start(each(last.ctx, Pass()))
        await last.start(one_pass(last.ctx))
        for provider in PROVIDERS:
            # Kaspi tells of a refund in its app only when it is asked
            report = await last.start(reconcile(last.ctx, ReconcileRequest(provider), CLERK))
            self.trace(f"reconcile {provider}: {dict(sorted(report.kinds.items()))}")
        await last.start(one_pass(last.ctx))
        for task in self._deliveries:
            task.cancel()
        await last.start(books.check(self, last.ctx))
        self.result.problems.sort()
        await last.stop()


class _ErrorLog(logging.Handler):
    """Background work logs its unexpected errors."""

    def __init__(self, day: Day) -> None:
        super().__init__(logging.ERROR)
        self._day = day

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:  # alerts are logged as well
            self._day.result.problems.append(f"{record.getMessage()}: {record.exc_info[1]!r}")
