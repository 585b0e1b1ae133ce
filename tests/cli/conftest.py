"""The terminal against a real sandbox over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from procomp_pay.domain.money import Currency
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.payments import TournamentFee
from procomp_pay.storage.models.platform import Participant, Tournament, User
from tests.support.secret_watch import no_secret_in, register_secret

NOW = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)
_NOT_OURS = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")


class Street:
    """A sandbox in a thread of its own; Kaspi's 180 s for a scan are 9 s here."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.sandbox = Sandbox(SandboxOptions(time_scale=20))
        self._wait(self.sandbox.start())
        self.url = self.sandbox.url

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        self._wait(self.sandbox.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def post(self, path: str, body: Any) -> Any:
        answer = httpx.post(self.url + path, verify=False, json=body, headers={"Accept": "application/json"})
        return answer.json()

    def fault(self, **rule: Any) -> None:
        self.post("/_sandbox/faults", rule)

    def calm(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/faults")

    def write_run_file(self, home: Path) -> None:
        overview = httpx.get(f"{self.url}/_sandbox/kaspi", verify=False).json()
        info = self.sandbox.info() | {"kaspi_device_token": overview["device_token"]}
        for name in ("stripe_secret_key", "webhook_secret", "kaspi_api_key", "kaspi_device_token"):
            register_secret(str(info[name]), name)
        (home / "sandbox.json").write_text(json.dumps(info), "utf-8")
        (home / "sandbox.json").chmod(0o600)


@dataclass
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_float=Decimal)


class Clerk:
    """Somebody at the desk's terminal."""

    def __init__(self, home: Path, street: Street, url: str) -> None:
        self.home = home
        self.street = street
        self.url = url

    def type(self, *words: str, code: int = 0) -> Said:
        """Run a command. Whatever happens, no traceback reaches a person."""
        result = CliRunner().invoke(app, list(words))
        said = Said(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in said.out + said.err
        no_secret_in(said.out + said.err, words[0] if words else "the command")
        assert said.code == code, (words, said, result.exception)
        return said

    def ask(self, *words: str, code: int = 0) -> Any:
        """The one JSON document of a command."""
        return self.type(*words, "--json", code=code).json

    def pay(self, payment: Any, action: str) -> None:
        """What the customer does with the phone."""
        if payment["channel"].startswith("kaspi"):
            self.street.post(f"/pay/{payment['provider_ref']}", {"action": action})
        else:
            self.street.post(f"/c/pay/{payment['provider_ref']}", {"wallet": action})

    def write(self, *rows: Any) -> None:
        """Put rows into the database, one after the other."""

        async def work() -> None:
            db = PaymentDatabaseService(self.url)
            async with db.writing() as session:
                for row in rows:
                    session.add(row)
                    await session.flush()
            await db.dispose()

        asyncio.run(work())

    def change(self, statement: str) -> None:
        """Do something to the database behind everybody's back."""

        async def work() -> None:
            db = PaymentDatabaseService(self.url)
            async with db.writing() as session:
                await (await session.connection()).execute(text(statement))
            await db.dispose()

        asyncio.run(work())

    def environment(self) -> dict[str, str]:
        """For a real process."""
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="session")
def street() -> Iterator[Street]:
    made = Street()
    yield made
    made.close()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of this machine, a home of its own."""
    for name in os.environ:
        if name.startswith(_NOT_OURS):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("PROCOMP_HOME", str(home))
    monkeypatch.setenv("PROCOMP_OPERATOR", "aigerim")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return home


def _opened(home: Path, street: Street, url: str, monkeypatch: pytest.MonkeyPatch) -> Clerk:
    monkeypatch.setenv("DATABASE_URL", url)
    if not url.startswith("sqlite"):
        monkeypatch.setenv("ENCRYPTION_KEYS", key := new_key())
        register_secret(key, "encryption key")
    street.calm()
    street.write_run_file(home)
    clerk = Clerk(home, street, url)
    clerk.write(*_people())
    return clerk


@pytest.fixture
def ctx(
    database_url: str, bare_environment: Path, street: Street, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clerk]:
    """A desk with a tournament and five participants, once on each database."""
    yield _opened(bare_environment, street, database_url, monkeypatch)
    street.calm()


@pytest.fixture
def small_desk(
    sqlite_url: str, bare_environment: Path, street: Street, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clerk]:
    """The same on SQLite alone, for what has nothing to do with the database."""
    yield _opened(bare_environment, street, sqlite_url, monkeypatch)
    street.calm()


def _people() -> list[Any]:
    stamps = {"created_at": NOW, "updated_at": NOW}
    main = Tournament(
        id="t1", name="Кубок Алматы", entry_fee=Decimal(24000), currency=Currency.KZT, starts_at=NOW, **stamps
    )
    dollars = Tournament(
        id="t2", name="Open", entry_fee=Decimal(50), currency=Currency.USD, starts_at=NOW, **stamps
    )
    fee = TournamentFee(tournament_id="t1", currency=Currency.USD, amount=Decimal(50), **stamps)
    names = ["Аида Нурланова", "Timur", "Данияр", "Kid \x1b[31mFour [bold]x[/]"]
    kids = [
        Participant(id=f"p{n}", user_id="u1", tournament_id="t1", full_name=name, category="Kata", **stamps)
        for n, name in enumerate(names, start=1)
    ]
    foreign = Participant(id="p5", user_id="u1", tournament_id="t2", full_name="Five", **stamps)
    return [User(id="u1", email="aida@example.kz", name="Aida"), main, dollars, fee, *kids, foreign]


@pytest.fixture
def helper() -> Iterator[ThreadPoolExecutor]:
    """Somebody who acts while a command runs."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool
