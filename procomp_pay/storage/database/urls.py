"""Turn database URLs, as people and Prisma write them, into those that the drivers take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from procomp_pay.domain.errors import ConfigurationError

_HOW = "set DATABASE_URL to postgresql://user:password@host:5432/name or sqlite:///path/to/file.sqlite3"

#: Parameters that only Prisma knows; libpq would refuse the whole URL for them.
_PRISMA_ONLY = (
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "sslaccept",
    "sslidentity",
)

#: Options of every PostgreSQL session; the URL's own ``options`` come after and take precedence.
#: Times in milliseconds. UTC, because ``DEFAULT CURRENT_TIMESTAMP`` on a TIMESTAMP(3) follows the session.
_SESSION = {
    "timezone": "UTC",
    "statement_timeout": "60000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
}


def parse(url: str) -> URL:
    """Read a database URL; the driver in it is ``sqlite+aiosqlite`` or ``postgresql+psycopg``.

    :raises ConfigurationError: not a URL, or a database that we do not work with. Never shows the URL,
        which may contain a password.
    """
    try:
        read = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("DATABASE_URL is not a database URL", next_step=_HOW) from None
    if read.drivername in ("sqlite", "sqlite+aiosqlite"):
        return _parse_sqlite(read)
    if read.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _parse_postgresql(read)
    raise ConfigurationError(f"{read.drivername[:40]!r} is not a database we work with", next_step=_HOW)


def _parse_sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError("payments need a SQLite database in a file of its own", next_step=_HOW)
    return URL.create("sqlite+aiosqlite", database=url.database)


def _parse_postgresql(url: URL) -> URL:
    query = {name: value for name, value in url.query.items() if name not in _PRISMA_ONLY}
    schema = query.pop("schema", None)
    pooled = query.pop("pgbouncer", None) == "true"
    settings = dict(_SESSION)
    if isinstance(schema, str) and schema != "public":
        settings["search_path"] = f'"{schema}"'.replace(" ", "\\ ")
    # PgBouncer refuses start-up options
    ours = "" if pooled else " ".join(f"-c {name}={value}" for name, value in settings.items())
    query["options"] = f"{ours} {query.get('options', '')}".strip()
    if not query["options"]:
        del query["options"]
    query.setdefault("application_name", "procomp-pay")
    query.setdefault("connect_timeout", "10")
    if pooled:
        query["prepare_threshold"] = "none"
    return url.set(drivername="postgresql+psycopg", query=query)


def connect_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """Return the URL and the driver arguments that cannot be part of it."""
    if url.query.get("prepare_threshold") == "none":
        return url.difference_update_query(["prepare_threshold"]), {"prepare_threshold": None}
    return url, {}


def is_sqlite(url: URL) -> bool:
    """Return whether the URL names a SQLite file."""
    return url.get_backend_name() == "sqlite"


def sqlite_path(url: URL) -> Path:
    """Return the file of a SQLite URL."""
    return Path(url.database or "")


def describe(url: URL) -> str:
    """Return the database's description for people, without user or password."""
    if is_sqlite(url):
        return f"the database {url.database}"
    host = url.host or url.query.get("host") or "this computer"
    port = f":{url.port}" if url.port else ""
    return f"the database {url.database or '(none)'} on {host}{port}"
