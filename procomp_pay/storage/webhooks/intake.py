"""Put arriving events into the inbox: whatever arrives at the same time shares one commit.

A commit waits for the disk, whatever it holds: a hundred events in one cost little more than one. So those
that arrive while a commit is under way are put into the next one together, by one statement, and each
request is answered when *its* commit is through. Nothing waits when nothing else is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.models.types import UtcDateTime

if TYPE_CHECKING:
    from procomp_pay.storage.database.service import PaymentDatabaseService

#: The most events of one commit, and the most that may wait for theirs; more are asked to come again.
AT_ONCE = 200
_MOST_WAITING = 5000
#: Waiting for the next commit while one is under way: more than a steady stream of events brings.
_CROWD = 12
#: How long (seconds) one may wait for its commit. Stripe gives up an attempt after longer and sends it again.
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
    """An event as it arrived, its payload already sealed.

    :param id: the new row's. :param occurred_at: by the provider's clock, in Unix seconds.
    """

    id: str
    provider: str
    event_id: str
    type: str
    payload_enc: str
    occurred_at: int


async def insert_events(session: AsyncSession, intake: Sequence[IncomingEvent], now: datetime) -> set[str]:
    """Put events into the inbox; the ids of the rows that are new (providers deliver twice)."""
    postgresql = session.get_bind().dialect.name == "postgresql"
    arrived = json.dumps([{name: getattr(each, name) for name in IncomingEvent.__slots__} for each in intake])
    connection = await session.connection()
    written = await connection.execute(
        _POSTGRESQL if postgresql else _SQLITE, {"now": now, "arrived": arrived}
    )
    return {row[0] for row in written}


class WebhookIntake:
    """The way into the inbox for one process: see the module."""

    def __init__(self, db: PaymentDatabaseService) -> None:
        self._db = db
        self._waiting: deque[tuple[IncomingEvent, datetime, asyncio.Future[bool]]] = deque()
        self._committing: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether so many wait that what is not urgent had better wait for them."""
        return len(self._waiting) >= _CROWD

    async def store(self, arrival: IncomingEvent, now: datetime) -> bool:
        """Return when the event is durable; False where it was there already.

        :raises DatabaseUnavailable: it is not, as far as is known: the sender has to send it again.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise DatabaseBusy("More events arrive than can be stored", retry_after=5)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        place = (arrival, now, done)
        self._waiting.append(place)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        try:
            async with asyncio.timeout(WAIT_S):
                return await done
        except TimeoutError:
            with contextlib.suppress(ValueError):  # it is in a commit that hangs
                self._waiting.remove(place)
            raise DatabaseBusy("The event could not be stored in time", retry_after=5) from None

    async def _commit_all(self) -> None:
        while self._waiting:
            several = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            wanted = [each for each in several if not each[2].done()]  # nobody waits for the others any more
            try:
                await self._commit(wanted)
            except BaseException:
                for _, _, done in wanted:
                    if not done.done():
                        done.set_exception(DatabaseUnavailable("The event could not be stored"))
                raise

    async def _commit(self, several: list[tuple[IncomingEvent, datetime, asyncio.Future[bool]]]) -> None:
        """One commit for all; where the database refuses one of them, one for each."""
        if not several:
            return
        intake = [arrival for arrival, _, _ in several]
        try:
            async with self._db.writing() as session:
                new = await insert_events(session, intake, several[0][1])
        except Exception as error:
            if len(several) > 1 and not isinstance(error, DatabaseUnavailable):
                for each in several:
                    await self._commit([each])
                return
            for _, _, done in several:
                if not done.done():
                    done.set_exception(error)
            return
        for arrival, _, done in several:
            if not done.done():
                done.set_result(arrival.id in new)
