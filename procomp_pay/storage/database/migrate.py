"""Run migrations from the installed package or a checkout."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procomp_pay.config import platform_map
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.database import urls

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import URL, Connection, Engine

    from procomp_pay.storage.database.errors import DatabaseBusy
    from procomp_pay.storage.database.platform_check import PlatformNotes

#: Alembic's table; the platform may have an Alembic of its own.
VERSION_TABLE = "pay_alembic_version"

#: The newest revision, so that the common path needs no Alembic. A test compares it with
#: ``alembic/versions``.
HEAD = "0016"

#: Seconds that an upgrade waits for one lock on a table, its tries, and the seconds between two tries.
LOCK_TIMEOUT_S = 5
LOCK_TRIES = 6
LOCK_PAUSE_S = 2.0

#: The advisory lock that migrations take on PostgreSQL.
_LOCK = 0x70726F70_6179


def upgrade(url: str) -> None:
    """Bring the database to the newest revision; safe when several processes do it at once.

    On PostgreSQL each revision is a transaction of its own: a new table that refers to one of the platform's
    locks it against writing, and that must not last while a large table of ours gets an index. Killed, the
    next upgrade goes on where it ended.

    :raises ConfigurationError: the platform's tables do not fit, or a newer procomp-pay made the database.
    :raises DatabaseBusy: other transactions hold locks that it needs: they are named.
    :raises DatabaseUnavailable: no connection.
    """
    from procomp_pay.storage.database.errors import DatabaseBusy

    if platform_map.current() and current(url) is not None:
        check_platform(url)
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            for revision in _steps(url):
                _run("upgrade", url, revision)
        except DatabaseBusy:
            if urls.is_sqlite(urls.parse(url)):
                raise
            if not tries_left:
                raise _locked(url) from None
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def _steps(url: str) -> list[str]:
    """Return the revisions to upgrade to, one after the other; a new database gets all in one step."""
    if urls.is_sqlite(urls.parse(url)) or current(url) is None:
        return ["head"]
    return pending(url)


def _locked(url: str) -> DatabaseBusy:
    """Return the error that names the transactions that hold locks on the tables."""
    from procomp_pay.storage.database.errors import DatabaseBusy
    from procomp_pay.storage.database.platform_check import lock_holders

    with _connected(urls.parse(url), writes=False) as connection:
        holders = lock_holders(connection)
    names = "; ".join(holder.sentence for holder in holders) or "a transaction that has ended since"
    end = f"end it: SELECT pg_terminate_backend({holders[0].pid}); then: " if holders else ""
    return DatabaseBusy(
        f"The tables are locked: the upgrade stands at {current(url) or 'its beginning'}. "
        f"Who holds the locks: {names}",
        next_step=f"{end}procomp-pay db upgrade",
    )


def downgrade(url: str, revision: str = "base") -> None:
    """Downgrade to a revision. Drop tables of this module alone, with their rows.

    :raises DatabaseUnavailable: no connection.
    """
    _run("downgrade", url, revision)


def current(url: str) -> str | None:
    """Return the database's revision; ``None`` if there is none yet.

    :raises DatabaseUnavailable: no connection.
    """
    from alembic.migration import MigrationContext

    parsed = urls.parse(url)
    if urls.is_sqlite(parsed) and not urls.sqlite_path(parsed).exists():
        return None
    with _connected(parsed, writes=False) as connection:
        return MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE}
        ).get_current_revision()


def check_revision(revision: str | None) -> None:
    """Compare a database's revision with the newest one that this procomp-pay knows.

    :raises ConfigurationError: it is another one.
    """
    if revision == HEAD:
        return
    if revision is not None and revision > HEAD:
        raise _newer()
    raise ConfigurationError(
        f"The database has the tables of an older procomp-pay ({revision or 'none'}, not {HEAD})",
        next_step="procomp-pay db upgrade",
    )


def has_platform(url: str) -> bool:
    """Return whether any of the platform's tables exists.

    :raises DatabaseUnavailable: no connection.
    """
    from sqlalchemy import inspect

    from procomp_pay.storage.database.platform_check import existing_tables

    parsed = urls.parse(url)
    if urls.is_sqlite(parsed) and not urls.sqlite_path(parsed).exists():
        return False
    with _connected(parsed, writes=False) as connection:
        return bool(existing_tables(inspect(connection)))


def has_encrypted(url: str) -> bool:
    """Return whether our tables have rows of an earlier installation, which need its encryption keys: their
    columns, and the links to pages.

    :raises DatabaseUnavailable: no connection.
    """
    from sqlalchemy import inspect, literal, select, table

    parsed = urls.parse(url)
    if urls.is_sqlite(parsed) and not urls.sqlite_path(parsed).exists():
        return False
    with _connected(parsed, writes=False) as connection:
        present = inspect(connection).get_table_names()
        names = {"pay_payment_detail", "pay_participant_detail", "pay_webhook_event"}.intersection(present)
        one_of_each = (select(literal(1)).select_from(table(name)).limit(1) for name in names)
        return any(connection.execute(query).first() is not None for query in one_of_each)


def own_tables(url: str) -> list[str]:
    """Return our tables on PostgreSQL, each with its schema: ``public.pay_refund``.

    :raises ConfigurationError: on SQLite, which Prisma does not share with us.
    :raises DatabaseUnavailable: no connection.
    """
    from sqlalchemy import inspect

    with _connected(_shared(url), writes=False) as connection:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        names = inspect(connection).get_table_names()
    return [f"{schema}.{name}" for name in sorted(names) if name.startswith("pay_")]


def _shared(url: str) -> URL:
    """Return the URL of a PostgreSQL, which Prisma can share with us."""
    parsed = urls.parse(url)
    if urls.is_sqlite(parsed):
        raise ConfigurationError(
            "Prisma shares PostgreSQL with procomp-pay, and DATABASE_URL is SQLite",
            next_step="set DATABASE_URL to the platform's database",
        )
    return parsed


def platform_notes(url: str) -> PlatformNotes:
    """Return what is worth knowing of the platform's tables.

    :raises DatabaseUnavailable: no connection.
    """
    from procomp_pay.storage.database import platform_check

    with _connected(urls.parse(url), writes=False) as connection:
        return platform_check.notes(connection)


def check_platform(url: str) -> None:
    """Compare the platform's tables, by the names of ``PLATFORM_MAP``, with what we need.

    :raises ConfigurationError: they do not fit: it lists each fault.
    :raises DatabaseUnavailable: no connection.
    """
    from procomp_pay.storage.database.platform_check import refuse_faults

    with _connected(urls.parse(url), writes=False) as connection:
        refuse_faults(connection)


def suggested_map(url: str) -> str:
    """Return a first map of the platform's names as TOML: see
    :func:`procomp_pay.storage.database.platform_suggestion.suggest`.

    :raises ConfigurationError: on SQLite, which no platform shares with us.
    :raises NotFound: no table is like one of ours. :raises DatabaseUnavailable: no connection.
    """
    from procomp_pay.storage.database.platform_suggestion import suggest

    with _connected(_shared(url), writes=False) as connection:
        return suggest(connection)


def pending(url: str) -> list[str]:
    """Return the revisions that ``upgrade`` would run, oldest first.

    :raises ConfigurationError: a newer procomp-pay made the database.
    :raises DatabaseUnavailable: no connection.
    """
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    now = current(url)
    if now is None:
        return revisions
    if now not in revisions:
        raise _newer()
    return revisions[revisions.index(now) + 1 :]


def ensure_sqlite(url: str) -> None:
    """Give a SQLite database its tables at first use; on PostgreSQL do nothing (``db upgrade`` does).

    When the database is up to date this costs one read and imports no Alembic.

    :raises ConfigurationError: a newer procomp-pay made the database, or the file is another program's.
    :raises DatabaseUnavailable: the file cannot be made or opened.
    """
    parsed = urls.parse(url)
    if urls.is_sqlite(parsed) and _sqlite_revision(urls.sqlite_path(parsed)) != HEAD:
        upgrade(url)


def _sqlite_revision(path: Path) -> str | None:
    """Return the revision in the file; ``None`` in doubt: the migration then decides or reports it."""
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(path)
        try:
            row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - ours
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


@contextmanager
def exclusive(url: str) -> Iterator[Connection]:
    """Yield a connection for a migration that no other process runs meanwhile.

    On SQLite a lock file beside the database ensures it; on PostgreSQL :func:`lock_in_transaction` does.

    :raises DatabaseBusy: another migration has run for over 60 s (SQLite).
    :raises ConfigurationError: the file is another program's (SQLite).
    """
    parsed = urls.parse(url)
    if not urls.is_sqlite(parsed):
        with _connected(parsed) as connection:
            yield connection
        return
    from filelock import FileLock, Timeout

    from procomp_pay.storage.database.errors import DatabaseBusy
    from procomp_pay.storage.database.sqlite import make_private_file, refuse_foreign

    path = urls.sqlite_path(parsed)
    refuse_foreign(path)  # before a lock file is laid beside it
    make_private_file(path)
    try:
        with FileLock(f"{path}-migrate.lock", timeout=60, mode=0o600), _connected(parsed) as connection:
            yield connection
    except Timeout:
        raise DatabaseBusy(
            f"Another process is migrating {urls.describe(parsed)}", next_step="try again"
        ) from None


def lock_in_transaction(connection: Connection) -> None:
    """Wait on PostgreSQL until no other migration runs; the lock ends with the transaction.

    The locks on tables that follow are waited for :data:`LOCK_TIMEOUT_S` each: whoever else wants the table
    waits behind a migration that waits, and so would the whole platform.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")


@contextmanager
def _connected(url: URL, *, writes: bool = True) -> Iterator[Connection]:
    """Yield a connection, with the driver's errors translated into the domain's."""
    from sqlalchemy.exc import SQLAlchemyError

    from procomp_pay.storage.database.errors import translate

    engine = _make_engine(url, writes=writes)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        translated = translate(error, urls.describe(url))
        if translated is None:
            raise
        raise translated from error
    finally:
        engine.dispose()


def _make_engine(url: URL, *, writes: bool) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from procomp_pay.storage.database import sqlite
    from procomp_pay.storage.models.types import EXACT_JSON_ENGINE

    shared: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True, **EXACT_JSON_ENGINE}
    if urls.is_sqlite(url):
        engine = create_engine(
            url.set(drivername="sqlite"), connect_args=dict(sqlite.CONNECT_ARGUMENTS), **shared
        )
        sqlite.prepare(engine, urls.sqlite_path(url))
        return engine.execution_options(**{sqlite.WRITES: writes})
    from procomp_pay.storage.database import postgresql

    how = urls.postgresql_connection(url)
    engine = create_engine(how.url, connect_args=how.arguments, **shared)
    postgresql.set_up(engine, how)
    return engine


def _run(command_name: str, url: str, revision: str) -> None:
    from alembic import command
    from alembic.util.exc import CommandError

    config = _config()
    config.attributes["url"] = url
    try:
        getattr(command, command_name)(config, revision)
    except CommandError as error:
        raise _from_alembic(error) from error


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    return config


def _scripts() -> Path:
    """Return the folder of migration scripts: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent.parent
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError("the migration scripts are missing", next_step="install procomp-pay again")


def _from_alembic(error: Exception) -> ConfigurationError:
    if "locate revision" in str(error):
        return _newer()
    return ConfigurationError(f"the migration cannot run: {error}", next_step="procomp-pay db status")


def _newer() -> ConfigurationError:
    return ConfigurationError(
        "the database was set up by a newer procomp-pay", next_step="install the newest procomp-pay"
    )
