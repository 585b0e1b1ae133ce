"""Insert a row at most once, even if other processes insert it at the same time."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import literal_column
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.columns import Row


async def insert_once(session: AsyncSession, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert ``values``; return False if a row with the same unique key exists already.

    Runs in the caller's transaction: on PostgreSQL a second writer waits for the first one's commit.
    """
    connection = await session.connection()
    written = await connection.execute(_once(connection.dialect.name, table), values)
    return written.first() is not None


@cache
def _once(dialect: str, table: type[Row]) -> Any:
    # a returned row is the proof: not every driver counts the rows of an insert
    return insert_of(dialect, table).on_conflict_do_nothing().returning(literal_column("1"))


def insert_of(dialect: str, table: type[Row]) -> Any:
    """Return an INSERT of the dialect, which has its own ON CONFLICT; only the one in use is imported."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)
