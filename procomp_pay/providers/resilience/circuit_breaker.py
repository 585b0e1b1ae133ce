"""A circuit for each provider: after several failures in a row it is left alone for a while.

What counts is a provider that is away, not one that says no. An open circuit sends nothing, so its error
says of this one attempt that it did no work; of an earlier attempt it says nothing (:mod:`patience`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, OPENED, OpenedState

from procomp_pay.domain.errors import OutcomeUnknown, ProviderUnavailable
from procomp_pay.providers.resilience.retry import NotSent, Throttled, Unclear

T = TypeVar("T")

#: Failures in a row that open a circuit, and for how many seconds it stays open.
FAILURES = 5
OPEN_S = 30.0


class CircuitOpen(NotSent):
    """Nothing was sent: the provider is left alone for a while."""


class Circuit:
    """The circuit of one provider in one process.

    :param name: the provider, as people call it.
    :param failures: this many failures of availability in a row open it.
    :param open_s: seconds after which one more attempt is let through.
    """

    def __init__(self, name: str, *, failures: int = FAILURES, open_s: float = OPEN_S) -> None:
        self.name = name
        self._open_s = open_s
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=failures, default_ttl=open_s, exclude=[(Exception, _is_no_outage)]
        )
        self._breakers.add_listener(self._heard)
        self._away_since: datetime | None = None
        self._told = True

    @property
    def is_open(self) -> bool:
        """The provider was away at the last attempt and has not answered since."""
        return self._away_since is not None

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await ``call()``, one attempt at the provider.

        :raises CircuitOpen: it was not called; ``retry_after`` says when it is worth trying again.
        """
        breaker = await self._breakers.get_breaker(self.name)
        try:
            async with breaker:
                return await call()
        except OpenedState as opened:
            left = max(1, math.ceil(opened.opened_at + self._open_s - time.time()))
            raise CircuitOpen(
                f"{self.name} does not answer and is left alone for {left} s",
                next_step=f"try again in {left} s; see: procomp-pay doctor",
                retry_after=left,
            ) from None

    def pop_outage(self) -> datetime | None:
        """Since when the provider is away, once for each time that it went away: for an alert."""
        if self._told:
            return None
        self._told = True
        return self._away_since

    def _heard(self, _name: str, what: str, event: Any) -> None:
        if what != "state_changed":
            return
        if event.state == OPENED and self._away_since is None:
            self._away_since, self._told = datetime.now(UTC), False
        elif event.state == CLOSED:
            self._away_since, self._told = None, True


def _is_no_outage(error: BaseException) -> bool:
    """Whether an answer came, whatever it says; a bug of ours is no outage either."""
    away = isinstance(error, ProviderUnavailable | OutcomeUnknown)
    return not away or isinstance(error, Throttled | Unclear)
