"""How long tests wait for what does come."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

#: Seconds to wait for an answer, a process or a screen. Only a test that fails waits so long: on a busy
#: machine what takes a second alone may take a minute.
PATIENCE_S = 240.0


def until(ready: Callable[[], Any]) -> None:
    """Wait until ``ready`` returns a true value."""
    end = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


async def wait_until(check: Callable[[], Any]) -> Any:
    """Return the first true result of a function, or of a coroutine function."""
    end = time.monotonic() + PATIENCE_S
    while True:
        result = check()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
