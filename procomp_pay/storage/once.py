"""Insert a row at most once, whoever else tries at the same time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal_column
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.tables import Row


async def insert_once(session: AsyncSession, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert ``values``; False where a row with the same unique key is there already.

    In the caller's transaction: on PostgreSQL a second writer waits for the first one's commit.
    """
    # Each dialect has its own ON CONFLICT; only the one in use is imported.
    statement: Any
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        statement = pg_insert(table).values(**values).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        statement = sqlite_insert(table).values(**values).on_conflict_do_nothing()
    connection = await session.connection()
    # a returned row is the proof: not every driver counts the rows of an insert
    written = await connection.execute(statement.returning(literal_column("1")))
    return written.first() is not None
