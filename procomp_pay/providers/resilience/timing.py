"""Time the calls of a provider, and report each one to a callback."""

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
    """One call with all its retries.

    :param outcome: ``ok``, ``cut`` (cancelled), ``bug``, or the kind of domain error.
    :param seconds: its duration.
    """

    provider: str
    name: str
    outcome: str
    seconds: float


Observe = Callable[[Call], None]


def timed(provider: PaymentProvider, name: str, observe: Observe) -> PaymentProvider:
    """Wrap a provider so that each of its calls is reported when it ends."""
    return cast("PaymentProvider", _TimedProvider(provider, name, observe))


class _TimedProvider:
    def __init__(self, provider: PaymentProvider, name: str, observe: Observe) -> None:
        self._provider, self._name, self._observe = provider, name, observe

    def __getattr__(self, call: str) -> Any:
        attribute = getattr(self._provider, call)
        if not inspect.iscoroutinefunction(attribute) or call == "aclose":
            return attribute

        async def timed(*args: Any, **kwargs: Any) -> Any:
            started, outcome = time.perf_counter(), "cut"
            try:
                answer = await attribute(*args, **kwargs)
                outcome = "ok"
            except Exception as error:
                outcome = next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "bug")
                raise
            else:
                return answer
            finally:
                self._observe(Call(self._name, call, outcome, time.perf_counter() - started))

        return timed
