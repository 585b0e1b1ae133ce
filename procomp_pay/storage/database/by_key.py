"""Read one row by its key, by a statement that is made once: ``session.get`` makes a new one each time."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from sqlalchemy import bindparam, inspect
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.columns import Row

RowT = TypeVar("RowT", bound=Row)


async def by_key(session: AsyncSession, table: type[RowT], key: str, *, lock: bool) -> RowT | None:
    """Return the row as it is committed now, also if the session has it already; ``None`` without one.

    :param lock: lock the row until the transaction ends.
    """
    row: RowT | None = (await session.exec(_query(table, lock), params={"key": key})).first()
    return row


@cache
def _query(table: type[Row], lock: bool) -> Any:
    [key] = inspect(table).primary_key
    query = select(table).where(key == bindparam("key")).execution_options(populate_existing=True)
    return query.with_for_update() if lock else query
