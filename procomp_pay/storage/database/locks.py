"""Allow one pass of a kind at a time, across processes: locks that end with their process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from procomp_pay.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from procomp_pay.storage.database.service import PaymentDatabaseService

Work = Literal["maintain", "reconcile", "archive"]
#: The advisory locks' numbers: "prop" and "mt", "rc", "ar".
_NUMBERS: dict[Work, int] = {
    "maintain": 0x70726F70_6D74,
    "reconcile": 0x70726F70_7263,
    "archive": 0x70726F70_6172,
}


@asynccontextmanager
async def only_process(db: PaymentDatabaseService, work: Work) -> AsyncIterator[bool]:
    """Yield True if no other process does this work, False if one does. Never wait.

    On SQLite by a lock file beside the database, on PostgreSQL by an advisory lock in a transaction of its
    own: both are released when the process dies, however it dies.

    :raises DatabaseUnavailable: the database cannot be reached, or the file cannot be made.
    """
    path = db.sqlite_path()
    if path is None:
        async with db.dedicated() as connection:
            taken = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_NUMBERS[work]})")
            yield bool(taken.scalar_one())  # the end of the transaction releases it
        return
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}-{work}.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise DatabaseUnavailable(
            f"The lock file {path}-{work}.lock cannot be created: {error.strerror}",
            next_step="check the owner and the permissions of its directory",
        ) from error
    try:
        yield True
    finally:
        lock.release()
