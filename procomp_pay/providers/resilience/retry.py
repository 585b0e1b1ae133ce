"""Retry calls that are safe to repeat, with backoff and jitter, bounded in time."""

from __future__ import annotations

import asyncio
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
from procomp_pay.domain.text import N_

T = TypeVar("T")

#: Errors without a connection, or a proxy's tunnel: the request cannot have been processed.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

#: The longest time of one call with all its retries, in seconds: customers wait at the desk.
TOTAL_S = 20.0


#: The longest time of one attempt, in seconds, with all of its answer: httpx's own limit is for each read.
ANSWER_S = 25.0


class NotSent(ProviderUnavailable):
    """This attempt was not sent. It says nothing about earlier ones."""


class Throttled(ProviderUnavailable):
    """The provider asks us to slow down: nothing was done, and it is no outage."""


class Unclear(OutcomeUnknown):
    """The provider answers, but not with the outcome of the request: it is no outage."""


_backoff = wait_exponential_jitter(multiplier=0.2, max=4.0, jitter=0.2)


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: exponential backoff with jitter, at least ``Retry-After``."""
    error = state.outcome.exception() if state.outcome else None
    retry_after = getattr(error, "retry_after", None)
    return max(float(retry_after), _backoff(state)) if retry_after is not None else _backoff(state)


def retry_after_s(header: str | None) -> int | None:
    """Return the seconds of a ``Retry-After`` header; ``None`` if it has none that make sense."""
    return int(header) if header is not None and header.isdecimal() and len(header) < 10 else None


async def whole_answer(attempt: Awaitable[T]) -> T:
    """Await one attempt to its end, for at most :data:`ANSWER_S` seconds: an answer may trickle for ever.

    :raises OutcomeUnknown: it took longer; the request may have been processed.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            return await attempt
    except TimeoutError as error:
        raise OutcomeUnknown(
            N_("The provider's answer did not end within %(limit)s s", limit=f"{ANSWER_S:g}")
        ) from error


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    idempotent: bool,
    total_s: float = TOTAL_S,
    circuit: Callable[[Callable[[], Awaitable[T]]], Awaitable[T]] | None = None,
) -> T:
    """Await ``call()`` until it succeeds, for at most about ``total_s`` seconds.

    ``ProviderUnavailable`` means that nothing was done, so the call is always repeated; after
    ``OutcomeUnknown`` only if it is idempotent. ``Retry-After`` is honoured if it fits into the time left;
    otherwise the last error is raised at once, as is every other error.

    :param circuit: counts all attempts as one call.
    :raises ProviderUnavailable: time is up, and no attempt can have been processed.
    :raises OutcomeUnknown: time is up, or access was denied, and an earlier attempt may have been processed.
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
        # tenacity awaits only coroutine functions, not a lambda that returns a coroutine
        try:
            return await call()
        except OutcomeUnknown as error:
            unknown.append(error)
            raise

    async def all_attempts() -> T:
        try:
            return await attempts(attempt)
        except (ProviderUnavailable, ConfigurationError) as error:
            if unknown:
                # an attempt that was not sent, or was rejected at once, says nothing about earlier ones
                raise unknown[-1] from error
            raise

    return await (all_attempts() if circuit is None else circuit(all_attempts))
