"""Translate a database driver's errors into the domain's: what happened, why, what to do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from procomp_pay.domain.errors import DatabaseUnavailable

_T = TypeVar("_T")


class DatabaseBusy(DatabaseUnavailable):
    """Another transaction was in the way (lock, deadlock, serialization); nothing was written.

    The whole transaction may be run again: see :func:`retrying`.
    """


_UPGRADE = "procomp-pay db upgrade"
_CHECK_URL = "check DATABASE_URL and that PostgreSQL is running, then: procomp-pay doctor"

#: SQLSTATEs (PostgreSQL documentation, appendix A) and SQLite result codes after which a transaction may be
#: run again.
_BUSY = {
    "40001",
    "40P01",
    "55P03",
    "SQLITE_BUSY",
    "SQLITE_BUSY_SNAPSHOT",
    "SQLITE_BUSY_RECOVERY",
    "SQLITE_LOCKED",
}

#: Other conditions that are no bug of ours: by code, the reason and the next step.
_REASONS: dict[str, tuple[str, str]] = {
    "28P01": ("refuses the user name or password", "check the user and password in DATABASE_URL"),
    "28000": ("refuses the user", "check the user in DATABASE_URL and pg_hba.conf"),
    "3D000": ("does not exist", "create it (createdb), then: procomp-pay db upgrade"),
    "42501": ("does not let this user do that", "grant the user of DATABASE_URL rights on the tables"),
    "53100": ("is out of disk space", "make room on the server's disk"),
    "53200": ("is out of memory", "try again shortly"),
    "53300": ("has no free connection", "raise max_connections, or try again shortly"),
    "57014": ("took too long and was stopped", "try again with a smaller range"),
    "57P01": ("is shutting down", "try again shortly"),
    "57P02": ("has crashed and is coming back", "try again shortly"),
    "57P03": ("is starting up", "try again shortly"),
    "25P03": ("ended a transaction that was idle for too long", "try again"),
    "SQLITE_CANTOPEN": ("cannot be opened", "check that the directory exists and may be written"),
    "SQLITE_FULL": ("is full: no disk space", "make room on the disk"),
    "SQLITE_READONLY": ("may not be written", "check the owner and the rights of the file"),
    "SQLITE_NOTADB": ("is not a SQLite database", "check the path in DATABASE_URL"),
    "SQLITE_CORRUPT": ("is damaged", "restore the newest backup"),
    "SQLITE_IOERR": ("cannot be read or written: the disk fails", "check the disk"),
    "SQLITE_PERM": ("may not be opened", "check the owner and the rights of the file"),
    "SQLITE_AUTH": ("may not be opened", "check the owner and the rights of the file"),
}

#: libpq gives no SQLSTATE while connecting; its English text is all there is.
_CONNECTING: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ('role "', "28000"),
    ('database "', "3D000"),
    ("too many clients", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P01"),
)


def translate(error: SQLAlchemyError, where: str) -> DatabaseUnavailable | None:
    """Return the domain error for a driver's; ``None`` for a violated constraint or a bug.

    :param where: the database as :func:`procomp_pay.storage.database.urls.describe` describes it.
    """
    if isinstance(error, PoolTimeout):
        return DatabaseBusy(f"{_start(where)} is busy: no connection came free", retry_after=1)
    if not isinstance(error, DBAPIError):
        return None
    code, message = _code(error), str(error.orig)
    return _by_code(error, code, message, _start(where))


def _by_code(error: DBAPIError, code: str, message: str, start: str) -> DatabaseUnavailable | None:
    if code in _BUSY:
        return DatabaseBusy(f"{start} was busy with another change", next_step="try again", retry_after=1)
    if code == "42P01" or "no such table" in message:
        return DatabaseUnavailable(f"{start} has no tables of procomp-pay yet", next_step=_UPGRADE)
    if code in _REASONS:
        reason, next_step = _REASONS[code]
        return DatabaseUnavailable(f"{start} {reason}", next_step=next_step)
    if _is_lost(error, code):
        return DatabaseUnavailable(f"{start} does not answer: {_why(message)}", next_step=_CHECK_URL)
    return None


def _start(where: str) -> str:
    return where[:1].upper() + where[1:]


def _code(error: DBAPIError) -> str:
    """Return PostgreSQL's SQLSTATE or SQLite's result code; empty if the driver gives none."""
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state)
    name = str(getattr(error.orig, "sqlite_errorname", None) or "")
    for code in _REASONS:
        if code.startswith("SQLITE_") and name.startswith(code):
            return code  # SQLITE_IOERR_WRITE is a kind of SQLITE_IOERR
    if name:
        return name
    message = str(error.orig)
    return next((state for text, state in _CONNECTING if text in message), "")


def _is_lost(error: DBAPIError, code: str) -> bool:
    if error.connection_invalidated or code.startswith("08"):
        return True
    return not code and isinstance(error, OperationalError | InterfaceError)


def _why(message: str) -> str:
    """Return a short reason in our own words: the driver's text may contain parts of the URL."""
    lower = message.lower()
    for text, reason in (
        ("refused", "nothing listens there"),
        ("no such file", "nothing listens there"),
        ("timeout", "no answer in time"),
        ("resolve", "the host name is not known"),
        ("translate host", "the host name is not known"),
        ("ssl", "the encrypted connection failed"),
        ("certificate", "the encrypted connection failed"),
        ("invalid", "DATABASE_URL has a part that PostgreSQL does not know"),
    ):
        if text in lower:
            return reason
    return "the connection failed"


async def retrying(work: Callable[[], Awaitable[_T]], *, attempts: int = 5) -> _T:
    """Run a whole transaction again while the database is busy, with growing pauses of 20 ms to 0.6 s.

    :param work: runs one whole transaction each time it is called.
    :raises DatabaseBusy: still busy at the last attempt.
    """
    for attempt in range(1, attempts):
        try:
            return await work()
        except DatabaseBusy:
            await asyncio.sleep(0.02 * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
    return await work()
