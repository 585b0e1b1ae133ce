"""Insert a row at most once, whoever else tries at the same time."""

from __future__ import annotations

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.tables import Row


async def insert_once(session: AsyncSession, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert ``values``; False where a row with the same unique key is there already.

    In the same transaction as its caller: on PostgreSQL a second writer waits for the first one's commit.
    """
    # Each dialect has its own ON CONFLICT; only the one in use is imported.
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        done = await session.execute(pg_insert(table).values(**values).on_conflict_do_nothing())
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        done = await session.execute(sqlite_insert(table).values(**values).on_conflict_do_nothing())
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


async def insert_all_once(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Insert ``rows`` in one go, leaving out those whose unique key is there already."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        await session.execute(pg_insert(table).on_conflict_do_nothing(), rows)
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        await session.execute(sqlite_insert(table).on_conflict_do_nothing(), rows)
