"""Store arriving events in the inbox by group commit: events that arrive at the same time share one commit.

A commit waits for the disk, whatever its size: a hundred events in one cost little more than one. So those
that arrive during a commit are stored by the next one, in one statement, and each request is answered when
*its* commit is done. An event that arrives alone is stored at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

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
#: Stored events whose content is kept in memory until they are processed.
_MOST_KEPT = 2000
#: Seconds between two reads of the whole inbox while events of this process wait.
_SCAN_S = 1.0
#: Seconds in which more events gather after a commit of many: each commit costs as much as ten events.
_GATHER_S = 0.003

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
    :param content: of the payload, as its reader parses it; ``None`` if it is to be read from the row.
    """

    id: str
    provider: str
    event_id: str
    type: str
    payload_enc: str
    occurred_at: int
    content: Any = None


_STORED = ("id", "provider", "event_id", "type", "payload_enc", "occurred_at")


async def insert_events(
    connection: AsyncConnection, events: Sequence[IncomingEvent], now: datetime
) -> set[str]:
    """Insert events into the inbox; return the ids of the new rows (providers deliver twice)."""
    postgresql = connection.dialect.name == "postgresql"
    arrived = json.dumps([{name: getattr(event, name) for name in _STORED} for event in events])
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
        #: By the ids of the rows, oldest first.
        self._contents: dict[str, Any] = {}
        self._scan_at = 0.0

    @property
    def is_busy(self) -> bool:
        """Return True if the intake queue is long enough that background work should yield."""
        return len(self._waiting) >= _BUSY_FROM

    def take_stored(self, most: int) -> dict[str, Any]:
        """Return the contents of the oldest events that this process stored, by the ids of their rows, and
        forget them: they need not be read, decrypted and parsed again. Another process may have handled them.

        Return none from time to time, so that the events of other processes get their turn.
        """
        now = time.monotonic()
        if not self._contents or now >= self._scan_at:
            self._scan_at = now + _SCAN_S
            return {}
        return {row_id: self._contents.pop(row_id) for row_id in list(islice(self._contents, most))}

    def content_of(self, row_id: str) -> Any:
        """Return and forget the content of a stored event; ``None`` if it is not known."""
        return self._contents.pop(row_id, None)

    async def store(self, event: IncomingEvent, now: datetime) -> bool:
        """Store an event and return once it is durable; False if it was stored before.

        :raises DatabaseUnavailable: it may not be stored: the sender has to send it again.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise DatabaseBusy("More events arrive than can be stored", retry_after=5)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        waiting = (event, now, done)
        self._waiting.append(waiting)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        timer = loop.call_later(WAIT_S, self._refuse, waiting)  # costs less than asyncio.timeout()
        try:
            return await done
        finally:
            timer.cancel()

    def _refuse(self, waiting: tuple[IncomingEvent, datetime, asyncio.Future[bool]]) -> None:
        """Refuse an event that waited too long; as part of a commit that hangs it may yet be stored."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiting)
        if not waiting[2].done():
            waiting[2].set_exception(DatabaseBusy("The event could not be stored in time", retry_after=5))

    async def _commit_all(self) -> None:
        connection_queue.go_first()  # one transaction answers many requests, and tells of money
        is_crowded = False
        while self._waiting:
            if is_crowded:
                await asyncio.sleep(_GATHER_S)
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            is_crowded = len(batch) >= _BUSY_FROM
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
        self._note_stored([event for event in events if event.id in new])
        for event, _, done in batch:
            if not done.done():
                done.set_result(event.id in new)

    def _note_stored(self, events: Sequence[IncomingEvent]) -> None:
        """Keep the contents of stored events for :meth:`take_stored`, as far as there is room."""
        for event in events[: _MOST_KEPT - len(self._contents)]:
            if event.content is not None:
                self._contents[event.id] = event.content
