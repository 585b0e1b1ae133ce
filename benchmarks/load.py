"""Load two ``serve`` on one PostgreSQL: nothing may fail, be lost or doubled, and memory stays flat.

    .venv/bin/python benchmarks/load.py [--seconds 300] [--customers 12]

So many customers at a time initiate (every other one twice at once, with one Idempotency-Key, at both
servers), pay at the sandbox, and read their status until it is paid, and their history; then the next one
comes, so that a slow machine serves fewer of them and refuses none. Staff list payments; every tenth payment
is refunded, twice at once. Stripe's events are delivered by the load until they are taken, each fifth one
twice at once. Then the same again, while PostgreSQL is restarted twice and a ``serve`` is killed and started
again. In the first phase each answer must be 200 (but /health, which may tell of a slow machine); in the
second, 503 and lost connections are asked again. What led to each 503 is printed from the servers' logs. Only
loopback is used.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.http.route import BASE
from procomp_pay.services.bootstrap import open_context
from procomp_pay.storage.database import migrate
from tests.e2e.failover.cluster import Node, cluster
from tests.e2e.failover.load import AGAIN_S, Load, settings_for
from tests.support.http_requests import bearer, make_many_people
from tests.support.processes import Command, environment

#: Seconds in which all is settled once the load has ended.
WELL_S = 240.0
#: More payments than two servers take in a second.
_MOST_A_SECOND = 40
_ID = re.compile(r"\bc[a-z0-9]{24}\b")
#: Memory may grow by this factor after a third of a run of about so many seconds or more.
FLAT, LONG_S = 1.15, 110


@dataclass
class MixedLoad(Load):
    """The load of the failover tests, at several servers, with duplicates, reads and refunds.

    :param url: of the first server; the others are in ``urls``.
    """

    urls: list[str] = field(default_factory=list)
    customers: int = 12
    first: int = 0
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)
    unhealthy: Counter[str] = field(default_factory=Counter)
    _turn: itertools.count[int] = field(default_factory=itertools.count)
    _staff: asyncio.Task[None] | None = None

    def start(self) -> None:
        super().start()
        self.number = self.first
        self._staff = asyncio.create_task(self._read())

    async def stop(self) -> None:
        await super().stop()
        if self._staff is not None:
            self._staff.cancel()
            await asyncio.gather(self._staff, return_exceptions=True)

    async def _pay(self) -> None:
        async with asyncio.TaskGroup() as customers:
            for _ in range(self.customers):
                customers.create_task(self._one_after_another())

    async def _one_after_another(self) -> None:
        while not self._stop.is_set():
            self.number += 1
            await self._customer(f"p{self.number - 1}")

    async def _read(self) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                await self._call(http, "list", "GET", "/admin/payments?limit=50")
                await self._call(http, "health", "GET", "/health")
                await asyncio.sleep(0.2)

    async def _customer(self, participant: str) -> None:
        number = int(participant[1:])
        body = {"participant_id": participant, "method": "apple_pay"}
        async with httpx.AsyncClient(verify=False, timeout=60) as http:
            key = {"Idempotency-Key": f"load-{participant}"}
            first = await self._until_done(http, "initiate", "/initiate", body, key, twice=number % 2 == 0)
            intent = first["client_secret"].partition("_secret_")[0]
            await http.post(
                f"{self.sandbox.url}/_sandbox/stripe/payment_intents/{intent}/pay",
                json={"method": "pm_apple_pay"},
            )
            self.paid.add(intent)
            while True:
                _, answer = await self._call(http, "status", "GET", f"/status/{participant}")
                if answer.get("status") == "COMPLETED":
                    break
                await asyncio.sleep(AGAIN_S)
            await self._call(http, "history", "GET", f"/participant/{participant}/history")
            if number % 10:
                return
            path = f"/admin/payments/{first['payment_id']}/refund"
            key = {"Idempotency-Key": f"load-refund-{participant}"}
            await self._until_done(http, "refund", path, {"reason": "load"}, key, twice=True)

    async def _until_done(
        self, http: httpx.AsyncClient, what: str, path: str, body: dict[str, str], key: dict[str, str], *,
        twice: bool,
    ) -> dict[str, Any]:  # fmt: skip
        """Post until each of one or two requests at the same time is answered 200; all answers are one."""
        while True:
            ask = [self._call(http, what, "POST", path, json=body, headers=key) for _ in range(1 + twice)]
            answers = await asyncio.gather(*ask)
            if all(status in (200, 202) for status, _ in answers):
                ids = {answer.get("refund_id") or answer.get("payment_id") for _, answer in answers}
                if len(ids) != 1:
                    self.problems.append(f"{what} with one key made {ids}")
                return answers[0][1]
            await asyncio.sleep(AGAIN_S)

    async def _send(self, http: httpx.AsyncClient, event_id: str, body: bytes, secret: str) -> None:
        send = super()._send
        copies = 2 if len(self.acknowledged) % 5 == 0 else 1
        await asyncio.gather(*(send(http, event_id, body, secret) for _ in range(copies)))

    async def _ask(
        self, http: httpx.AsyncClient, what: str, url: str, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        return await self._call(http, what, "POST", url.partition(BASE)[2], **more)

    async def _call(
        self, http: httpx.AsyncClient, what: str, method: str, path: str, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask the servers in turn; return the HTTP status, 0 without an answer, and the answer."""
        url = self.urls[next(self._turn) % len(self.urls)]
        headers = {} if what == "webhook" else bearer(role="admin")
        headers |= more.pop("headers", {})
        begun = time.monotonic()
        try:
            answer = await http.request(method, f"{url}{BASE}{path}", headers=headers, **more)
        except httpx.HTTPError as error:
            self.answers[f"{what} {type(error).__name__}"] += 1
            return 0, {}
        self.waits[what].append(time.monotonic() - begun)
        self.answers[f"{what} {answer.status_code}"] += 1
        if answer.status_code == 503 and what == "health":
            self.unhealthy[f"health: {answer.json()['services']}"] += 1
        elif answer.status_code not in (200, 202, 503):
            self.problems.append(f"{what} {answer.status_code}: {answer.text[:200]}")
        return answer.status_code, answer.json() if answer.content else {}

    def _settled(self, dsn: str) -> set[str]:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            done = connection.execute(
                """SELECT "stripePaymentId" FROM "Payment" WHERE status IN ('COMPLETED', 'REFUNDED')"""
            )
            return {row[0] for row in done.fetchall()}

    def refunded_twice(self) -> int:
        """Return how many payments Stripe gave back more than once."""
        refunds = self.sandbox.stripe.core.tables["refunds"].values()
        return sum(count > 1 for count in Counter(row["payment_intent"] for row in refunds).values())


def refusals(servers: list[Command]) -> Counter[str]:
    """Return how often the logs tell of each reason of a 503, with our functions that it came through."""
    lines = [
        json.loads(line)
        for server in servers
        for line in server.output.splitlines()
        if '"status": 503' in line
    ]
    return Counter(
        f"{line['route']}: {_ID.sub('…', line['reason'])} ({line['raised_by']})"
        for line in lines
        if "reason" in line  # /health answers 503 without an error
    )


def memory_mb(server: Command) -> float:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{server._process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


async def phase(
    name: str, load: MixedLoad, dsn: str, started: list[Command], seconds: float, faults: Any = None
) -> list[str]:
    """Run the load for so many seconds, print its figures, and return what is wrong.

    :param started: the servers, with those that were killed.
    """
    known = refusals(started)
    load.start()
    begun, sizes = time.monotonic(), []
    disturbing = asyncio.create_task(faults()) if faults else None
    while time.monotonic() - begun < seconds:
        await asyncio.sleep(1)
        if not faults:
            sizes.append([memory_mb(server) for server in started])
    if disturbing is not None:
        await disturbing
    ended = time.monotonic()
    try:
        await asyncio.wait_for(load.stop(), WELL_S)
    except TimeoutError:
        load.problems.append("customers still wait for an answer")
    well_s = await load.seconds_until_well(dsn, WELL_S, more=0)
    lost, doubled, refunded = len(load.open(dsn)), load.doubled(dsn), load.refunded_twice()
    figures = {
        "payments": f"{len(load.paid)} in {ended - begun:.0f} s, {sum(load.answers.values())} requests",
        "answers": ", ".join(f"{what}: {n}" for what, n in sorted(load.answers.items())),
        "well_after_s": f"{time.monotonic() - ended:.1f}",
        "lost_doubled_refunded_twice": f"{lost} {doubled} {refunded}",
        "load_average": f"{os.getloadavg()[0]:.1f}",
    }
    for what, waits in sorted(load.waits.items()):
        high = sorted(waits)[int(len(waits) * 0.99)]
        figures[f"{what}_ms"] = f"p50 {statistics.median(waits) * 1000:.0f}, p99 {high * 1000:.0f}"
    for figure, value in figures.items():
        print(f"figure {name}_{figure} {value}")
    for reason, count in (refusals(started) - known + load.unhealthy).most_common():
        print(f"figure {name}_503 {count} x {reason}")
    wrong = load.problems[:5]
    if (lost, doubled, refunded) != (0, 0, 0) or well_s < 0:
        wrong.append("not every payment is settled once")
    if not faults:
        wrong += failures(load) + grown(name, sizes)
    return [f"{name}: {what}" for what in wrong]


def failures(load: MixedLoad) -> list[str]:
    """Return the answers that no request gets while all is well."""
    return [
        f"{count} x {answer}"
        for answer, count in load.answers.items()
        if not answer.endswith((" 200", " 202")) and answer != "health 503"
    ]


def grown(name: str, sizes: list[list[float]]) -> list[str]:
    """Print each server's memory after a third and at the end; return what is wrong with it.

    :param sizes: of each server in each second, in MB.
    """
    wrong = []
    for at, now in zip(sizes[len(sizes) // 3], sizes[-1], strict=True):
        print(f"figure {name}_memory_mb {at:.0f} after a third, {now:.0f} at the end")
        if len(sizes) >= LONG_S and now > FLAT * at:
            wrong.append("memory grows")
    return wrong


async def run(seconds: float, customers: int) -> list[str]:
    """Run both phases; return what is wrong."""
    sandbox = Sandbox(SandboxOptions(time_scale=10))
    await sandbox.start()
    sandbox.stripe.webhooks.set_mode("drop")  # the load delivers the events itself
    started: list[Command] = []
    try:
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            node: Node = stack.enter_context(cluster(synchronous=False)).primary
            url = f"postgresql://postgres@127.0.0.1:{node.port}/postgres"
            await asyncio.to_thread(migrate.upgrade, url)
            settings = settings_for(url, sandbox, home)
            async with open_context(settings) as ctx:
                await make_many_people(ctx, _MOST_A_SECOND * (2 * int(seconds) + 60))
            limits = {f"RATE_LIMIT_{kind}": "off" for kind in ("READS", "WRITES", "OPEN", "FAILURES")}
            env = environment(settings, **limits)

            async def serve(port: str = "0") -> Command:
                started.append(await Command.start("serve", "--port", port, env=env, cwd=home))
                return await started[-1].ready()

            servers = [await serve(), await serve()]
            urls = [server.url for server in servers]
            dsn = f"host=127.0.0.1 port={node.port} user=postgres dbname=postgres"

            quiet = MixedLoad(urls[0], sandbox, urls=urls, customers=customers)
            wrong = await phase("quiet", quiet, dsn, started, seconds)

            async def faults() -> None:
                for number in range(3):
                    await asyncio.sleep(seconds / 4)
                    if number == 1:
                        servers[1].send(signal.SIGKILL)
                        await servers[1].end()
                        servers[1] = await serve(urls[1].rpartition(":")[2])
                    else:
                        await asyncio.to_thread(node.stop)
                        await asyncio.to_thread(node.start)

            # all events of the first load at once would hold up those of the second one
            disturbed = MixedLoad(
                urls[0], sandbox, acknowledged=quiet.acknowledged, urls=urls, customers=customers,
                first=quiet.number,
            )  # fmt: skip
            wrong += await phase("faults", disturbed, dsn, started, seconds, faults)
            for server in servers:
                server.send(signal.SIGTERM)
            for server in servers:
                if await server.end() != 0 or "met a bug" in server.output or "Traceback" in server.output:
                    wrong.append(f"a server did not end well: {server.output[-2000:]}")
            return wrong
    finally:
        for server in started:
            await server.clean_up()
        await sandbox.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300, help="of each of the two phases")
    parser.add_argument("--customers", type=int, default=12, help="at a time")
    chosen = parser.parse_args()
    wrong = asyncio.run(run(chosen.seconds, chosen.customers))
    for line in wrong:
        print(f"WRONG {line}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
