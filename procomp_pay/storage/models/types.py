"""Define column types that keep money exact and time in UTC, on PostgreSQL and on SQLite alike.

The PostgreSQL dialect is imported only if it is used: commands on SQLite do not load it.
"""

# ruff: noqa: ARG001, ARG002 - the signatures are SQLAlchemy's

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from sqlalchemy import JSON, Enum, Integer, Numeric, Text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from procomp_pay.domain.labels import NO_LABEL, UnknownLabel
from procomp_pay.domain.money import LARGEST
from procomp_pay.storage.models import exact_json

if TYPE_CHECKING:
    from procomp_pay.config.platform_map import PlatformMap

_WordT = TypeVar("_WordT", bound=StrEnum)


def _is_postgresql(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a time needs a zone: {value.isoformat()}")
    return value.astimezone(UTC)


def utc_text(value: datetime) -> str:
    """Return a time as text for hashing, the same on every database."""
    return _as_utc(value).replace(tzinfo=None).isoformat(timespec="microseconds") + "+00:00"


class _UtcTime(TypeDecorator[datetime]):
    """Aware UTC datetimes in and out; on SQLite fixed-width text, so that text order is time order."""

    impl = Text
    cache_ok = True
    timespec = "microseconds"

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC.

        :raises ValueError: a datetime without a zone.
        """
        if value is None:
            return None
        return self._stored(_as_utc(value), dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)

    def process_literal_param(self, value: datetime | None, dialect: Dialect) -> str:
        return "NULL" if value is None else f"'{self._text(_as_utc(value))}'"

    def _stored(self, value: datetime, dialect: Dialect) -> Any:
        return value if _is_postgresql(dialect) else self._text(value)

    def _text(self, value: datetime) -> str:
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec=self.timespec)


class UtcDateTime(_UtcTime):
    """``TIMESTAMPTZ`` on PostgreSQL, ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC on SQLite."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if _is_postgresql(dialect):
            from sqlalchemy.dialects.postgresql import TIMESTAMP

            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())


class UtcMillis(_UtcTime):
    """Prisma's ``DateTime``: ``TIMESTAMP(3)`` without zone, in UTC.

    Cut to milliseconds before it is sent: PostgreSQL would round, and the two databases would differ.
    """

    cache_ok = True
    timespec = "milliseconds"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if _is_postgresql(dialect):
            from sqlalchemy.dialects.postgresql import TIMESTAMP

            return TIMESTAMP(precision=3)  # type_descriptor() would lose the precision
        return dialect.type_descriptor(Text())

    def _stored(self, value: datetime, dialect: Dialect) -> Any:
        cut = value.replace(microsecond=value.microsecond // 1000 * 1000)
        return cut.replace(tzinfo=None) if _is_postgresql(dialect) else self._text(cut)


class now_millis(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """``CURRENT_TIMESTAMP``, on SQLite in the text form of :class:`UtcMillis`."""

    inherit_cache = True


@compiles(now_millis)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _now_millis(element: now_millis, compiler: SQLCompiler, **_: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(now_millis, "sqlite")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _now_millis_sqlite(element: now_millis, compiler: SQLCompiler, **_: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"


class Amount(TypeDecorator[Decimal]):
    """``NUMERIC(10,2)`` on PostgreSQL, whole hundredths in an INTEGER on SQLite; Decimal in Python.

    Both compare, order and add up exactly in SQL; ``func.sum(column)`` comes back as Decimal.
    """

    impl = Numeric(10, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Numeric(10, 2) if _is_postgresql(dialect) else Integer())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | int | None:
        """Check an amount.

        :raises TypeError: neither Decimal nor int.
        :raises ValueError: not finite, more than two decimals, or over 99 999 999.99.
        """
        if value is None:
            return None
        exact = _exact_amount(value)
        return exact if _is_postgresql(dialect) else int(exact.scaleb(2))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-2)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if _is_postgresql(dialect):  # the Decimal of the driver: a call for each takes long in lists
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_literal_param(self, value: Decimal | None, dialect: Dialect) -> str:
        return "NULL" if value is None else str(self.process_bind_param(value, dialect))


def _exact_amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"money is Decimal, not {type(value).__name__}")
    amount = Decimal(value)
    if not amount.is_finite() or abs(amount) > LARGEST:
        raise ValueError(f"{amount} does not fit DECIMAL(10,2)")
    exact = amount.quantize(Decimal("0.01"))
    if exact != amount:
        raise ValueError(f"{amount} has more than two decimals")
    return exact


class ExactJson(TypeDecorator[Any]):
    """``JSONB`` on PostgreSQL, JSON text on SQLite; numbers are int or Decimal, never float.

    On PostgreSQL the driver reads and writes JSON itself: the engine must be made with
    :data:`EXACT_JSON_ENGINE` (``database.service`` and ``database.migrate`` do so). ``None`` is SQL NULL.
    """

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if _is_postgresql(dialect):
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write JSON text on SQLite.

        :raises TypeError: a float, or a value that JSON does not have.
        """
        if value is None or _is_postgresql(dialect):
            return value
        return exact_json.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is None or _is_postgresql(dialect):
            return value
        return exact_json.loads(value)


#: Engine arguments that keep JSON exact in the driver too.
EXACT_JSON_ENGINE: dict[str, Any] = {
    "json_serializer": exact_json.dumps,
    "json_deserializer": exact_json.loads,
}


class PlatformText(TypeDecorator[str]):
    """TEXT that we need and that may be NULL in a platform's table: then it is read as another text.

    It is not written by that, since the ORM writes only what was changed.
    """

    impl = Text
    cache_ok = True

    def __init__(self, null: str) -> None:
        super().__init__()
        self.null = null

    def process_result_value(self, value: str | None, dialect: Dialect) -> str:
        return self.null if value is None else value

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value


class Word(TypeDecorator[_WordT], Generic[_WordT]):
    """A member of an enum, stored as TEXT. The table adds the CHECK (see ``columns.check_word``)."""

    impl = Text
    cache_ok = True

    def __init__(self, values: type[_WordT]) -> None:
        super().__init__()
        self.values = values

    def process_bind_param(self, value: _WordT | str | None, dialect: Dialect) -> str | None:
        """Return the text of a value of the enum.

        :raises ValueError: not one of the enum's values.
        """
        return None if value is None else self.values(value).value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _Words(self.values).__getitem__  # as in PlatformLabel


class _Words(dict[str | None, Any]):
    """The member for each word; any other text raises ValueError."""

    def __init__(self, values: type[StrEnum]) -> None:
        super().__init__({member.value: member for member in values})
        self[None] = None
        self._values = values

    def __missing__(self, word: str) -> StrEnum:
        return self._values(word)


class PlatformLabel(TypeDecorator[Any]):
    """A value of one of the platform's native enums, on SQLite VARCHAR with a CHECK.

    The platform may add labels that we do not know: they are read as
    :class:`~procomp_pay.domain.labels.UnknownLabel`, and written only where they were read.

    :param null: what is read in place of NULL: ``None``, or ``NO_LABEL`` where we need a label. Do not read
        such a column through an outer join: a missing row would have a label.
    """

    impl = Enum
    cache_ok = True

    def __init__(self, values: type[StrEnum], null: UnknownLabel | None = None) -> None:
        super().__init__(
            values,
            name=values.__name__,
            values_callable=lambda enum: [member.value for member in enum],
            create_constraint=True,
        )
        self.values = values
        self.null = null
        self._use({member.value: member.value for member in values})

    def _use(self, words: dict[str, str]) -> None:
        self._words = words
        self._members = _Members({words[member.value]: member for member in self.values}, self.null)

    def rename(self, platform: PlatformMap) -> None:
        """Take the platform's name of the enum, and its words for the labels, before the first use."""
        name, enum = self.values.__name__, cast(Enum, self.impl)
        enum.name, enum.schema = platform.enums.get(name, name), platform.schema
        self._use({label: platform.label(name, label) for label in self._words})

    @property
    def labels(self) -> list[str]:
        """The labels that we know, in the platform's words."""
        return list(self._words.values())

    @property
    def sql_name(self) -> str:
        """The name of the platform's enum, as PostgreSQL reads it."""
        enum = cast(Enum, self.impl)
        return f'"{enum.schema}"."{enum.name}"' if enum.schema else f'"{enum.name}"'

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text of a label.

        :raises LookupError: a text that is neither one of the enum's values nor was read as unknown.
        """
        if value is None or value is NO_LABEL:
            return None
        if isinstance(value, UnknownLabel):
            return str(value)
        if value not in self._words:
            raise LookupError(f"{value!r} is not a label of {self.values.__name__}")
        return self._words[value]

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return lambda value: self.process_bind_param(value, dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return self._members.__getitem__  # the hot path of every query: no Python code runs for known labels


class _Members(dict[str | None, Any]):
    """The member for each label; any other text becomes an unknown label."""

    def __init__(self, members: dict[str | None, Any], null: UnknownLabel | None) -> None:
        super().__init__(members)
        self[None] = null

    def __missing__(self, label: str) -> UnknownLabel:
        return UnknownLabel(label)
