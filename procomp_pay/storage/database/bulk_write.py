"""Write the rows of many tables: on PostgreSQL all by one statement, with one parameter for each table.

The ORM session would send one statement for each row, which takes longer than computing the changes; and each
statement waits for its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Executable, bindparam, insert, inspect, literal_column, text, update
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_of
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.columns import Row

#: A column, and the function that turns its values into JSON, which PostgreSQL reads by the column's type.
_Field = tuple[Column[Any], Callable[[Any], Any] | None]

_NEW = "new_"


class Action(Enum):
    """What is done with the rows of a table."""

    #: They are locked by this transaction.
    UPDATE = auto()
    INSERT = auto()
    #: Rows whose unique key exists already are skipped.
    INSERT_ONCE = auto()
    #: They take the place of those with the same primary key.
    REPLACE = auto()


@dataclass(frozen=True, slots=True)
class Write:
    """The rows to write into one table.

    :param rows: the same attributes in each; to update or replace the key, which is one column, then the
        others.
    """

    action: Action
    table: type[Row]
    rows: list[dict[str, Any]]

    @property
    def shape(self) -> _Shape:
        return self.action, self.table, tuple(self.rows[0])


_Shape = tuple[Action, type[Row], tuple[str, ...]]


async def write_all(session: AsyncSession, writes: Sequence[Write]) -> dict[type[Row], int]:
    """Write rows of several tables, none of which is named twice; return how many were written into each.

    :raises RuntimeError: a row that was to be updated does not exist.
    """
    writes = [write for write in writes if write.rows]
    if not writes:
        return {}
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        counts = await _write_at_once(connection, writes)
    else:
        counts = [await _write_each(connection, write) for write in writes]
    for write, count in zip(writes, counts, strict=True):
        if write.action is Action.UPDATE and count != len(write.rows):
            raise RuntimeError(
                f"{len(write.rows)} rows of {write.table.__tablename__} were locked, and not all exist"
            )
    return {write.table: count for write, count in zip(writes, counts, strict=True)}


async def insert_returning(
    session: AsyncSession, table: type[Row], rows: list[dict[str, Any]], column: str
) -> set[str]:
    """Insert rows, skipping those whose unique key exists already; return the ``column`` of the new ones."""
    if not rows:
        return set()
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        shape = Write(Action.INSERT_ONCE, table, rows).shape
        parameters: Any = {
            "rows_0": _as_one(table, shape[2], rows, connection.dialect),
            "count_0": len(rows),
        }
        statement: Any = text(_part(0, shape, connection.dialect, returning=column))
    else:
        parameters = rows
        statement = _once(table).returning(_columns(table, (column,))[0])
    return {row[0] for row in (await connection.execute(statement, parameters)).all()}


async def _write_at_once(connection: AsyncConnection, writes: Sequence[Write]) -> Sequence[int]:
    dialect = connection.dialect
    parameters: dict[str, Any] = {}
    for number, write in enumerate(writes):
        _, table, names = write.shape
        parameters[f"rows_{number}"] = _as_one(table, names, write.rows, dialect)
        parameters[f"count_{number}"] = len(write.rows)
    result = await connection.execute(_statement(tuple(write.shape for write in writes), dialect), parameters)
    return result.one()


async def _write_each(connection: AsyncConnection, write: Write) -> int:
    action, table, names = write.shape
    if action is Action.UPDATE:
        parameters = [{_NEW + name: value for name, value in row.items()} for row in write.rows]
        return (await connection.execute(_update_each(table, names), parameters)).rowcount
    if action is Action.INSERT_ONCE:
        written = await connection.execute(_once(table).returning(literal_column("1")), write.rows)
        return len(written.all())  # not every driver counts the rows of an insert
    if action is Action.REPLACE:
        await connection.execute(_replace_each(table, names), write.rows)
        return len(write.rows)
    keys = [column.key for column in _columns(table, names)]
    rows = [dict(zip(keys, row.values(), strict=True)) for row in write.rows]
    await connection.execute(insert(table), rows)
    return len(rows)


def _as_one(table: type[Row], names: tuple[str, ...], rows: list[dict[str, Any]], dialect: Dialect) -> str:
    plan = [(column.name, plain) for column, plain in _fields(table, names, dialect)]
    documents = [
        {
            name: value if plain is None or value is None else plain(value)
            for (name, plain), value in zip(plan, row.values(), strict=True)
        }
        for row in rows
    ]
    return exact_json.dumps(documents)


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
def _statement(shapes: tuple[_Shape, ...], dialect: Dialect) -> Executable:
    """Return one statement for all writes, whose row has the number of rows written by each."""
    parts = (f"w{number} AS ({_part(number, shape, dialect)})" for number, shape in enumerate(shapes))
    counts = (f"(SELECT count(*) FROM w{number})" for number in range(len(shapes)))  # noqa: S608
    return text(f"WITH {', '.join(parts)} SELECT {', '.join(counts)}")


def _part(number: int, shape: _Shape, dialect: Dialect, returning: str = "1") -> str:
    """Return one write of a statement. Only names of our own tables and columns are put into its text."""
    action, table, names = shape
    columns = _columns(table, names)
    quote = dialect.identifier_preparer.quote
    target = dialect.identifier_preparer.format_table(table.metadata.tables[str(table.__tablename__)])
    kinds = ", ".join(f"{quote(column.name)} {column.type.compile(dialect)}" for column in columns)
    # the limit makes the planner expect few rows, whatever their number, so that it reads them by their keys;
    # without one it expects a hundred, and for those it would read a small table as a whole, for each batch
    recordset = f"json_to_recordset(CAST(:rows_{number} AS json)) AS r ({kinds})"
    rows = f"(SELECT * FROM {recordset} LIMIT (SELECT CAST(:count_{number} AS int))) new"  # noqa: S608
    key, *rest = (quote(column.name) for column in columns)
    if action is Action.UPDATE:
        values = ", ".join(f"{name} = new.{name}" for name in rest)
        return f"UPDATE {target} SET {values} FROM {rows} WHERE {target}.{key} = new.{key} RETURNING 1"  # noqa: S608
    listed = ", ".join((key, *rest))
    conflict = ""
    if action is Action.INSERT_ONCE:
        conflict = " ON CONFLICT DO NOTHING"
    elif action is Action.REPLACE:
        values = ", ".join(f"{name} = excluded.{name}" for name in rest)
        conflict = f" ON CONFLICT ({key}) DO UPDATE SET {values}"
    return f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {rows}{conflict} RETURNING {returning}"  # noqa: S608


@lru_cache(maxsize=64)
def _update_each(table: type[Row], names: tuple[str, ...]) -> Executable:
    """Return an UPDATE of one row. Its parameters are named with the prefix ``_NEW``, because SQLAlchemy uses
    the plain column names itself."""
    key, *rest = _columns(table, names)
    key_name, *value_names = (_NEW + name for name in names)
    values: dict[Any, Any] = {column: bindparam(name) for column, name in zip(rest, value_names, strict=True)}
    return update(table).where(key == bindparam(key_name)).values(values)


def _once(table: type[Row]) -> Any:
    return insert_of("sqlite", table).on_conflict_do_nothing()


def _replace_each(table: type[Row], names: tuple[str, ...]) -> Executable:
    statement = insert_of("sqlite", table)
    key, *rest = names
    values = {name: statement.excluded[name] for name in rest}
    made: Executable = statement.on_conflict_do_update(index_elements=[key], set_=values)
    return made
