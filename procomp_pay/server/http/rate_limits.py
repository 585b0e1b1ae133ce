"""Limit how often a client may ask. Counted in this process's memory, for a bounded number of clients."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError, ErrorCode, PaymentError
from procomp_pay.server.http.route import Budget

log = logging.getLogger(__name__)

#: The most clients that are counted. Beyond it, the count of the client that was idle longest is dropped.
MOST_CLIENTS = 10_000
_OFF = "off"
_RATE = re.compile(r"([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*(second|minute|hour|day|month|year)s?", re.IGNORECASE)
_PERIOD_S = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "month": 30 * 86_400,
    "year": 360 * 86_400,
}


class TooManyRequests(PaymentError):
    """The client's budget is spent for now; nothing was done."""

    http_status = 429
    exit_code = 5
    code = ErrorCode.TOO_MANY_REQUESTS


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in a period of so many seconds."""

    requests: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Parse ``600/minute``, ``10 per 5 minutes`` and the like; months have 30 days, years 360.

        :raises ValueError: no such rate, or one of no requests.
        """
        match = _RATE.fullmatch(text.strip())
        if match is None:
            raise ValueError("not a rate")
        requests, periods = int(match[1]), int(match[2] or 1)
        if requests < 1 or periods < 1:
            raise ValueError("a rate of nothing")
        return cls(requests, periods * _PERIOD_S[match[3].lower()])


class RateLimits:
    """Fixed windows: a client's first request opens one, and its rate counts until that has passed.

    :param rates: a budget that is not in it, or ``None``, has no limit.
    """

    def __init__(
        self,
        rates: Mapping[Budget, Rate | None],
        most: int = MOST_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = rates
        self._most = most
        self._clock = clock
        #: Requests in the window, and the second at which it ends; the client that asked last comes last.
        self._windows: OrderedDict[tuple[Budget, str], tuple[int, float]] = OrderedDict()

    def spend(self, budget: Budget, client: str) -> None:
        """Count one request.

        :param client: a user's id, or an address; whatever tells two clients apart.
        :raises TooManyRequests: the client has used up its rate.
        """
        rate = self._rates.get(budget)
        if rate is None:
            return
        now = self._clock()
        requests, ends_at = self._windows.pop((budget, client), (0, now))
        if now >= ends_at:
            requests, ends_at = 0, now + rate.period_s
        self._windows[budget, client] = (requests + 1, ends_at)
        if len(self._windows) > self._most:
            self._windows.popitem(last=False)
        if requests >= rate.requests:
            log.warning("%s: the budget of %s is spent", client, budget)
            raise TooManyRequests(
                "Too many requests; nothing was done, try again later",
                retry_after=max(1, math.ceil(ends_at - now)),
            )


def limits_from(settings: Settings) -> RateLimits:
    """
    :raises ConfigurationError: a limit that cannot be read.
    """
    return RateLimits(
        {
            Budget.READS: _rate("RATE_LIMIT_READS", settings.rate_limit_reads),
            Budget.WRITES: _rate("RATE_LIMIT_WRITES", settings.rate_limit_writes),
            Budget.OPEN: _rate("RATE_LIMIT_OPEN", settings.rate_limit_open),
            Budget.FAILURES: _rate("RATE_LIMIT_FAILURES", settings.rate_limit_failures),
        }
    )


def _rate(name: str, text: str) -> Rate | None:
    if text.strip().lower() == _OFF:
        return None
    try:
        return Rate.parse(text)
    except ValueError:
        raise ConfigurationError(
            f"{name} is not a rate", next_step=f"write it as 600/minute, or {_OFF} for no limit"
        ) from None


LIMITS = web.AppKey("limits", RateLimits)
