"""A platform whose tables, columns and labels have other names: PLATFORM_MAP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from procomp_pay.config import platform_map
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User
from tests.storage.database.test_platform_variants import catalog
from tests.support.platform_map import EVERYTHING, NAME_OF_TWO, rename
from tests.support.postgres import create_platform_tables
from tests.support.processes import run_to_end
from tests.support.secret_watch import register_secret

ROOT = Path(__file__).parents[3]
#: p4 has paid the platform itself.
_ROWS = """
    INSERT INTO "User" VALUES ('u1', 'aida@example.kz', 'Aida Bek');
    INSERT INTO "Tournament" VALUES ('t1', 'Кубок', 50, 'USD', '2027-05-01', now(), now());
    INSERT INTO "Payment" (id, amount, currency, status, method, "stripePaymentId", metadata, "userId",
        "tournamentId", "updatedAt")
    VALUES ('theirs', 50, 'USD', 'COMPLETED', 'APPLE_PAY', 'pi_theirs', '{"participantId": "p4"}', 'u1', 't1',
        now());
    INSERT INTO "Participant" (id, "fullName", status, "paymentId", "userId", "tournamentId", "updatedAt")
    SELECT id, name, CAST(status AS "ParticipantStatus"), payment, 'u1', 't1', now() FROM (VALUES
        ('p1', 'Aida', 'REGISTERED', NULL), ('p2', 'Timur', 'REGISTERED', NULL),
        ('p3', 'Dan', 'REGISTERED', NULL), ('p5', 'Lev', 'REGISTERED', NULL),
        ('p4', 'Erlan', 'PAID', 'theirs'))
        AS p (id, name, status, payment);
"""
_STORED = {
    EVERYTHING: """SELECT p.state::text, p.method::text, p.total, w.state::text
        FROM app.payments p LEFT JOIN app.participants w ON w.payment_id = p.payment_no ORDER BY 1, 2""",
    NAME_OF_TWO: """SELECT p.status::text, p.method::text, p.amount, w.status::text
        FROM "Payment" p LEFT JOIN "Participant" w ON w."paymentId" = p.id ORDER BY 1, 2""",
}


@pytest.mark.parametrize(("toml", "how"), [(EVERYTHING, "writes"), (NAME_OF_TWO, "reads")])
def test_a_day_at_the_desk(
    empty_postgres_url: str,
    bare_environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toml: str,
    how: str,
) -> None:
    create_platform_tables(empty_postgres_url)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(_ROWS.encode())
        if toml is EVERYTHING:
            connection.execute("""UPDATE "Participant" SET "fullName" = "fullName" || ' Bek'""")
    file = rename(empty_postgres_url, toml.replace("Bek", ""), tmp_path)
    before = catalog(empty_postgres_url)
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    monkeypatch.setenv("PLATFORM_MAP", str(file))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ENCRYPTION_KEYS", key := new_key())
    register_secret(key, "encryption key")
    subprocess.run([sys.executable, "-m", "tests.support.mapped_day", how], env=dict(os.environ), check=True)
    assert catalog(empty_postgres_url) == before
    with psycopg.connect(empty_postgres_url) as connection:
        stored = connection.execute(_STORED[toml].encode()).fetchall()
    ours, kaspi, paid = (
        ("paid", "kaspi", "PAID_UP") if toml is EVERYTHING else ("COMPLETED", "KASPI_QR", "PAID")
    )
    assert [(*row[:2], row[3]) for row in stored] == sorted(
        [
            ("CANCELLED", kaspi, None),
            ("REFUNDED", "APPLE_PAY", None),
            (ours, "APPLE_PAY", paid),
            (ours, kaspi, paid),
        ]
    )


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("tables = ", "cannot be read"),
        ('[table]\nUser = "users"', "'table' is no setting of procomp-pay, do you mean tables?"),
        ('[tables]\nUsers = "users"', "'Users' is no table of procomp-pay, do you mean User?"),
        ('[columns.Payment]\nuserid = "a"', "'userid' is no column of Payment of procomp-pay, do you mean"),
        ('[columns.Payment]\nuserId = "status"', "'status' would be more than one column of Payment"),
        ('[columns.User]\nname = ["first", "last"]', "two may make up the fullName of Participant alone"),
        ('[columns.Payment]\nid = "a.b"', "'a.b' is not a name that it can use"),
        ('[columns]\nid = "key"', "[columns] has a section for each table, such as [columns.User]"),
        ('[labels.PaymentStatus]\nPAID = "paid"', "'PAID' is no label of PaymentStatus"),
        ('[labels.PaymentStatus]\nFAILED = "CANCELLED"', "'CANCELLED' would be more than one label"),
        ('[enums]\nCurrency = "UserRole"', "'UserRole' would be more than one enum"),
        ('schema = "a\\"b"', "is not a name that it can use"),
        (None, "cannot be read: No such file"),
    ],
)  # fmt: skip
def test_a_faulty_map_is_refused_by_every_command(
    bare_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str | None, message: str
) -> None:
    file = tmp_path / "platform.toml"
    if toml is not None:
        file.write_text(toml)
    monkeypatch.setenv("PLATFORM_MAP", str(file))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost:1/none")
    for command in (["db", "upgrade"], ["doctor"], ["list"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 7, refused
        assert message in " ".join((refused.stdout + refused.stderr).split())


def run(command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "procomp_pay", *command.split()]
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    return run_to_end(words, env=environment)


def test_a_map_that_does_not_fit(
    empty_postgres_url: str, bare_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first upgrade, and when it is changed to another table later."""
    monkeypatch.setenv("ENCRYPTION_KEYS", new_key())
    create_platform_tables(empty_postgres_url)
    file = rename(empty_postgres_url, '[tables]\nPayment = "payments"', tmp_path)
    settings = {"DATABASE_URL": empty_postgres_url, "PLATFORM_MAP": str(file)}
    file.write_text('[tables]\nPayment = "bills"')
    for command in ("doctor", "db map"):
        refused = run(command, **settings)
        assert (refused.returncode, 'the table "bills" is missing' in refused.stdout + refused.stderr) == (
            7,
            True,
        )
    file.write_text('[tables]\nPayment = "payments"')
    assert run("db upgrade", **settings).returncode == 0
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("CREATE TABLE bills (LIKE payments INCLUDING ALL)")
    file.write_text('[tables]\nPayment = "bills"')
    for command in ("doctor", "db upgrade"):
        refused = run(command, **settings)
        text = " ".join((refused.stdout + refused.stderr).split())
        assert (refused.returncode, 'those of "payments", not of "bills"' in text) == (7, True), text


def test_the_setting_is_read_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("env", "dotenv"):
        (tmp_path / f"{name}.toml").write_text(f'schema = "of_{name}"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLATFORM_MAP", raising=False)
    assert not platform_map.current.__wrapped__()
    (tmp_path / ".env").write_text("PLATFORM_MAP=dotenv.toml\n")
    assert platform_map.current.__wrapped__().schema == "of_dotenv"
    monkeypatch.setenv("PLATFORM_MAP", "env.toml")
    assert platform_map.current.__wrapped__().schema == "of_env"


def test_sqlite_has_no_platform(
    bare_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "platform.toml").write_text('schema = "app"')
    monkeypatch.setenv("PLATFORM_MAP", str(tmp_path / "platform.toml"))
    refused = CliRunner().invoke(app, ["list"])
    assert (refused.exit_code, "DATABASE_URL is SQLite" in refused.stderr) == (7, True)
    assert list(bare_environment.iterdir()) == []


@pytest.mark.parametrize("toml", [EVERYTHING, NAME_OF_TWO])
def test_the_suggested_map_is_the_map(
    empty_postgres_url: str,
    bare_environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toml: str,
) -> None:
    create_platform_tables(empty_postgres_url)
    toml = "\n".join(line for line in toml.splitlines() if "_no" not in line and "timed out" not in line)
    toml = toml.replace('"PAID_UP"', '"paid"').replace('KASPI_QR = "kaspi"', 'KASPI_QR = "kaspi_qr"')
    file = rename(empty_postgres_url, toml, tmp_path)
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    monkeypatch.setenv("PLATFORM_MAP", str(tmp_path / "suggested.toml"))  # which is not there yet
    suggested = CliRunner().invoke(app, ["db", "map", "--suggest"])
    assert suggested.exit_code == 0, suggested.output
    (tmp_path / "suggested.toml").write_text(suggested.stdout)
    wanted, made = platform_map.read(file), platform_map.read(tmp_path / "suggested.toml")
    assert {name: dict(value) for name, value in made.labels.items()} == wanted.labels
    assert (made.schema, made.tables, made.columns, made.enums) == (
        wanted.schema, wanted.tables, wanted.columns, wanted.enums,
    )  # fmt: skip


def test_what_nothing_is_like_is_a_comment(
    empty_postgres_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_postgres_url)
    empty = CliRunner().invoke(app, ["db", "map", "--suggest"])
    assert (empty.exit_code, "No table is like" in empty.stderr) == (4, True)
    create_platform_tables(empty_postgres_url)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute('ALTER TABLE "Payment" RENAME "applePayId" TO wallet')
        connection.execute('ALTER TABLE "Tournament" RENAME TO "Gala"')
    lines = CliRunner().invoke(app, ["db", "map", "--suggest"]).stdout.splitlines()
    assert "# Tournament = nothing is like it" in lines
    assert "# applePayId = nothing is like it (left: wallet)" in lines


def test_a_map_names_the_columns_that_there_are() -> None:
    models = (User, Tournament, Participant, Payment)
    columns = {
        str(model.__tablename__): tuple(model.metadata.tables[str(model.__tablename__)].c.keys())
        for model in models
    }
    assert columns == platform_map.COLUMNS
