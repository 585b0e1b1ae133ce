"""Define what all tables share: one MetaData with explicit names, and short functions for columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    ColumnClause,
    ColumnElement,
    ForeignKey,
    Integer,
    MetaData,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.schema import SchemaItem
from sqlmodel import SQLModel

from procomp_pay.storage.models.types import Amount, ExactJson, UtcDateTime, Word

#: PostgreSQL's naming, which Prisma uses too; explicit, so that every database uses the same names.
NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


class Row(SQLModel):
    """The base of every table.

    A table takes some milliseconds of each command's start. So pydantic's validators, which no row uses, are
    not built; and modules with tables do not postpone the evaluation of annotations: pydantic and SQLAlchemy
    would compile each of them again.
    """

    model_config = {"arbitrary_types_allowed": True, "defer_build": True}
    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


def text(name: str, *items: SchemaItem, null: bool = False, **more: Any) -> Column[Any]:
    """Return a TEXT column."""
    return Column(name, Text, *items, nullable=null, **more)


def key(name: str = "id", *items: SchemaItem) -> Column[Any]:
    """Return a TEXT column of the primary key."""
    return Column(name, Text, *items, primary_key=True)


def moment(name: str, *, null: bool = False) -> Column[Any]:
    """Return a column for a point in time, in one of our own tables."""
    return Column(name, UtcDateTime, nullable=null)


def amount(name: str, *, null: bool = False, **more: Any) -> Column[Any]:
    """Return a column for an amount of money; its currency is in another column."""
    return Column(name, Amount, nullable=null, **more)


def attempts() -> Column[Any]:
    """Return a column that counts attempts, from 0."""
    return Column("attempts", Integer, nullable=False, server_default=sql("0"))


def document(name: str, *, null: bool = False) -> Column[Any]:
    """Return a column for a JSON document."""
    return Column(name, ExactJson, nullable=null)


def word(name: str, values: type[StrEnum], *, null: bool = False, **more: Any) -> Column[Any]:
    """Return a column for a value of an enum; the table adds :func:`check_word`."""
    return Column(name, Word(values), nullable=null, **more)


def check_word(name: str, values: type[StrEnum]) -> CheckConstraint:
    """Return a constraint that allows only the enum's values."""
    allowed = ", ".join(f"'{member.value}'" for member in values)
    return CheckConstraint(f"{name} IN ({allowed})", name=name)


def spelled(word: StrEnum) -> ColumnClause[Any]:
    """Return a constant as a literal in the statement, not as a parameter.

    A statement that is prepared once for every value cannot use a partial index for one value
    (``WHERE state = 'pending'``): it would read and sort the whole queue to get a few rows.
    """
    return literal_column(f"'{word.value}'")


def among(column: ColumnElement[Any], name: str, *, postgresql: bool) -> ColumnElement[bool]:
    """Return ``column IN (…)`` for a list of texts given as the parameter ``name``. On PostgreSQL it is one
    parameter for any number of texts, so that the statement stays the same and is prepared once."""
    if postgresql:
        return column == any_(bindparam(name, type_=ARRAY(Text)))
    return column.in_(bindparam(name, expanding=True))


def listed(name: str) -> ColumnElement[str]:
    """Return the texts of the parameter ``name`` as the column of a table, on PostgreSQL.

    Joined with it, rows are found by their keys one after the other, whether or not the planner knows the
    other table: the limit makes it expect few texts. Of a hundred in :func:`among` it would expect, without
    statistics of the table, that they match half of its rows, and read it as a whole for each batch.
    """
    texts = bindparam(name, type_=ARRAY(Text))
    all_of_them = select(func.cardinality(texts)).scalar_subquery()
    return select(func.unnest(texts).label("listed")).limit(all_of_them).subquery(name).c.listed


def payment_key() -> ForeignKey:
    """Return a reference to the platform's payment, which may not be deleted while our rows refer to it."""
    return ForeignKey("Payment.id", ondelete="RESTRICT")
