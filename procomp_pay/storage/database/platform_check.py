"""Check an existing platform database against the tables that we need, without altering it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Enum, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.schema import Column, Table

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES
from procomp_pay.storage.models.types import PlatformLabel

_LABELS = text(
    "SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(quote_ident(:name)) ORDER BY enumsortorder"
)


def adopts_platform(connection: Connection) -> bool:
    """Return True if the platform's tables exist and fit, False if none exists yet.

    :raises ConfigurationError: some exist and some do not, or they are not what we need. It lists each fault.
    """
    inspector = inspect(connection)
    existing = PLATFORM_TABLES & set(inspector.get_table_names())
    if not existing:
        return False
    faults = [f'the table "{name}" is missing' for name in sorted(PLATFORM_TABLES - existing)]
    for name in sorted(existing):
        faults += _faults_of_table(connection, inspector, METADATA.tables[name])
    if faults:
        raise ConfigurationError(
            f"The platform's tables do not fit procomp-pay: {'; '.join(faults)}",
            next_step="bring the platform's Prisma schema up to date, then: procomp-pay db upgrade",
        )
    return True


def _faults_of_table(connection: Connection, inspector: Inspector, table: Table) -> list[str]:
    live = {column["name"]: column for column in inspector.get_columns(table.name)}
    faults = []
    for column in table.columns:
        name = f'"{table.name}"."{column.name}"'
        if column.name not in live:
            faults.append(f"the column {name} is missing")
        else:
            faults += [
                f"{name} {fault}" for fault in _faults_of_column(connection, column, live[column.name])
            ]
    if table.name == "Payment":
        faults += _columns_in_the_way(table, live)
    return faults


def _faults_of_column(connection: Connection, column: Column[Any], live: Any) -> list[str]:
    expected = column.type.compile(dialect=connection.dialect)
    actual = live["type"].compile(dialect=connection.dialect)
    faults = []
    if expected != actual and not (_is_text(expected) and _is_text(actual)):
        faults.append(f"is {actual}, not {expected}")
    elif isinstance(column.type, PlatformLabel) and isinstance(live["type"], Enum):
        # further labels are data that we leave alone, see unknown_labels()
        missing = [label for label in column.type.labels if label not in live["type"].enums]
        if missing:
            faults.append(f"has the labels {', '.join(live['type'].enums)}, and lacks {', '.join(missing)}")
    if column.nullable and not live["nullable"]:
        faults.append("refuses NULL")
    return faults


def _is_text(kind: str) -> bool:
    return kind == "TEXT" or kind.startswith("VARCHAR")


def _columns_in_the_way(table: Table, live: dict[str, Any]) -> list[str]:
    """Return faults for columns that need a value which we do not have when we insert a payment."""
    return [
        f'the column "{table.name}"."{name}" requires a value that procomp-pay does not have'
        for name, column in live.items()
        if name not in table.c and not column["nullable"] and column["default"] is None
    ]


def unknown_labels(connection: Connection) -> dict[str, list[str]]:
    """Return the labels that the platform added to its enums and we do not know, by enum; on SQLite none."""
    if connection.dialect.name != "postgresql":
        return {}
    enums = {
        column.type.values.__name__: column.type.labels
        for name in sorted(PLATFORM_TABLES)
        for column in METADATA.tables[name].columns
        if isinstance(column.type, PlatformLabel)
    }
    added = {
        name: [label for (label,) in connection.execute(_LABELS, {"name": name}) if label not in known]
        for name, known in sorted(enums.items())
    }
    return {name: labels for name, labels in added.items() if labels}
