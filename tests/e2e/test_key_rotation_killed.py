"""``keys rotate`` as a real process, killed in the middle and run again."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, load_or_make_key_file, new_key
from procomp_pay.storage.models.queues import WebhookEvent
from procomp_pay.storage.models.states import EventState
from tests.support.deployment import PATIENCE_S, Town, until

ROWS = 2000


def on(url: str, work: Callable[[PaymentDatabaseService], Any]) -> Any:
    async def run() -> Any:
        db = PaymentDatabaseService(url)
        try:
            return await work(db)
        finally:
            await db.dispose()

    return asyncio.run(run())


def fill(url: str, ring: Keyring) -> None:
    now = datetime.now(UTC)

    async def work(db: PaymentDatabaseService) -> None:
        async with db.writing() as session:
            session.add_all(
                WebhookEvent(
                    id=f"e{n:05}", provider="stripe", event_id=f"evt_{n}", type="x", state=EventState.DONE,
                    payload_enc=ring.encrypt(f"payload {n}"), occurred_at=now, received_at=now,
                )
                for n in range(ROWS)
            )  # fmt: skip

    on(url, work)


def under(url: str, key: str) -> int:
    """Return the number of rows that this key alone decrypts."""
    ring = Keyring([key])

    async def work(db: PaymentDatabaseService) -> int:
        from sqlmodel import select

        async with db.reading() as session:
            return sum(map(ring.is_newest, (await session.exec(select(WebhookEvent.payload_enc))).all()))

    return int(on(url, work))


def killed_in_the_middle(town: Town, url: str, newest: Callable[[], str]) -> None:
    process = town.spawn("keys", "rotate")
    until(lambda: under(url, newest()) > 50 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    assert 0 < under(url, newest()) < ROWS, "it was killed in the middle"
    assert town.ask("keys", "rotate", "--check", code=6)["need_older_key"] == ROWS - under(url, newest())
    done = town.ask("keys", "rotate")
    assert (done["need_older_key"], done["unreadable"], done["new_key_made"]) == (0, 0, False)
    assert 0 < done["rotated"] < ROWS
    assert under(url, newest()) == ROWS


def test_on_the_embedded_default(town: Town) -> None:
    town.ask("list")
    path = town.home / "procomp-pay.key"
    [first] = load_or_make_key_file(path)
    url = f"sqlite:///{town.home / 'procomp-pay.sqlite3'}"
    fill(url, Keyring([first]))

    def newest() -> str:
        keys = load_or_make_key_file(path)
        return keys[0] if keys[0] != first else new_key()  # which none of the rows is under

    killed_in_the_middle(town, url, newest)
    keys = load_or_make_key_file(path)
    assert (len(keys), keys[1]) == (2, first)
    assert path.stat().st_mode & 0o777 == 0o600
    drop(path, first)
    assert town.ask("keys", "rotate", "--check")["rows"] == ROWS


def drop(path: Path, key: str) -> None:
    """Drop the old key, as an operator does a day later."""
    path.write_text(path.read_text("utf-8").replace(key + "\n", ""), "utf-8")


def test_on_postgresql(pg_town: Town, postgres_url: str) -> None:
    old, new = pg_town.env["ENCRYPTION_KEYS"], new_key()
    fill(postgres_url, Keyring([old]))
    said = json.loads(pg_town.run("keys", "rotate", "--json"))
    assert (said["keys"], said["rotated"]) == (1, 0)
    pg_town.env["ENCRYPTION_KEYS"] = f"{new},{old}"
    killed_in_the_middle(pg_town, postgres_url, lambda: new)
    pg_town.env["ENCRYPTION_KEYS"] = new
    assert pg_town.ask("keys", "rotate", "--check")["need_older_key"] == 0
