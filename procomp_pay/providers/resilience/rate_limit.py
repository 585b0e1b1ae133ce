"""Limit the calls per second to a provider from this process; interactive calls come first.

With several workers each gets its share of the configured rate (:mod:`procomp_pay.server.run`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiolimiter import AsyncLimiter

#: The share of the rate that background polls may use.
BACKGROUND_SHARE = 0.8

_is_background: ContextVar[bool] = ContextVar("is_background", default=False)


@contextmanager
def background_priority() -> Iterator[None]:
    """Mark calls made inside as background work: a share of the rate is reserved for interactive calls."""
    token = _is_background.set(True)
    try:
        yield
    finally:
        _is_background.reset(token)


class RateLimit:
    """Allow ``per_second`` calls a second, evenly spread: providers count bursts against the limit."""

    def __init__(self, per_second: float) -> None:
        self._all = AsyncLimiter(1, 1 / per_second)
        self._background = AsyncLimiter(1, 1 / (per_second * BACKGROUND_SHARE))

    async def wait(self) -> None:
        """Wait until the next call is allowed."""
        if _is_background.get():
            await self._background.acquire()
        await self._all.acquire()
