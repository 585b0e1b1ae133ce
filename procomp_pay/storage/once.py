"""Insert rows at most once, whoever else tries at the same time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal_column
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.tables import Row


async def insert_once(session: AsyncSession, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert ``values``; False where a row with the same unique key is there already.

    In the caller's transaction: on PostgreSQL a second writer waits for the first one's commit.
    """
    statement = _insert(session, table).values(**values).on_conflict_do_nothing()
    connection = await session.connection()
    # a returned row is the proof: not every driver counts the rows of an insert
    written = await connection.execute(statement.returning(literal_column("1")))
    return written.first() is not None


async def insert_all_once(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Insert ``rows`` in one go, leaving out those whose unique key is there already."""
    if rows:
        connection = await session.connection()
        await connection.execute(_insert(session, table).on_conflict_do_nothing(), rows)


async def insert_returning(
    session: AsyncSession, table: type[Row], rows: list[dict[str, Any]], column: str
) -> set[str]:
    """Insert ``rows`` as :func:`insert_all_once`; the ``column`` of those that were not there yet."""
    if not rows:
        return set()
    columns = table.metadata.tables[str(table.__tablename__)].c
    statement = _insert(session, table).on_conflict_do_nothing().returning(columns[column])
    connection = await session.connection()
    return {each[0] for each in (await connection.execute(statement, rows)).all()}


def _insert(session: AsyncSession, table: type[Row]) -> Any:
    # Each dialect has its own ON CONFLICT; only the one in use is imported.
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)
