"""A database that hangs, moves, refuses or restarts, under a server that takes payments.

A short form runs in the suite. ``PROCOMP_FAILOVER=1`` runs each scenario by itself, with the time-outs of
production, and prints figures (add ``-s``); docs/reliability.md has those that were seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.http.route import BASE
from procomp_pay.services.bootstrap import open_context
from procomp_pay.storage.database import migrate
from tests.e2e.failover.cluster import Cluster, Node, cluster
from tests.e2e.failover.load import Load, settings_for
from tests.support.http_requests import make_many_people
from tests.support.patience import PATIENCE_S
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.processes import Command, environment
from tests.support.silent_proxy import SilentProxy

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux")

LONG = bool(os.environ.get("PROCOMP_FAILOVER"))
#: Seconds within which everything is well again once the cause is gone.
WELL_S = 60.0


@dataclass
class World:
    """A cluster behind a proxy that can go silent, a server, and its load."""

    cluster: Cluster
    proxy: SilentProxy
    server: Command
    load: Load
    #: Seconds for which a cause lasts.
    span_s: float
    #: The node that takes payments now.
    node: Node
    start_server: Callable[[], Awaitable[Command]]

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.node.port} user=postgres dbname=postgres"


async def silent_proxy(world: World) -> None:
    world.proxy.go_silent()
    await asyncio.sleep(world.span_s)
    world.proxy.speak()


async def read_only(world: World) -> None:
    """The address of the primary leads to the standby for a while."""
    world.proxy.lead_to(world.cluster.standby.port)
    await asyncio.sleep(world.span_s)
    world.proxy.lead_to(world.cluster.primary.port)


async def connections_exhausted(world: World) -> None:
    others: list[psycopg.Connection] = []
    until = time.monotonic() + world.span_s
    while time.monotonic() < until:
        with contextlib.suppress(psycopg.Error):
            others.append(await asyncio.to_thread(world.node.connect))
            continue
        # the server's own connections are taken from it as well, one after the other
        if others:
            with contextlib.suppress(psycopg.Error):
                others[0].execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'procomp-pay' LIMIT 1"
                )
        await asyncio.sleep(0.05)
    for other in others:
        other.close()


async def immediate_restart(world: World) -> None:
    await asyncio.to_thread(world.node.stop)
    await asyncio.sleep(world.span_s / 4)
    await asyncio.to_thread(world.node.start)


async def idle_lock(world: World) -> None:
    """Somebody locks the payments' tables and goes for a coffee: 40 s in the long form."""

    def hold() -> None:
        with psycopg.connect(world.dsn) as connection:
            connection.execute('LOCK TABLE "Payment", "Participant" IN EXCLUSIVE MODE')
            time.sleep(40 if LONG else world.span_s)

    await asyncio.to_thread(hold)


async def primary_frozen(world: World) -> None:
    """Freeze the primary, and promote the standby a moment later. It stays frozen: it would be fenced."""
    world.cluster.primary.freeze()
    await asyncio.sleep(world.span_s / 4)
    await asyncio.to_thread(world.cluster.standby.promote)
    world.node = world.cluster.standby


async def primary_killed(world: World) -> None:
    await asyncio.to_thread(world.cluster.primary.stop)
    await asyncio.sleep(world.span_s / 4)
    await asyncio.to_thread(world.cluster.standby.promote)
    world.node = world.cluster.standby


async def server_suspended(world: World) -> None:
    world.server.send(signal.SIGSTOP)
    await asyncio.sleep(world.span_s)
    world.server.send(signal.SIGCONT)


async def server_killed(world: World) -> None:
    """Kill the server, and start it again as its supervisor does."""
    world.server.send(signal.SIGKILL)
    await world.server.end()
    await asyncio.sleep(world.span_s / 4)
    world.server = await world.start_server()


Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    silent_proxy, read_only, connections_exhausted, immediate_restart, idle_lock, primary_frozen,
    primary_killed, server_suspended, server_killed,
)  # fmt: skip
#: In the order in which one world can have them.
SHORT: tuple[Scenario, ...] = (
    silent_proxy, read_only, connections_exhausted, immediate_restart, server_suspended, server_killed,
    primary_frozen,
)  # fmt: skip


@contextlib.asynccontextmanager
async def a_world(
    tmp_path: Path, *, synchronous: bool, span_s: float, parameters: str = "", pooler: str | None = None
) -> AsyncIterator[World]:
    """Start everything.

    :param pooler: the mode of a PgBouncer between the server and the primary, instead of the proxy.
    """
    sandbox = Sandbox(SandboxOptions(time_scale=10))
    await sandbox.start()
    sandbox.stripe.webhooks.set_mode("drop")  # the load delivers the events itself
    world = None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        with contextlib.ExitStack() as stack:
            nodes = stack.enter_context(cluster(synchronous=synchronous))
            async with SilentProxy(nodes.primary.port).running() as proxy:
                direct = f"postgresql://postgres@127.0.0.1:{nodes.primary.port}/postgres"
                hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{nodes.standby.port}"
                url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write{parameters}"
                if pooler is not None:
                    by_socket = (
                        f"postgresql:///postgres?host={nodes.primary.data.parent}&port={nodes.primary.port}"
                    )
                    url = stack.enter_context(pgbouncer(by_socket, mode=pooler)) + "?pgbouncer=true"
                await asyncio.to_thread(migrate.upgrade, direct)
                settings = settings_for(url, sandbox, tmp_path)
                async with open_context(settings) as ctx:
                    await make_many_people(ctx, 2000)
                env = environment(
                    settings, LOG_LEVEL="WARNING", RATE_LIMIT_WRITES="off", RATE_LIMIT_READS="off"
                )

                async def start_server() -> Command:
                    """Start it as a supervisor does: again, where the primary did not answer in time."""
                    for last in (False, False, True):
                        server = await Command.start("serve", "--port", str(port), env=env, cwd=tmp_path)
                        try:
                            return await server.ready()
                        except AssertionError:
                            await server.clean_up()
                            if last:
                                raise
                    raise AssertionError("unreachable")

                server = await start_server()
                load = Load(server.url, sandbox, pause_s=0.25 if LONG else 0.5)
                world = World(nodes, proxy, server, load, span_s, nodes.primary, start_server)
                world.load.start()
                yield world
                await world.server.clean_up()
    finally:
        if world is not None:
            await world.server.clean_up()
        await sandbox.stop()


async def try_out(world: World, scenario: Scenario) -> str:
    """Make the cause, wait until all is well again, and return the figures."""
    world.load.answers.clear()
    await asyncio.sleep(1)
    begun = time.monotonic()
    await scenario(world)
    gone = time.monotonic()
    well_s = await world.load.seconds_until_well(world.dsn, WELL_S, more=2)
    answers = ", ".join(f"{what}: {count}" for what, count in sorted(world.load.answers.items()))
    if well_s < 0:
        return f"{scenario.__name__}: NOT WELL, {len(world.load.open(world.dsn))} open; {answers}"
    return f"{scenario.__name__}: cause {gone - begun:.0f} s; well after {well_s:.1f} s; {answers}"


async def check_end(world: World, figures: list[str]) -> None:
    """Let the last customers pay; then everything paid is settled once, and the server stops in time."""
    try:
        await asyncio.wait_for(world.load.stop(), 2 * WELL_S)
    except TimeoutError:
        raise AssertionError(
            f"customers still wait: {figures}\n{world.load.answers}\n{world.server.output[-3000:]}"
        ) from None
    left_s = await world.load.seconds_until_well(world.dsn, WELL_S, more=0)
    lost = len(world.load.open(world.dsn))
    doubled = world.load.doubled(world.dsn)
    world.node.freeze()  # and even now it stops, with open requests
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        health = f"{world.server.url}{BASE}/health"
        waiting = [asyncio.create_task(http.get(health)) for _ in range(3)]
        waiting += [asyncio.create_task(world.load.read_status(http)) for _ in range(5)]
        await asyncio.sleep(1)
        begun = time.monotonic()
        world.server.send(signal.SIGTERM)
        code = await world.server.end(45)
        stop_s = time.monotonic() - begun
        await asyncio.gather(*waiting, return_exceptions=True)
    world.node.thaw()
    figures.append(
        f"paid {len(world.load.paid)}, lost {lost}, doubled {doubled};"
        f" SIGTERM while the database is frozen: {stop_s:.0f} s, exit code {code}"
    )
    report = "\n".join(figures)
    assert (lost, doubled) == (0, 0), report
    assert left_s >= 0, report
    assert stop_s < 40, report
    assert "NOT WELL" not in report, report
    assert " 500:" not in report, f"{report}\n{world.server.output}"
    assert "met a bug" not in world.server.output, world.server.output


@pytest.mark.skipif(LONG, reason="the long form runs each by itself")
async def test_everything_that_can_happen_to_a_database_in_turn(tmp_path: Path) -> None:
    figures = []
    parameters = "&statement_timeout=1000&lock_timeout=500&connect_timeout=2"
    async with a_world(tmp_path, synchronous=True, span_s=2.0, parameters=parameters) as world:
        for scenario in SHORT:
            figures.append(await try_out(world, scenario))
        await check_end(world, figures)
    print("\n".join(figures), file=sys.stderr)


@pytest.mark.skipif(not LONG, reason="takes a quarter of an hour: PROCOMP_FAILOVER=1")
@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_one_thing_that_can_happen_to_a_database(
    tmp_path: Path, scenario: Scenario, synchronous: bool
) -> None:
    if not synchronous and not scenario.__name__.startswith("primary"):
        pytest.skip("the standby has no part in it")
    async with a_world(tmp_path, synchronous=synchronous, span_s=30.0) as world:
        figures = [await try_out(world, scenario)]
        await check_end(world, figures)
    print("\n" + "\n".join(figures))


@pytest.mark.skipif(not LONG, reason="takes a quarter of an hour: PROCOMP_FAILOVER=1")
@needs_pgbouncer
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_database_restarts_behind_a_pgbouncer(tmp_path: Path, mode: str) -> None:
    async with a_world(tmp_path, synchronous=True, span_s=30.0, pooler=mode) as world:
        figures = [await try_out(world, immediate_restart)]
        await check_end(world, figures)
    print(f"\nPgBouncer, {mode}: " + "\n".join(figures))
