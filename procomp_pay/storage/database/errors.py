"""Translate a database driver's errors into the domain's: what happened, why, what to do."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from procomp_pay.domain.errors import DatabaseUnavailable, OutcomeUnknown, PaymentError, Refused
from procomp_pay.domain.text import N_


class DatabaseBusy(DatabaseUnavailable):
    """Another transaction was in the way (lock, deadlock, serialization); nothing was written.

    The whole transaction may be run again: see :mod:`procomp_pay.storage.database.retry`.
    """


class NoTables(DatabaseUnavailable):
    """Nobody has run ``procomp-pay db upgrade`` on this database."""


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

#: Violated by the second of two transactions that append to one audit chain and have both read the same end.
_CHAIN = "pay_audit_entry_payment_id_seq_key"
#: Violated by a payment to which a gateway gives the id of another one, as PostgreSQL and SQLite name it.
_PROVIDER_REF = r"\bpay_payment_detail[._]provider_ref(_key)?\b"

_NO_ANSWER = "no answer in time"
_SHORTLY = "try again shortly"
_PRIMARY = (
    "find the primary, and see: the failover recipe in docs/operations.md "
    "(DATABASE_URL with several hosts and target_session_attrs=read-write)"
)
#: ``maintain`` and ``audit archive`` hold one connection while they run, ``reconcile`` two.
_SMALL_POOL = (
    "check that PostgreSQL is running, and that PgBouncer's pool has five connections (default_pool_size); "
    "then: procomp-pay doctor"
)
_PGBOUNCER = "add pgbouncer=true to DATABASE_URL, since PgBouncer stands between"

#: Conditions that are no bug of ours: by code, or by the first two letters of its class, the reason and the
#: next step.
_REASONS: dict[str, tuple[str, str]] = {
    "25006": ("is read-only: a standby, or one that was told not to write", _PRIMARY),
    "25P03": ("ended a transaction that was idle for too long", "try again"),
    "25P04": ("ended a transaction that took too long", "try again"),
    "26000": ("lost a prepared statement", _PGBOUNCER),
    "28": ("refuses the user", "check the user in DATABASE_URL and pg_hba.conf"),
    "28P01": ("refuses the user name or password", "check the user and password in DATABASE_URL"),
    "3D000": ("does not exist", "create it (createdb), then: procomp-pay db upgrade"),
    "3F000": ("does not have the schema that DATABASE_URL names", "create it, then: procomp-pay db upgrade"),
    "42501": ("does not let this user do that", "grant the user of DATABASE_URL rights on the tables"),
    "42P05": ("has a prepared statement of somebody else", _PGBOUNCER),
    "53": ("is short of resources", _SHORTLY),
    "53100": ("is out of disk space", "make room on the server's disk"),
    "53200": ("is out of memory", _SHORTLY),
    "53300": (
        "has no free connection",
        "raise max_connections or the limit of the user of DATABASE_URL, or try again shortly",
    ),
    "55000": ("is a standby that recovers", _PRIMARY),
    "57014": ("took too long and was stopped", "try again with a smaller range"),
    "57P": ("ended the connection", _SHORTLY),
    "57P01": ("is shutting down", _SHORTLY),
    "57P02": ("has crashed and is coming back", _SHORTLY),
    "57P03": ("is starting up", _SHORTLY),
    "58": ("cannot read or write: its disk fails", "check the server's disk and its log"),
    "XX001": ("is damaged", "restore the newest backup; see: Backups in docs/operations.md"),
    "XX002": ("has a damaged index", "REINDEX DATABASE, and check the server's disk"),
    "PGBOUNCER": ("takes no start-up options", _PGBOUNCER),
    "SQLITE_CANTOPEN": ("cannot be opened", "check that the directory exists and may be written"),
    "SQLITE_FULL": ("is full: no disk space", "make room on the disk"),
    "SQLITE_READONLY": ("may not be written", "check the owner and the rights of the file"),
    "SQLITE_NOTADB": ("is not a SQLite database", "check the path in DATABASE_URL"),
    "SQLITE_CORRUPT": ("is damaged", "restore the newest backup"),
    "SQLITE_IOERR": ("cannot be read or written: the disk fails", "check the disk"),
    "SQLITE_PERM": ("may not be opened", "check the owner and the rights of the file"),
    "SQLITE_AUTH": ("may not be opened", "check the owner and the rights of the file"),
}

#: After these a connection is of no more use: the next one may reach another server, or the same one when it
#: is well again.
_NEXT_CONNECTION = ("08", "25006", "25P03", "25P04", "55000", "57P")

#: libpq gives no SQLSTATE while connecting; its English text is all there is. PgBouncer's own refusals have
#: the code of a broken protocol.
_CONNECTING: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("too many connections", "53300"),
    ("too many clients", "53300"),
    ("connection slots are reserved", "53300"),
    ("no more connections allowed", "53300"),
    ("unsupported startup parameter", "PGBOUNCER"),
    ("starting up", "57P03"),
    ("not yet accepting connections", "57P03"),
    ("in recovery mode", "57P02"),
    ("shutting down", "57P01"),
    ("administrator command", "57P01"),
    ("not currently accepting connections", "57P01"),
    ('role "', "28000"),
    ('database "', "3D000"),
    ("no such database", "3D000"),
    # of several hosts one is often a standby, which is not the reason
    ("session is read-only", "25006"),
    ("in hot standby mode", "25006"),
)


def translate(
    error: SQLAlchemyError, where: str, *, reads: bool = False, pooled: bool = False
) -> PaymentError | None:
    """Return the domain error for a driver's; ``None`` for a violated constraint of ours or a bug.

    :param where: the database as :func:`procomp_pay.storage.database.urls.describe` describes it.
    :param reads: in a transaction that we began as read-only: writing in it is a bug of ours.
    :param pooled: PgBouncer is in between, which answers nothing while none of its connections is free.
    """
    if isinstance(error, PoolTimeout):
        return DatabaseBusy(f"{_start(where)} is busy: no connection came free", retry_after=5)
    if not isinstance(error, DBAPIError):
        return None
    code, message = _code(error.orig), str(error.orig)
    if reads and _is_our_write(error.orig):
        return None
    if getattr(getattr(error.orig, "diag", None), "constraint_name", None) == _CHAIN:
        return _busy(_start(where))
    if code in ("23502", "SQLITE_CONSTRAINT_NOTNULL"):
        return _missing_value(error.orig, message)
    return _by_code(error, code, message, _start(where), pooled=pooled)


def _missing_value(error: BaseException | None, message: str) -> Refused | None:
    """Return the refusal of a row of the platform that lacks a value for a column of its own."""
    from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES

    table, _, column = message.rpartition(" ")[2].partition(".")  # SQLite names them at the end
    diagnosis = getattr(error, "diag", None)
    if diagnosis is not None:
        table, column = str(diagnosis.table_name), str(diagnosis.column_name)
    theirs = {METADATA.tables[name].name: METADATA.tables[name].columns for name in PLATFORM_TABLES}
    ours = {each.name: each.key for each in theirs.get(table, ())}
    # a participant may have no user
    if table not in theirs or ours.get(column, "userId") != "userId":
        return None
    return Refused(
        f'The platform\'s table "{table}" requires a value for "{column}", which procomp-pay does not have',
        next_step="add it in the platform, or let the platform give the column a default",
    )


def is_refusal(error: BaseException | None, *, reads: bool) -> bool:
    """Return whether the connection on which a driver's error was met is of no more use.

    :param reads: as in :func:`translate`.
    """
    return _code(error).startswith(_NEXT_CONNECTION) and not (reads and _is_our_write(error))


def _is_our_write(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == "25006"  # libpq, while connecting, gives none


def _by_code(error: DBAPIError, code: str, message: str, start: str, *, pooled: bool) -> PaymentError | None:
    if code in _BUSY:
        return _busy(start)
    if code in ("23505", "SQLITE_CONSTRAINT_UNIQUE") and re.search(_PROVIDER_REF, message):
        return OutcomeUnknown(N_("The gateway's answer is about another payment"))
    if code == "42P01" or "no such table" in message:
        return NoTables(f"{start} has no tables of procomp-pay yet", next_step=_UPGRADE)
    for known in (code, code[:3], code[:2]):
        if known in _REASONS:
            reason, next_step = _REASONS[known]
            return DatabaseUnavailable(f"{start} {reason}", next_step=next_step)
    if _is_lost(error, code):
        why = _why(message)
        next_step = _SMALL_POOL if pooled and why == _NO_ANSWER else _CHECK_URL
        return DatabaseUnavailable(f"{start} does not answer: {why}", next_step=next_step)
    return None


def _busy(start: str) -> DatabaseBusy:
    return DatabaseBusy(f"{start} was busy with another change", next_step="try again", retry_after=1)


def _start(where: str) -> str:
    return where[:1].upper() + where[1:]


def _code(error: BaseException | None) -> str:
    """Return PostgreSQL's SQLSTATE or SQLite's result code; empty if the driver gives none."""
    message = str(error)
    state = str(getattr(error, "sqlstate", None) or "")
    if state == "55000" and "recover" not in message and "accepting connections" not in message:
        return ""  # an object in a state that we did not expect
    if state and state != "08P01":
        return state
    name = str(getattr(error, "sqlite_errorname", None) or "")
    for code in _REASONS:
        if code.startswith("SQLITE_") and name.startswith(code):
            return code  # SQLITE_IOERR_WRITE is a kind of SQLITE_IOERR
    return name or next((code for text, code in _CONNECTING if text in message), state)


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
        ("timeout", _NO_ANSWER),
        ("resolve", "the host name is not known"),
        ("translate host", "the host name is not known"),
        ("ssl", "the encrypted connection failed"),
        ("certificate", "the encrypted connection failed"),
        ("invalid", "DATABASE_URL has a part that PostgreSQL does not know"),
    ):
        if text in lower:
            return reason
    return "the connection failed"
