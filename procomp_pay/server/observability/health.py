"""Report the health of the database, the providers and the loops. Cheap, however often it is asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from procomp_pay.config import KaspiScheme, ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError, PaymentError, fault_of
from procomp_pay.domain.states import Channel
from procomp_pay.server.background.loops import Background
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database import connection_queue
from procomp_pay.storage.payments import repository as payments

log = logging.getLogger(__name__)

#: The longest time of one check, in seconds.
CHECK_S = 2.0
#: How long a result is cached, in seconds: a provider's good one, its bad one, and the database's.
GOOD_S, BAD_S, DATABASE_S = 30.0, 5.0, 1.0
_UNREACHABLE = "unreachable"
#: It responds, but refuses what is configured: waiting does not help.
_MISCONFIGURED = "misconfigured"
_BAD = frozenset({_UNREACHABLE, _MISCONFIGURED})


class _CachedCheck:
    """A check whose result is cached for a while and shared by concurrent requests.

    :param waits: False to answer with the last result while the next one is fetched: a load balancer must
        not wait for a provider that hangs.
    """

    def __init__(
        self, check: Callable[[], Awaitable[str]], *, good_s: float, bad_s: float, waits: bool = False
    ) -> None:
        self._check = check
        self._waits = waits
        self._renewal: asyncio.Task[None] | None = None
        self._good_s, self._bad_s = good_s, bad_s
        self._result, self._valid_until = "", 0.0
        self._lock = asyncio.Lock()

    async def result(self) -> str:
        async with self._lock:
            if time.monotonic() < self._valid_until or (self._renewal and not self._renewal.done()):
                return self._result
            if self._result and not self._waits:
                self._renewal = asyncio.create_task(self._renew())
            else:
                await self._renew()
        return self._result

    async def _renew(self) -> None:
        self._result = await self._run()
        valid_s = self._bad_s if self._result in _BAD else self._good_s
        self._valid_until = time.monotonic() + valid_s

    async def _run(self) -> str:
        try:
            async with asyncio.timeout(CHECK_S):
                return await self._check()
        except TimeoutError:
            log.warning("health: no answer within %.0f s", CHECK_S, extra={"fault": "health"})
        except ConfigurationError as error:
            log.warning("health: %s", error.message)
            return _MISCONFIGURED
        except PaymentError as error:
            log.warning("health: %s", error.message, extra=fault_of(error))
        except Exception:
            log.exception("health: a check met a bug")
        return _UNREACHABLE


class Health:
    """Makes the report of ``GET /health``."""

    def __init__(self, ctx: AppContext, settings: Settings, background: Background) -> None:
        self._ctx = ctx
        self._background = background
        self._modes = {"stripe": settings.stripe_mode, "kaspi": settings.kaspi_mode}
        self._takes_bills = bool(settings.callback_networks)
        self._gateway = settings.kaspi_scheme is KaspiScheme.GATEWAY
        self._checks = {
            "stripe": _CachedCheck(lambda: self._provider("stripe"), good_s=GOOD_S, bad_s=BAD_S),
            "kaspi": _CachedCheck(lambda: self._provider("kaspi"), good_s=GOOD_S, bad_s=BAD_S),
            "database": _CachedCheck(self._database, good_s=DATABASE_S, bad_s=DATABASE_S, waits=True),
        }

    async def report(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the body; 503 when the database is down, without which nothing works, or
        a background loop stands still: whoever paid is not told."""
        results = await asyncio.gather(*(check.result() for check in self._checks.values()))
        services = dict(zip(self._checks, results, strict=True))
        services["background"] = self._background.state()
        status = _overall(services)
        body = {"status": status, "services": services, "timestamp": instant(self._ctx.clock())}
        return (503 if status == "unhealthy" else 200), body

    async def _provider(self, name: str) -> str:
        mode = self._modes[name]
        if mode is ProviderMode.OFF:
            # with bills alone, Kaspi calls us: there is nothing to ask
            return "configured" if name == "kaspi" and self._takes_bills else "off"
        channel = Channel.KASPI_QR if name == "kaspi" else Channel.STRIPE_INTENT
        await self._ctx.providers.of(channel).check()
        if mode is ProviderMode.SANDBOX:
            return "sandbox"
        # a gateway has no call that proves more than that something answers
        return "configured" if name == "kaspi" and self._gateway else "connected"

    async def _database(self) -> str:
        connection_queue.go_first()  # the question is whether the database answers, not how many wait for it
        async with self._ctx.db.reading() as session:
            await payments.next_due_at(session, tuple(Channel), self._ctx.clock())
        return "connected"


def _overall(services: dict[str, str]) -> str:
    if services["database"] in _BAD or services["background"] == "stalled":
        return "unhealthy"
    no_provider = services["stripe"] == services["kaspi"] == "off"
    if no_provider or _BAD & set(services.values()) or services["background"] != "running":
        return "degraded"
    return "healthy"
