"""Simulated time and chance: an event loop that skips every wait, and one source of randomness."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import selectors
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from procomp_pay.providers.resilience import circuit_breaker

#: When each simulated day begins: 2026-11-28 09:00 in Almaty, in Unix seconds.
MORNING = 1_795_838_400.0


class _Skipping(selectors.SelectSelector):
    """Nothing is ever read from a socket: each wait is over at once, and the clock has moved on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits for another one")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated seconds since the morning, without threads."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now

    def run_in_executor(self, _executor: Any, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(work(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.fromtimestamp(time.time(), tz)


@contextlib.contextmanager
def simulated(seed: int) -> Iterator[tuple[SimulatedLoop, random.Random]]:
    """Yield an event loop and the day's source of chance. Inside, clocks show simulated time, and all that
    looks random (ids, keys, jitter) follows from the seed."""
    loop, chance, secret = SimulatedLoop(), random.Random(seed), random.Random(~seed)
    jitter = random.getstate()

    def unix_time() -> float:
        return MORNING + loop.time()

    def unique_id() -> uuid.UUID:
        return uuid.UUID(int=secret.getrandbits(128), version=4)

    random.seed(seed)
    with (
        mock.patch.object(time, "time", unix_time),
        mock.patch.object(time, "monotonic", loop.time),
        mock.patch.object(os, "urandom", secret.randbytes),
        mock.patch.object(random, "_urandom", secret.randbytes),
        mock.patch.object(uuid, "uuid4", unique_id),
        mock.patch.object(circuit_breaker, "datetime", _Datetime),
    ):
        asyncio.set_event_loop(loop)
        collects = gc.isenabled()
        gc.disable()  # what it ends, it would end at any time
        try:
            yield loop, chance
        finally:
            if collects:
                gc.enable()
            asyncio.set_event_loop(None)
            loop.close()
            random.setstate(jitter)


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
