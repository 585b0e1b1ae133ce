"""Alert when background work stalls, in any process."""

from __future__ import annotations

from datetime import timedelta

from procomp_pay.domain.notifications import QUIET_S
from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts
from procomp_pay.storage.reports.metrics import overdue

#: Work that has been due for longer counts as stalled: every loop and cron job runs far more often.
LATE = timedelta(minutes=10)


async def alert_stalled_work(ctx: AppContext) -> int:
    """Enqueue an alert for each kind of work that has been due for ten minutes; return how many."""
    now = ctx.clock()
    async with ctx.db.reading() as session:
        stalled = await overdue(session, now - LATE)
    for kind, since in stalled.items():
        hour = int(now.timestamp() // QUIET_S)
        payload = {"work": kind, "since": since.isoformat()}
        await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=f"{kind}:{hour}")
    return len(stalled)


async def alert_standstill(ctx: AppContext, loop: str) -> bool:
    """Enqueue an alert about a stalled loop; return False if any process enqueued one within this hour."""
    now = ctx.clock()
    payload = {"work": f"the loop {loop}", "since": now.isoformat()}
    once = f"{loop}:{now.isoformat(timespec='hours')}"
    return await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=once)
