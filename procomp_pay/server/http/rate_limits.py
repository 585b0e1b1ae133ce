"""How often a client may ask. Counted in this process's memory, for a bounded number of clients."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Mapping

from aiohttp import web
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError, PaymentError
from procomp_pay.server.http.route import Budget

log = logging.getLogger(__name__)

#: The most clients that are counted; beyond it the one that asked longest ago starts anew.
MOST_CLIENTS = 10_000
_OFF = "off"


class TooManyRequests(PaymentError):
    """The client's budget is spent for now; nothing was done."""

    http_status = 429
    exit_code = 5


class _Storage(MemoryStorage):
    """Counts without looking through all other clients' counts each time: :class:`Limits` bounds them."""

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in one go, with nothing awaited in between."""
        await self.get(key)  # forgets what has run out
        self.storage[key] += amount
        if self.storage[key] == amount:
            self.expirations[key] = time.time() + expiry
        return self.storage[key]


class Limits:
    """The budgets of all clients.

    :param budgets: what is not in it, or ``None``, has no limit.
    """

    def __init__(self, budgets: Mapping[Budget, RateLimitItem | None], most: int = MOST_CLIENTS) -> None:
        self._budgets = budgets
        self._most = most
        self._limiter = FixedWindowRateLimiter(_Storage())
        self._seen: OrderedDict[tuple[Budget, str], RateLimitItem] = OrderedDict()

    async def spend(self, budget: Budget, client: str) -> None:
        """Count one request.

        :param client: a user's id, or an address; whatever tells two clients apart.
        :raises TooManyRequests: it is one too many.
        """
        item = self._budgets.get(budget)
        if item is None:
            return
        await self._remember(budget, client, item)
        if await self._limiter.hit(item, budget, client):
            return
        log.warning("%s: the budget of %s is spent", client, budget)
        window = await self._limiter.get_window_stats(item, budget, client)
        raise TooManyRequests(
            "Too many requests; nothing was done, try again later",
            retry_after=max(1, math.ceil(window.reset_time - time.time())),
        )

    async def _remember(self, budget: Budget, client: str, item: RateLimitItem) -> None:
        self._seen[budget, client] = item
        self._seen.move_to_end((budget, client))
        while len(self._seen) > self._most:
            (oldest, who), forgotten = self._seen.popitem(last=False)
            await self._limiter.clear(forgotten, oldest, who)


def limits_of(settings: Settings) -> Limits:
    """
    :raises ConfigurationError: a limit that cannot be read.
    """
    return Limits(
        {
            Budget.READS: _item("RATE_LIMIT_READS", settings.rate_limit_reads),
            Budget.WRITES: _item("RATE_LIMIT_WRITES", settings.rate_limit_writes),
            Budget.OPEN: _item("RATE_LIMIT_OPEN", settings.rate_limit_open),
            Budget.FAILURES: _item("RATE_LIMIT_FAILURES", settings.rate_limit_failures),
        }
    )


def _item(name: str, text: str) -> RateLimitItem | None:
    if text.strip().lower() == _OFF:
        return None
    try:
        item = parse(text)
    except ValueError:
        item = None
    if item is None or item.amount < 1:
        raise ConfigurationError(
            f"{name} is not a rate", next_step=f"write it as 600/minute, or {_OFF} for no limit"
        )
    return item


LIMITS = web.AppKey("limits", Limits)
