"""One maintenance pass at a time, whoever starts it: a lock that goes when its process dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from procomp_pay.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from procomp_pay.storage.database import PaymentDatabaseService

#: The advisory lock's number: "prop" and "mt".
_NUMBER = 0x70726F70_6D74


@asynccontextmanager
async def maintenance_lock(db: PaymentDatabaseService) -> AsyncIterator[bool]:
    """Whether this process may do the maintenance now. It never waits.

    On SQLite a lock file beside the database, on PostgreSQL an advisory lock on a connection of its own:
    both go when the process dies, however it dies.

    :raises DatabaseUnavailable: the database cannot be reached, or the file cannot be made.
    """
    path = db.sqlite_path()
    if path is None:
        async with db.dedicated() as connection:
            taken = await connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_NUMBER})")
            yield bool(taken.scalar_one())  # the connection's end gives it back
        return
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}-maintain.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise DatabaseUnavailable(
            f"The lock file {path}-maintain.lock cannot be made: {error.strerror}",
            next_step="check the owner and the rights of its directory",
        ) from error
    try:
        yield True
    finally:
        lock.release()
