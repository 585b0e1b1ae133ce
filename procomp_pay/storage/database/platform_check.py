"""Check an existing platform database against the tables that we need, without altering it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import DateTime, Enum, Numeric, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.schema import Column, Table
from sqlalchemy.types import NullType

from procomp_pay.config import platform_map
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES
from procomp_pay.storage.models.types import Amount, PlatformLabel, UtcMillis

_LABELS = text("SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(:name) ORDER BY enumsortorder")


def adopts_platform(connection: Connection) -> bool:
    """Return True if the platform's tables exist and fit, False if no platform is there.

    :raises ConfigurationError: some exist and some do not, or they are not what we need: it lists each fault.
        Also if a platform left traces although its tables are missing: a second one is never made beside it.
    """
    inspector = inspect(connection)
    if not existing_tables(inspector) and not platform_map.current():
        _refuse_second_platform(connection)
        return False
    refuse_faults(connection)
    return True


def existing_tables(inspector: Inspector) -> set[str]:
    """Return which of the platform's tables exist, by our names."""
    schemas = {METADATA.tables[name].schema for name in PLATFORM_TABLES}
    live = {(schema, name) for schema in schemas for name in inspector.get_table_names(schema)}
    return {
        name for name in PLATFORM_TABLES if (METADATA.tables[name].schema, METADATA.tables[name].name) in live
    }


def refuse_faults(connection: Connection) -> None:
    """Check the platform's tables.

    :raises ConfigurationError: they are not what we need: it lists each fault.
    """
    if faults := _faults(connection, inspect(connection)):
        what = "correct the map" if platform_map.current() else "write a map of its names"
        raise ConfigurationError(
            f"The platform's tables do not fit procomp-pay: {'; '.join(faults)}",
            next_step=f"bring the platform's Prisma schema up to date, or {what} "
            "(procomp-pay db map --suggest), then: procomp-pay db upgrade",
        )


def _faults(connection: Connection, inspector: Inspector) -> list[str]:
    existing = existing_tables(inspector)
    faults = [
        f"the table {_name(METADATA.tables[name])} is missing"
        for name in sorted(PLATFORM_TABLES.difference(existing))
    ]
    if "Payment" in existing and platform_map.current():
        faults += _other_payments(inspector)
    for name in sorted(existing):
        faults += _faults_of_table(connection, inspector, METADATA.tables[name])
    return faults


#: The two of the platform's tables whose names nothing else has by chance, nor both in lower case or plural.
_TELLING = ("Participant", "Payment")
_TRACES = text("""
    SELECT n.nspname, c.relname, CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND CASE WHEN n.nspname = current_schema()
        THEN c.relname = '_prisma_migrations' OR c.relname = ANY(:tables) ELSE c.relname = ANY(:telling) END
    OR c.relkind IN ('r', 'p', 'f', 'v', 'm') AND lower(c.relname) = ANY(:alike) AND 2 = (
        SELECT count(DISTINCT rtrim(lower(o.relname), 's')) FROM pg_class o WHERE o.relnamespace = n.oid
            AND o.relkind IN ('r', 'p', 'f', 'v', 'm') AND lower(o.relname) = ANY(:alike))
    UNION ALL
    SELECT n.nspname, t.typname, 'enum' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'e' AND t.typname = ANY(:enums) AND n.nspname = current_schema()
    ORDER BY 1, 2
""")


def _refuse_second_platform(connection: Connection) -> None:
    """Check on PostgreSQL that there is no trace of a platform, in this schema or another.

    :raises ConfigurationError: there is; it says what.
    """
    if connection.dialect.name != "postgresql":
        return
    names = {"tables": sorted(PLATFORM_TABLES), "telling": list(_TELLING), "enums": sorted(_enums())}
    alike = [f"{name.lower()}{plural}" for name in _TELLING for plural in ("", "s")]
    traces = connection.execute(_TRACES, {**names, "alike": alike}).all()
    if not traces:
        return
    here = str(connection.execute(text("SELECT current_schema()")).scalar())
    found = ", ".join(f'the {kind} "{schema}"."{name}"' for schema, name, kind in traces)
    others = sorted({schema for schema, *_ in traces} - {here})
    raise ConfigurationError(
        f'The platform\'s tables are not in the schema "{here}", but a platform is there: {found}. '
        "A second one is not made beside it",
        next_step=(
            f"name its schema in DATABASE_URL: ?schema={others[0]}"
            if others
            else "run the platform's own migrations first, or use a database of its own for the desk"
        )
        + "; if its tables have other names, write a map: procomp-pay db map --suggest",
    )


def _enums() -> dict[str, tuple[str, list[str]]]:
    """Return by enum of the platform its name in SQL there, and the labels that we know."""
    return {
        column.type.values.__name__: (column.type.sql_name, column.type.labels)
        for name in sorted(PLATFORM_TABLES)
        for column in METADATA.tables[name].columns
        if isinstance(column.type, PlatformLabel)
    }


def _faults_of_table(connection: Connection, inspector: Inspector, table: Table) -> list[str]:
    live = {column["name"]: column for column in inspector.get_columns(table.name, table.schema)}
    faults = []
    for column in table.columns:
        name = f'{_name(table)}."{column.name}"'
        if column.name not in live:
            faults.append(f"the column {name} is missing")
        else:
            faults += [
                f"{name} {fault}" for fault in _faults_of_column(connection, column, live[column.name])
            ]
    if table is METADATA.tables["Payment"]:
        faults += _columns_in_the_way(table, live)
    return faults


def _name(table: Table) -> str:
    return f'"{table.schema}"."{table.name}"' if table.schema else f'"{table.name}"'


def _other_payments(inspector: Inspector) -> list[str]:
    """Return a fault if our tables were made for another table of payments than the map names."""
    payment, here = METADATA.tables["Payment"], inspector.default_schema_name
    if not inspector.has_table("pay_payment_detail"):
        return []
    return [
        f'the payments of procomp-pay are those of "{key["referred_table"]}", not of {_name(payment)}'
        for key in inspector.get_foreign_keys("pay_payment_detail")
        if key["constrained_columns"] == ["payment_id"]
        and (key["referred_table"], key["referred_schema"] or here) != (payment.name, payment.schema or here)
    ]


def _faults_of_column(connection: Connection, column: Column[Any], live: Any) -> list[str]:
    expected = column.type.compile(dialect=connection.dialect)
    if isinstance(live["type"], NullType):
        return [f"has a type that procomp-pay does not know, not {expected}"]
    schema = platform_map.current().schema
    if schema == connection.dialect.default_schema_name and isinstance(live["type"], Enum):
        live["type"].schema = schema  # the catalog leaves it out
    actual = live["type"].compile(dialect=connection.dialect)
    faults = []
    if expected != actual and not _holds_the_same(column.type, live["type"], expected, actual):
        faults.append(f"is {actual}, not {expected}")
    elif isinstance(column.type, PlatformLabel) and isinstance(live["type"], Enum):
        # further labels are data that we leave alone, see unknown_labels()
        missing = [label for label in column.type.labels if label not in live["type"].enums]
        if missing:
            faults.append(f"has the labels {', '.join(live['type'].enums)}, and lacks {', '.join(missing)}")
        ours = {member.value for member in column.type.values}.difference(column.type.labels)
        if taken := ours.intersection(live["type"].enums):
            faults.append(f"has the label {', '.join(sorted(taken))} too, for which the map has another word")
    if column.nullable and not live["nullable"]:
        faults.append("refuses NULL")
    return faults


def _holds_the_same(ours: Any, theirs: Any, expected: str, actual: str) -> bool:
    """Return whether a column of another type takes and gives every value that we write."""
    if isinstance(ours, UtcMillis) and isinstance(theirs, DateTime):
        # our sessions are in UTC, in which a time with zone is the same; no precision is microseconds
        precision = getattr(theirs, "precision", None)
        return precision is None or precision >= _MILLISECONDS
    if isinstance(ours, Amount) and isinstance(theirs, Numeric):
        return theirs.scale == _DECIMALS and (theirs.precision or 0) >= _DIGITS
    return _is_text(expected) and _is_text(actual)


#: Digits after a second, and those of ``DECIMAL(10,2)``.
_MILLISECONDS = 3
_DIGITS, _DECIMALS = 10, 2


def _is_text(kind: str) -> bool:
    return kind == "TEXT" or kind.startswith("VARCHAR")


def _columns_in_the_way(table: Table, live: dict[str, Any]) -> list[str]:
    """Return faults for columns that need a value which we do not have when we insert a payment."""
    names = {column.name for column in table.columns}
    return [
        f'the column {_name(table)}."{name}" requires a value that procomp-pay does not have'
        for name, column in live.items()
        if name not in names and not column["nullable"] and not _is_filled(column)
    ]


def _is_filled(column: Any) -> bool:
    """Return whether the database itself gives the column a value."""
    return column["default"] is not None or bool(column.get("identity") or column.get("computed"))


def unknown_labels(connection: Connection) -> dict[str, list[str]]:
    """Return the labels that the platform added to its enums and we do not know, by enum; on SQLite none."""
    if connection.dialect.name != "postgresql":
        return {}
    added = {
        name: [label for (label,) in connection.execute(_LABELS, {"name": kind}) if label not in known]
        for name, (kind, known) in sorted(_enums().items())
    }
    return {name: labels for name, labels in added.items() if labels}


@dataclass(frozen=True, slots=True)
class PlatformNotes:
    """What is worth knowing of the platform's tables.

    :param faults: what the platform changed since, so that they no longer fit; then nothing else is known.
    :param unknown_labels: labels that the platform added to its enums and we do not know, by enum.
    :param unadopted: the number of payments that are neither adopted nor accepted as the platform's own.
    :param missing_indexes: tables and columns, as in ``CREATE INDEX ON``, whose rows are searched one by one.
    """

    faults: list[str]
    unknown_labels: dict[str, list[str]]
    unadopted: int
    missing_indexes: list[str]


_UNADOPTED = """
    SELECT count(*) FROM "Payment" p
    WHERE NOT EXISTS (SELECT 1 FROM pay_payment_detail d WHERE d.payment_id = p.id)
    AND NOT EXISTS (SELECT 1 FROM pay_audit_entry a WHERE a.payment_id = p.id)
"""


def notes(connection: Connection) -> PlatformNotes:
    """Return what is worth knowing of the platform's tables, which exist beside ours."""
    inspector = inspect(connection)
    if connection.dialect.name == "postgresql" and (faults := _faults(connection, inspector)):
        return PlatformNotes(faults, {}, 0, [])
    unadopted = int(connection.execute(text(platform_map.current().sql(_UNADOPTED))).scalar() or 0)
    return PlatformNotes([], unknown_labels(connection), unadopted, _missing_indexes(inspector))


def _missing_indexes(inspector: Inspector) -> list[str]:
    """Return the indexes of our own definition of the platform's tables that have no substitute there."""
    missing = []
    for name in sorted(PLATFORM_TABLES):
        table = METADATA.tables[name]
        place = (table.name, table.schema)
        live = [tuple(index["column_names"]) for index in inspector.get_indexes(*place)]
        live += [tuple(constraint["column_names"]) for constraint in inspector.get_unique_constraints(*place)]
        for index in table.indexes:
            columns = tuple(column.name for column in index.columns)
            if not any(existing[: len(columns)] == columns for existing in live):
                listed = ", ".join(f'"{column}"' for column in columns)
                missing.append(f"{_name(table)} ({listed})")
    return sorted(missing)


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A transaction that holds a lock on one of the tables.

    :param seconds: since it began.
    """

    pid: int
    role: str
    application: str
    table: str
    seconds: int

    @property
    def sentence(self) -> str:
        program = f", {self.application}" if self.application else ""
        return (
            f'process {self.pid} ({self.role}{program}), which has used "{self.table}" for {self.seconds} s'
        )


_HOLDERS = text("""
    SELECT DISTINCT ON (a.xact_start, a.pid) a.pid, coalesce(a.usename, ''), a.application_name, c.relname,
        extract(epoch FROM clock_timestamp() - a.xact_start)::int
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND l.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL AND c.relname = ANY(:tables)
        AND c.relnamespace IN (current_schema()::regnamespace, to_regnamespace(:schema))
    ORDER BY a.xact_start, a.pid, c.relname LIMIT 3
""")


def lock_holders(connection: Connection) -> list[LockHolder]:
    """Return on PostgreSQL the three oldest transactions that hold locks on our tables or the platform's."""
    tables = sorted(table.name for table in METADATA.tables.values())
    schema = platform_map.current().schema
    rows = connection.execute(_HOLDERS, {"tables": tables, "schema": schema and f'"{schema}"'}).all()
    return [LockHolder(*row) for row in rows]
