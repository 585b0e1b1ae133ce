"""Find, begin and lock the closing of a day."""

from __future__ import annotations

from typing import Any

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.closing import ClosingDay


async def find(
    session: AsyncSession, tournament_id: str, day: str, *, lock: bool = False
) -> ClosingDay | None:
    """Return the closing of a day; ``tournament_id`` is empty for all tournaments."""
    query = select(ClosingDay).where(ClosingDay.tournament_id == tournament_id, ClosingDay.day == day)
    query = query.execution_options(populate_existing=True)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def begin(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Insert a closing; return False if another process has begun it."""
    return await insert_once(session, ClosingDay, values)
