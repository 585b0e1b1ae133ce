"""Measure webhook intake and the time until COMPLETED and PAID, compared with pgbench and dj-stripe.

    .venv/bin/python benchmarks/webhooks.py [--quick] [--workers N] [--only postgresql] [--dj-stripe PYTHON]

One PostgreSQL (the wheel, fsync on) serves all in one run. The reference is SPEC 12's minimal transaction by
pgbench, prepared, at its best client count; it has a thread for each core, and so has ours: `serve` with as
many workers as there are cores. The load generator is a process of its own; each event is a real
payment_intent.succeeded of 3 kB about a payment of its own, freshly signed; each tenth delivery is a
duplicate. Times to COMPLETED are those of PostgreSQL's commits.

dj-stripe is compared where the interpreter of an environment is named that has it (and gunicorn): see
``djstripe.py`` for how to make one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from djstripe import intake_of_djstripe
from webhook_world import (
    completions,
    cpu_of,
    drive,
    of,
    pgbench,
    postgresql,
    seed,
    serving,
    template,
)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def on_postgresql(uri: str, text: str, home: Path, workers: int, quick: bool) -> float:
    """Flood, then send half of that rate steadily; return the events stored per second."""
    count = 6000 if quick else 30000
    url = of(uri, "desk")
    from procomp_pay.storage.database import migrate

    migrate.upgrade(url)
    best = pgbench(uri, 2 if quick else 5)
    print(f"figure pgbench_best {best:.0f} tx/s", flush=True)
    asyncio.run(seed(url, 0, 2 * count))
    with serving(url, home, workers) as (port, process):
        drive(port, text, 0, 500)  # warm
        completions(url, 0, 500, 60)
        cpu = cpu_of(process)
        flood = drive(port, text, 500, count - 500)
        taken: float = flood["deliveries"] / (flood["ended"] - flood["begun"])
        waits = [got - sent for sent, got in flood["at"].values()]
        done = completions(url, 500, count - 500, 300)
        rate = len(done) / (max(done.values()) - flood["begun"])
        cpu = cpu_of(process) - cpu
        print(f"figure intake {taken:.0f} events/s")
        print(f"figure intake_p50_to_200 {statistics.median(waits) * 1000:.1f} ms")
        print(f"figure intake_p99_to_200 {percentile(waits, 0.99) * 1000:.1f} ms")
        print(f"figure completed {rate:.0f} events/s")
        print(f"figure serve_cpu {cpu / len(done) * 1e6:.0f} us/event")
        print(f"figure load_cpu {flood['cpu'] / flood['deliveries'] * 1e6:.0f} us/event", flush=True)
        half = min(count, int(rate / 2 * (4 if quick else 15)))
        steady = drive(port, text, count, half, rate=rate / 2 / 0.9)
        done = completions(url, count, half, 60)
        late = [done[int(n)] - sent for n, (sent, _) in steady["at"].items()]
        waits = [got - sent for sent, got in steady["at"].values()]
        print(f"figure half_load {half / (steady['ended'] - steady['begun']):.0f} events/s")
        print(f"figure half_p99_to_200 {percentile(waits, 0.99) * 1000:.1f} ms")
        print(f"figure half_p50_to_completed {statistics.median(late) * 1000:.1f} ms")
        print(f"ratio webhook_intake {taken / best:.3f} bar >=0.45")
        print(f"ratio webhook_completed {rate / best:.3f} bar >=0.4")
        print(f"ratio webhook_p99_to_completed_ms {percentile(late, 0.99) * 1000:.0f} bar <=250", flush=True)
    return taken


def beside_djstripe(python: str, uri: str, text: str, workers: int, quick: bool, taken: float) -> None:
    """Send the same flood to dj-stripe."""
    theirs = intake_of_djstripe(python, uri, text, workers, quick)
    for name, rate in theirs.items():
        print(f"figure djstripe_{name} {rate:.0f} events/s")
    print(f"figure webhook_intake_vs_djstripe_deferring {taken / theirs['deferring']:.1f} times")
    print(
        f"ratio webhook_intake_vs_djstripe {taken / theirs['out_of_the_box']:.1f} bar >=5",
        flush=True,
    )


def on_sqlite(text: str, home: Path, quick: bool) -> None:
    """Send the same flood with the embedded database."""
    import sqlite3

    from procomp_pay.storage.database import migrate

    count = 2000 if quick else 10000
    file = home / "desk.sqlite3"
    url = f"sqlite:///{file}"
    migrate.upgrade(url)
    asyncio.run(seed(url, 0, count))
    with serving(url, home, 1) as (port, _):
        drive(port, text, 0, 200)
        flood = drive(port, text, 200, count - 200)
        waits = [got - sent for sent, got in flood["at"].values()]
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as connection:
            while connection.execute(
                "SELECT count(*) FROM pay_webhook_event WHERE state = 'pending'"
            ).fetchone()[0]:
                time.sleep(0.05)
            spent = time.time() - flood["begun"]
            [paid] = connection.execute(
                """SELECT count(*) FROM "Participant" WHERE status = 'PAID'"""
            ).fetchone()
        if paid != count:
            raise SystemExit(f"{count - paid} payments of {count} are not COMPLETED and PAID")
    taken = flood["deliveries"] / (flood["ended"] - flood["begun"])
    print(f"figure sqlite_intake {taken:.0f} events/s")
    print(f"figure sqlite_p99_to_200 {percentile(waits, 0.99) * 1000:.1f} ms")
    print(f"figure sqlite_completed {(count - 200) / spent:.0f} events/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="serve --workers N")
    parser.add_argument("--only", choices=("postgresql", "sqlite"))
    parser.add_argument("--dj-stripe", metavar="PYTHON", help="an interpreter that has dj-stripe")
    asked = parser.parse_args()
    text = asyncio.run(template("x" * 800))
    print(f"figure event_bytes {len(text)} bytes")
    with tempfile.TemporaryDirectory() as folder:
        if asked.only != "postgresql":
            on_sqlite(text, Path(folder), asked.quick)
        if asked.only != "sqlite":
            with postgresql() as uri:
                taken = on_postgresql(uri, text, Path(folder), asked.workers, asked.quick)
                if asked.dj_stripe:
                    beside_djstripe(asked.dj_stripe, uri, text, asked.workers, asked.quick, taken)


if __name__ == "__main__":
    main()
