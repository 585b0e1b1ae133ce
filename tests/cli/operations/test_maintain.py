"""``maintain`` and its lock, ``db``, ``doctor``, and the exit codes of all commands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.services.views import payment as views
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Payment
from tests.support import warm_processes
from tests.support.patience import PATIENCE_S
from tests.support.processes import run_to_end
from tests.support.terminal import NOW, CommandLine

KASPI = ("--method", "kaspi_qr")


def test_maintain_finds_a_paid_payment(clerk: CommandLine) -> None:
    assert "0 events handled, 0 payments looked at" in clerk.type("maintain").out
    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    clerk.pay(payment, "apple_pay")
    got = clerk.ask("maintain")
    assert got["failures"] == []


def test_maintain_lists_failures(clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.providers.fault(kind="cut_before", path="/r1", times=None)
    monkeypatch.setattr(
        "procomp_pay.services.bootstrap.utc_now", lambda: datetime.now(UTC) + timedelta(seconds=5)
    )
    output = clerk.type("maintain", code=6)
    assert output.err.count(payment["payment_id"]) == 1
    assert output.out.strip().endswith(", 1 problem")


async def test_two_maintains_never_run_at_once(database_url: str) -> None:
    one, other = PaymentDatabaseService(database_url), PaymentDatabaseService(database_url)
    async with only_process(one, "maintain") as first, only_process(other, "maintain") as second:
        assert (first, second) == (True, False)
    async with only_process(other, "maintain") as third:
        assert third is True
    await one.dispose()
    await other.dispose()


def test_a_second_maintain_exits_with_5(clerk: CommandLine) -> None:
    async def hold_it(then: Callable[[], Any]) -> Any:
        db = PaymentDatabaseService(clerk.url)
        async with only_process(db, "maintain"):
            result = await asyncio.to_thread(then)
        await db.dispose()
        return result

    output = asyncio.run(hold_it(lambda: clerk.type("maintain", code=5)))
    assert "Another maintain is running" in output.err
    assert clerk.type("maintain").code == 0


def test_the_lock_is_released_when_its_process_dies(clerk: CommandLine) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from procomp_pay.storage.database.service import PaymentDatabaseService\n"
        "from procomp_pay.storage.database.locks import only_process\n"
        "async def main():\n"
        "    async with only_process(PaymentDatabaseService(sys.argv[1]), 'maintain') as ours:\n"
        "        print(ours, flush=True); os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = warm_processes.run([clerk.url], code=program, env=clerk.environment(), timeout=PATIENCE_S)
    assert (done.stdout, done.returncode) == ("True\n", -9)
    for _ in range(50):  # PostgreSQL notices a dead client a moment later
        output = clerk.type("db", "status")
        if asyncio.run(_is_free(clerk.url)):
            break
    assert output.code == 0
    clerk.type("maintain")


async def _is_free(url: str) -> bool:
    db = PaymentDatabaseService(url)
    async with only_process(db, "maintain") as ours:
        pass
    await db.dispose()
    return ours


def test_db_upgrade_and_status(
    empty_database_url: str, bare_environment: Path, providers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    clerk = CommandLine(bare_environment, providers, empty_database_url)
    output = clerk.type("db", "status", code=5)
    assert "is not set up yet" in output.err
    assert "procomp-pay db upgrade" in output.err
    assert clerk.ask("db", "status", code=5)["next_step"] == "procomp-pay db upgrade"
    assert f"now at revision {migrate.HEAD} (before: empty)" in clerk.type("db", "upgrade").out
    assert "is up to date" in clerk.type("db", "upgrade").out
    got = clerk.ask("db", "status")
    assert (got["revision"], got["head"], got["pending"]) == (migrate.HEAD, migrate.HEAD, [])
    assert "Nothing is pending" in clerk.type("db", "status").out


def test_db_adopt_adopts_the_platforms_payments(clerk: CommandLine) -> None:
    def written(number: int, **more: Any) -> Payment:
        stamps = {"created_at": NOW, "updated_at": NOW, "user_id": "u1", "tournament_id": "t1"}
        kept = {"method": PaymentMethod.KASPI_QR, "amount": Decimal(24000), "currency": Currency.KZT}
        return Payment(id=f"old{number}", **(stamps | kept | more))

    paid = {"status": PaymentStatus.COMPLETED, "meta": {"participantId": "p1"}}
    clerk.write(
        written(1, kaspi_transaction_id="190000001", **paid),
        written(2, kaspi_transaction_id="190000001", **paid),
        written(3, meta={"participantId": "p\x1b[31m2"}),
    )
    output = clerk.type("db", "adopt", "--dry-run", code=6)
    assert "payments would be adopted: 1, of which 0 are polled" in output.out
    assert "payment old2 has Kaspi's operation number 190000001, which payment old1 has too" in output.err
    assert "payment old3 is PENDING and has no id that its provider could be asked about" in output.err
    assert clerk.ask("list")["items"] == []
    got = clerk.ask("db", "adopt", code=6)
    assert (got["adopted"], got["left"], got["dry_run"]) == (1, 2, False)
    [on_progress] = clerk.ask("list")["items"]
    assert (on_progress["payment_id"], on_progress["status"], on_progress["participant_id"]) == (
        "old1",
        "COMPLETED",
        "p1",
    )
    assert "adopted this payment of the platform" in clerk.type("audit", "show", "old1").out
    assert clerk.ask("db", "adopt", code=6)["adopted"] == 0


def test_postgresql_without_tables_or_server(
    empty_postgres_url: str, bare_environment: Path, providers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from procomp_pay.storage.encryption.keyring import new_key

    monkeypatch.setenv("ENCRYPTION_KEYS", new_key())
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    clerk = CommandLine(bare_environment, providers, empty_postgres_url)
    for words in (("status", "p1"), ("list",), ("maintain",)):
        output = clerk.type(*words, code=5)
        assert "has no tables of procomp-pay yet" in output.err
        assert "procomp-pay db upgrade" in output.err
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush-hush@127.0.0.1:9/none")
    for words in (("status", "p1"), ("db", "status"), ("db", "upgrade"), ("doctor",)):
        output = clerk.type(*words, code=7 if "doctor" in words else 5)
        assert "does not answer" in output.err + output.out
        assert "hush-hush" not in output.err + output.out
    monkeypatch.delenv("ENCRYPTION_KEYS")
    assert "ENCRYPTION_KEYS is not set" in clerk.type("status", "p1", code=7).err


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "mysql://x", "'mysql' is not a database we work with"),
        ("DATABASE_URL", "sqlite:///:memory:", "a file of its own"),
        ("ENCRYPTION_KEYS", "short", "encryption key number 1"),
        ("KASPI_SCHEME", "golden", "KASPI_SCHEME"),
    ],
)
def test_a_malformed_setting_is_named(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    output = sqlite_clerk.type("list", code=7)
    assert says in output.err
    assert sqlite_clerk.ask("list", code=7)["exit_code"] == 7
    assert "✗" in sqlite_clerk.type("doctor", code=7).out


def test_live_keys_and_a_local_provider_never_mix(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_" + "0" * 16)
    monkeypatch.setenv("STRIPE_API_BASE", sqlite_clerk.providers.url)
    output = sqlite_clerk.type("initiate", "p1", "-m", "apple_pay", "--currency", "USD", code=7)
    assert "live keys are not used with a sandbox" in output.err
    assert "sk_live_" not in output.err


def test_doctor_on_a_working_installation(clerk: CommandLine) -> None:
    output = clerk.type("doctor")
    for words in ("✓ Python", "✓ database", "! Stripe", "! Kaspi", "trade points", "✓ clock", "✓ webhook"):
        assert words in output.out, output.out
    checks = clerk.ask("doctor")
    assert checks["exit_code"] == 0
    assert {check["name"] for check in checks["checks"]} >= {"settings", "encryption", "data directory"}


def test_doctor_reports_problems(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_clerk.providers.fault(kind="status", status=401, path="/v1/balance", times=None)
    (sqlite_clerk.home / "sandbox.json").chmod(0o644)
    monkeypatch.setenv("JWT_SECRET", "short")
    output = sqlite_clerk.type("doctor", code=7)
    assert "chmod 600" in output.out
    assert "✗ Stripe" in output.out
    assert "shorter than 32" in output.out


def test_doctor_without_providers(sqlite_clerk: CommandLine) -> None:
    (sqlite_clerk.home / "sandbox.json").unlink()
    output = sqlite_clerk.type("doctor", code=7)
    assert "Stripe is not configured" in output.out
    assert "procomp-pay sandbox" in output.out


def test_a_bug_is_reported_without_a_traceback(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(views, "many", broken)
    output = sqlite_clerk.type("list", code=1)
    assert "run it again with --debug" in output.err
    assert "a secret detail" not in output.err
    assert sqlite_clerk.ask("list", code=1)["exit_code"] == 1
    from typer.testing import CliRunner

    from procomp_pay.cli.main import app

    monkeypatch.setenv("KASPI_API_SECRET", "a secret detail")
    result = CliRunner().invoke(app, ["list", "--debug"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: [redacted]" in result.stderr
    assert "a secret detail" not in result.output


def test_a_closed_pipe_exits_silently(sqlite_clerk: CommandLine) -> None:
    for participant_id in ("p1", "p2", "p3"):
        sqlite_clerk.ask("initiate", participant_id, *KASPI)
    command = f"{sys.executable} -m procomp_pay list --json | head -c 1"
    done = run_to_end(["bash", "-c", f"for n in 1 2 3; do {command}; done"], env=sqlite_clerk.environment())
    assert (done.stdout, done.stderr) == ("{{{", "")


def test_a_terminal_without_utf8_shows_question_marks(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", *KASPI)
    for words in (("status", "p1"), ("list", "--json"), ("history", "p1"), ("status", "nobody"), ("--help",)):
        done = run_to_end(
            [sys.executable, "-m", "procomp_pay", *words],
            env=sqlite_clerk.environment() | {"PYTHONIOENCODING": "ascii"},
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == (4 if "nobody" in words else 0)


def test_version_and_help(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.type("--version").out.startswith("procomp-pay ")
    for words in ((), ("db",)):
        assert "Usage: procomp-pay" in sqlite_clerk.type(*words, code=2).err
    for command in ("initiate", "status", "history", "list", "cancel", "maintain", "doctor"):
        page = sqlite_clerk.type(command, "--help").out
        assert "Examples" in page
        assert "[bold]" not in page
        assert max(map(len, page.splitlines())) <= 80
