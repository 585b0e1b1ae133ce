"""The command line as a clerk uses it, and a local Stripe and Kaspi in a thread."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import typer.testing
from sqlalchemy import text
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from procomp_pay.domain.money import Currency
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.server.run import loop_factory
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.models.terms import TournamentFee
from tests.support.patience import PATIENCE_S
from tests.support.secret_watch import no_secret_in, register_secret

# Make Click's commands once, as a process does: making them takes longer than most commands run.
typer.testing._get_command = functools.cache(typer.testing._get_command)

NOW = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)


#: Stripe's objects that a test leaves: payouts of another one would keep a day open.
_OBJECTS = (
    "payment_intents", "sessions", "charges", "refunds", "disputes", "events", "payouts",
    "balance_transactions",
)  # fmt: skip


class LocalProviders:
    """A sandbox in a thread, 20 times as fast: Kaspi's 180 s for a scan are 9 s here."""

    def __init__(self, time_scale: float = 8, **options: Any) -> None:
        self._loop = (loop_factory() or asyncio.new_event_loop)()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.sandbox = Sandbox(SandboxOptions(time_scale=time_scale, **options))
        self._wait(self.sandbox.start())
        self.url = self.sandbox.url

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._wait(self.sandbox.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def post(self, path: str, body: Any) -> Any:
        answer = httpx.post(
            self.url + path,
            verify=False,
            json=body,
            headers={"Accept": "application/json"},
            timeout=PATIENCE_S,
        )
        return answer.json()

    def fault(self, **rule: Any) -> None:
        self.post("/_sandbox/faults", rule)

    def calm(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/faults", verify=False)

    def forget(self) -> None:
        """Forget faults, and Stripe's objects of earlier tests, whose participants have the same ids."""
        self.calm()
        tables = self.sandbox.providers["stripe"].core.tables
        for name in _OBJECTS:
            tables[name].clear()

    def write_run_file(self, home: Path) -> None:
        overview = httpx.get(f"{self.url}/_sandbox/kaspi", verify=False, timeout=PATIENCE_S).json()
        info = self.sandbox.info() | {"kaspi_device_token": overview["device_token"]}
        for name in ("stripe_secret_key", "webhook_secret", "kaspi_api_key", "kaspi_device_token"):
            register_secret(str(info[name]), name)
        (home / "sandbox.json").write_text(json.dumps(info), "utf-8")
        (home / "sandbox.json").chmod(0o600)


@dataclass
class Output:
    """The output and exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_float=Decimal)


class CommandLine:
    """Run commands in this process, as a clerk types them."""

    def __init__(self, home: Path, providers: LocalProviders, url: str) -> None:
        self.home = home
        self.providers = providers
        self.url = url

    def type(self, *words: str, code: int = 0) -> Output:
        """Run a command; check its exit code, and that no traceback or secret is shown."""
        result = CliRunner().invoke(app, list(words))
        output = Output(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in output.out + output.err
        no_secret_in(output.out + output.err, words[0] if words else "the command")
        assert output.code == code, (words, output, result.exception)
        return output

    def ask(self, *words: str, code: int = 0) -> Any:
        """Run a command with ``--json`` and return its document."""
        return self.type(*words, "--json", code=code).json

    def pay(self, payment: Any, action: str) -> None:
        """Do what the customer does with the phone."""
        if payment["channel"].startswith("kaspi"):
            self.providers.post(f"/pay/{payment['provider_ref']}", {"action": action})
        else:
            self.providers.post(f"/c/pay/{payment['provider_ref']}", {"wallet": action})

    def write(self, *rows: Any) -> None:
        """Insert rows into the database, one after the other."""

        async def work() -> None:
            db = PaymentDatabaseService(self.url)
            async with db.writing() as session:
                for row in rows:
                    session.add(row)
                    await session.flush()
            await db.dispose()

        asyncio.run(work())

    def change(self, statement: str) -> None:
        """Execute SQL on the database directly."""

        async def work() -> None:
            db = PaymentDatabaseService(self.url)
            async with db.writing() as session:
                await (await session.connection()).execute(text(statement))
            await db.dispose()

        asyncio.run(work())

    def environment(self) -> dict[str, str]:
        """Return the environment for a separate process."""
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def rows() -> list[Any]:
    """Return two tournaments and five participants."""
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


def paid(clerk: CommandLine, participant_id: str = "p1", card: str | None = None) -> Any:
    """Create a paid payment of 50 USD, by Apple Pay on the hosted page or by a test card."""
    if card is None:
        opened = clerk.ask(
            "initiate", participant_id, "--method", "apple_pay", "--amount", "50", "--currency", "USD"
        )
        clerk.pay(opened, "apple_pay")
    else:
        opened = clerk.ask(
            "initiate",
            participant_id,
            "--method",
            "apple_pay",
            "--amount",
            "50",
            "--currency",
            "USD",
            "--intent-only",
        )
        answer = httpx.post(
            f"{clerk.providers.url}/v1/payment_intents/{opened['provider_ref']}/confirm",
            data={"payment_method": card, "return_url": "https://app.example.com/paid"},
            headers={"Authorization": f"Bearer {clerk.providers.sandbox.info()['stripe_secret_key']}"},
            verify=False,
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 200, answer.text
    view = clerk.ask("status", "--payment", opened["payment_id"], "--refresh")
    assert view["status"] == "COMPLETED"
    return view
