"""Write many rows by one statement for each table, as one parameter. PostgreSQL alone.

The session would send one statement for each row, which costs more than the rules that made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, TextClause, inspect, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage import exact_json
from procomp_pay.storage.tables import Row


async def write_changes(session: AsyncSession, rows: Iterable[Row]) -> None:
    """Write what was changed of these rows, and let the session forget them.

    Their keys are single columns, and locked by this transaction.
    """
    changed: dict[type[Row], list[Row]] = {}
    for row in rows:
        if inspect(row).committed_state:
            changed.setdefault(type(row), []).append(row)
    for table, several in changed.items():
        # an attribute that only some changed is written for all: what it is, it stays
        names = frozenset().union(*(inspect(row).committed_state for row in several))
        dialect = session.get_bind().dialect
        columns = _columns(table, names)
        documents = [
            {column.name: _plain(column, getattr(row, name), dialect) for name, column in columns}
            for row in several
        ]
        connection = await session.connection()
        statement = _statement(table, names, dialect)
        written = await connection.execute(statement, {"rows": exact_json.dumps(documents)})
        if written.rowcount != len(several):
            raise RuntimeError(f"{len(several)} rows of {table.__tablename__} were held, not all are there")
        for row in several:
            session.expunge(row)


async def insert_all(
    session: AsyncSession, table: type[Row], rows: list[dict[str, Any]], *, once: bool = False
) -> None:
    """Insert rows that name the same columns.

    :param once: leave out those whose unique key is there already.
    """
    if not rows:
        return
    dialect = session.get_bind().dialect
    columns = [table.__table__.columns[name] for name in rows[0]]  # type: ignore[attr-defined]
    documents = [{c.name: _plain(c, row[c.name], dialect) for c in columns} for row in rows]
    connection = await session.connection()
    statement = _insertion(table, tuple(rows[0]), once, dialect)
    await connection.execute(statement, {"rows": exact_json.dumps(documents)})


@lru_cache(maxsize=64)
def _insertion(table: type[Row], names: tuple[str, ...], once: bool, dialect: Dialect) -> TextClause:
    quote = dialect.identifier_preparer.quote
    columns = [table.__table__.columns[name] for name in names]  # type: ignore[attr-defined]
    kinds = ", ".join(f"{quote(c.name)} {c.type.compile(dialect)}" for c in columns)
    listed = ", ".join(quote(name) for name in names)
    # every name is one of our own tables' and columns'
    return text(
        f"INSERT INTO {quote(str(table.__tablename__))} ({listed})"  # noqa: S608
        f" SELECT {listed} FROM json_to_recordset(CAST(:rows AS json)) AS new ({kinds})"
        + (" ON CONFLICT DO NOTHING" if once else "")
    )


def _columns(table: type[Row], names: frozenset[str]) -> list[tuple[str, Column[Any]]]:
    """The key, then what is changed; each with its attribute's name."""
    mapper: Any = inspect(table)
    pairs = [(prop.key, prop.columns[0]) for prop in mapper.column_attrs]
    return [pair for pair in pairs if pair[1].primary_key] + [pair for pair in pairs if pair[0] in names]


@lru_cache(maxsize=64)
def _statement(table: type[Row], names: frozenset[str], dialect: Dialect) -> TextClause:
    quote = dialect.identifier_preparer.quote
    (_, key), *rest = _columns(table, names)
    target = quote(str(table.__tablename__))
    kinds = ", ".join(f"{quote(c.name)} {c.type.compile(dialect)}" for _, c in [("", key), *rest])
    values = ", ".join(f"{quote(c.name)} = new.{quote(c.name)}" for _, c in rest)
    # every name is one of our own tables' and columns'
    return text(
        f"UPDATE {target} SET {values} FROM json_to_recordset(CAST(:rows AS json)) AS new ({kinds})"  # noqa: S608
        f" WHERE {target}.{quote(key.name)} = new.{quote(key.name)}"
    )


def _plain(column: Column[Any], value: Any, dialect: Dialect) -> Any:
    """A value as JSON, from which PostgreSQL reads it by the column's type."""
    kind: Any = column.type
    if isinstance(kind, TypeDecorator):
        value = kind.process_bind_param(value, dialect)
    return value.isoformat() if isinstance(value, datetime) else value
