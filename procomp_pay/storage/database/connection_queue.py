"""Give a process's connections to its transactions in order, and first to those of work that has begun.

A request makes several short transactions. Where more requests come than the machine can answer, some must be
refused; if every transaction of every request waited alike, most would be refused half way, with their work
for nothing, and come again. So a request is refused before its first transaction, and its further ones wait
only for those of other begun requests.

SQLAlchemy's pool lets whoever comes wait, but not in order: a newcomer may overtake those that wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar

from sqlalchemy.exc import TimeoutError as PoolTimeout

#: The most connections that a process has to PostgreSQL.
CONNECTIONS = 20
#: Seconds that a transaction waits for a connection: of new work, and of work that has begun.
NEW_S, BEGUN_S = 10.0, 30.0

#: Whether the current request has had a connection; ``None``: no request, so that all transactions are new.
_has_begun: ContextVar[bool | None] = ContextVar("has_begun", default=None)


def begin_request() -> None:
    """Begin a request: its first transaction is new work, the others are not."""
    _has_begun.set(False)


def go_first() -> None:
    """Let the transactions of this task wait for those of begun work alone, as if it had begun."""
    _has_begun.set(True)


class ConnectionQueue:
    """Those who wait for one of the pool's connections."""

    def __init__(self) -> None:
        self._free = CONNECTIONS
        self._new: deque[asyncio.Future[None]] = deque()
        self._begun: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until a connection is free, and take it.

        :raises PoolTimeout: none came free in time.
        """
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            await self._wait(is_new=not _has_begun.get())
        if _has_begun.get() is False:
            _has_begun.set(True)

    def give_back(self) -> None:
        """Give a connection that was taken to the next who waits."""
        for waiting in (self._begun, self._new):
            while waiting:
                turn = waiting.popleft()
                if not turn.done():  # else its time is over, or its request has ended
                    turn.set_result(None)
                    return
        self._free += 1

    async def _wait(self, *, is_new: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        waiting = self._new if is_new else self._begun
        waiting.append(turn)
        try:
            async with asyncio.timeout(NEW_S if is_new else BEGUN_S):
                await turn
        except BaseException as error:
            if not turn.cancelled():  # it came at the same moment
                self.give_back()
            if isinstance(error, TimeoutError):
                raise PoolTimeout from error
            raise
