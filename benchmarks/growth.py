"""Measure the bytes that a payment takes on PostgreSQL, by table: paid, pruned, and with its audit archived.

    .venv/bin/python benchmarks/growth.py [--quick] [--rows N] [--year]

With --year the payments are spread over 52 weeks, each of which ends with a round of pruning and a seal; what
is left after the year and after all times of retention must have the same report, agree with a statement of
the whole year, and verify.

Each payment has two real events of the sandbox (3 kB each), its audit entries, its messages and an
idempotency key; everything is applied, pruned and archived by the use cases themselves, with the clock moved.
Sizes are those of tables and their indexes, after VACUUM FULL.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from reconcile import HEAD
from webhook_world import postgresql, seed, template

from procomp_pay.domain.events import Source
from procomp_pay.domain.period import Period
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.services.audit import archive as audit_archive
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.maintenance import retention
from procomp_pay.services.maintenance.run import Pass, work_inbox, work_outbox
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.reports.period import report
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.webhooks.intake import IncomingEvent, WebhookIntake, insert_events

_SIZES = """
SELECT relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND nspname = 'public' ORDER BY 1
"""
_AT_ONCE = 500
_WEEKS = 52
_ACTOR = Actor("benchmark", Source.PERSON)


class NoProviders:
    """Nothing is asked: all payments end by their events."""

    circuits = ()
    stripe_mode = "sandbox"

    def of(self, channel: object) -> object:
        raise AssertionError(f"{channel} was asked")

    def certificate(self, now: datetime) -> None:
        """Return that there is no certificate."""


def sizes(url: str) -> dict[str, int]:
    """Return the bytes of each table with its indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM FULL")
        return {name: size for name, size in connection.execute(_SIZES) if size > 100_000}


def file_bytes(folder: str) -> int:
    """Return the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).iterdir())


async def fill(ctx: AppContext, url: str, event: str, count: int, start: int = 0) -> None:
    """Start so many payments, store their events and apply them.

    :param start: the number of the first payment.
    """
    await seed(url, start, count, ctx.clock())
    event = event.replace("1234567890", str(int(ctx.clock().timestamp())))
    for first in range(start, start + count, _AT_ONCE):
        names = [f"{n:08d}" for n in range(first, min(start + count, first + _AT_ONCE))]
        async with ctx.db.writing() as session:
            arrived = []
            for name in names:
                await idempotency.remember(
                    session, idempotency.Claim("app:u", f"key-{name}", "f" * 64), f"pay{name}", ctx.clock()
                )
                for action in ("started", "created"):
                    after = {"status": "PENDING", "refunded": 0, "payment_intent": f"pi_benchmark{name}"}
                    record = audit.AuditRecord("u", Source.APP, action, None, after)
                    await audit.append(session, f"pay{name}", record, ctx.clock())
                for kind in ("processing", "succeeded"):
                    text = event.replace("NUMBER", name).replace("succeeded", kind)
                    arrived.append(
                        IncomingEvent(
                            id=new_id(), provider="stripe", event_id=f"evt_{kind}_{name}",
                            type=f"payment_intent.{kind}", payload_enc=ctx.keyring.seal(text.encode()),
                            occurred_at=int(ctx.clock().timestamp()),
                        )
                    )  # fmt: skip
            await insert_events(await session.connection(), arrived, ctx.clock())
        await work_inbox(ctx, Pass())
        await work_outbox(ctx, Pass())


def context(url: str, days: list[int]) -> AppContext:
    """Return a context whose clock is so many days from now."""
    db = PaymentDatabaseService(url)
    return AppContext(
        db=db,
        providers=NoProviders(),  # type: ignore[arg-type]
        keyring=Keyring([new_key()]),
        clock=lambda: datetime.now(UTC) + timedelta(days=days[0]),
        new_id=new_id,
        base_url="http://127.0.0.1:8080",
        intake=WebhookIntake(db),
    )


def show(url: str, count: int, empty: dict[str, int], state: str) -> float:
    """Print and return the bytes of a payment."""
    grown = {name: size - empty.get(name, 0) for name, size in sizes(url).items()}
    for name, size in sorted(grown.items(), key=lambda item: -item[1]):
        print(f"figure {state}_{name} {size / count:.0f} bytes/payment")
    print(f"figure {state} {sum(grown.values()) / count:.0f} bytes/payment", flush=True)
    return sum(grown.values()) / count


async def prune_all(ctx: AppContext) -> int:
    """Prune until nothing is due; return how many rows."""
    rows = 0
    while (pruned := await retention.prune(ctx)) is not None:
        rows += pruned
    return rows


async def check(ctx: AppContext, since: datetime, count: int, archives: Path | None = None) -> str:
    """Return the report of the year; compare the books with a statement of it, and verify the trail.

    :raises SystemExit: something does not agree.
    """
    trail = await verify(ctx, all_seals=True, archives=archives)
    if not trail.is_sound:
        raise SystemExit(f"the audit trail does not verify: {trail.findings[:3]}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "balance.csv"
        write_year(path, since, count)
        with open_statement(path, looks=False) as lines:
            request = ReconcileRequest("stripe", since, ctx.clock(), lines, path.name)
            compared = await reconcile(ctx, request, _ACTOR)
    if compared.kinds or compared.read["lines"] != count:
        raise SystemExit(f"the statement does not agree: {compared.kinds} {compared.read}")
    figures = (await report(ctx, Period(ZoneInfo("UTC"), since.date()))).full()
    print(f"figure verified {trail.entries} entries of {trail.chains} chains, {trail.seals} seals")
    print(f"figure reconciled {compared.read['lines']} lines, no difference", flush=True)
    return str({name: value for name, value in figures.items() if name != "made_at"})


def week_of(since: datetime, number: int, count: int) -> datetime:
    """Return when a payment of the year was made."""
    return since + timedelta(days=7 * (number * _WEEKS // count))


def write_year(path: Path, since: datetime, count: int) -> None:
    """Write Stripe's balance report of the year, with a line for each payment."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        for number in range(count):
            at = f"{week_of(since, number, count):%Y-%m-%d %H:%M:%S}"
            name = f"{number:08d}"
            out.writerow([
                f"txn_{name}", at, at, "usd", "50.00", "", "50.00", "charge", f"ch_benchmark{name}",
                "Entry fee", f"ch_benchmark{name}", f"pi_benchmark{name}",
            ])  # fmt: skip


async def run_year(url: str, count: int) -> None:
    event = re.sub(r"\bch_\w+", "ch_benchmarkNUMBER", await template(new_key() * 3))
    days = [-365]
    ctx, empty = context(url, days), sizes(url)
    since, rows, done = ctx.clock(), 0, 0
    for week in range(_WEEKS):
        days[0] = -365 + 7 * week
        end = count * (week + 1) // _WEEKS
        await fill(ctx, url, event, end - done, done)
        done = end
        rows += await prune_all(ctx)
        await seal(ctx, "benchmark")
    days[0] = 0
    rows += await prune_all(ctx)
    print(f"figure pruned_in_the_year {rows} rows")
    show(url, count, empty, "year")
    before = await check(ctx, since, count)
    days[0] = 401
    print(f"figure pruned_after_the_year {await prune_all(ctx)} rows")
    kept = show(url, count, empty, "after_retention")
    with tempfile.TemporaryDirectory() as folder:
        states = [await check(ctx, since, count)]
        await audit_archive.archive(ctx, Path(folder), _ACTOR, keep=timedelta(days=400))
        show(url, count, empty, "archived")
        states.append(await check(ctx, since, count, Path(folder)))
    if any(state != before for state in states):
        raise SystemExit("the report of the year is another one after pruning")
    print(f"ratio bytes_per_payment_after_retention {kept:.0f} bar <=4000")
    await ctx.db.dispose()


async def run(url: str, count: int) -> None:
    event = await template(new_key() * 3)
    days = [0]
    ctx = context(url, days)
    db = ctx.db
    empty = sizes(url)
    await fill(ctx, url, event, count)
    await seal(ctx, "benchmark")

    show(url, count, empty, "paid")
    for later in (100, 500):
        days[0] = later
        print(f"figure pruned_rows {await prune_all(ctx)} rows")
        show(url, count, empty, f"after_{later}_days")
    with tempfile.TemporaryDirectory() as folder:
        made = await audit_archive.archive(ctx, Path(folder), _ACTOR, keep=timedelta(days=400))
        show(url, count, empty, "archived")
        size = file_bytes(folder)
        print(f"figure archive_file {size / count:.0f} bytes/payment")
        report = await verify(ctx, all_seals=True, archives=Path(folder))
    if made.made is None or not report.is_sound:
        raise SystemExit(f"the audit trail does not verify: {report.findings[:3]}")
    print(f"figure verified {report.entries} entries")
    await db.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--year", action="store_true", help="payments of a whole year")
    options = parser.parse_args()
    with postgresql() as uri:
        migrate.upgrade(uri)
        work = run_year if options.year else run
        asyncio.run(work(uri, 1000 if options.quick else options.rows))


if __name__ == "__main__":
    main()
