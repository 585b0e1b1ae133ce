"""Connections for more transactions than there are: in order, and first for work that has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextvars import copy_context
from typing import Any

import pytest
from sqlmodel import text

from procomp_pay.storage.database import connection_queue
from procomp_pay.storage.database.connection_queue import begin_request, go_first
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.service import PaymentDatabaseService


@pytest.fixture
async def db(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PaymentDatabaseService]:
    """A database to which this process has one connection."""
    monkeypatch.setattr(connection_queue, "CONNECTIONS", 1)
    service = PaymentDatabaseService(postgres_url, serving=True)
    yield service
    await service.dispose()


class Holder:
    """Work that has the only connection until it is told to end."""

    def __init__(self, db: PaymentDatabaseService) -> None:
        self._has_it, self._end = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._hold(db))

    async def _hold(self, db: PaymentDatabaseService) -> None:
        async with db.reading() as session:
            await session.exec(text("SELECT 1"))
            self._has_it.set()
            await self._end.wait()

    async def has_it(self) -> Holder:
        await self._has_it.wait()
        return self

    async def end(self) -> None:
        self._end.set()
        await self._task


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task in a context of its own, as the server's for a connection."""
    return asyncio.get_running_loop().create_task(work, context=copy_context())


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_wait_get_a_connection_in_order_and_begun_work_first(
    db: PaymentDatabaseService,
) -> None:
    order: list[str] = []

    async def transaction(name: str) -> None:
        async with db.reading() as session:
            await session.exec(text("SELECT 1"))
            order.append(name)

    async def request(name: str) -> None:
        begin_request()
        await transaction(f"{name}, first")
        await transaction(f"{name}, second")

    async def intake() -> None:
        go_first()
        await transaction("intake")

    holder = await Holder(db).has_it()
    tasks = []
    for work in (request("a"), request("b"), transaction("loop"), intake()):
        tasks.append(start(work))
        await settle()
    await holder.end()
    await asyncio.gather(*tasks)
    assert order == ["intake", "a, first", "b, first", "a, second", "b, second", "loop"]


async def test_a_request_is_refused_before_its_first_transaction_or_not_at_all(
    db: PaymentDatabaseService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_queue, "NEW_S", 0.0)
    done: list[str] = []
    is_under_way, may_go_on = asyncio.Event(), asyncio.Event()

    async def request(name: str) -> None:
        begin_request()
        async with db.reading() as session:
            await session.exec(text("SELECT 1"))
        is_under_way.set()
        await may_go_on.wait()
        async with db.reading() as session:
            await session.exec(text("SELECT 1"))
        done.append(name)

    old = start(request("old"))
    await is_under_way.wait()
    holder = await Holder(db).has_it()
    may_go_on.set()
    with pytest.raises(DatabaseBusy, match="no connection came free") as caught:
        await start(request("new"))
    assert caught.value.retry_after == 5
    await holder.end()
    await old
    assert done == ["old"]


async def test_a_connection_is_kept_for_nobody_who_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_queue, "CONNECTIONS", 1)
    queue = connection_queue.ConnectionQueue()
    await queue.take()
    left, came = start(queue.take()), start(queue.take())
    await settle()
    left.cancel()  # while it waits
    queue.give_back()
    came.cancel()  # at the moment at which it was given the connection
    gone = await asyncio.gather(left, came, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in gone)
    await start(queue.take())
