"""Set SQLite up for money: WAL, every commit on the disk, foreign keys, one writer at a time, private
files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from procomp_pay.config import platform_map
from procomp_pay.domain.errors import ConfigurationError, DatabaseUnavailable

#: Seconds that a connection waits for another's write.
BUSY_TIMEOUT_S = 30

#: Driver arguments: transactions are begun by us, not guessed by the driver.
CONNECT_ARGUMENTS: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_TIMEOUT_S}

#: Engine option that marks the writing side.
WRITES = "pay_writes"


def make_private_file(path: Path) -> None:
    """Create the database file (0600) and its directory (0700) if they are missing.

    SQLite gives its ``-wal`` and ``-shm`` files the permissions of the database file.

    :raises DatabaseUnavailable: the directory or the file cannot be created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseUnavailable(
            f"The database {path} cannot be created: {error.strerror}",
            next_step="check that the directory exists and may be written, or set DATABASE_URL",
        ) from error


def refuse_foreign(path: Path) -> None:
    """Check that a file is no other program's, before anything is written into it.

    :raises ConfigurationError: it has tables, and none of them is ours or the platform's.
    """
    names: list[str] = []
    with contextlib.suppress(OSError, sqlite3.Error):  # what cannot be opened is told where the file is made
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as connection:
                # SQLite's own tables and Prisma's list of migrations tell nothing of the program
                tables = connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> '_prisma_migrations' "
                    "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
                )
                names = [name for (name,) in tables]
    known = {platform_map.current().table(name) for name in platform_map.COLUMNS}
    if names and not any(name in known or name.startswith("pay_") for name in names):
        raise ConfigurationError(
            f"The database {path} belongs to another program: it has the table {names[0]}, "
            "and none of procomp-pay's. Nothing was written into it",
            next_step="set DATABASE_URL to a file that does not exist yet, or to procomp-pay's own",
        )


def prepare(engine: Engine, path: Path) -> WeakSet[Thread]:
    """Set up the engine's connections and begin its transactions: readers cannot write, and there is one
    writer at a time.

    :returns: the threads of the driver's connections, for :func:`finished`; grows as they are opened.
    :raises ConfigurationError: as :func:`refuse_foreign`.
    """
    refuse_foreign(path)
    threads: WeakSet[Thread] = WeakSet()

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: Any) -> None:
        make_private_file(path)
        # what cannot be opened fails here: failing in its own thread, the driver would leave that behind
        sqlite3.connect(path).close()

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        thread = getattr(getattr(connection, "driver_connection", None), "_thread", None)
        if isinstance(thread, Thread):
            threads.add(thread)
        try:
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()
        except BaseException:
            connection.close()
            raise

    event.listen(engine, "begin", _begin)
    _roll_back_cancelled(engine)
    return threads


def _roll_back_cancelled(engine: Engine) -> None:
    """Roll back the transaction of a task that is cancelled inside a statement. Its cursor stays open, and
    until the cursor is freed SQLite keeps a closed connection, with its write lock."""
    tasks: set[asyncio.Task[None]] = set()

    @event.listens_for(engine, "invalidate")
    def _roll_back(connection: Any, _record: Any, _error: Any) -> None:
        driver = getattr(connection, "driver_connection", None)
        if driver is None or not hasattr(driver, "rollback"):
            return
        with contextlib.suppress(RuntimeError):  # no loop runs: the process ends
            task = asyncio.get_running_loop().create_task(_quietly(driver.rollback))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _quietly(work: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(Exception):  # the connection is being closed already
        await work()


async def finished(threads: WeakSet[Thread]) -> None:
    """Wait up to 5 s until the driver's threads have ended: one that answers after the loop closed prints a
    traceback."""
    for _ in range(2500):
        if not any(thread.is_alive() for thread in threads):
            return
        await asyncio.sleep(0.002)


def _begin(connection: Connection) -> None:
    """Begin as the engine's option says: IMMEDIATE, because a reader cannot become a writer."""
    writes = bool(connection.get_execution_options().get(WRITES))
    if connection.info.get(WRITES) is not writes:
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.info[WRITES] = writes
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
