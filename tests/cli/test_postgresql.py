"""Commands on a PostgreSQL of another version, and on one behind PgBouncer."""

from __future__ import annotations

import psycopg
import pytest

from procomp_pay.storage.database import migrate
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.terminal import CommandLine

_COMMANDS = (
    "initiate p1 --method kaspi_qr",
    "status p1",
    "history p1",
    "list",
    "cancel p1 --yes",
    "refund p1 --reason x --yes",
    "verify-kaspi abc --transaction-id 1 --amount 5",
    "participant list Almaty",
    "participant add Almaty Dana",
    "tournament add Cup --fee 50 --currency USD",
    "tournament list",
    "reconcile --provider kaspi",
    "discrepancies list",
    "report --since 2026-05-01 --until 2026-05-02",
    "maintain",
    "outbox list",
    "events list",
    "audit verify",
    "audit seal",
    "db adopt",
    "keys rotate",
)


@pytest.mark.parametrize(
    ("version", "message", "next_step"),
    [
        ("0009", "older procomp-pay", "procomp-pay db upgrade"),
        ("9999", "newer procomp-pay", "install the newest procomp-pay"),
    ],
)
def test_every_command_refuses_the_tables_of_another_version(
    postgres_clerk: CommandLine, version: str, message: str, next_step: str
) -> None:
    def everything() -> str:
        with psycopg.connect(postgres_clerk.url) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            return str(
                [
                    connection.execute(f'SELECT * FROM "{name}" ORDER BY 1'.encode()).fetchall()
                    for (name,) in tables
                ]
            )

    with psycopg.connect(postgres_clerk.url) as connection:
        connection.execute("UPDATE pay_alembic_version SET version_num = %s", [version])
    before = everything()
    for line in _COMMANDS:
        output = postgres_clerk.type(*line.split(), code=7)
        assert message in " ".join(output.err.split()), line
        assert next_step in output.err, line
    assert everything() == before


def test_a_database_is_asked_for_its_version_once_in_a_process(
    postgres_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str | None] = []
    monkeypatch.setattr(migrate, "check_revision", compared.append)
    postgres_clerk.type("maintain")
    assert compared == [migrate.HEAD]


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_commands_behind_pgbouncer(
    postgres_clerk: CommandLine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of four sessions, in which what a command leaves behind would meet the next one."""
    clerk = postgres_clerk
    with pgbouncer(clerk.url, mode=mode, pool_size=4) as url:
        monkeypatch.setenv("DATABASE_URL", f"{url}?pgbouncer=true")
        payment = clerk.ask("initiate", "p1", "--method", "kaspi_qr", "--no-watch")
        clerk.pay(payment, "pay")
        for _ in range(3):
            clerk.type("maintain")
        assert clerk.ask("status", "p1", "--refresh")["status"] == "COMPLETED"
        for _ in range(3):
            report = clerk.ask("reconcile", "--provider", "all", "--since", "2026-01-01")
            assert [run["findings"] for run in report["runs"]] == [[], []]
        clerk.type("report", "--since", "2026-01-01", "--until", "2030-01-01")
        clerk.type("audit", "seal")
        clerk.type("audit", "verify")
        assert clerk.ask("db", "status")["pending"] == []
        clerk.type("db", "upgrade")
        with psycopg.connect(clerk.url) as connection:
            left = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
            temporary = connection.execute(
                "SELECT relname FROM pg_class WHERE relpersistence = 't'"
            ).fetchall()
        assert (left, temporary) == ((0,), [])
    with pgbouncer(clerk.url, mode=mode) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        output = clerk.type("list", code=5)
        assert "pgbouncer=true" in output.err
