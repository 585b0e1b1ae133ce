"""How the desk is: the database, the providers, the loops. Cheap to ask, however often it is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from procomp_pay.config import ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError, PaymentError
from procomp_pay.domain.states import Channel
from procomp_pay.server.background.loops import Background
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.payment import instant
from procomp_pay.storage.payments import repository as payments

log = logging.getLogger(__name__)

#: How long one check may take, in seconds.
CHECK_S = 2.0
#: How long an answer holds, in seconds: a good one of a provider, a bad one, and the database's.
GOOD_S, BAD_S, DATABASE_S = 30.0, 5.0, 1.0
_UNREACHABLE = "unreachable"
#: It answers, and does not take what is configured: waiting does not help.
_MISCONFIGURED = "misconfigured"
_BAD = frozenset({_UNREACHABLE, _MISCONFIGURED})


class _Checked:
    """A check whose answer is kept for a while; those who ask meanwhile share it."""

    def __init__(self, check: Callable[[], Awaitable[str]], *, good_s: float, bad_s: float) -> None:
        self._check = check
        self._good_s, self._bad_s = good_s, bad_s
        self._word, self._until = "", 0.0
        self._turn = asyncio.Lock()

    async def word(self) -> str:
        async with self._turn:
            if time.monotonic() >= self._until:
                self._word = await self._ask()
                kept = self._bad_s if self._word in _BAD else self._good_s
                self._until = time.monotonic() + kept
        return self._word

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(CHECK_S):
                return await self._check()
        except TimeoutError:
            log.warning("health: no answer within %.0f s", CHECK_S)
        except ConfigurationError as error:
            log.warning("health: %s", error.message)
            return _MISCONFIGURED
        except PaymentError as error:
            log.warning("health: %s", error.message)
        except Exception:
            log.exception("health: a check met a bug")
        return _UNREACHABLE


class Health:
    """The report of ``GET /health``."""

    def __init__(self, ctx: AppContext, settings: Settings, background: Background) -> None:
        self._desk = ctx
        self._background = background
        self._modes = {"stripe": settings.stripe_mode, "kaspi": settings.kaspi_mode}
        self._checks = {
            "stripe": _Checked(lambda: self._provider("stripe"), good_s=GOOD_S, bad_s=BAD_S),
            "kaspi": _Checked(lambda: self._provider("kaspi"), good_s=GOOD_S, bad_s=BAD_S),
            "database": _Checked(self._database, good_s=DATABASE_S, bad_s=DATABASE_S),
        }

    async def report(self) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the body. 503 when the database is down: nothing works without it."""
        words = await asyncio.gather(*(check.word() for check in self._checks.values()))
        services = dict(zip(self._checks, words, strict=True))
        services["background"] = self._background.state()
        status = _overall(services)
        body = {"status": status, "services": services, "timestamp": instant(self._desk.clock())}
        return (503 if status == "unhealthy" else 200), body

    async def _provider(self, name: str) -> str:
        mode = self._modes[name]
        if mode is ProviderMode.OFF:
            return "off"
        channel = Channel.KASPI_QR if name == "kaspi" else Channel.STRIPE_INTENT
        await self._desk.providers.of(channel).check()
        return "sandbox" if mode is ProviderMode.SANDBOX else "connected"

    async def _database(self) -> str:
        async with self._desk.db.reading() as session:
            await payments.next_due_at(session)
        return "connected"


def _overall(services: dict[str, str]) -> str:
    if services["database"] in _BAD:
        return "unhealthy"
    no_provider = services["stripe"] == services["kaspi"] == "off"
    if no_provider or _BAD & set(services.values()) or services["background"] != "running":
        return "degraded"
    return "healthy"
