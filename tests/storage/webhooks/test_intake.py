"""Events that arrive at the same time share a commit, and each learns its own fate."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.webhooks import intake as module
from procomp_pay.storage.webhooks.intake import IncomingEvent, WebhookIntake

NOW = datetime(2026, 5, 1, 9, 30, 0, 123456, tzinfo=UTC)


def arrival(event_id: str, **changed: Any) -> IncomingEvent:
    values = {"id": f"row-{event_id}", "provider": "stripe", "event_id": event_id, "type": "a.b",
              "payload_enc": "sealed", "occurred_at": 1795456615}  # fmt: skip
    return IncomingEvent(**(values | changed))


async def rows(db: PaymentDatabaseService) -> list[WebhookEvent]:
    async with db.reading() as session:
        return list((await session.exec(select(WebhookEvent))).all())


async def test_concurrent_events_share_commits_and_duplicates_one_row(
    db: PaymentDatabaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = WebhookIntake(db)
    commits = 0
    real = db.writing_rows

    @asynccontextmanager
    async def counted() -> Any:
        nonlocal commits
        async with real() as session:
            yield session
        commits += 1

    monkeypatch.setattr(db, "writing_rows", counted)
    wanted = [arrival(f"evt_{n // 2}", id=f"row-{n}") for n in range(60)]
    new = await asyncio.gather(*(intake.store(item, NOW) for item in wanted))
    assert new.count(True) == 30
    assert all(any(pair) and not all(pair) for pair in zip(new[::2], new[1::2], strict=True))
    assert commits <= 3
    stored = await rows(db)
    assert len(stored) == 30
    assert {(row.state, row.attempts, row.received_at, row.next_attempt_at) for row in stored} == {
        ("pending", 0, NOW, NOW)
    }
    assert {row.occurred_at for row in stored} == {datetime(2026, 11, 23, 17, 56, 55, tzinfo=UTC)}


async def test_a_rejected_event_does_not_fail_the_others(db: PaymentDatabaseService) -> None:
    intake = WebhookIntake(db)
    bad = arrival("evt_bad", occurred_at=None)
    done = await asyncio.gather(
        *(intake.store(item, NOW) for item in (arrival("evt_1"), bad, arrival("evt_2"))),
        return_exceptions=True,
    )
    assert (done[0], done[2]) == (True, True)
    assert isinstance(done[1], Exception)
    assert {row.event_id for row in await rows(db)} == {"evt_1", "evt_2"}


async def test_a_failed_commit_is_reported_to_every_waiting_request(
    db: PaymentDatabaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = WebhookIntake(db)

    @asynccontextmanager
    async def down() -> Any:
        raise DatabaseUnavailable("it is down")
        yield

    monkeypatch.setattr(db, "writing_rows", down)
    done = await asyncio.gather(
        *(intake.store(arrival(f"evt_{n}"), NOW) for n in range(5)), return_exceptions=True
    )
    assert {type(outcome) for outcome in done} == {DatabaseUnavailable}
    monkeypatch.undo()
    assert await intake.store(arrival("evt_0"), NOW) is True, "it goes on when the database is back"


async def test_waiting_is_bounded(db: PaymentDatabaseService, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = WebhookIntake(db)
    release = asyncio.Event()

    @asynccontextmanager
    async def slow() -> Any:
        await release.wait()
        async with real() as session:
            yield session

    real = db.writing_rows
    monkeypatch.setattr(db, "writing_rows", slow)
    monkeypatch.setattr(module, "WAIT_S", 0.1)
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    first = asyncio.create_task(intake.store(arrival("evt_0"), NOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(intake.store(arrival(f"evt_{n}"), NOW)) for n in range(1, 6)]
    done = await asyncio.gather(first, *others, return_exceptions=True)
    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in done), "503: send it again"
    monkeypatch.setattr(module, "WAIT_S", 15)
    release.set()
    assert await intake.store(arrival("evt_9"), NOW) is True
    assert "evt_9" in {row.event_id for row in await rows(db)}


async def test_contents_are_kept_once_of_new_events_and_as_many_as_there_is_room_for(
    db: PaymentDatabaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 3)
    intake = WebhookIntake(db)
    for n in range(5):
        await intake.store(arrival(f"evt_{n}", content={"n": n}), NOW)
        await intake.store(arrival(f"evt_{n}", id=f"again-{n}", content={"n": n}), NOW)
    assert intake.take_stored(2) == {}, "the whole inbox first"
    assert intake.take_stored(2) == {"row-evt_0": {"n": 0}, "row-evt_1": {"n": 1}}
    assert intake.content_of("row-evt_2") == {"n": 2}
    assert intake.content_of("row-evt_3") is None
    assert intake.take_stored(2) == {}


async def test_each_event_of_a_commit_keeps_its_own_content(db: PaymentDatabaseService) -> None:
    intake = WebhookIntake(db)
    events = [arrival(f"evt_{n}", content={"n": n}) for n in range(20)]
    assert all(await asyncio.gather(*(intake.store(event, NOW) for event in events)))
    assert intake.take_stored(99) == {}, "the whole inbox first"
    assert intake.take_stored(99) == {event.id: event.content for event in events}


async def test_a_new_way_in_needs_nothing(db: PaymentDatabaseService) -> None:
    assert await WebhookIntake(db).store(arrival("evt_1"), NOW) is True
    assert await WebhookIntake(db).store(arrival("evt_1", id="another"), NOW) is False
