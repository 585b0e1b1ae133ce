"""Alert when a provider does not answer, or when Kaspi's client certificate expires soon."""

from __future__ import annotations

import logging

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications.alerts import enqueue_alert

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
