"""How many calls a second a provider gets from this process; what a person waits for goes first.

Of several workers each has its part of the configured rate (:mod:`procomp_pay.server.run`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiolimiter import AsyncLimiter

#: The part of the budget that polls nobody waits for may use up.
BACKGROUND_SHARE = 0.8

_unhurried: ContextVar[bool] = ContextVar("unhurried", default=False)


@contextmanager
def background_priority() -> Iterator[None]:
    """Calls made inside are background work: a part of the budget is kept for people."""
    token = _unhurried.set(True)
    try:
        yield
    finally:
        _unhurried.reset(token)


class RateLimit:
    """At most ``per_second`` calls a second, evenly spread: no burst, since the far end counts those too."""

    def __init__(self, per_second: float) -> None:
        self._all = AsyncLimiter(1, 1 / per_second)
        self._background = AsyncLimiter(1, 1 / (per_second * BACKGROUND_SHARE))

    async def wait(self) -> None:
        """Until the next call may leave."""
        if _unhurried.get():
            await self._background.acquire()
        await self._all.acquire()
