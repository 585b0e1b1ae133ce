"""``GET /metrics``: metrics in Prometheus' text format.

Counts come from the database and cover all processes, with a small delay; timings are of this process only.
Labels take a few fixed values: never an id, a name or text that somebody entered.
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

#: How long the counts are cached, in seconds.
FRESH_S = 5.0
#: Payments started within this time are counted by status.
RECENT = timedelta(days=7)
_QUERY_TIMEOUT_S = 3.0
_SHORTEST_TOKEN = 16
#: Headers that a proxy adds: the peer is then not the client.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_CALL_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_LAG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_COMPLETION_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)


class _Gauges(Collector):
    """The latest counts; the loops' ages and the certificate's remaining days as of now."""

    def __init__(self, ctx: AppContext, background: Background) -> None:
        self._ctx = ctx
        self._background = background
        self.by_status: dict[tuple[str, str], int] = {}
        self.depths: dict[str, int] = {}
        self.lag_s = 0.0
        self.database_up = False

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("procomp_pay_database_up", "1 if the database could be counted last time.")
        up.add_metric([], float(self.database_up))
        ages = GaugeMetricFamily(
            "procomp_pay_background_heartbeat_age_seconds",
            "Seconds since a loop's last good round.",
            labels=["loop"],
        )
        for loop, age in self._background.seconds_since_success().items():
            ages.add_metric([loop], age)
        yield from (up, ages, *self._certificate())
        if not self.database_up:
            return  # stale counts would look current
        recent = GaugeMetricFamily(
            "procomp_pay_payments", "Payments of the last 7 days.", labels=["method", "status"]
        )
        for (method, status), number in self.by_status.items():
            recent.add_metric([method.lower(), status.lower()], number)
        queues = GaugeMetricFamily(
            "procomp_pay_queue_depth", f"Waiting items; at most {figures.MOST} are counted.", labels=["queue"]
        )
        for queue, number in self.depths.items():
            queues.add_metric([queue], number)
        lag = GaugeMetricFamily(
            "procomp_pay_webhook_oldest_pending_seconds", "Age of the oldest unprocessed event."
        )
        lag.add_metric([], self.lag_s)
        yield from (recent, queues, lag)

    def _certificate(self) -> Iterable[Metric]:
        """Yield nothing without a readable certificate: the log and ``doctor`` give the reason."""
        try:
            validity = self._ctx.providers.certificate(self._ctx.clock())
        except ConfigurationError:
            return
        if validity is not None:
            yield GaugeMetricFamily(
                "procomp_pay_kaspi_certificate_days_left",
                "Whole days until the client certificate for Kaspi expires; negative once it has.",
                value=validity.days_left,
            )


def token_of(settings: Settings) -> str | None:
    """Return the token that ``/metrics`` asks for; ``None``: it answers this machine alone.

    :raises ConfigurationError: ``METRICS_TOKEN`` is too short.
    """
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ConfigurationError(
            f"METRICS_TOKEN is shorter than {_SHORTEST_TOKEN} characters: it could be guessed",
            next_step="make one: openssl rand -hex 24",
        )
    return token


class Metrics:
    """The metrics of one process and of its database.

    :raises ConfigurationError: ``METRICS_TOKEN`` is too short.
    """

    def __init__(self, ctx: AppContext, settings: Settings, background: Background) -> None:
        self._token = token_of(settings)
        self._ctx, self._tail = ctx, Tail(ctx)
        self._lock, self._fresh_until = asyncio.Lock(), 0.0
        self._registry = registry = CollectorRegistry()
        self._gauges = _Gauges(ctx, background)
        registry.register(self._gauges)
        self._initiated = Counter(
            "procomp_pay_payments_initiated", "Payments that were initiated.", ["method"], registry=registry
        )
        self._status_changes = Counter(
            "procomp_pay_payments_moved",
            "Payments that reached a status.",
            ["method", "status"],
            registry=registry,
        )
        self._failures = Counter(
            "procomp_pay_payment_failures",
            "Failed payments by reason.",
            ["method", "reason"],
            registry=registry,
        )
        self._completion = Histogram(
            "procomp_pay_time_to_complete_seconds", "From initiation to completion.", ["method"],
            registry=registry, buckets=_COMPLETION_S,
        )  # fmt: skip
        self._lag = Histogram(
            "procomp_pay_webhook_lag_seconds", "From an event's arrival until this process handled it.",
            registry=registry, buckets=_LAG_S,
        )  # fmt: skip
        self._acknowledged = Counter(
            "procomp_pay_webhooks_acknowledged", "Webhooks that this process answered with 200.",
            ["sender"], registry=registry,
        )  # fmt: skip
        self._calls = Histogram(
            "procomp_pay_provider_call_seconds", "Calls to providers, retries included.",
            ["provider", "call", "outcome"], registry=registry, buckets=_CALL_S,
        )  # fmt: skip
        background.on_lag = self._lag.observe
        if isinstance(ctx.providers, ProviderRegistry):
            ctx.providers.observe = self.observe_call

    def observe_call(self, call: Call) -> None:
        """Record one finished call to a provider."""
        self._calls.labels(call.provider, call.name, call.outcome).observe(call.seconds)

    async def count_response(self, request: web.Request, response: web.StreamResponse) -> None:
        """Count a webhook that is answered with 200; called before a response is sent."""
        resource = request.match_info.route.resource
        if response.status == 200 and resource is not None and "/webhooks/" in resource.canonical:
            self._acknowledged.labels(resource.canonical.rpartition("/")[2]).inc()

    async def start(self) -> None:
        """Count for the first time; changes are counted from here on."""
        await self._refresh()

    async def page(self) -> bytes:
        """Return all metrics in the text format."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                await self._refresh()
                self._fresh_until = time.monotonic() + FRESH_S
        return generate_latest(self._registry)

    async def _refresh(self) -> None:
        gauges, now = self._gauges, self._ctx.clock()
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT_S):
                async with self._ctx.db.reading() as session:
                    gauges.by_status = await figures.payment_counts(session, now - RECENT)
                    gauges.depths = await figures.depths(session)
                    oldest = await figures.oldest_event(session)
                gauges.lag_s = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
                for change in await self._tail.read():
                    self._count(change)
            gauges.database_up = True
        except (DatabaseUnavailable, TimeoutError) as error:
            gauges.database_up = False
            name = type(error).__name__
            log.warning("metrics: cannot count in the database: %s", name, extra={"fault": name})

    def _count(self, change: StatusChange) -> None:
        method = change.method.lower()
        if change.status is None:
            self._initiated.labels(method).inc()
            return
        self._status_changes.labels(method, change.status.lower()).inc()
        if change.seconds is not None:
            self._completion.labels(method).observe(max(0.0, change.seconds))
        if change.failure is not None:
            self._failures.labels(method, change.failure.value).inc()

    def check_access(self, request: web.Request) -> None:
        """Check ``METRICS_TOKEN``; where it is not set, the client must be on this machine, without a proxy.

        :raises Unauthorized: no token, or a wrong one.
        :raises Forbidden: no ``METRICS_TOKEN`` is set, and the client is elsewhere.
        """
        if self._token is None:
            if not _is_local(request):
                raise Forbidden("Metrics are served to this machine only, unless METRICS_TOKEN is set")
            return
        authorization = request.headers.getall("Authorization", [])
        scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
        is_right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token.encode())
        if scheme.lower() != "bearer" or not is_right:
            raise Unauthorized("The metrics token is required")


def _is_local(request: web.Request) -> bool:
    """Return whether the connection comes from this machine; a request's own headers are not believed."""
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
    """Add metrics to an application; :func:`show` serves them."""

    async def start(_app: web.Application) -> AsyncIterator[None]:
        await metrics.start()
        yield

    app[_METRICS] = metrics
    app.on_response_prepare.append(metrics.count_response)
    app.cleanup_ctx.append(start)


async def show(request: web.Request) -> web.Response:
    """Return the metrics in Prometheus' text format."""
    metrics = request.app[_METRICS]
    metrics.check_access(request)
    return web.Response(body=await metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
