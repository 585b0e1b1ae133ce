"""Turn database URLs, as people, Prisma and Node write them, into those that the drivers take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from procomp_pay.domain.errors import ConfigurationError

_HOW = "set DATABASE_URL to postgresql://user:password@host:5432/name or sqlite:///path/to/file.sqlite3"

#: Parameters of other programs' connection pools and of hosting providers, which say nothing to ours:
#: Prisma, node-postgres, postgres.js, Supabase.
_DROPPED = frozenset(
    {
        "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "max_connections",
        "max", "min", "idle_timeout", "max_lifetime", "idleTimeoutMillis", "connectionTimeoutMillis",
        "maxUses", "allowExitOnIdle", "query_timeout", "pool_size", "max_overflow", "uselibpqcompat",
        "keepAlive", "prepare", "supa", "workaround",
    }
)  # fmt: skip

#: Options of every PostgreSQL session; the URL's own take precedence.
#: Times in milliseconds. UTC, because ``DEFAULT CURRENT_TIMESTAMP`` on a TIMESTAMP(3) follows the session.
_SESSION = {
    "timezone": "UTC",
    "statement_timeout": "60000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
}
#: Session options that node-postgres takes as parameters of the URL.
_SESSION_PARAMETERS = frozenset({"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"})

#: A peer that is gone is noticed within half a minute, even where nothing is sent. libpq's names; seconds,
#: ``tcp_user_timeout`` in milliseconds.
_CONNECTION = {
    "application_name": "procomp-pay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}

#: ``scheme://user:password@`` and the several hosts after it.
_SEVERAL_HOSTS = re.compile(r"([\w+]+://(?:[^:/?@]*(?::[^@]*)?@|(?![^?]*@)))([^/?@]*,[^/?@]*)")
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:]*))(?::(?P<port>\d*))?")
_ONE_HOST_PORT = re.compile(r"[\w.-]+:\d+")
#: One ``-c name=value`` or ``--name=value`` of libpq's ``options``; spaces in a value follow a backslash.
_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=((?:\\.|[^\s\\])*)\s*")


class PostgresqlConnection(NamedTuple):
    """Parameters of a connection.

    :param url: what the driver takes. :param arguments: driver arguments that cannot be part of it.
    :param settings: session options to be set in each transaction: behind PgBouncer, which keeps no session.
    :param statement_s: seconds after which the server ends a statement; None for never.
    """

    url: URL
    arguments: dict[str, Any]
    settings: dict[str, str]
    statement_s: float | None


def parse(url: str) -> URL:
    """Read a database URL; the driver in it is ``sqlite+aiosqlite`` or ``postgresql+psycopg``.

    :raises ConfigurationError: not a URL, a parameter that nobody knows, or a database that we do not work
        with. Never shows the URL, which may contain a password.
    """
    several = _SEVERAL_HOSTS.match(url)
    try:
        read = make_url(url if several is None else several[1] + url[several.end() :])
    except (ArgumentError, ValueError):
        raise ConfigurationError("DATABASE_URL is not a database URL", next_step=_HOW) from None
    if read.drivername in ("sqlite", "sqlite+aiosqlite"):
        return _parse_sqlite(read)
    if read.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _parse_postgresql(read, _hosts(several[2]) if several else {})
    raise ConfigurationError(f"{read.drivername[:40]!r} is not a database we work with", next_step=_HOW)


def _parse_sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError("payments need a SQLite database in a file of its own", next_step=_HOW)
    return URL.create("sqlite+aiosqlite", database=url.database)


def _hosts(listed: str) -> dict[str, str]:
    """Return libpq's lists of hosts and ports for ``h1:p1,h2:p2``."""
    hosts, ports = [], []
    for each in listed.split(","):
        read = _HOST_PORT.fullmatch(each)
        if read is None:
            raise ConfigurationError("DATABASE_URL names a host that cannot be read", next_step=_HOW)
        hosts.append(unquote(read["ipv6"] or read["host"] or ""))
        ports.append(read["port"] or "")
    return {"host": ",".join(hosts), "port": ",".join(ports)} if any(ports) else {"host": ",".join(hosts)}


def _parse_postgresql(url: URL, hosts: dict[str, str]) -> URL:
    query: dict[str, str] = {}
    for name, value in url.query.items():
        if name == "host" and (not isinstance(value, str) or _ONE_HOST_PORT.fullmatch(value)):
            query |= _hosts(value if isinstance(value, str) else ",".join(value))
        elif isinstance(value, str):
            query[name] = value
        else:
            raise ConfigurationError(f"DATABASE_URL has the parameter {name[:40]!r} twice", next_step=_HOW)
    query = _known(_in_words_of_libpq(query)) | hosts
    if "," in query.get("host", ""):
        query.setdefault("target_session_attrs", "read-write")  # payments are written: the primary
    return url.set(drivername="postgresql+psycopg", query=_CONNECTION | query)


def _in_words_of_libpq(query: dict[str, str]) -> dict[str, str]:
    """Translate what Prisma and Node say about encryption."""
    query = dict(query)
    ssl = query.pop("ssl", None)
    if ssl is not None:
        mode = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(ssl.lower(), ssl)
        query.setdefault("sslmode", mode)
    if query.get("sslmode") == "no-verify":
        query["sslmode"] = "require"
    accept = query.pop("sslaccept", "accept_invalid_certs")
    if accept == "strict":
        query["sslmode"] = "verify-full"
        query.setdefault("sslrootcert", "system")
    elif accept != "accept_invalid_certs":
        raise ConfigurationError(
            "DATABASE_URL has a value of 'sslaccept' that is not known",
            next_step="set sslaccept=strict or leave it out",
        )
    return query


def _known(query: Mapping[str, str]) -> dict[str, str]:
    """Leave out what concerns other programs' pools.

    :raises ConfigurationError: a parameter that neither we nor libpq know.
    """
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    known |= {"schema", "pgbouncer", *_SESSION_PARAMETERS}
    for name in query:
        if name not in known and name not in _DROPPED:
            raise ConfigurationError(
                f"DATABASE_URL has the parameter {name[:40]!r}, which PostgreSQL does not know",
                next_step="correct its name or leave it out; docs/configuration.md lists what is known",
            )
    if query.get("pgbouncer", "false") not in ("true", "false"):
        raise ConfigurationError(
            "DATABASE_URL has a value of 'pgbouncer' that is neither true nor false",
            next_step="set pgbouncer=true behind PgBouncer in transaction mode, else leave it out",
        )
    return {name: value for name, value in query.items() if name not in _DROPPED}


def is_pooled(url: URL) -> bool:
    """Return whether PgBouncer stands between, which keeps no session from one transaction to the next."""
    return url.query.get("pgbouncer") == "true"


def postgresql_connection(url: URL, *, statement_ms: int | None = None) -> PostgresqlConnection:
    """Return how to connect to a parsed PostgreSQL URL.

    :param statement_ms: the statement time-out, in milliseconds, where the URL does not say one.
    """
    query = {name: str(value) for name, value in url.query.items()}
    pooled = query.pop("pgbouncer", "false") == "true"
    schema = query.pop("schema", "public")
    settings = dict(_SESSION)
    if statement_ms is not None:
        settings["statement_timeout"] = str(statement_ms)
    if schema != "public":
        settings["search_path"] = '"' + schema.replace('"', '""') + '"'
    settings |= {name: query.pop(name) for name in _SESSION_PARAMETERS & query.keys()}
    options = query.pop("options", "")
    given = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _OPTION.findall(options)}
    statement_s = _seconds((settings | given)["statement_timeout"])
    if pooled:  # PgBouncer refuses start-up options
        settings |= given
        options = _OPTION.sub("", options).strip()
    else:
        ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
        options = f"{ours} {options}".strip()
    if options:
        query["options"] = options
    arguments: dict[str, Any] = {"prepare_threshold": None} if pooled else {}
    # not as part of the URL, where SQLAlchemy has rules of its own for several hosts
    arguments |= {name: query.pop(name) for name in ("host", "port") if name in query}
    return PostgresqlConnection(url.set(query=query), arguments, settings if pooled else {}, statement_s)


def _seconds(timeout: str) -> float | None:
    """Return the seconds of a PostgreSQL time-out; None for never, or where it cannot be read."""
    read = re.fullmatch(r"\s*'?(\d+)\s*(ms|s|min|h)?'?\s*", timeout)
    if read is None or int(read[1]) == 0:
        return None
    return int(read[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}[read[2] or "ms"]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


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
    hosts = str(url.host or url.query.get("host") or "this computer").split(",")
    ports = str(url.port or url.query.get("port") or "").split(",")
    ports += ports[-1:] * (len(hosts) - len(ports))
    servers = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    return f"the database {url.database or '(none)'} on {', '.join(servers)}"
