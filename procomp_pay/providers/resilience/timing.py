"""A provider whose calls are timed, for who wants to know."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from procomp_pay.domain.errors import (
    ConfigurationError,
    ManualReviewRequired,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.providers.protocol import PaymentProvider

_OUTCOMES: tuple[tuple[type[Exception], str], ...] = (
    (OutcomeUnknown, "unknown"),
    (ProviderUnavailable, "unavailable"),
    (NotFound, "not_found"),
    (Refused, "refused"),
    (ManualReviewRequired, "needs_person"),
    (ConfigurationError, "configuration"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with all its retries.

    :param outcome: ``ok``, or what it ended with, as one of a few words.
    """

    provider: str
    name: str
    outcome: str
    seconds: float


Observe = Callable[[Call], None]


def timed(provider: PaymentProvider, name: str, observe: Observe) -> PaymentProvider:
    """The provider, each of whose calls is told when it is over."""
    return cast("PaymentProvider", _TimedProvider(provider, name, observe))


class _TimedProvider:
    def __init__(self, provider: PaymentProvider, name: str, observe: Observe) -> None:
        self._provider, self._name, self._observe = provider, name, observe

    def __getattr__(self, call: str) -> Any:
        found = getattr(self._provider, call)
        if not inspect.iscoroutinefunction(found) or call == "aclose":
            return found

        async def timed(*args: Any, **kwargs: Any) -> Any:
            started, outcome = time.perf_counter(), "cut"
            try:
                answer = await found(*args, **kwargs)
                outcome = "ok"
            except Exception as error:
                outcome = next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "bug")
                raise
            else:
                return answer
            finally:
                self._observe(Call(self._name, call, outcome, time.perf_counter() - started))

        return timed
