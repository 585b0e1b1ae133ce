"""Time ``GET status`` and ``GET admin/payments`` beside naive FastAPI and SQLModel handlers, in one run.

    .venv/bin/pip install -c constraints.txt -e '.[benchmarks]'
    .venv/bin/python benchmarks/http_reads.py [--quick]

Both run with 2 workers and uvloop on the same PostgreSQL; the reference is ``http_naive.py``, with httptools.
They take turns, several seconds each, and the medians are compared. On a machine that is busy with other
things, the CPU time of the server's processes for a request says more than the requests per second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import psycopg
from webhook_load import Line
from webhook_world import cpu_of, of, postgresql, seed, serving

from procomp_pay.storage.database import migrate
from procomp_pay.storage.encryption.keyring import new_key

ROWS = 2000
#: Half of the payments are paid.
PAID = """
UPDATE "Payment" SET status = 'COMPLETED' WHERE right(id, 1) IN ('0', '2', '4', '6', '8');
UPDATE "Participant" SET status = 'PAID', "paymentId" = 'pay' || right(id, 8)
WHERE right(id, 1) IN ('0', '2', '4', '6', '8');
"""
HERE = Path(__file__).parent


@contextlib.contextmanager
def naive(url: str, secret: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run the reference; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {
        "NAIVE_DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1),
        "NAIVE_JWT_SECRET": secret,
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


async def burst(port: int, requests: list[bytes], connections: int, seconds: float) -> int:
    """Send these requests in turn for so many seconds; return how many were answered.

    :raises SystemExit: an answer that is not 200.
    """
    loop, end, answered = asyncio.get_running_loop(), time.monotonic() + seconds, 0

    async def ask(number: int) -> None:
        nonlocal answered
        transport, line = await loop.create_connection(Line, "127.0.0.1", port)
        while time.monotonic() < end:
            status = await line.post(requests[number % len(requests)])
            if status != 200:
                raise SystemExit(f"{status} was answered to {requests[number % len(requests)]!r}")
            answered, number = answered + 1, number + connections
        transport.close()

    await asyncio.gather(*(ask(number) for number in range(connections)))
    return answered


def measure(
    name: str, servers: dict[str, tuple[int, subprocess.Popen[str]]], paths: dict[str, list[str]], token: str,
    *, connections: int, rounds: int, seconds: float,
) -> None:  # fmt: skip
    """Let the servers take turns, and print what each did and the ratios."""
    speeds: dict[str, list[float]] = {who: [] for who in servers}
    costs: dict[str, list[float]] = {who: [] for who in servers}
    for turn in range(rounds + 1):
        for who, (port, process) in servers.items():
            head = f"HTTP/1.1\r\nHost: benchmark\r\nAuthorization: Bearer {token}\r\n\r\n"
            requests = [f"GET {path} {head}".encode() for path in paths[who]]
            cpu, begun = cpu_of(process), time.monotonic()
            answered = asyncio.run(burst(port, requests, connections, seconds))
            if turn:  # the first one warms up
                speeds[who].append(answered / (time.monotonic() - begun))
                costs[who].append((cpu_of(process) - cpu) / answered * 1000)
    speed = {who: statistics.median(each) for who, each in speeds.items()}
    cost = {who: statistics.median(each) for who, each in costs.items()}
    for who in servers:
        print(f"figure {name}_{connections}_{who} {speed[who]:.0f} requests/s, {cost[who]:.2f} ms of CPU")
    print(f"ratio {name}_{connections} {speed['ours'] / speed['naive']:.2f} of the reference's requests/s")
    print(
        f"ratio {name}_{connections}_cpu {cost['naive'] / cost['ours']:.2f} of the reference's by CPU",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, less exact")
    quick = parser.parse_args().quick
    rounds, seconds = (2, 1.5) if quick else (5, 4.0)
    secret = new_key()
    claims = {"sub": "u", "role": "staff", "exp": int(time.time()) + 3600}
    token = jwt.encode(claims, secret, algorithm="HS256")
    os.environ["RATE_LIMIT_READS"] = "off"
    with postgresql() as uri, tempfile.TemporaryDirectory() as home:
        url = of(uri, "desk")
        migrate.upgrade(url)
        asyncio.run(seed(url, 0, ROWS))
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(PAID)
            admin.execute("VACUUM ANALYZE")
        with naive(url, secret) as reference, serving(url, Path(home), 2, JWT_SECRET=secret) as ours:
            servers = {"naive": reference, "ours": ours}
            people = [f"who{number:08d}" for number in range(0, ROWS, 7)]
            status = {
                "naive": [f"/status/{person}" for person in people],
                "ours": [f"/api/v1/payments/status/{person}" for person in people],
            }
            listed = {
                "naive": ["/payments?limit=50"],
                "ours": ["/api/v1/payments/admin/payments?limit=50"],
            }
            for connections in (1, 32):
                measure(
                    "status", servers, status, token, connections=connections, rounds=rounds, seconds=seconds
                )
            measure("list", servers, listed, token, connections=8, rounds=rounds, seconds=seconds)


if __name__ == "__main__":
    main()
