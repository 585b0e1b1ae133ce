"""Set PostgreSQL's connections up for money: none hangs, none that refuses is used again.

The server ends a statement after its ``statement_timeout``; a server that is frozen, or behind a network that
swallows every packet, ends nothing. So each exchange with it (one statement, one COMMIT) has a limit here as
well. After it the connection is closed, whatever it was doing, and new ones are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import waiting
from psycopg.errors import _WaitTimeout
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from procomp_pay.storage.database import urls
from procomp_pay.storage.database.connection_queue import CONNECTIONS
from procomp_pay.storage.database.errors import is_refusal
from procomp_pay.storage.models.types import EXACT_JSON_ENGINE

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

#: The server's ``statement_timeout`` while clients wait for an answer, in milliseconds.
SERVING_STATEMENT_MS = 15_000
#: How much longer than the server's ``statement_timeout`` an exchange may take, in seconds.
GRACE_S = 5.0
#: The longest exchange where the server has no limit, in seconds: a comparison of millions of rows.
LONGEST_S = 3600.0
#: A pooled connection that was idle for longer (seconds) is pinged before it is used, and answers in time.
STALE_S, PING_S = 5.0, 3.0
#: How long the server may take to hear that a statement is cancelled, in seconds.
_CANCEL_S = 1.0


class Unanswered(psycopg.OperationalError):
    """The server gave no answer in time; whether a COMMIT took effect is unknown."""


class LimitedConnection(psycopg.AsyncConnection[Any]):
    """A connection each of whose exchanges ends in time, and which is closed if it does not."""

    #: Seconds.
    limit_s = LONGEST_S

    async def wait(
        self,
        gen: Any,
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the overridden method's signature
    ) -> Any:
        """Exchange messages with the server: every statement, COMMIT and chunk of a COPY comes through here.

        :raises Unanswered: there was no answer in time.
        """
        limit_s = self.limit_s if timeout is None else timeout
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=limit_s)
        except _WaitTimeout:
            self.pgconn.finish()
            raise Unanswered(f"timeout: no answer within {limit_s:.0f} s") from None
        except asyncio.CancelledError:
            # the pool does not take it back; the server must not go on with the statement and its locks
            try:
                with contextlib.suppress(psycopg.Error):
                    if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        await self.cancel_safe(timeout=_CANCEL_S)
            finally:
                self.pgconn.finish()
            raise


def make_engine(url: URL, *, serving: bool) -> AsyncEngine:
    """Return the engine of a PostgreSQL database.

    :param serving: clients wait for the answers: statements have 15 s instead of a minute.
    """
    how = urls.postgresql_connection(url, statement_ms=SERVING_STATEMENT_MS if serving else None)
    limit_s = LONGEST_S if how.statement_s is None else how.statement_s + GRACE_S

    async def connect(*positional: Any, **named: Any) -> LimitedConnection:
        connection = await LimitedConnection.connect(*positional, **named)
        connection.limit_s = limit_s
        return connection

    engine = create_async_engine(
        how.url,
        connect_args={**how.arguments, "async_creator_fn": connect},
        hide_parameters=True,  # an error's text shows no values
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS // 2,  # closed after use; nobody waits in the pool itself
        pool_recycle=1800,
        # the same few connections again and again: their statements are prepared and planned once
        pool_use_lifo=True,
        **EXACT_JSON_ENGINE,
    )
    set_up(engine.sync_engine, how)
    _ping_stale_connections(engine)
    return engine


def set_up(engine: Engine, how: urls.PostgresqlConnection) -> None:
    """Give each transaction its settings where no session keeps them, and throw away connections to a server
    that refuses: the next one may reach another, or the same one when it is well again."""
    if how.settings:
        calls = ", ".join(
            f"set_config({_quoted(name)}, {_quoted(v)}, true)" for name, v in how.settings.items()
        )

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT {calls}")

    @event.listens_for(engine, "handle_error")
    def _note_refusal(context: ExceptionContext) -> None:
        reads = context.connection is not None and context.connection.get_execution_options().get(
            "postgresql_readonly"
        )
        if is_refusal(context.original_exception, reads=bool(reads)):
            context.is_disconnect = True


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


def _ping_stale_connections(engine: AsyncEngine) -> None:
    """Ping idle connections as ``pool_pre_ping`` does, without its round trip for those in steady use."""
    pool = engine.sync_engine.pool

    @event.listens_for(pool, "checkin")
    def _note_use(_connection: Any, record: Any) -> None:
        record.info["since"] = time.monotonic()

    @event.listens_for(pool, "checkout")
    def _ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("since", time.monotonic()) < STALE_S:
            return
        dialect, driver = engine.sync_engine.dialect, connection.driver_connection
        limit_s, driver.limit_s = driver.limit_s, PING_S
        try:
            alive = dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            alive = False
        driver.limit_s = limit_s
        if not alive:
            raise InvalidatePoolError  # the pool makes new ones instead of it and the others of its time
