"""Allow one pass of a kind at a time, across processes: locks that end with their process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from procomp_pay.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from procomp_pay.storage.database.service import PaymentDatabaseService

#: The advisory locks' numbers: "prop" and "mt", "rc", "ar".
_NUMBERS = {"maintain": 0x70726F70_6D74, "reconcile": 0x70726F70_7263, "archive": 0x70726F70_6172}


def maintenance_lock(db: PaymentDatabaseService) -> AbstractAsyncContextManager[bool]:
    """Yield True if this process got the maintenance lock, False if another has it. Never wait.

    :raises DatabaseUnavailable: the database cannot be reached, or the file cannot be made.
    """
    return _alone(db, "maintain")


def reconcile_lock(db: PaymentDatabaseService) -> AbstractAsyncContextManager[bool]:
    """Yield True if this process got the reconciliation lock, False if another has it. Never wait.

    :raises DatabaseUnavailable: the database cannot be reached, or the file cannot be made.
    """
    return _alone(db, "reconcile")


def archive_lock(db: PaymentDatabaseService) -> AbstractAsyncContextManager[bool]:
    """Yield True if this process may archive the audit trail, False if another does. Never wait.

    :raises DatabaseUnavailable: the database cannot be reached, or the file cannot be made.
    """
    return _alone(db, "archive")


@asynccontextmanager
async def _alone(db: PaymentDatabaseService, name: str) -> AsyncIterator[bool]:
    """Take a lock file beside the database on SQLite, an advisory lock in a transaction of its own on
    PostgreSQL: both are released when the process dies, however it dies."""
    path = db.sqlite_path()
    if path is None:
        async with db.dedicated() as connection:
            taken = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_NUMBERS[name]})")
            yield bool(taken.scalar_one())  # the end of the transaction releases it
        return
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}-{name}.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise DatabaseUnavailable(
            f"The lock file {path}-{name}.lock cannot be created: {error.strerror}",
            next_step="check the owner and the permissions of its directory",
        ) from error
    try:
        yield True
    finally:
        lock.release()
