"""Claim rows that are due: one way for everything that several processes share."""

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
    """Rows whose time has come, oldest first, each put off by ``lease_s`` seconds: as long as nobody else
    is to touch it.

    Any number of processes may claim: a row that another one holds is skipped, and a process that dies
    leaves its rows to the others when the lease is over.

    :param due: the column that says when. :param also: further conditions.
    """
    found = await session.exec(
        select(table)
        .where(col(due) <= now, *also)
        .order_by(col(due))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list(found.all())
    for row in rows:
        setattr(row, due.key, now + timedelta(seconds=lease_s))
    return rows
