"""Run a whole transaction again after a deadlock, a serialization failure or a lock of another one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from procomp_pay.storage.database.errors import DatabaseBusy

_T = TypeVar("_T")


async def retrying(work: Callable[[], Awaitable[_T]], *, attempts: int = 5) -> _T:
    """Run a whole transaction again while the database is busy, with growing pauses of 20 ms to 0.6 s.

    :param work: runs one whole transaction each time it is called.
    :raises DatabaseBusy: still busy at the last attempt.
    """
    for attempt in range(1, attempts):
        try:
            return await work()
        except DatabaseBusy:
            await asyncio.sleep(0.02 * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
    return await work()
