"""A real PostgreSQL server for a test run."""

from __future__ import annotations

import itertools
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from procomp_pay.storage.database import migrate
from tests.support.secret_watch import pytest_runtest_makereport as pytest_runtest_makereport  # noqa: PLC0414

#: The SQL with which Prisma Migrate creates the platform's tables.
PRISMA_SQL = Path(__file__).parents[1] / "storage" / "models" / "prisma.sql"
_numbers = itertools.count(1)


class PostgresServer:
    """A real PostgreSQL of this test run, with one open connection to make and drop databases."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._admin = psycopg.connect(uri, autocommit=True)
        # a test's database need not outlive the machine
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            self._admin.execute(f"ALTER SYSTEM SET {setting} = off")
        self._admin.execute("SELECT pg_reload_conf()")
        self._template: str | None = None

    def url(self, name: str) -> str:
        """Return the URL of a database of this server, in the plain form ``postgresql://…``."""
        return self._uri.replace("/postgres?", f"/{name}?", 1)

    def name(self, url: str) -> str:
        """Return the name of the database of a URL."""
        return str(conninfo_to_dict(url)["dbname"])

    def create(self, template: str = "template0") -> str:
        """A new database; its name."""
        name = f"test_{next(_numbers)}"
        # half the time of writing the copy to the log, which nobody replays
        self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return name

    def create_migrated(self) -> str:
        """A new database with all tables, copied from a template that is migrated once; its name."""
        if self._template is None:
            self._template = self.create()
            migrate.upgrade(self.url(self._template))
        return self.create(self._template)

    def replace(self, name: str, copy: str) -> None:
        """Restore a backup: put a copy, to which nobody is connected, in the place of a database."""
        self.drop(name)
        self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{copy}"')

    def drop(self, name: str) -> None:
        self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        self._admin.close()


def create_platform_tables(url: str) -> None:
    """Create the platform's tables as Prisma Migrate does."""
    with psycopg.connect(url) as connection:
        connection.execute(PRISMA_SQL.read_bytes())
