"""The platform's tables are what Prisma Migrate makes, point for point."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from procomp_pay.storage.models.schema import PLATFORM_TABLES
from tests.support.postgres import create_platform_tables

_COLUMNS = """
    SELECT table_name, ordinal_position, column_name, udt_name, is_nullable, column_default,
           numeric_precision, numeric_scale, datetime_precision, is_identity
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ANY(%s)
    ORDER BY 1, 2
"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) ORDER BY 1, 2"
# NOT NULL constraints have rows of their own since PostgreSQL 18; the columns above tell them already
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE conrelid = ANY(SELECT quote_ident(name)::regclass FROM unnest(%s::text[]) AS name)
      AND contype <> 'n'
    ORDER BY 1, 2
"""
_LABELS = """
    SELECT typname, array_agg(enumlabel ORDER BY enumsortorder)
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid WHERE %s::text[] IS NOT NULL GROUP BY 1 ORDER BY 1
"""


def _catalog(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), (sorted(PLATFORM_TABLES),)).fetchall()


@pytest.mark.parametrize(
    "query", [_COLUMNS, _INDEXES, _CONSTRAINTS, _LABELS], ids=["columns", "indexes", "constraints", "labels"]
)
def test_our_platform_tables_equal_prismas(postgres_url: str, empty_postgres_url: str, query: str) -> None:
    create_platform_tables(empty_postgres_url)
    theirs = _catalog(empty_postgres_url, query)
    assert len(theirs) >= 4
    assert _catalog(postgres_url, query) == theirs
