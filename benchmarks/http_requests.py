"""Time ``GET status``, ``GET admin/payments`` and ``POST initiate`` beside naive handlers, in one run.

    .venv/bin/pip install -c constraints.txt -e '.[benchmarks]'
    .venv/bin/python benchmarks/http_requests.py [--quick] [--only status,list,initiate]

Both run with 2 workers and uvloop on the same PostgreSQL; the reference is ``http_naive.py``, with httptools.
They take turns, several seconds each, and the medians are compared. On a machine that is busy with other
things, the CPU time of the server's processes for a request says more than the requests per second. Ours has
its background loops in it, which the reference lacks: the fewer requests, the more they weigh.

``initiate`` starts payments of different participants at one sandbox, a process of its own, whose CPU time
for a request is printed as well: as long as it is well below that of the servers, it limits neither of them.
What ours does more for the same request: it checks that the participant is the caller's, and not archived,
paid, or waiting for a decision; locks the participant, so that two requests at once start one payment;
remembers the Idempotency-Key; charges the fee that holds today; stores that the request was sent before it
is, so that a lost answer is recovered; gives the payment a code; seals the client secret or the QR; writes
two entries of the audit chain; repeats what is safe to repeat, behind a circuit breaker and a time limit; and
logs. It sends Stripe's requests by aiohttp, the reference by the SDK's first choice, which is httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import psycopg
from webhook_load import Line
from webhook_world import cpu_of, of, postgresql, seed, serving

from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.registrations import search_keys

ROWS = 2000
#: Half of the payments are paid.
PAID = """
UPDATE "Payment" SET status = 'COMPLETED' WHERE right(id, 1) IN ('0', '2', '4', '6', '8');
UPDATE "Participant" SET status = 'PAID', "paymentId" = 'pay' || right(id, 8)
WHERE right(id, 1) IN ('0', '2', '4', '6', '8');
"""
#: Participants without a payment, more than both servers can take in a run, and their fee in tenge.
NEW = 40_000
UNPAID = f"""
INSERT INTO "Participant" (id, "userId", "tournamentId", status, "fullName", "createdAt", "updatedAt")
SELECT 'new' || n, 'u', 't', 'REGISTERED', 'Әсел Нұрланова', now(), now() FROM generate_series(1, {NEW}) n;
INSERT INTO pay_tournament_fee VALUES ('t', 'KZT', 23000, now(), now());
"""
#: Between two turns: nothing is polled while the other server is measured.
UNPOLLED = "UPDATE pay_payment_detail SET next_poll_at = NULL WHERE next_poll_at IS NOT NULL"
HERE = Path(__file__).parent

Server = tuple[int, subprocess.Popen[str]]
Requests = Callable[[], Iterator[bytes]]


@contextlib.contextmanager
def sandbox() -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run the sandbox; yield its address and keys."""
    command = [sys.executable, "-m", "procomp_pay.sandbox"]
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def naive(url: str, secret: str, provider: dict[str, Any]) -> Iterator[Server]:
    """Run the reference; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {
        "NAIVE_DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1),
        "NAIVE_JWT_SECRET": secret,
        "NAIVE_PROVIDER": json.dumps(provider),
        "PYTHONPATH": f"{HERE}:{HERE.parent}",
    }
    options = ["--workers", "2", "--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "http_naive:app", "--port", str(port), *options]
    process = subprocess.Popen(command, env=env, text=True)
    try:
        for _ in range(400):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/docs"):
                break
            time.sleep(0.05)
        else:
            raise SystemExit("the reference did not start")
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


async def store_search_keys(url: str) -> None:
    """Store what the server would in its first minute, beside the requests that are measured."""
    db = PaymentDatabaseService(url)
    async with db.writing() as session:
        await search_keys.store(session, await search_keys.stale(session, limit=NEW + ROWS))
    await db.dispose()


async def burst(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> int:
    """Send these requests in turn for so many seconds; return how many were answered.

    :raises SystemExit: an answer that is not 200.
    """
    loop, end, answered = asyncio.get_running_loop(), time.monotonic() + seconds, 0

    async def ask() -> None:
        nonlocal answered
        transport, line = await loop.create_connection(Line, "127.0.0.1", port)
        while time.monotonic() < end:
            request = next(requests)
            status = await line.post(request)
            if status != 200:
                raise SystemExit(f"{status} was answered to {request!r}")
            answered += 1
        transport.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return answered


def measure(
    name: str, servers: dict[str, Server], requests: dict[str, Requests], *,
    connections: int, rounds: int, seconds: float, before: Callable[[], object] = lambda: None,
    provider: subprocess.Popen[str] | None = None,
) -> None:  # fmt: skip
    """Let the servers take turns, and print what each did, and the ratios: our requests/s to the reference's,
    and its CPU time for a request to ours.
    """
    speeds: dict[str, list[float]] = {who: [] for who in servers}
    costs: dict[str, list[float]] = {who: [] for who in servers}
    theirs: list[float] = []
    for turn in range(rounds + 1):
        for who, (port, process) in servers.items():
            before()
            cpu, at_provider, begun = cpu_of(process), cpu_of(provider or process), time.monotonic()
            answered = asyncio.run(burst(port, requests[who](), connections, seconds))
            if turn:  # the first one warms up
                speeds[who].append(answered / (time.monotonic() - begun))
                costs[who].append((cpu_of(process) - cpu) / answered * 1000)
                theirs.append((cpu_of(provider or process) - at_provider) / answered * 1000)
    speed = {who: statistics.median(each) for who, each in speeds.items()}
    cost = {who: statistics.median(each) for who, each in costs.items()}
    for who in servers:
        print(f"figure {name}_{connections}_{who} {speed[who]:.0f} requests/s, {cost[who]:.2f} ms of CPU")
    if provider is not None:
        print(f"figure {name}_{connections}_sandbox {statistics.median(theirs):.2f} ms of CPU for a request")
    bar = 1.0 if provider is None else 0.7  # ours does more when it starts a payment
    print(f"ratio {name}_{connections} {speed['ours'] / speed['naive']:.2f} bar >={bar}")
    print(f"ratio {name}_{connections}_cpu {cost['naive'] / cost['ours']:.2f} bar >={bar}", flush=True)


def reads(paths: list[str], token: str) -> Requests:
    """Return GET requests, the same ones again and again."""
    head = f"HTTP/1.1\r\nHost: benchmark\r\nAuthorization: Bearer {token}\r\n\r\n"
    requests = [f"GET {path} {head}".encode() for path in paths]
    return lambda: itertools.cycle(requests)


def starts(path: str, method: str, participants: Iterator[int], token: str) -> Requests:
    """Return POST requests, each of the next participant."""

    def requests() -> Iterator[bytes]:
        for number in participants:
            body = json.dumps({"participant_id": f"new{number}", "method": method}).encode()
            yield (
                f"POST {path} HTTP/1.1\r\nHost: benchmark\r\nAuthorization: Bearer {token}\r\n"
                f"Idempotency-Key: start-{number}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode() + body
        raise SystemExit("there are no participants left")

    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, less exact")
    parser.add_argument("--only", default="status,list,initiate", help="which of the three")
    options = parser.parse_args()
    only = options.only.split(",")
    rounds, seconds = (2, 1.5) if options.quick else (5, 4.0)
    secret = new_key()
    claims = {"sub": "u", "exp": int(time.time()) + 3600}
    staff, user = (
        jwt.encode(claims | {"role": role}, secret, algorithm="HS256") for role in ("staff", "user")
    )
    os.environ |= {"RATE_LIMIT_READS": "off", "RATE_LIMIT_WRITES": "off"}
    with postgresql() as uri, tempfile.TemporaryDirectory() as home, sandbox() as (info, provider):
        url = of(uri, "desk")
        migrate.upgrade(url)
        asyncio.run(seed(url, 0, ROWS))
        admin = psycopg.connect(url, autocommit=True)
        admin.execute(PAID)
        admin.execute(UNPAID)
        asyncio.run(store_search_keys(url))
        admin.execute("VACUUM ANALYZE")
        ours = serving(
            url, Path(home), 2, JWT_SECRET=secret,
            STRIPE_SECRET_KEY=info["stripe_secret_key"], STRIPE_API_BASE=info["url"],
            KASPI_API_KEY=info["kaspi_api_key"], KASPI_API_URL=info["url"],
            KASPI_DEVICE_TOKEN=info["kaspi"]["device_token"], KASPI_REQUESTS_PER_SECOND="1000",
        )  # fmt: skip
        with admin, naive(url, secret, info) as reference, ours as desk:
            servers = {"naive": reference, "ours": desk}
            people = [f"who{number:08d}" for number in range(0, ROWS, 7)]
            status = {
                "naive": reads([f"/status/{person}" for person in people], staff),
                "ours": reads([f"/api/v1/payments/status/{person}" for person in people], staff),
            }
            listed = {
                "naive": reads(["/payments?limit=50"], staff),
                "ours": reads(["/api/v1/payments/admin/payments?limit=50"], staff),
            }
            for connections in (1, 32) if "status" in only else ():
                measure("status", servers, status, connections=connections, rounds=rounds, seconds=seconds)
            if "list" in only:
                measure("list", servers, listed, connections=8, rounds=rounds, seconds=seconds)
            numbers = iter(range(1, NEW + 1))
            for method in ("apple_pay", "kaspi_qr") if "initiate" in only else ():
                initiate = {
                    "naive": starts("/initiate", method, numbers, user),
                    "ours": starts("/api/v1/payments/initiate", method, numbers, user),
                }
                measure(
                    f"initiate_{method}", servers, initiate, connections=8, rounds=rounds, seconds=seconds,
                    before=lambda: admin.execute(UNPOLLED), provider=provider,
                )  # fmt: skip


if __name__ == "__main__":
    main()
