"""Tell a person that background work stands still."""

from __future__ import annotations

from procomp_pay.domain.transitions import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications import alerts


async def tell_standstill(ctx: AppContext, loop: str) -> bool:
    """Leave an alert; False where one about this loop was left within this hour, by whatever process."""
    now = ctx.clock()
    payload = {"work": f"the loop {loop}", "since": now.isoformat()}
    once = f"{loop}:{now.isoformat(timespec='hours')}"
    return await alerts.enqueue_alert(ctx, Topic.ALERT_STALLED, payload, once=once)
