"""Insert rows at most once, even if other processes insert them at the same time."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import TextClause, literal_column
from sqlalchemy import text as sql
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.columns import Row


async def insert_once(session: AsyncSession, table: type[Row], values: dict[str, Any]) -> bool:
    """Insert ``values``; return False if a row with the same unique key exists already.

    Runs in the caller's transaction: on PostgreSQL a second writer waits for the first one's commit.
    """
    connection = await session.connection()
    written = await connection.execute(_once(session.get_bind().dialect.name, table), values)
    return written.first() is not None


async def insert_all_once(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``, skipping those whose unique key exists already."""
    if rows:
        connection = await session.connection()
        await connection.execute(_insert(session, table).on_conflict_do_nothing(), rows)


async def insert_all_counted(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> int:
    """Insert ``rows``, of which there are some, as :func:`insert_all_once` does; return how many are new."""
    connection = await session.connection()
    written = await connection.execute(_once(session.get_bind().dialect.name, table), rows)
    return len(written.all())


@cache
def _once(dialect: str, table: type[Row]) -> Any:
    # a returned row is the proof: not every driver counts the rows of an insert
    return _insert_of(dialect, table).on_conflict_do_nothing().returning(literal_column("1"))


async def replace_all(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``, in place of those with the same primary key; columns have the names of their
    attributes."""
    if not rows:
        return
    connection = await session.connection()
    keys = [column.name for column in table.metadata.tables[str(table.__tablename__)].primary_key]
    others = [name for name in rows[0] if name not in keys]
    if session.get_bind().dialect.name == "postgresql":
        values = ", ".join(f"{name} = excluded.{name}" for name in others)
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {values}"
        await connection.execute(_from_document(table, list(rows[0]), conflict), {"rows": _document(rows)})
        return
    statement = _insert(session, table)
    replaced = {name: statement.excluded[name] for name in others}
    await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=replaced), rows)


async def insert_returning(
    session: AsyncSession, table: type[Row], rows: list[dict[str, Any]], column: str
) -> set[str]:
    """Insert ``rows`` as :func:`insert_all_once` does; return the ``column`` of those that are new."""
    if not rows:
        return set()
    connection = await session.connection()
    if session.get_bind().dialect.name == "postgresql":
        written = await connection.execute(
            _from_document(table, list(rows[0]), f"ON CONFLICT DO NOTHING RETURNING {column}"),
            {"rows": _document(rows)},
        )
    else:
        columns = table.metadata.tables[str(table.__tablename__)].c
        statement = _insert(session, table).on_conflict_do_nothing().returning(columns[column])
        written = await connection.execute(statement, rows)
    return {row[0] for row in written.all()}


def _from_document(table: type[Row], names: list[str], ending: str) -> TextClause:
    """Return an INSERT of many rows from one parameter: with a parameter for each value, parsing the
    statement would take longer than running it."""
    columns = ", ".join(names)
    return sql(
        f"""INSERT INTO {table.__tablename__} ({columns}) SELECT {columns}
        FROM json_populate_recordset(NULL::{table.__tablename__}, CAST(:rows AS json))
        {ending}"""  # noqa: S608 - only our own names
    )


def _document(rows: list[dict[str, Any]]) -> str:
    return exact_json.dumps(
        [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
            for row in rows
        ]
    )


def _insert(session: AsyncSession, table: type[Row]) -> Any:
    return _insert_of(session.get_bind().dialect.name, table)


def _insert_of(dialect: str, table: type[Row]) -> Any:
    # Each dialect has its own ON CONFLICT; only the one in use is imported.
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)
