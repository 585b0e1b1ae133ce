"""``GET /metrics``: how the desk is, in Prometheus' text format.

What is counted from the database is of the whole desk, the same at every ``serve`` beside a small delay; what
is timed is of this process. Labels are a few fixed words: never an id, a name or what somebody wrote.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError, DatabaseUnavailable, Forbidden, Unauthorized
from procomp_pay.providers.registry import ProviderRegistry
from procomp_pay.providers.resilience.timing import Call
from procomp_pay.server.background.loops import Background
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance.metrics import StatusChange, Tail
from procomp_pay.storage.reports import metrics as figures

log = logging.getLogger(__name__)

#: How long figures hold, in seconds, however often they are asked for.
FRESH_S = 5.0
#: Payments that are counted by status were started within this time.
RECENT = timedelta(days=7)
_LONGEST_LOOK_S = 3.0
_SHORTEST_TOKEN = 16
#: What a proxy adds: then the peer is not who asks.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_CALL_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_LAG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_PAYING_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)


class _Gauges(Collector):
    """What was counted last; and, as of now, how old the loops' last rounds are and how long the certificate
    towards Kaspi holds."""

    def __init__(self, ctx: AppContext, background: Background) -> None:
        self._desk = ctx
        self._background = background
        self.standing: dict[tuple[str, str], int] = {}
        self.depths: dict[str, int] = {}
        self.lag_s = 0.0
        self.database_up = False

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("procomp_pay_database_up", "1 where the database answered the last count.")
        up.add_metric([], float(self.database_up))
        beats = GaugeMetricFamily(
            "procomp_pay_background_heartbeat_age_seconds", "Since a loop's last good round.", labels=["loop"]
        )
        for loop, age in self._background.seconds_since_success().items():
            beats.add_metric([loop], age)
        yield from (up, beats, *self._certificate())
        if not self.database_up:
            return  # old figures would look like new ones
        recent = GaugeMetricFamily(
            "procomp_pay_payments", "Payments of the last 7 days.", labels=["method", "status"]
        )
        for (method, status), number in self.standing.items():
            recent.add_metric([method.lower(), status.lower()], number)
        queues = GaugeMetricFamily(
            "procomp_pay_queue_depth", f"What waits; at most {figures.MOST} are counted.", labels=["queue"]
        )
        for queue, number in self.depths.items():
            queues.add_metric([queue], number)
        lag = GaugeMetricFamily(
            "procomp_pay_webhook_oldest_pending_seconds", "Age of the event that waits longest."
        )
        lag.add_metric([], self.lag_s)
        yield from (recent, queues, lag)

    def _certificate(self) -> Iterable[Metric]:
        """Nothing where none is configured, or its file cannot be read: the log and the doctor say why."""
        try:
            life = self._desk.providers.certificate(self._desk.clock())
        except ConfigurationError:
            return
        if life is not None:
            yield GaugeMetricFamily(
                "procomp_pay_kaspi_certificate_days_left",
                "Whole days that the client certificate towards Kaspi still holds; below 0: it has ended.",
                value=life.days_left,
            )


class Metrics:
    """The figures of one process and of its desk.

    :raises ConfigurationError: ``METRICS_TOKEN`` is too short.
    """

    def __init__(self, ctx: AppContext, settings: Settings, background: Background) -> None:
        token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
        if token is not None and len(token) < _SHORTEST_TOKEN:
            raise ConfigurationError(
                f"METRICS_TOKEN is shorter than {_SHORTEST_TOKEN} characters: it could be guessed",
                next_step="make one: openssl rand -hex 24",
            )
        self._token = token
        self._desk, self._tail = ctx, Tail(ctx)
        self._turn, self._until = asyncio.Lock(), 0.0
        self._registry = registry = CollectorRegistry()
        self._gauges = _Gauges(ctx, background)
        registry.register(self._gauges)
        self._initiated = Counter(
            "procomp_pay_payments_initiated", "Payments that were started.", ["method"], registry=registry
        )
        self._moved = Counter(
            "procomp_pay_payments_moved",
            "Payments that came to a status.",
            ["method", "status"],
            registry=registry,
        )
        self._failures = Counter(
            "procomp_pay_payment_failures",
            "Failed payments by kind.",
            ["method", "reason"],
            registry=registry,
        )
        self._paying = Histogram(
            "procomp_pay_time_to_complete_seconds", "From the start to the money.", ["method"],
            registry=registry, buckets=_PAYING_S,
        )  # fmt: skip
        self._lag = Histogram(
            "procomp_pay_webhook_lag_seconds", "From an event's arrival until it was handled here.",
            registry=registry, buckets=_LAG_S,
        )  # fmt: skip
        self._calls = Histogram(
            "procomp_pay_provider_call_seconds", "A provider's call, retries included.",
            ["provider", "call", "outcome"], registry=registry, buckets=_CALL_S,
        )  # fmt: skip
        background.on_lag = self._lag.observe
        if isinstance(ctx.providers, ProviderRegistry):
            ctx.providers.observe = self.provider_called

    def provider_called(self, call: Call) -> None:
        """One call to a provider is over."""
        self._calls.labels(call.provider, call.name, call.outcome).observe(call.seconds)

    async def begin(self) -> None:
        """Count from now on."""
        await self._look()

    async def page(self) -> bytes:
        """Everything, in the text format."""
        async with self._turn:
            if time.monotonic() >= self._until:
                await self._look()
                self._until = time.monotonic() + FRESH_S
        return generate_latest(self._registry)

    async def _look(self) -> None:
        gauges, now = self._gauges, self._desk.clock()
        try:
            async with asyncio.timeout(_LONGEST_LOOK_S):
                async with self._desk.db.reading() as session:
                    gauges.standing = await figures.standing(session, now - RECENT)
                    gauges.depths = await figures.depths(session)
                    oldest = await figures.oldest_event(session)
                gauges.lag_s = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
                for news in await self._tail.read():
                    self._count(news)
            gauges.database_up = True
        except (DatabaseUnavailable, TimeoutError) as error:
            gauges.database_up = False
            log.warning("metrics: the database cannot be counted: %s", type(error).__name__)

    def _count(self, news: StatusChange) -> None:
        method = news.method.lower()
        if news.status is None:
            self._initiated.labels(method).inc()
            return
        self._moved.labels(method, news.status.lower()).inc()
        if news.seconds is not None:
            self._paying.labels(method).observe(max(0.0, news.seconds))
        if news.failure is not None:
            self._failures.labels(method, news.failure.value).inc()

    def let_in(self, request: web.Request) -> None:
        """By ``METRICS_TOKEN``; where none is set, from this machine alone, and not through a proxy.

        :raises Unauthorized: no token, or another. :raises Forbidden: from elsewhere, where none is set.
        """
        if self._token is None:
            if not _is_from_here(request):
                raise Forbidden("Metrics are for this machine alone, unless METRICS_TOKEN is set")
            return
        given = request.headers.getall("Authorization", [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        same = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token.encode())
        if scheme.lower() != "bearer" or not same:
            raise Unauthorized("The metrics' token is needed")


def _is_from_here(request: web.Request) -> bool:
    """By the connection itself: what a request says of its sender counts for nothing here."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0]) if peer else None
    except (ValueError, IndexError):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address is not None and address.is_loopback


_METRICS = web.AppKey("metrics", Metrics)


def install(app: web.Application, metrics: Metrics) -> None:
    """Give an application its metrics; :func:`show` answers them."""

    async def begin(_app: web.Application) -> AsyncIterator[None]:
        await metrics.begin()
        yield

    app[_METRICS] = metrics
    app.cleanup_ctx.append(begin)


async def show(request: web.Request) -> web.Response:
    """GET /metrics."""
    metrics = request.app[_METRICS]
    metrics.let_in(request)
    return web.Response(body=await metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
