"""``keys rotate`` as a real process that is killed and run again."""

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
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.deployment import Deployment
from tests.support.patience import PATIENCE_S, until

ROWS = 2000


def run_on(url: str, work: Callable[[PaymentDatabaseService], Any]) -> Any:
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

    run_on(url, work)


def rows_readable_by(url: str, key: str) -> int:
    """Return how many rows this key alone can decrypt."""
    ring = Keyring([key])

    async def work(db: PaymentDatabaseService) -> int:
        from sqlmodel import select

        async with db.reading() as session:
            return sum(map(ring.is_newest, (await session.exec(select(WebhookEvent.payload_enc))).all()))

    return int(run_on(url, work))


def kill_during_rotation(deployment: Deployment, url: str, newest: Callable[[], str]) -> None:
    process = deployment.spawn("keys", "rotate")
    until(lambda: rows_readable_by(url, newest()) > 50 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    assert 0 < rows_readable_by(url, newest()) < ROWS, "it was killed during the rotation"
    assert deployment.run_json("keys", "rotate", "--check", code=6)[
        "need_older_key"
    ] == ROWS - rows_readable_by(url, newest())
    done = deployment.run_json("keys", "rotate")
    assert (done["need_older_key"], done["unreadable"], done["new_key_made"]) == (0, 0, False)
    assert 0 < done["rotated"] < ROWS
    assert rows_readable_by(url, newest()) == ROWS


def test_rotation_killed_on_sqlite(deployment: Deployment) -> None:
    deployment.run_json("list")
    path = deployment.home / "procomp-pay.key"
    [first] = load_or_make_key_file(path)
    url = f"sqlite:///{deployment.home / 'procomp-pay.sqlite3'}"
    fill(url, Keyring([first]))

    def newest() -> str:
        keys = load_or_make_key_file(path)
        return keys[0] if keys[0] != first else new_key()  # a key that no row uses

    kill_during_rotation(deployment, url, newest)
    keys = load_or_make_key_file(path)
    assert (len(keys), keys[1]) == (2, first)
    assert path.stat().st_mode & 0o777 == 0o600
    remove_key(path, first)
    assert deployment.run_json("keys", "rotate", "--check")["rows"] == ROWS


def remove_key(path: Path, key: str) -> None:
    """Remove an old key, as an operator does after the rotation."""
    path.write_text(path.read_text("utf-8").replace(key + "\n", ""), "utf-8")


def test_rotation_killed_on_postgresql(postgres_deployment: Deployment, postgres_url: str) -> None:
    old, new = postgres_deployment.env["ENCRYPTION_KEYS"], new_key()
    fill(postgres_url, Keyring([old]))
    result = json.loads(postgres_deployment.run("keys", "rotate", "--json"))
    assert (result["keys"], result["rotated"]) == (1, 0)
    postgres_deployment.env["ENCRYPTION_KEYS"] = f"{new},{old}"
    kill_during_rotation(postgres_deployment, postgres_url, lambda: new)
    postgres_deployment.env["ENCRYPTION_KEYS"] = new
    assert postgres_deployment.run_json("keys", "rotate", "--check")["need_older_key"] == 0
