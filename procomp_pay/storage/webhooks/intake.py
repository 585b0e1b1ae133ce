"""Store arriving events in the inbox by group commit: events that arrive at the same time share one commit.

A commit waits for the disk, whatever its size: a hundred events in one cost little more than one. So those
that arrive during a commit are stored by the next one, in one statement, and each request is answered when
*its* commit is done. An event that arrives alone is stored at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.storage.database import connection_queue
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.types import UtcDateTime

#: The most events of one commit, and the most that may wait for one; more are refused with 503.
AT_ONCE = 200
_MOST_WAITING = 5000
#: More events than a steady stream brings during one commit: with so many waiting, the intake is busy.
_BUSY_FROM = 12
#: How long (seconds) an event may wait for its commit. It is less than Stripe's own timeout.
WAIT_S = 15.0

_POSTGRESQL = text(
    """
    INSERT INTO pay_webhook_event
        (id, provider, event_id, type, payload_enc, occurred_at,
         state, attempts, next_attempt_at, received_at)
    SELECT id, provider, event_id, type, payload_enc, to_timestamp(occurred_at), 'pending', 0, :now, :now
    FROM json_to_recordset(CAST(:arrived AS json)) AS arrived
        (id text, provider text, event_id text, type text, payload_enc text, occurred_at bigint)
    ON CONFLICT DO NOTHING RETURNING id
    """
).bindparams(bindparam("now", type_=UtcDateTime()))
_SQLITE = text(
    """
    INSERT INTO pay_webhook_event
        (id, provider, event_id, type, payload_enc, occurred_at,
         state, attempts, next_attempt_at, received_at)
    SELECT value ->> 'id', value ->> 'provider', value ->> 'event_id', value ->> 'type',
           value ->> 'payload_enc',
           strftime('%Y-%m-%d %H:%M:%S.000000', value ->> 'occurred_at', 'unixepoch'),
           'pending', 0, :now, :now
    FROM json_each(:arrived) WHERE true
    ON CONFLICT DO NOTHING RETURNING id
    """
).bindparams(bindparam("now", type_=UtcDateTime()))


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event as it arrived, with its payload encrypted.

    :param id: of the new row. :param occurred_at: by the provider's clock, in Unix seconds.
    """

    id: str
    provider: str
    event_id: str
    type: str
    payload_enc: str
    occurred_at: int


async def insert_events(
    connection: AsyncConnection, events: Sequence[IncomingEvent], now: datetime
) -> set[str]:
    """Insert events into the inbox; return the ids of the new rows (providers deliver twice)."""
    postgresql = connection.dialect.name == "postgresql"
    arrived = json.dumps(
        [{name: getattr(event, name) for name in IncomingEvent.__slots__} for event in events]
    )
    written = await connection.execute(
        _POSTGRESQL if postgresql else _SQLITE, {"now": now, "arrived": arrived}
    )
    return {row[0] for row in written}


class WebhookIntake:
    """Group commit of arriving events, for one process: see the module."""

    def __init__(self, db: PaymentDatabaseService) -> None:
        self._db = db
        self._waiting: deque[tuple[IncomingEvent, datetime, asyncio.Future[bool]]] = deque()
        self._committing: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Return True if the intake queue is long enough that background work should yield."""
        return len(self._waiting) >= _BUSY_FROM

    async def store(self, event: IncomingEvent, now: datetime) -> bool:
        """Store an event and return once it is durable; False if it was stored before.

        :raises DatabaseUnavailable: it may not be stored: the sender has to send it again.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise DatabaseBusy("More events arrive than can be stored", retry_after=5)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = (event, now, done)
        self._waiting.append(waiting)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        try:
            async with asyncio.timeout(WAIT_S):
                return await done
        except TimeoutError:
            with contextlib.suppress(ValueError):  # it is part of a commit that hangs
                self._waiting.remove(waiting)
            raise DatabaseBusy("The event could not be stored in time", retry_after=5) from None

    async def _commit_all(self) -> None:
        connection_queue.go_first()  # one transaction answers many requests, and tells of money
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            wanted = [waiting for waiting in batch if not waiting[2].done()]  # the others have timed out
            try:
                await self._commit(wanted)
            except BaseException:
                for _, _, done in wanted:
                    if not done.done():
                        done.set_exception(DatabaseUnavailable("The event could not be stored"))
                raise

    async def _commit(self, batch: list[tuple[IncomingEvent, datetime, asyncio.Future[bool]]]) -> None:
        """Commit all events at once; if the database refuses one of them, commit each alone."""
        if not batch:
            return
        events = [event for event, _, _ in batch]
        try:
            async with self._db.writing_rows() as connection:
                new = await insert_events(connection, events, batch[0][1])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DatabaseUnavailable):
                for waiting in batch:
                    await self._commit([waiting])
                return
            for _, _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        for event, _, done in batch:
            if not done.done():
                done.set_result(event.id in new)
