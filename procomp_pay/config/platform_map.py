"""Read ``PLATFORM_MAP``: by which names the platform's Prisma schema calls its four tables.

The tables are declared by our names (``storage.models.platform``). Where a map is set,
``storage.models.mapping`` renames them right after their declaration, so that every statement of SQLAlchemy
is written with the platform's names; SQL that is written by hand passes through :meth:`PlatformMap.sql`, and
migrations refer to :meth:`PlatformMap.key`. Without a map, none of this changes anything. A process reads the
map once.

What these names cannot express (ids as ``uuid``, views, one of our tables in two of theirs) is refused by
``storage.database.platform_check``, which compares the result with the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import ParticipantStatus, PaymentMethod, PaymentStatus, UserRole
from procomp_pay.environment import given

#: The columns of the platform's tables that we use, by our names, those of docs/platform/schema.prisma.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "User": ("id", "email", "name", "role"),
    "Tournament": ("id", "name", "entryFee", "currency", "startsAt", "createdAt", "updatedAt"),
    "Participant": (
        "id", "userId", "tournamentId", "status", "paymentId", "fullName", "category",
        "createdAt", "updatedAt",
    ),
    "Payment": (
        "id", "amount", "currency", "status", "method", "stripePaymentId", "stripeSessionId", "kaspiQrCode",
        "kaspiTransactionId", "applePayId", "googlePayId", "metadata", "failureReason", "userId",
        "tournamentId", "createdAt", "updatedAt",
    ),
}  # fmt: skip
ENUMS: Mapping[str, type[StrEnum]] = {
    values.__name__: values
    for values in (PaymentStatus, PaymentMethod, Currency, ParticipantStatus, UserRole)
}
#: The columns with a label of an enum.
LABELLED = {
    ("User", "role"): "UserRole", ("Tournament", "currency"): "Currency",
    ("Participant", "status"): "ParticipantStatus", ("Payment", "currency"): "Currency",
    ("Payment", "status"): "PaymentStatus", ("Payment", "method"): "PaymentMethod",
}  # fmt: skip
#: The one column that two of the platform's may make up.
FULL_NAME = ("Participant", "fullName")

_SECTIONS = ("schema", "tables", "columns", "enums", "labels")
#: Names and labels are put into SQL: these need no escaping there, in driver parameters or in a foreign key.
_NAME = re.compile(r"[^\W\d][\w$]{0,62}")
_LABEL = re.compile(r"[\w$ /+-]{1,63}")
_TABLE = re.compile(f'"({"|".join(COLUMNS)})"')


@dataclass(frozen=True)
class PlatformMap:
    """The platform's names by ours; a name that is not in it is the same there.

    :param schema: where the tables and enums are, if not in the schema of ``DATABASE_URL``.
    :param columns: by table and column; two names for a full name that is in two columns.
    :param labels: by enum and label.
    """

    schema: str | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    enums: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.schema, self.tables, self.columns, self.enums, self.labels))

    def table(self, name: str) -> str:
        """Return the platform's name of a table."""
        return self.tables.get(name, name)

    def column(self, table: str, name: str) -> tuple[str, ...]:
        """Return the platform's name of a column; two for a full name that is in two columns."""
        return self.columns.get(table, {}).get(name, (name,))

    def label(self, enum: str, label: str) -> str:
        """Return the platform's word for a label."""
        return self.labels.get(enum, {}).get(label, label)

    def key(self, table: str) -> str:
        """Return the primary key of a table, as a foreign key names it: ``schema.table.column``."""
        names = (self.schema, self.table(table), *self.column(table, "id"))
        return ".".join(name for name in names if name)

    def sql(self, text: str) -> str:
        """Put a subquery with our names and labels in place of each ``"Payment"`` in SQL that is written by
        hand. Such a table needs an alias: PostgreSQL before 16 asks for one."""
        return _TABLE.sub(lambda name: self._subquery(name[1]), text) if self else text

    def _subquery(self, table: str) -> str:
        columns = ", ".join(f'{self._expression(table, name)} AS "{name}"' for name in COLUMNS[table])
        schema = f'"{self.schema}".' if self.schema else ""
        return f'(SELECT {columns} FROM {schema}"{self.table(table)}")'  # noqa: S608 - checked names

    def _expression(self, table: str, name: str) -> str:
        columns = [f'"{column}"' for column in self.column(table, name)]
        if len(columns) > 1:
            return f"nullif(concat_ws(' ', {', '.join(columns)}), '')"
        if words := self.labels.get(LABELLED.get((table, name), "")):
            text = f"CAST({columns[0]} AS TEXT)"
            cases = " ".join(f"WHEN '{word}' THEN '{label}'" for label, word in words.items())
            return f"CASE {text} {cases} ELSE {text} END"
        return columns[0]


@cache
def current() -> PlatformMap:
    """Return the map of this process: of the file in ``PLATFORM_MAP``, or an empty one.

    :raises ConfigurationError: as :func:`read`.
    """
    path = given().get("platform_map")  # of no Settings: tables are declared wherever others are faulty
    return read(Path(path)) if path else PlatformMap()


def read(path: Path) -> PlatformMap:
    """Read the file of a map.

    :raises ConfigurationError: it cannot be read, names something of ours that does not exist, or the same of
        theirs twice.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _wrong(f"the file {path} cannot be read: {why}") from None
    _known(document, _SECTIONS, "setting")
    tables = _names(document, "tables", COLUMNS, "table")
    enums = _names(document, "enums", ENUMS, "enum")
    schema = document.get("schema")
    columns: dict[str, dict[str, tuple[str, ...]]] = {}
    for table, section in _sections(document, "columns", COLUMNS, "table"):
        _known(section, COLUMNS[table], f"column of {table}")
        columns[table] = {name: _columns(table, name, value) for name, value in section.items()}
    labels: dict[str, dict[str, str]] = {}
    for enum, section in _sections(document, "labels", ENUMS, "enum"):
        _known(section, [member.value for member in ENUMS[enum]], f"label of {enum}")
        labels[enum] = {label: _word(word, _LABEL) for label, word in section.items()}
    made = PlatformMap(None if schema is None else _word(schema, _NAME), tables, columns, enums, labels)
    _refuse_twice([made.table(name) for name in COLUMNS], "table")
    _refuse_twice([made.enums.get(name, name) for name in ENUMS], "enum")
    for table, names in COLUMNS.items():
        _refuse_twice([column for name in names for column in made.column(table, name)], f"column of {table}")
    for enum, members in ENUMS.items():
        _refuse_twice([made.label(enum, member.value) for member in members], f"label of {enum}")
    return made


def _sections(
    document: dict[str, Any], name: str, known: Iterable[str], what: str
) -> list[tuple[str, dict[str, Any]]]:
    section = document.get(name, {})
    if not isinstance(section, dict) or not all(isinstance(value, dict) for value in section.values()):
        raise _wrong(f"[{name}] has a section for each {what}, such as [{name}.{next(iter(known))}]")
    _known(section, known, what)
    return list(section.items())


def _names(document: dict[str, Any], name: str, known: Iterable[str], what: str) -> dict[str, str]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise _wrong(f"[{name}] is a section with a name for each {what}")
    _known(section, known, what)
    return {ours: _word(theirs, _NAME) for ours, theirs in section.items()}


def _columns(table: str, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (_word(value, _NAME),)
    if (table, name) != FULL_NAME or len(value) != 2:
        raise _wrong(f"{name} of {table} is one column; two may make up the fullName of Participant alone")
    return tuple(_word(column, _NAME) for column in value)


def _word(value: Any, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value) or len(value.encode()) > 63:
        raise _wrong(
            f"{str(value)[:70]!r} is not a name that it can use: letters, digits and _, at most 63 bytes"
        )
    return value


def _known(section: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    names = list(known)
    for name in section:
        if name not in names:
            from difflib import get_close_matches

            alike = get_close_matches(name, names, n=1)
            hint = f", do you mean {alike[0]}?" if alike else f" (there are: {', '.join(names)})"
            raise _wrong(f"{name[:70]!r} is no {what} of procomp-pay{hint}")


def _refuse_twice(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _wrong(f"{name!r} would be more than one {what}")


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"PLATFORM_MAP: {why}",
        next_step="docs/platform says what a map has; for a first one: procomp-pay db map --suggest",
    )
