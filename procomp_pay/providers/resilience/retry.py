"""Retries: only what is safe to send again, with backoff and jitter, bounded in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_before_delay,
    wait_exponential_jitter,
)

from procomp_pay.domain.errors import ConfigurationError, OutcomeUnknown, ProviderUnavailable

T = TypeVar("T")

#: No connection was made, so nothing can have been done at the other end.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

#: The longest time of one call with all its retries, in seconds: people queue at the desk.
TOTAL_S = 20.0


class NotSent(ProviderUnavailable):
    """This attempt was not sent. It says nothing about earlier ones."""


class Throttled(ProviderUnavailable):
    """The provider answers, and asks us to slow down: it did no work, and it is not away."""


class Unclear(OutcomeUnknown):
    """The provider answers, and its answer does not say what became of the request: it is not away."""


_backoff = wait_exponential_jitter(multiplier=0.2, max=4.0, jitter=0.2)


def _wait(state: RetryCallState) -> float:
    """The provider's ``Retry-After`` where it gave one, else exponential backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    return max(float(asked), _backoff(state)) if asked is not None else _backoff(state)


def retry_after_s(header: str | None) -> int | None:
    """Return the seconds of a ``Retry-After`` header; ``None`` if there is none or it is a date."""
    return int(header) if header is not None and header.isdigit() else None


async def with_retries(call: Callable[[], Awaitable[T]], *, idempotent: bool, total_s: float = TOTAL_S) -> T:
    """Await ``call()`` until it answers, for at most about ``total_s`` seconds.

    ``ProviderUnavailable`` means that no work was done there, so it is always sent again;
    ``OutcomeUnknown`` only where the call is idempotent. ``Retry-After`` is honoured where it fits the
    bound; where it does not, the last error is raised at once.

    :raises ProviderUnavailable: time is up, and no attempt can have done any work.
    :raises OutcomeUnknown: time is up, or we are not let in any more, and an earlier attempt may have done
        it. Every other error at once.
    """
    safe = (ProviderUnavailable, OutcomeUnknown) if idempotent else (ProviderUnavailable,)
    attempts = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, safe)),
        wait=_wait,
        stop=stop_before_delay(total_s),
        reraise=True,
    )

    unknown: list[OutcomeUnknown] = []

    async def attempt() -> T:
        # tenacity awaits coroutine functions alone, not a lambda that returns a coroutine
        try:
            return await call()
        except OutcomeUnknown as error:
            unknown.append(error)
            raise

    try:
        return await attempts(attempt)
    except (ProviderUnavailable, ConfigurationError) as error:
        if (
            unknown
        ):  # an attempt that was not sent, or was rejected at once, says nothing about those before it
            raise unknown[-1] from error
        raise
