"""Delete what is finished and older than its time, in small batches with short transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.operators import repository as operators
from procomp_pay.storage.reconciliation import retention
from procomp_pay.storage.webhooks import cursors

#: The cursor: how far payloads were dropped, and when the next round is due.
CURSOR = "retention"
#: Rows of one transaction.
BATCH = 500
#: The most transactions of one round; what is left follows a minute later.
_MOST_BATCHES = 40
#: Between two rounds, where nothing is left.
_EVERY = timedelta(hours=1)
#: Seconds after which another process may take an unfinished round over.
_LEASE_S = 300
#: An event may be handled, and so get prunable, later than others that arrived after it.
_OVERLAP = timedelta(days=1)


async def prune(ctx: AppContext, on_progress: Callable[[], None] = lambda: None) -> int | None:
    """Drop payloads, then delete events, messages, idempotency keys and expired approvals, which are kept as
    long as keys, as ``ctx.retention`` says.

    :param on_progress: called after each transaction.
    :returns: how many rows; ``None`` if no round is due. One process at a time works, once an hour.
    :raises DatabaseUnavailable: what was deleted is gone; the next round continues.
    """
    async with ctx.db.writing() as session:
        cursor = await cursors.claim(session, CURSOR, ctx.clock(), lease_s=_LEASE_S)
        reached = cursor.read_until if cursor else None
    if cursor is None:
        return None
    now, keep = ctx.clock(), ctx.retention
    batches, rows = 0, 0

    async def drop_payloads(session: AsyncSession) -> int:
        nonlocal reached
        since = reached - _OVERLAP if reached else None
        count, newest = await retention.drop_payloads(session, now - keep.payloads, since=since, limit=BATCH)
        if newest is not None:
            reached = newest
            await cursors.note(session, CURSOR, read_until=reached)
        return count

    is_finished = True
    for work in (
        drop_payloads,
        _before(retention.delete_events, now - keep.events),
        _before(retention.delete_messages, now - keep.messages),
        _before(retention.delete_keys, now - keep.keys),
        _before(operators.delete_approvals, now - keep.keys),
    ):
        while True:
            if batches == _MOST_BATCHES:
                is_finished = False
                break
            async with ctx.db.writing() as session:
                count = await work(session)
            batches, rows = batches + 1, rows + count
            on_progress()
            if count < BATCH:
                break
    async with ctx.db.writing() as session:
        await cursors.note(session, CURSOR, next_read_at=ctx.clock() + _EVERY * is_finished)
    return rows


def _before(
    delete: Callable[..., Awaitable[int]], before: datetime
) -> Callable[[AsyncSession], Awaitable[int]]:
    async def work(session: AsyncSession) -> int:
        return await delete(session, before, limit=BATCH)

    return work
