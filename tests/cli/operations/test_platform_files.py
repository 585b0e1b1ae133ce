"""The files in docs/platform do what they say."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from procomp_pay.storage.database import migrate
from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES
from tests.support.postgres import create_platform_tables
from tests.support.terminal import CommandLine, paid

FILES = Path(__file__).parents[3] / "docs" / "platform"


def statements(name: str) -> list[str]:
    lines = [line for line in (FILES / name).read_text("utf-8").splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def test_prisma_config_names_every_table_of_ours(postgres_clerk: CommandLine) -> None:
    ours = {f"public.{name}" for name in METADATA.tables if name not in PLATFORM_TABLES}
    named = postgres_clerk.ask("db", "prisma-config")["tables"]["external"]
    assert set(named) == {*ours, "public.pay_alembic_version"}
    text = postgres_clerk.type("db", "prisma-config").out
    assert all(f'    "{name}",\n' in text for name in named)
    assert text.startswith("experimental: { externalTables: true },\ntables: {\n  external: [\n")


def test_prisma_config_needs_postgresql(sqlite_clerk: CommandLine) -> None:
    assert "DATABASE_URL is SQLite" in sqlite_clerk.type("db", "prisma-config", code=7).err


def test_indexes_are_all_that_doctor_names(empty_postgres_url: str) -> None:
    create_platform_tables(empty_postgres_url)
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        names = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%pkey'"
        ).fetchall()
        for (name,) in names:
            connection.execute(f'DROP INDEX "{name}"'.encode())
        migrate.upgrade(empty_postgres_url)
        missing = migrate.platform_notes(empty_postgres_url).missing_indexes
        assert len(missing) == len(names)
        for statement in statements("indexes.sql"):
            connection.execute(statement.encode())
    assert migrate.platform_notes(empty_postgres_url).missing_indexes == []


def test_a_role_with_the_least_rights(
    postgres_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A whole day at the desk, by a role that owns nothing."""
    owner = postgres_clerk.url
    with psycopg.connect(postgres_clerk.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE least LOGIN")
        request.addfinalizer(lambda: _drop_role(owner))
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for statement in statements("grants.sql"):
            connection.execute(statement.replace(':"role"', "least").encode())
    postgres_clerk.url = owner.replace("postgres:@", "least:@", 1)
    assert postgres_clerk.url != owner
    monkeypatch.setenv("DATABASE_URL", postgres_clerk.url)
    payment = paid(postgres_clerk)["payment_id"]
    postgres_clerk.type("refund", payment, "--reason", "injured", "--yes")
    postgres_clerk.type("initiate", "p2", "--method", "kaspi_qr", "--json")
    postgres_clerk.type("cancel", "p2", "--yes")
    postgres_clerk.type(
        "tournament", "add", "Cup", "--fee", "50", "--currency", "USD", "--starts", "2027-05-01"
    )
    postgres_clerk.type("tournament", "fee", "t1", "25000", "KZT")
    postgres_clerk.type("tournament", "fee", "t1", "--remove", "USD")
    dana = postgres_clerk.ask("participant", "add", "t1", "Dana")["participant_id"]
    for command in (
        "maintain", "reconcile --provider stripe", "reconcile --provider kaspi", "report", "audit seal",
        "audit verify", "db adopt", "db status", "doctor", "report closing --tournament t1",
    ):  # fmt: skip
        postgres_clerk.type(*command.split())
    with (
        psycopg.connect(postgres_clerk.url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute('DELETE FROM "Participant"')
    erase = ("person", "erase", dana, "--confirm", dana, "--with-platform-rows")
    refused = postgres_clerk.type(*erase, code=7).err
    grant = """GRANT UPDATE (name, email) ON "User" TO "least";"""
    assert "nothing was erased" in refused
    assert grant in refused
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(grant.encode())
    postgres_clerk.type(*erase)
    postgres_clerk.type("person", "erase", "p3", "--confirm", "p3")


def _drop_role(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY least")
        connection.execute("DROP ROLE least")
