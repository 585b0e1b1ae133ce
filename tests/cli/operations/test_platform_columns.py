"""A platform whose columns are nullable, or that needs more of them than procomp-pay has."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from tests.support.postgres import create_platform_tables
from tests.support.terminal import CommandLine, paid

_NULLABLE = {
    "Participant": ["fullName"],
    "Tournament": ["name", "startsAt", "entryFee"],
    "User": ["name", "email"],
}


@pytest.fixture
def sparse(postgres_clerk: CommandLine) -> CommandLine:
    """All of them NULL, but for the fee of the tournament that p1 has paid."""
    paid(postgres_clerk)
    with psycopg.connect(postgres_clerk.url) as connection:
        for table, columns in _NULLABLE.items():
            for column in columns:
                connection.execute(f'ALTER TABLE "{table}" ALTER "{column}" DROP NOT NULL'.encode())
                connection.execute(f'UPDATE "{table}" SET "{column}" = NULL'.encode())
    return postgres_clerk


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "status p1",
        "history p1",
        "participant list",
        "tournament list",
        "report",
        "report closing --tournament t1",
        "maintain",
        "refund --tournament t1 --all --reason rain --dry-run",
    ],
)
def test_null_is_read_as_unknown(sparse: CommandLine, command: str) -> None:
    shown = sparse.type(*command.split())
    if command not in ("maintain", "refund --tournament t1 --all --reason rain --dry-run"):
        assert "unknown" in shown.out
    sparse.ask(*command.split())
    with psycopg.connect(sparse.url) as connection:
        for table, columns in _NULLABLE.items():
            names = ", ".join(f'"{column}"' for column in columns)
            [row] = connection.execute(f'SELECT DISTINCT {names} FROM "{table}"'.encode()).fetchall()
            assert set(row) == {None}, "and nothing is written in its place"


def test_names_stay_beside_their_ids_where_one_is_missing(sparse: CommandLine) -> None:
    with psycopg.connect(sparse.url) as connection:
        ids = [row[0] for row in connection.execute('SELECT id FROM "Participant" ORDER BY id')]
        for number, key in enumerate(ids):
            name = None if number == 1 else f"Спортсмен Номер{'абвгд'[number]}"
            connection.execute('UPDATE "Participant" SET "fullName" = %s WHERE id = %s', (name, key))
    for number, key in enumerate(ids):
        if number != 1:
            found = sparse.ask("participant", "list", "--search", f"Номер{'абвгд'[number]}")["items"]
            assert [item["participant_id"] for item in found] == [key]


def test_a_tournament_without_a_fee_is_refused(sparse: CommandLine) -> None:
    refused = sparse.type("initiate", "p2", "--method", "kaspi_qr", code=3)
    assert "no entry fee to charge" in refused.err
    sparse.type("tournament", "fee", "t1", "24000", "KZT")
    assert sparse.ask("initiate", "p2", "--method", "kaspi_qr")["participant_name"] == "(unknown)"


@pytest.fixture
def unlabelled(postgres_clerk: CommandLine) -> CommandLine:
    """p1 has paid, p2 can pay, and the platform has no status, currency, amount or user of anything."""
    paid(postgres_clerk)
    postgres_clerk.ask("initiate", "p2", "--method", "apple_pay")
    with psycopg.connect(postgres_clerk.url) as connection:
        for table, columns in _UNKNOWN.items():
            for column in columns:
                connection.execute(f'ALTER TABLE "{table}" ALTER "{column}" DROP NOT NULL'.encode())
                connection.execute(f'UPDATE "{table}" SET "{column}" = NULL'.encode())
    return postgres_clerk


_UNKNOWN = {
    "Payment": ["status", "currency", "amount", "userId"],
    "Participant": ["status", "userId"],
    "Tournament": ["currency"],
}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("list", 0),
        ("status p1", 0),
        ("history p1", 0),
        ("participant list", 0),
        ("tournament list", 0),
        ("report", 0),
        ("report closing --tournament t1", 0),
        ("reconcile --provider stripe", 0),
        ("maintain", 0),
        ("db adopt --dry-run", 0),
        ("audit verify", 6),
        ("initiate p2 --method kaspi_qr", 3),
    ],
)
def test_null_in_the_place_of_a_label(unlabelled: CommandLine, command: str, code: int) -> None:
    """Nobody's fee is taken as due, and nothing is written in its place."""
    shown = unlabelled.type(*command.split(), code=code)
    if command in ("list", "participant list"):
        assert "unknown" in shown.out
    with psycopg.connect(unlabelled.url) as connection:
        for table, columns in _UNKNOWN.items():
            names = ", ".join(f'"{column}"' for column in columns)
            [row] = connection.execute(f'SELECT DISTINCT {names} FROM "{table}"'.encode()).fetchall()
            assert set(row) == {None}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ('RENAME "failureReason" TO reason', 'the column "Payment"."failureReason" is missing'),
        ('ALTER "kaspiQrCode" TYPE INT USING NULL', '"Payment"."kaspiQrCode" is INTEGER, not TEXT'),
        ("RENAME TO payments", 'the table "Payment" is missing'),
    ],
)
def test_what_the_platform_changed_later_is_named(
    postgres_clerk: CommandLine, change: str, fault: str
) -> None:
    assert "no longer fit" not in postgres_clerk.type("db", "status").out
    with psycopg.connect(postgres_clerk.url) as connection:
        connection.execute(f'ALTER TABLE "Payment" {change}'.encode())
    assert fault in postgres_clerk.type("db", "status").out
    [check] = [
        check for check in postgres_clerk.ask("doctor", code=7)["checks"] if check["name"] == "platform"
    ]
    assert (check["state"], fault in check["found"]) == ("fail", True)


def test_a_guest_without_a_user(postgres_clerk: CommandLine) -> None:
    with psycopg.connect(postgres_clerk.url) as connection:
        connection.execute('ALTER TABLE "Participant" ALTER "userId" DROP NOT NULL')
        connection.execute("""UPDATE "Participant" SET "userId" = NULL WHERE id = 'p2'""")
    refused = postgres_clerk.type("initiate", "p2", "--method", "kaspi_qr", code=3)
    assert 'The platform\'s table "Payment" requires a value for "userId"' in refused.err
    with psycopg.connect(postgres_clerk.url) as connection:
        connection.execute('ALTER TABLE "Payment" ALTER "userId" DROP NOT NULL')
    opened = postgres_clerk.ask("initiate", "p2", "--method", "kaspi_qr")
    [listed] = postgres_clerk.ask("participant", "list", "--search", "Timur")["items"]
    assert (opened["participant_name"], listed["user_id"], listed["email"]) == ("Timur", None, None)
    edited = postgres_clerk.ask("participant", "edit", "p2", "--email", "timur@example.kz")
    assert edited["email"] == "timur@example.kz"


@pytest.mark.parametrize(("table", "column"), [("Participant", "belt"), ("User", "phone")])
def test_a_column_that_needs_a_value(
    postgres_clerk: CommandLine, tmp_path: Path, table: str, column: str
) -> None:
    with psycopg.connect(postgres_clerk.url) as connection:
        connection.execute(f"ALTER TABLE \"{table}\" ADD {column} TEXT NOT NULL DEFAULT ''".encode())
        connection.execute(f'ALTER TABLE "{table}" ALTER {column} DROP DEFAULT'.encode())
    message = f'The platform\'s table "{table}" requires a value for "{column}"'
    assert message in postgres_clerk.type("participant", "add", "t1", "Dana", code=3).err
    roster = tmp_path / "roster.csv"
    roster.write_text("name\nDana\nErlan\n")
    assert message in postgres_clerk.type("participant", "import", "t1", str(roster), code=3).err
    assert postgres_clerk.ask("participant", "list", "t1")["total"] == 4


@pytest.mark.parametrize("platform", ["adopted", "made"])
def test_upgrade_says_whose_tables_they_are(
    empty_postgres_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    if platform == "adopted":
        create_platform_tables(empty_postgres_url)
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    first = CliRunner().invoke(app, ["db", "upgrade"])
    assert (first.exit_code, f"they are {platform}" in first.stdout) == (0, True)
    again = CliRunner().invoke(app, ["db", "upgrade", "--json"])
    assert '"platform": null' in again.stdout


def test_a_second_platform_is_refused(
    empty_postgres_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute('CREATE TABLE "_prisma_migrations" (id TEXT)')
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    refused = CliRunner().invoke(app, ["db", "upgrade"])
    assert refused.exit_code == 7
    assert '"public"."_prisma_migrations"' in refused.stderr
