"""Time ``reconcile`` of 5,000 payments by Stripe's API, against the sandbox in a process of its own.

    .venv/bin/python benchmarks/stripe_reconcile.py [--quick] [--rounds N]

The reference is to fetch the same pages by plain httpx, one after the other, and parse them: what the sandbox
itself takes. The books are on PostgreSQL. Ours stores the fee of every payment, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from webhook_world import of, postgresql, seed

COUNT = 5000
#: The bar for so many payments, on a machine that does nothing else.
SECONDS = 3.5
PAID = """
UPDATE "Payment" SET status = 'COMPLETED';
UPDATE "Participant" SET status = 'PAID', "paymentId" = 'pay' || right(id, 8);
UPDATE pay_payment_detail SET provider_open = false, completed_at = created_at, news_at = created_at,
    next_poll_at = NULL
"""
LISTS = ("payment_intents", "refunds", "disputes", "balance_transactions")


async def sandbox(count: int) -> None:
    """Run a sandbox with so many paid payments until stdin ends."""
    import httpx

    from procomp_pay.sandbox.app import Sandbox, SandboxOptions

    running = Sandbox(SandboxOptions())
    await running.start()
    info = running.info()
    auth = {"Authorization": f"Bearer {info['stripe_secret_key']}"}
    async with httpx.AsyncClient(base_url=running.url, headers=auth) as http:
        data = {"amount": "5000", "currency": "usd", "payment_method": "pm_card_visa",
                "payment_method_types[]": "card", "confirm": "true",
                "metadata[payment_id]": "payNUMBER", "metadata[participant_id]": "whoNUMBER"}  # fmt: skip
        (await http.post("/v1/payment_intents", data=data)).raise_for_status()
    tables = running.stripe.core.tables
    kinds = ("payment_intents", "charges", "balance_transactions")
    templates = {name: json.dumps(*tables[name].values()) for name in kinds}
    for old in [row_id for name in kinds for row_id in tables[name]]:
        new = f"{old.partition('_')[0]}_benchmarkNUMBER"
        templates = {name: text.replace(old, new) for name, text in templates.items()}
    for name, text in templates.items():
        rows = [json.loads(text.replace("NUMBER", f"{number:08d}")) for number in range(count)]
        tables[name] = {row["id"]: row for row in rows}
    print(json.dumps(info), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await running.stop()


async def plain(url: str, key: str, since: datetime) -> tuple[float, int]:
    """Return the seconds in which the same pages are read and parsed, and how many they are."""
    import httpx

    begun, pages = time.perf_counter(), 0
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        for name in LISTS:
            query: dict[str, Any] = {"limit": 100, "created[gte]": int(since.timestamp())}
            query |= {"expand[]": "data.source"} if name == "balance_transactions" else {}
            while True:
                page = (await http.get(f"/v1/{name}", params=query)).json()
                pages += 1
                if not page["has_more"]:
                    break
                query["starting_after"] = page["data"][-1]["id"]
    return time.perf_counter() - begun, pages


async def ours(url: str, since: datetime) -> dict[str, Any]:
    """Reconcile; return what was found, wall and CPU seconds."""
    from procomp_pay.config import load_settings
    from procomp_pay.domain.events import Source
    from procomp_pay.providers.registry import ProviderRegistry
    from procomp_pay.services.bootstrap import new_id, utc_now
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
    from procomp_pay.storage.database.service import PaymentDatabaseService
    from procomp_pay.storage.encryption.keyring import Keyring, new_key
    from procomp_pay.storage.webhooks.intake import WebhookIntake

    begun, worked = time.perf_counter(), time.process_time()
    db = PaymentDatabaseService(url)
    registry = ProviderRegistry(load_settings())
    intake = WebhookIntake(db)
    ctx = AppContext(db, registry, Keyring([new_key()]), utc_now, new_id, "http://localhost", intake)
    report = await reconcile(ctx, ReconcileRequest("stripe", since), Actor("benchmark", Source.PERSON))
    await registry.aclose()
    await db.dispose()
    return {
        "seconds": time.perf_counter() - begun, "cpu": time.process_time() - worked,
        "kinds": dict(report.kinds), "read": dict(report.read), "fees": report.settlements, "cut": report.cut,
    }  # fmt: skip


def measure(count: int, rounds: int, *, profile: bool) -> None:
    """Print the figures of each round."""
    from procomp_pay.storage.database import migrate

    since = datetime.now(UTC) - timedelta(hours=1)
    command = [sys.executable, __file__, "--sandbox", str(count)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        info = json.loads(running.stdout.readline()) if running.stdout else {}
        url, key = info["url"], info["stripe_secret_key"]
        with postgresql() as uri, tempfile.TemporaryDirectory() as home:
            for number in range(rounds):
                with psycopg.connect(uri, autocommit=True) as admin:
                    admin.execute(f"CREATE DATABASE desk{number}".encode())
                desk = of(uri, f"desk{number}")
                migrate.upgrade(desk)
                asyncio.run(seed(desk, 0, count))
                with psycopg.connect(desk, autocommit=True) as admin:
                    admin.execute(PAID.encode())
                    admin.execute("VACUUM ANALYZE")
                env = os.environ | {
                    "STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": url,
                    "PROCOMP_HOME": home, "DATABASE_URL": desk,
                }  # fmt: skip
                reference, pages = asyncio.run(plain(url, key, since - timedelta(days=2)))
                words = [sys.executable, *(["-m", "cProfile", "-s", "tottime"] if profile else []), __file__]
                done = subprocess.run(
                    [*words, "--url", desk, "--since", since.isoformat()],
                    env=env, check=True, capture_output=True, text=True,
                )  # fmt: skip
                if profile:
                    print(done.stdout[:6000])
                    continue
                found = json.loads(done.stdout)
                if found["kinds"] or found["cut"] or found["read"].get("payment intents") != count:
                    raise SystemExit(f"the books do not agree: {found}")
                print(f"figure plain_pages_s {reference:.2f} s ({pages} pages)")
                print(f"figure reconcile_stripe_fees {found['fees']} stored")
                print(f"figure reconcile_stripe_own_cpu_s {found['cpu']:.2f} s")
                print(f"figure load_average {os.getloadavg()[0]:.1f}")
                print(f"figure reconcile_stripe_to_plain_pages {found['seconds'] / reference:.2f}")
                print(f"ratio reconcile_stripe_s {found['seconds']:.2f} bar <={SECONDS}", flush=True)
    finally:
        if running.stdin:
            running.stdin.close()
        running.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 payments")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    for hidden in ("--sandbox", "--url", "--since"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.sandbox:
        asyncio.run(sandbox(int(chosen.sandbox)))
    elif chosen.url:
        print(json.dumps(asyncio.run(ours(chosen.url, datetime.fromisoformat(chosen.since)))))
    else:
        measure(1000 if chosen.quick else COUNT, chosen.rounds, profile=chosen.profile)


if __name__ == "__main__":
    main()
