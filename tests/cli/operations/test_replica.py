"""``report`` and ``list`` read from a replica, and nothing else does."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.terminal import CommandLine, paid


def test_reports_and_lists_alone_read_from_the_replica(
    postgres_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_server")
    first = paid(postgres_clerk)["payment_id"]
    name = postgres_clerk.url.partition("?")[0].rsplit("/", 1)[1]
    replica = server.url(server.create(name))
    with psycopg.connect(replica, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        request.addfinalizer(lambda: _drop_role(replica))
        connection.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    monkeypatch.setenv("DATABASE_READ_URL", replica.replace("postgres:@", "reader:@", 1))
    second = postgres_clerk.ask("initiate", "p2", "--method", "apple_pay", "--currency", "USD")["payment_id"]
    assert [row["payment_id"] for row in postgres_clerk.ask("list")["items"]] == [first]
    assert postgres_clerk.ask("report")["attempts"]["started"] == 1
    assert postgres_clerk.ask("status", "--payment", second)["payment_id"] == second
    postgres_clerk.ask("report", "closing", "--tournament", "t1")
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("MAIL_FROM", "desk@example.com")
    postgres_clerk.type("report", "--mail", "finance@example.com")  # the letter waits in the database itself
    checks = {check["name"]: check["state"] for check in postgres_clerk.ask("doctor")["checks"]}
    assert checks["replica"] == "ok"
    monkeypatch.setenv("DATABASE_READ_URL", replica.replace("postgres:@", "nobody:@", 1))
    failed = postgres_clerk.type("doctor", code=5).out
    assert "replica" in failed
    monkeypatch.delenv("DATABASE_READ_URL")
    assert len(postgres_clerk.ask("list")["items"]) == 2


def _drop_role(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")
