"""Labels that a platform adds to its enums."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
from psycopg import sql

from procomp_pay.storage.database import urls


def relabel(url: str, table: str, column: str, label: str, row_id: str) -> None:
    """Add a label to a column's enum, if it is not there, and write it into a row, as the platform does."""
    parsed = urls.parse(url)
    if urls.is_sqlite(parsed):
        with closing(sqlite3.connect(urls.sqlite_path(parsed), isolation_level=None, timeout=60)) as file:
            file.execute("PRAGMA ignore_check_constraints = ON")
            file.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE id = ?', (label, row_id))
        return
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT udt_name FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
            (table, column),
        ).fetchone()
        assert found is not None
        kind = sql.Identifier(found[0])
        connection.execute(
            sql.SQL("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}").format(kind, sql.Literal(label))
        )
        connection.execute(
            sql.SQL("UPDATE {} SET {} = {}::{} WHERE id = %s").format(
                sql.Identifier(table), sql.Identifier(column), sql.Literal(label), kind
            ),
            (row_id,),
        )
