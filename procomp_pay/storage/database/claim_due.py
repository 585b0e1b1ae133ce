"""Claim due rows of a work queue that several processes share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.columns import Row

RowT = TypeVar("RowT", bound=Row)


async def claim_due(
    session: AsyncSession,
    table: type[RowT],
    due: Any,
    now: datetime,
    *,
    lease_s: float,
    limit: int,
    also: Any = (),
) -> list[RowT]:
    """Claim due rows, oldest first, each leased for ``lease_s`` seconds, during which no other process
    claims it.

    Any number of processes may claim: a row that another one has locked is skipped, and a process that dies
    leaves its rows to the others when the lease is over.

    :param due: the column with the due time. :param also: further conditions.
    """
    result = await session.exec(
        select(table)
        .where(col(due) <= now, *also)
        .order_by(col(due))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list(result.all())
    for row in rows:
        setattr(row, due.key, now + timedelta(seconds=lease_s))
    return rows
