"""A circuit breaker for each provider: after several failed calls in a row, nothing is sent for a while.

Only unavailability counts, not rejections, and a call counts once, however often it is tried
(see :mod:`~procomp_pay.providers.resilience.retry`): one customer's bad minute must not close every desk. An
open circuit sends nothing, so its error means that this call did nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, OPENED, OpenedState

from procomp_pay.domain.errors import OutcomeUnknown, ProviderUnavailable
from procomp_pay.providers.resilience.retry import NotSent, Throttled, Unclear

T = TypeVar("T")

#: Failed calls in a row that open a circuit, and the seconds for which it is open.
FAILURES = 5
OPEN_S = 30.0


#: The circuit that counts the current call.
_counting: ContextVar[Circuit | None] = ContextVar("counting", default=None)


class CircuitOpen(NotSent):
    """Nothing was sent, since the circuit is open."""


class Circuit:
    """The circuit breaker of one provider in one process.

    :param name: the provider's name in messages.
    :param failures: number of outages in a row that open the circuit.
    :param open_s: seconds after which one attempt is let through.
    """

    def __init__(self, name: str, *, failures: int = FAILURES, open_s: float = OPEN_S) -> None:
        self.name = name
        self._open_s = open_s
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=failures, default_ttl=open_s, exclude=[(Exception, _is_no_outage)]
        )
        self._breakers.add_listener(self._on_event)
        self._open_since: datetime | None = None
        self._reported = True

    @property
    def is_open(self) -> bool:
        """Return whether the provider has not answered since the circuit opened."""
        return self._open_since is not None

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await ``call()``, and count its end. Inside of it, the same circuit lets everything pass.

        :raises CircuitOpen: it was not called; ``retry_after`` is the number of seconds to wait.
        """
        if _counting.get() is self:
            return await call()
        breaker = await self._breakers.get_breaker(self.name)
        token = _counting.set(self)
        try:
            async with breaker:
                return await call()
        except OpenedState as opened:
            left = max(1, math.ceil(opened.opened_at + self._open_s - time.time()))
            raise CircuitOpen(
                f"{self.name} does not answer; requests to it are paused for {left} s",
                next_step=f"try again in {left} s; see: procomp-pay doctor",
                retry_after=left,
            ) from None
        finally:
            _counting.reset(token)

    def pop_outage(self) -> datetime | None:
        """Return when the current outage began, once per outage, for an alert; ``None`` otherwise."""
        if self._reported:
            return None
        self._reported = True
        return self._open_since

    def _on_event(self, _name: str, kind: str, event: Any) -> None:
        if kind != "state_changed":
            return
        if event.state == OPENED and self._open_since is None:
            self._open_since, self._reported = datetime.now(UTC), False
        elif event.state == CLOSED:
            self._open_since, self._reported = None, True


def _is_no_outage(error: BaseException) -> bool:
    """Return whether an error is no outage: the provider answered, or the fault is ours."""
    unavailable = isinstance(error, ProviderUnavailable | OutcomeUnknown)
    return not unavailable or isinstance(error, Throttled | Unclear)
