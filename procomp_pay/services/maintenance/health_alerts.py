"""Alert when background work stalls, a provider is silent, or Kaspi's client certificate expires soon."""

from __future__ import annotations

import logging
from datetime import timedelta

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.notifications import QUIET_S
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts
from procomp_pay.services.notifications.alerts import enqueue_alert
from procomp_pay.storage.database.platform_check import unknown_labels
from procomp_pay.storage.reports.metrics import overdue

log = logging.getLogger(__name__)


async def check_provider_health(ctx: AppContext) -> None:
    """Enqueue an alert for each circuit that opened, and one a day for a certificate that expires soon."""
    await _check_circuits(ctx)
    await _check_certificate(ctx)


async def _check_circuits(ctx: AppContext) -> None:
    for circuit in ctx.providers.circuits:
        since = circuit.pop_outage()
        if since is None:
            continue
        log.error("%s does not answer: its circuit is open since %s", circuit.name, since.isoformat())
        # several processes notice the same outage: one alert per provider and ten minutes
        once = f"{circuit.name}:{int(since.timestamp()) // 600}"
        message = {"provider": circuit.name, "since": since.isoformat()}
        await enqueue_alert(ctx, Topic.ALERT_CIRCUIT, message, once=once)


async def _check_certificate(ctx: AppContext) -> None:
    now = ctx.clock()
    try:
        life = ctx.providers.certificate(now)
    except ConfigurationError as error:
        log.warning("%s", error.message)
        return
    if life is None or not life.is_short:
        return
    message = {"why": life.sentence, "ends_at": life.ends_at.isoformat(), "days_left": life.days_left}
    once = f"{life.ends_at:%Y%m%d}:{now:%Y%m%d}"
    if await enqueue_alert(ctx, Topic.ALERT_CERTIFICATE, message, once=once):
        log.warning("%s", life.sentence)


#: Work that has been due for longer counts as stalled: every loop and cron job runs far more often.
LATE = timedelta(minutes=10)


async def alert_stalled_work(ctx: AppContext) -> int:
    """Enqueue an alert for each kind of work that has been due for ten minutes; return how many."""
    now = ctx.clock()
    async with ctx.db.reading() as session:
        overdue_work = await overdue(session, now - LATE)
    for kind, since in overdue_work.items():
        hour = int(now.timestamp() // QUIET_S)
        payload = {"work": kind, "since": since.isoformat()}
        await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=f"{kind}:{hour}")
    return len(overdue_work)


async def alert_standstill(ctx: AppContext, loop: str) -> None:
    """Enqueue an alert about a stalled loop, unless any process enqueued one within this hour."""
    now = ctx.clock()
    payload = {"work": f"the loop {loop}", "since": now.isoformat()}
    once = f"{loop}:{now.isoformat(timespec='hours')}"
    await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=once)


async def alert_unknown_labels(ctx: AppContext) -> None:
    """Enqueue an alert for each label that the platform added to its enums, once."""
    async with ctx.db.reading() as session:
        added = await (await session.connection()).run_sync(unknown_labels)
    for name, labels in added.items():
        for label in labels:
            payload = {"label": f"{name} {label}"}
            await alerts.enqueue_alert(ctx, Topic.ALERT_LABEL, payload, once=f"{name}:{label}"[:200])
