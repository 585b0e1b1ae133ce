"""Tell a person that background work stands still."""

from __future__ import annotations

from procomp_pay.domain.rules import Topic
from procomp_pay.payments.desk import Desk
from procomp_pay.storage import queues


async def tell_standstill(desk: Desk, loop: str) -> bool:
    """Leave an alert; False where one about this loop was left within this hour, by whatever process."""
    now = desk.clock()
    async with desk.db.writing() as session:
        return await queues.put_out(
            session,
            Topic.ALERT_STALLED,
            {"work": f"the loop {loop}", "since": now.isoformat()},
            row_id=desk.new_id(),
            now=now,
            dedup_key=f"{Topic.ALERT_STALLED}:{loop}:{now.isoformat(timespec='hours')}",
        )
