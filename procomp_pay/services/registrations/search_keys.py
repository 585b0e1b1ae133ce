"""Make the search keys of participants whom the platform added or renamed by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.registrations import search_keys
from procomp_pay.storage.webhooks import cursors

#: The cursor: when the next round is due.
CURSOR = "search_keys"
#: Between two rounds; until then their names are compared without keys.
_EVERY = timedelta(minutes=10)
#: Seconds after which another process may take an unfinished round over.
_LEASE_S = 300
#: Keys of one transaction, and of one round.
BATCH = 1000
_MOST = 50_000


async def catch_up(ctx: AppContext, on_progress: Callable[[], None] = lambda: None) -> int | None:
    """Store the keys that are missing or made of another name, and delete those of deleted participants.

    :param on_progress: called after each transaction.
    :returns: how many; ``None`` if no round is due. One process at a time works.
    :raises DatabaseUnavailable: the next round continues.
    """
    async with ctx.db.writing() as session:
        if await cursors.claim(session, CURSOR, ctx.clock(), lease_s=_LEASE_S) is None:
            return None
    async with ctx.db.reading() as session:
        names = await search_keys.stale(session, limit=_MOST)
    for batch in chunks(names.items(), BATCH):
        async with ctx.db.writing() as session:
            await search_keys.store(session, dict(batch))
        on_progress()
    async with ctx.db.writing() as session:
        await search_keys.forget_removed(session)
        is_finished = len(names) < _MOST
        await cursors.note(session, CURSOR, next_read_at=ctx.clock() + _EVERY * is_finished)
    return len(names)
