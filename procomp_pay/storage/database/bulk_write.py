"""Write many rows by one statement for each table; on PostgreSQL as one parameter.

The ORM session would send one statement for each row, which takes longer than computing the changes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Executable, bindparam, insert, inspect, text, update
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.columns import Row

#: A column, and the function that turns its values into JSON, which PostgreSQL reads by the column's type.
_Field = tuple[Column[Any], Callable[[Any], Any] | None]

_NEW = "new_"


async def update_all(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Update rows that this transaction has locked.

    :param rows: the same attributes in each: the key, which is one column, then those to be written.
    :raises RuntimeError: one of the rows does not exist.
    """
    if not rows:
        return
    names = tuple(rows[0])
    dialect = session.get_bind().dialect
    connection = await session.connection()
    if dialect.name == "postgresql":
        written = await connection.execute(
            _update(table, names, dialect), _as_one(table, names, rows, dialect)
        )
    else:
        parameters = [{_NEW + name: value for name, value in row.items()} for row in rows]
        written = await connection.execute(_update_each(table, names), parameters)
    if written.rowcount != len(rows):
        raise RuntimeError(f"{len(rows)} rows of {table.__tablename__} were locked, and not all exist")


async def insert_all(
    session: AsyncSession, table: type[Row], rows: list[dict[str, Any]], *, once: bool = False
) -> None:
    """Insert rows that name the same attributes.

    :param once: skip rows whose unique key exists already.
    """
    if not rows:
        return
    names = tuple(rows[0])
    dialect = session.get_bind().dialect
    connection = await session.connection()
    if dialect.name == "postgresql":
        await connection.execute(
            _insertion(table, names, once, dialect), _as_one(table, names, rows, dialect)
        )
    elif once:
        await insert_all_once(session, table, rows)
    else:
        await connection.execute(insert(table), rows)


def _as_one(
    table: type[Row], names: tuple[str, ...], rows: list[dict[str, Any]], dialect: Dialect
) -> dict[str, str]:
    plan = [(column.name, plain) for column, plain in _fields(table, names, dialect)]
    documents = [
        {
            name: value if plain is None or value is None else plain(value)
            for (name, plain), value in zip(plan, row.values(), strict=True)
        }
        for row in rows
    ]
    return {"rows": exact_json.dumps(documents)}


@lru_cache(maxsize=64)
def _fields(table: type[Row], names: tuple[str, ...], dialect: Dialect) -> list[_Field]:
    columns = _columns(table, names)
    return [(column, _plain(column, dialect)) for column in columns]


def _columns(table: type[Row], names: tuple[str, ...]) -> list[Column[Any]]:
    mapper: Any = inspect(table)
    return [mapper.columns[name] for name in names]


def _plain(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    kind: Any = column.type
    if not isinstance(kind, TypeDecorator):
        return None  # JSON has text, numbers and booleans

    def plain(value: Any) -> Any:
        bound = kind.process_bind_param(value, dialect)
        return bound.isoformat() if isinstance(bound, datetime) else bound

    return plain


@lru_cache(maxsize=64)
def _update(table: type[Row], names: tuple[str, ...], dialect: Dialect) -> Executable:
    quote = dialect.identifier_preparer.quote
    key, *rest = (quote(column.name) for column in _columns(table, names))
    target = _table(table, dialect)
    values = ", ".join(f"{name} = new.{name}" for name in rest)
    # only names of our own tables and columns are put into the text
    return text(
        f"UPDATE {target} SET {values} FROM {_recordset(table, names, dialect)}"  # noqa: S608
        f" WHERE {target}.{key} = new.{key}"
    )


@lru_cache(maxsize=64)
def _update_each(table: type[Row], names: tuple[str, ...]) -> Executable:
    """Return an UPDATE of one row. Its parameters are named with the prefix ``_NEW``, because SQLAlchemy uses
    the plain column names itself."""
    key, *rest = _columns(table, names)
    key_name, *value_names = (_NEW + name for name in names)
    values: dict[Any, Any] = {column: bindparam(name) for column, name in zip(rest, value_names, strict=True)}
    return update(table).where(key == bindparam(key_name)).values(values)


@lru_cache(maxsize=64)
def _insertion(table: type[Row], names: tuple[str, ...], once: bool, dialect: Dialect) -> Executable:
    quote = dialect.identifier_preparer.quote
    listed = ", ".join(quote(column.name) for column in _columns(table, names))
    # only names of our own tables and columns are put into the text
    return text(
        f"INSERT INTO {_table(table, dialect)} ({listed})"  # noqa: S608
        f" SELECT {listed} FROM {_recordset(table, names, dialect)}"
        + (" ON CONFLICT DO NOTHING" if once else "")
    )


def _table(table: type[Row], dialect: Dialect) -> str:
    return dialect.identifier_preparer.format_table(table.metadata.tables[str(table.__tablename__)])


def _recordset(table: type[Row], names: tuple[str, ...], dialect: Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    kinds = ", ".join(f"{quote(c.name)} {c.type.compile(dialect)}" for c in _columns(table, names))
    return f"json_to_recordset(CAST(:rows AS json)) AS new ({kinds})"
