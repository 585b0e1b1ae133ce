"""Each use case as a real process that is killed by SIGKILL before each of its commits, requests and answers.

The steps are counted while it runs: a new one cannot be forgotten. Each time the state from before it is
restored. After the kill the same is asked for again, or ``maintain`` alone runs, while a day passes. Then the
books equal the sandbox's, and it was done once or not at all; who asked again got it.

``PROCOMP_KILL_MATRIX=1`` kills at every step, on SQLite and on PostgreSQL; without it, at a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import operator
import os
import re
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import text

from procomp_pay.config import KaspiScheme, Settings
from procomp_pay.sandbox.kaspi.book import Book
from procomp_pay.sandbox.kaspi.model import CREATED, REMOTE_CREATED, ReturnQr
from procomp_pay.sandbox.kaspi.steps import take
from procomp_pay.sandbox.stripe.webhooks import signature
from procomp_pay.services.bootstrap import open_context
from procomp_pay.storage.database import migrate
from procomp_pay.storage.encryption.keyring import new_key
from tests.simulation import books
from tests.simulation.people import REASON
from tests.support.killed_commands import Commands, Ended
from tests.support.patience import PATIENCE_S
from tests.support.postgres import PostgresServer
from tests.support.secret_watch import no_secret_in, register_secret
from tests.support.terminal import CommandLine, LocalProviders, rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

_IS_WHOLE = "PROCOMP_KILL_MATRIX" in os.environ
_NOT_OURS = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")
#: Pauses of the day that follows, in seconds; after each, ``maintain`` runs.
_PAUSES = (150, 4000, 90_000)
_WEBHOOKS = "/api/v1/payments/webhooks"


@dataclass
class Desk:
    """The commands of a desk, the sandbox, and a clock that both go by."""

    home: Path
    commands: Commands
    providers: LocalProviders
    scheme: KaspiScheme
    database: Sqlite | Postgres
    bills: dict[str, Decimal] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        self.env = kept | {
            "PROCOMP_HOME": str(self.home), "PROCOMP_OPERATOR": "aigerim", "NO_COLOR": "1",
            "PROCOMP_LANGUAGE": "en", "DATABASE_URL": self.database.url, "ENCRYPTION_KEYS": new_key(),
            "JWT_SECRET": "kill-matrix-" * 4, "KASPI_CALLBACK_ALLOW": "127.0.0.1", "LOG_LEVEL": "WARNING",
        }  # fmt: skip
        for name in ("ENCRYPTION_KEYS", "JWT_SECRET"):
            register_secret(self.env[name], name)
        info = self.providers.sandbox.info()
        self.env |= {
            "KASPI_SCHEME": self.scheme.value, "KASPI_DEVICE_TOKEN": info["kaspi"]["device_token"],
            "KASPI_ORGANIZATION_BIN": info["kaspi"]["organization_bin"],
        }  # fmt: skip
        if self.scheme.uses_client_certificate:
            tls = info["tls"]
            self.env |= {"KASPI_API_URL": tls["url"]} | {
                f"KASPI_{name.upper()}": tls[name]
                for name in ("ca_cert", "client_cert", "client_key", "client_key_password")
            }
        else:
            self.env |= {"KASPI_API_URL": info["url"], "KASPI_API_KEY": info["kaspi_api_key"]}
        self.providers.write_run_file(self.home)

    # --- commands

    def run(self, *words: str, codes: tuple[int, ...] = (0,), kill_before: int = 0) -> Ended:
        """Run a command; check that it was killed, or ended with one of these codes."""
        ended = self.commands.run(words, self.env, kill_before=kill_before, clock_s=self._offset_s())
        self.check(ended, codes)
        return ended

    def call(self, method: str, path: str, *, kill_before: int = 0, **request: Any) -> Ended:
        """Send a request to a ``serve`` that is started for it, and that may be killed by it."""
        words = ("serve", "--port", "0")
        pid = self.commands.start(
            words, self.env, kill_before=kill_before, clock_s=self._offset_s(), path=path
        )
        end = time.monotonic() + PATIENCE_S
        while not (url := re.search(r"listens on (http://[^/\s]+)", self.commands.read(pid, "err"))):
            assert time.monotonic() < end, self.commands.read(pid, "err")
            time.sleep(0.02)
        try:
            answer = httpx.request(method, url[1] + path, timeout=PATIENCE_S, **request)
            assert answer.status_code == 200, answer.text
            os.kill(pid, signal.SIGTERM)
        except httpx.TransportError:
            assert kill_before
        ended = self.commands.wait(pid)
        self.check(ended, (0,))
        return ended

    def check(self, ended: Ended, codes: tuple[int, ...]) -> None:
        text = ended.out + ended.err
        assert ended.was_killed or ended.code in codes, f"{ended.words}: {ended.code}\n{text}"
        assert "Traceback" not in text, text
        no_secret_in(text, ended.words[0])
        if ended.was_killed:
            self.database.until_alone()

    def ask(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").out, parse_float=Decimal)

    def _offset_s(self) -> float:
        return self.providers.sandbox.clock() - time.time()

    # --- the state before the command

    def save(self) -> Any:
        """Return the state of the database, of the sandbox and of the clock."""
        dumps = {name: each.dump() for name, each in self.providers.sandbox.providers.items()}
        return self.database.save(), copy.deepcopy(dumps), self.providers.sandbox.clock()

    def restore(self, state: Any) -> None:
        saved, dumps, at = state
        self.database.restore(saved)
        sandbox = self.providers.sandbox
        for name, each in sandbox.providers.items():
            each.load(copy.deepcopy(dumps[name]))
        sandbox._offset = at - time.time()
        self.bills.clear()

    # --- customers, and time

    def begin(self, *words: str) -> Any:
        """Begin a payment of p1."""
        return self.ask("initiate", "p1", *words)

    def pay(self, opened: Any) -> str:
        """Pay as the customer, of which our books do not know yet; return the payment's id."""
        if opened["channel"].startswith("kaspi"):
            self.providers.post(f"/pay/{opened['provider_ref']}", {"action": "pay"})
        elif opened["channel"] == "stripe_checkout":
            self.providers.post(f"/c/pay/{opened['provider_ref']}", {"wallet": "pm_apple_pay"})
        else:
            path = f"/_sandbox/stripe/payment_intents/{opened['provider_ref']}/pay"
            self.providers.post(path, {"method": "pm_apple_pay"})
        self.wait(PATIENCE_S)
        return str(opened["payment_id"])

    def complete(self, *words: str) -> str:
        payment = self.pay(self.begin(*words))
        self.run("status", "--payment", payment, "--refresh")
        assert self.ask("status", "--payment", payment)["status"] == "COMPLETED"
        return payment

    def wait(self, seconds: float) -> None:
        self.providers.post("/_sandbox/clock", {"advance": seconds})

    def pass_a_day(self) -> None:
        for seconds in _PAUSES:
            self.wait(seconds)
            self.run("maintain")

    # --- what must hold

    def check_books(self) -> Counter[Any]:
        """Compare the books with the sandbox's; return whose money came and went, and who has paid."""
        day: Any = SimpleNamespace(
            result=SimpleNamespace(problems=[], tally=Counter()), sandbox=self.providers.sandbox,
            bills=self.bills, network=SimpleNamespace(platform={}),
        )  # fmt: skip

        async def compare() -> Counter[Any]:
            async with open_context(self._settings()) as ctx:
                await books.check(day, ctx)
                async with ctx.db.reading() as session:
                    found = await (await session.connection()).execute(text(_MONEY))
                    return Counter(map(tuple, found))

        money = asyncio.run(compare())
        assert not day.result.problems, "\n".join(day.result.problems)
        return money

    def taken_and_given_back(self) -> tuple[Decimal, ...]:
        """Return what the providers took and gave back: tenge, then dollars."""
        kaspi = [row for row in self.providers.sandbox.kaspi._book.payments.values() if row.processed_at]
        tables = self.providers.sandbox.stripe.core.tables
        sums = (
            (row.amount for row in kaspi),
            (refund.amount for row in kaspi for refund in row.refunds),
            (row["amount_received"] for row in tables["payment_intents"].values()),
            (row["amount"] for row in tables["refunds"].values()),
        )
        return tuple(sum(each, Decimal()) for each in sums)

    def _settings(self) -> Settings:
        url, keys = self.env["DATABASE_URL"], self.env["ENCRYPTION_KEYS"]
        return Settings(database_url=url, encryption_keys=keys, procomp_home=self.home, _env_file=None)


#: Each participant, each completed payment and each refund.
_MONEY = """
    SELECT id, CAST(status AS TEXT), 0 FROM "Participant"
    UNION ALL SELECT d.participant_id, d.channel, d.charged_amount
    FROM pay_payment_detail d JOIN "Payment" p ON p.id = d.payment_id
    WHERE CAST(p.status AS TEXT) IN ('COMPLETED', 'REFUNDED')
    UNION ALL SELECT payment_id, state, amount FROM pay_refund WHERE lower(CAST(state AS TEXT)) <> 'failed'
"""


class Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        migrate.upgrade(self.url)

    def save(self) -> Path:
        saved = self._path.with_suffix(".saved")
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self._path, saved)
        return saved

    def restore(self, saved: Path) -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        shutil.copy(saved, self._path)

    def until_alone(self) -> None:
        """Locks of a file end with their process."""

    def drop(self) -> None:
        """The test's folder is removed."""


class Postgres:
    def __init__(self, server: PostgresServer) -> None:
        self._server, self._names = server, [server.create_migrated()]
        self.url = server.url(self._names[0])

    def save(self) -> str:
        self._names.append(self._server.create(self._names[0]))
        return self._names[-1]

    def restore(self, saved: str) -> None:
        self._server.replace(self._names[0], saved)

    def until_alone(self) -> None:
        """Wait until the server has seen that the process is gone, as it does at once."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            while connection.execute(_OTHERS).fetchall():
                time.sleep(0.01)

    def drop(self) -> None:
        for name in self._names:
            self._server.drop(name)


_OTHERS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

# --- the use cases

QR = ("--method", "kaspi_qr")
LINK = (*QR, "--link")
INVOICE = (*QR, "--phone", "87010000011", "--yes")
PAGE = ("--method", "apple_pay", "--amount", "50", "--currency", "USD")
INTENT = (*PAGE, "--intent-only")
WAYS = {"QR": QR, "link": LINK, "invoice": INVOICE, "page": PAGE, "intent": INTENT}


#: Does it; the number is that of the step before which its process kills itself, 0 for none.
Use = Callable[[int], Ended]


@dataclass(frozen=True)
class Case:
    """A use case.

    :param prepare: makes the state before it, and returns how it is done.
    :param then: what the customer does afterwards, if anything; told whether its answer was shown.
    :param is_repeated: it can be done again, and is carried out then.
    :param may_stop: it may be left to ``maintain``, unless only its caller can know of it.
    :param last: the command that ends the day, if any.
    """

    prepare: Callable[[Desk], Use]
    scheme: KaspiScheme = KaspiScheme.ENHANCED
    then: Callable[[Desk, bool], None] = lambda *_: None
    is_repeated: bool = True
    may_stop: bool = True
    last: tuple[str, ...] = ()


def _command(prepare: Callable[[Desk], tuple[str, ...]], **more: Any) -> Case:
    """Return the case of a command.

    :param prepare: makes the state before it, and returns its words.
    """

    def made(desk: Desk) -> Use:
        words = prepare(desk)
        return lambda number: desk.run(*words, codes=(0, 3, 5, 6), kill_before=number)

    return Case(made, **more)


def _initiate(*way: str) -> Callable[[Desk], tuple[str, ...]]:
    return lambda _desk: ("initiate", "p1", *way)


def _pay(desk: Desk, is_shown: bool) -> None:
    """Pay the QR, link or page that was shown, or all invoices, which are on the phone anyway."""
    kaspi, stripe = desk.providers.sandbox.kaspi._book.payments, desk.providers.sandbox.stripe.core.tables
    payable = [("kaspi", ref) for ref, payment in kaspi.items() if payment.status == REMOTE_CREATED]
    if is_shown and not payable:
        payable = [("kaspi", ref) for ref in kaspi] + [("stripe_checkout", ref) for ref in stripe["sessions"]]
        payable = (payable or [("stripe_intent", ref) for ref in stripe["payment_intents"]])[-1:]
    for channel, ref in payable:
        desk.pay({"channel": channel, "provider_ref": ref, "payment_id": ""})


def _cancel(*way: str) -> Callable[[Desk], tuple[str, ...]]:
    return lambda desk: ("cancel", desk.begin(*way)["payment_id"], "--yes")


def _refund(*way: str) -> Callable[[Desk], tuple[str, ...]]:
    """Refund a part: the rest would not stop a second one."""
    more = ("--amount", "13", "--reason", REASON, "--yes", "--idempotency-key", "key")
    return lambda desk: ("refund", desk.complete(*way), *more)


def _refund_without_key(desk: Desk) -> Use:
    """Refund a part; a clerk who sees that it was made does not ask again."""
    payment = desk.complete(*PAGE)

    def ask(number: int) -> Ended:
        if desk.ask("status", "--payment", payment)["refunded_amount"]:
            return desk.run("status", "--payment", payment)
        words = ("refund", payment, "--amount", "13", "--reason", REASON, "--yes")
        return desk.run(*words, codes=(0, 3, 5), kill_before=number)

    return ask


def _record_refund(desk: Desk) -> tuple[str, ...]:
    payment = desk.complete(*QR)
    (paid,) = desk.providers.sandbox.kaspi._book.payments.values()
    desk.providers.post(f"/_sandbox/kaspi/payments/{paid.payment_id}/cashier-refund", {"Amount": 13})
    number = str(paid.refunds[-1].operation_id)
    return ("refund", payment, "--made-in-app", number, "--amount", "13", "--reason", REASON, "--yes")


def _verify(desk: Desk) -> tuple[str, ...]:
    payment = desk.pay(desk.begin(*QR))
    (paid,) = desk.providers.sandbox.kaspi._book.payments.values()
    return ("verify-kaspi", payment, "--transaction-id", str(paid.operation_number))


def _move(desk: Desk) -> tuple[str, ...]:
    return ("payment", "move", desk.complete(*QR), "--to", "p2", "--reason", "the brother", "--yes")


def _after_payment(*words: str) -> Callable[[Desk], tuple[str, ...]]:
    """A command that finds out that payments were made."""

    def prepare(desk: Desk) -> tuple[str, ...]:
        desk.pay(desk.begin(*QR))
        desk.pay(desk.ask("initiate", "p2", *PAGE))
        return words

    return prepare


def _bill(desk: Desk) -> Use:
    """Kaspi tells that it has taken money; the customer typed the participant's account in its app."""
    query = {"command": "pay", "txn_id": "777000111", "account": "p1", "sum": "24000.00"}

    def call(number: int) -> Ended:
        desk.bills[query["txn_id"]] = Decimal(query["sum"])
        return desk.call("GET", f"{_WEBHOOKS}/kaspi", params=query, kill_before=number)

    return call


def _webhook(desk: Desk) -> Use:
    """Stripe tells that a payment was made; if it never does so again, ``maintain`` asks."""
    desk.pay(desk.begin(*PAGE))
    stripe = desk.providers.sandbox.stripe.core
    body = json.dumps(stripe.view([*stripe.tables["events"].values()][-1])).encode()
    secret = str(desk.providers.sandbox.info()["webhook_secret"])

    def call(number: int) -> Ended:
        header = signature(body, [secret], int(desk.providers.sandbox.clock()))
        signed = {"Stripe-Signature": header, "Content-Type": "application/json"}
        return desk.call("POST", f"{_WEBHOOKS}/stripe", content=body, headers=signed, kill_before=number)

    return call


CASES: dict[str, Case] = {
    # whether an invoice was sent may not be known; then none is sent again
    **{
        f"initiate {name}": _command(_initiate(*way), then=_pay, is_repeated=name != "invoice")
        for name, way in WAYS.items()
    },
    **{f"cancel {name}": _command(_cancel(*way)) for name, way in WAYS.items()},
    "refund Stripe": _command(_refund(*PAGE)),
    "refund Kaspi enhanced": _command(_refund(*QR)),
    "refund Stripe without a key": Case(_refund_without_key),
    # the customer, who must scan, has left
    "refund Kaspi standard": _command(_refund(*QR), scheme=KaspiScheme.STANDARD, is_repeated=False),
    # made in the Kaspi Pay app, of which nobody but the clerk can tell
    "refund Kaspi basic": _command(_record_refund, scheme=KaspiScheme.BASIC, may_stop=False),
    "verify": _command(_verify),
    "move": _command(_move),
    "bill": Case(_bill, may_stop=False),
    "webhook": Case(_webhook),
    "maintain": _command(_after_payment("maintain")),
    "reconcile Kaspi": _command(_after_payment("reconcile", "--provider", "kaspi"), last=("reconcile",)),
    "reconcile Stripe": _command(_after_payment("reconcile", "--provider", "stripe"), last=("reconcile",)),
}


# --- the matrix

#: Without the whole matrix, one test for all: each worker of a test run would need a sandbox and processes.
_SAMPLE = [
    ("initiate invoice", "sqlite"), ("refund Kaspi enhanced", "sqlite"),
    ("refund Stripe without a key", "postgresql"), ("bill", "postgresql"),
]  # fmt: skip
_CELLS = [[cell] for cell in itertools.product(CASES, ("sqlite", "postgresql"))] if _IS_WHOLE else [_SAMPLE]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("commands"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProviders]:
    made = LocalProviders(1, tls_folder=tmp_path_factory.mktemp("tls"))
    book = made.sandbox.kaspi._book

    def add(record: Any) -> None:
        """Have the customer scan each refund QR as soon as it is shown."""
        Book.add(book, record)
        if isinstance(record, ReturnQr) and record.status == CREATED:
            take(book, record, "scan")

    book.add = add  # type: ignore[method-assign]
    yield made
    made.close()


@pytest.fixture(scope="module")
def nothing(providers: LocalProviders) -> Any:
    return {name: copy.deepcopy(each.dump()) for name, each in providers.sandbox.providers.items()}


@pytest.mark.parametrize("cells", _CELLS, ids=lambda cells: ", ".join(cells[0]) if _IS_WHOLE else "sample")
def test_killed_at_each_step(
    cells: list[tuple[str, str]], commands: Commands, providers: LocalProviders, nothing: Any, tmp_path: Path,
    postgres_server: PostgresServer,
) -> None:  # fmt: skip
    for case, kind in cells:
        folder = tmp_path / f"{case}-{kind}"
        folder.mkdir(mode=0o700)
        is_sqlite = kind == "sqlite"
        database = Sqlite(folder / "pay.sqlite3") if is_sqlite else Postgres(postgres_server)
        for name, each in providers.sandbox.providers.items():
            each.load(copy.deepcopy(nothing[name]))
        providers.sandbox._offset = 0.0
        desk = Desk(folder, commands, providers, CASES[case].scheme, database)
        CommandLine(folder, providers, database.url).write(*rows())
        kills = _Matrix(desk, CASES[case]).run()
        database.drop()
        print(f"{case}, {kind}: {kills} kills")


def _moments(steps: list[str]) -> list[tuple[int, str]]:
    """Return the steps to be killed before: the first, and each before which something was changed, in the
    database or at a provider. Between two changes every moment is the same to whoever comes later.
    """
    is_change = [step == "commit" or step.startswith(("POST", "DELETE")) for step in steps]
    moments = [(n, step) for n, step in enumerate(steps, 1) if n == 1 or is_change[n - 2]]
    if _IS_WHOLE:
        return moments
    # the worst one: a provider has done it, and we do not know
    return [moment for moment in moments if moment[1].startswith("answer of")][:1] or moments


class _Matrix:
    def __init__(self, desk: Desk, case: Case) -> None:
        self._desk, self._case = desk, case
        self._use = case.prepare(desk)
        self._before = desk.save()

    def run(self) -> int:
        """Return the number of kills."""
        possible, kills = [], 0
        if self._case.may_stop:
            possible = [self._ended()]
            self._desk.restore(self._before)
        steps = self._use(0).steps
        self._case.then(self._desk, True)
        possible.append(self._ended())
        most = self._desk.taken_and_given_back()
        for number, step in _moments(steps):
            for again in (False, True) if self._case.may_stop else (True,):
                self._desk.restore(self._before)
                assert self._use(number).was_killed
                kills += 1
                if again:
                    self._desk.wait(PATIENCE_S)
                    self._use(0)
                self._case.then(self._desk, again)
                money = self._ended()
                is_done = again and self._case.is_repeated
                at = f"killed before step {number}, {step}, {'and done again' if again else 'and left'}: "
                assert money in (possible[-1:] if is_done else possible), f"{at}{money}"
                there = self._desk.taken_and_given_back()
                assert all(map(operator.le, there, most)), f"{at}the providers moved {there}, not {most}"
        assert kills, "no step was found"
        return kills

    def _ended(self) -> Counter[Any]:
        """Let a day pass; return the money that moved."""
        self._desk.pass_a_day()
        if self._case.last:
            self._desk.run(*self._case.last, codes=(0, 6))
        return self._desk.check_books()
