"""Measure the bytes that a payment takes on PostgreSQL, by table: paid, pruned, and with its audit archived.

    .venv/bin/python benchmarks/growth.py [--quick] [--rows N]

Each payment has two real events of the sandbox (3 kB each), its audit entries, its messages and an
idempotency key; everything is applied, pruned and archived by the use cases themselves, with the clock moved.
Sizes are those of tables and their indexes, after VACUUM FULL.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from webhook_world import postgresql, seed, template

from procomp_pay.domain.events import Source
from procomp_pay.services.audit import archive as audit_archive
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.maintenance import retention
from procomp_pay.services.maintenance.run import Pass, work_inbox, work_outbox
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


async def fill(ctx: AppContext, url: str, event: str, count: int) -> None:
    """Start so many payments, store their events and apply them."""
    await seed(url, 0, count)
    for first in range(0, count, _AT_ONCE):
        names = [f"{n:08d}" for n in range(first, min(count, first + _AT_ONCE))]
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
            await insert_events(session, arrived, ctx.clock())
        await work_inbox(ctx, Pass())
        await work_outbox(ctx, Pass())


async def run(url: str, count: int) -> None:
    event = (await template(new_key() * 3)).replace("1234567890", str(int(datetime.now(UTC).timestamp())))
    db, days = PaymentDatabaseService(url), [0]
    ctx = AppContext(
        db=db,
        providers=NoProviders(),  # type: ignore[arg-type]
        keyring=Keyring([new_key()]),
        clock=lambda: datetime.now(UTC) + timedelta(days=days[0]),
        new_id=new_id,
        base_url="http://127.0.0.1:8080",
        intake=WebhookIntake(db),
    )
    empty = sizes(url)
    await fill(ctx, url, event, count)
    await seal(ctx, "benchmark")

    def show(state: str) -> None:
        grown = {name: size - empty.get(name, 0) for name, size in sizes(url).items()}
        for name, size in sorted(grown.items(), key=lambda item: -item[1]):
            print(f"figure {state}_{name} {size / count:.0f} bytes/payment")
        print(f"figure {state} {sum(grown.values()) / count:.0f} bytes/payment", flush=True)

    async def prune_all() -> None:
        rows = 0
        while (pruned := await retention.prune(ctx)) is not None:
            rows += pruned
        print(f"figure pruned_rows {rows} rows")

    show("paid")
    days[0] = 100
    await prune_all()
    show("after_100_days")
    days[0] = 500
    await prune_all()
    show("after_500_days")
    with tempfile.TemporaryDirectory() as folder:
        made = await audit_archive.archive(
            ctx, Path(folder), Actor("benchmark", Source.PERSON), keep=timedelta(days=400)
        )
        show("archived")
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
    options = parser.parse_args()
    with postgresql() as uri:
        migrate.upgrade(uri)
        asyncio.run(run(uri, 1000 if options.quick else options.rows))


if __name__ == "__main__":
    main()
