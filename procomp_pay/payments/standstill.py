"""Tell a person that background work stands still."""

from __future__ import annotations

from procomp_pay.payments.desk import Desk
from procomp_pay.storage import queues

TOPIC = "alert.background"


async def tell_standstill(desk: Desk, loop: str) -> bool:
    """Leave an alert; False where one about this loop was left within this hour, by whatever process."""
    now = desk.clock()
    async with desk.db.writing() as session:
        return await queues.put_out(
            session,
            TOPIC,
            {"loop": loop, "since_hour": now.isoformat(timespec="hours")},
            row_id=desk.new_id(),
            now=now,
            dedup_key=f"{TOPIC}:{loop}:{now.isoformat(timespec='hours')}",
        )
