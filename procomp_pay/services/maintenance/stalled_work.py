"""Notice background work that stands still, whoever should have done it, and tell somebody."""

from __future__ import annotations

from datetime import timedelta

from procomp_pay.domain.notifications import QUIET_S
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts
from procomp_pay.storage.overdue import overdue

#: Work that has been due for longer is not being done: every loop and cron comes round far sooner.
LATE = timedelta(minutes=10)


async def alert_stalled_work(ctx: AppContext) -> int:
    """Leave an alert for each kind of work that has been due for ten minutes; how many kinds."""
    now = ctx.clock()
    async with ctx.db.reading() as session:
        found = await overdue(session, now - LATE)
    for kind, since in found.items():
        hour = int(now.timestamp() // QUIET_S)
        payload = {"work": kind, "since": since.isoformat()}
        await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=f"{kind}:{hour}")
    return len(found)
