"""``PaymentDatabaseService``: transactions on SQLite or PostgreSQL.

Transactions begin and end in services, by ``async with``; no helper commits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from weakref import WeakSet

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database import migrate, sqlite, urls
from procomp_pay.storage.database.connection_queue import ConnectionQueue
from procomp_pay.storage.database.errors import DatabaseBusy, translate
from procomp_pay.storage.models.types import EXACT_JSON_ENGINE


class PaymentDatabaseService:
    """Sessions on the payment database. The first one compares the revision of its tables with ours.

    ``reading()`` and ``writing()`` are async context managers; each is ONE transaction, committed when the
    block ends and rolled back when anything is raised in it. Objects stay usable after the block.

    Nothing is opened before the first statement.

    :param url: ``sqlite:///file``, ``postgresql://…`` or ``postgres://…``, also as Prisma writes it.
    :param serving: clients wait for answers: on PostgreSQL statements have 15 s instead of a minute.
    :raises ConfigurationError: another kind of URL.
    """

    def __init__(self, url: str, *, serving: bool = False) -> None:
        #: As it was given, with its password: for another process of ours.
        self.url = url
        self._url = urls.parse(url)
        self._threads: WeakSet[Thread] = WeakSet()
        self._engine = self._sqlite_engine() if self.is_sqlite() else self._postgresql_engine(serving)
        if self.is_sqlite():
            self._reader = self._selector = self._engine
            self._writer = self._inserter = self._engine.execution_options(**{sqlite.WRITES: True})
        else:
            self._reader = self._selector = self._engine.execution_options(postgresql_readonly=True)
            self._writer = self._inserter = self._engine
            if not self.is_pooled:  # behind PgBouncer a transaction's settings limit its statements
                self._selector = self._reader.execution_options(isolation_level="AUTOCOMMIT")
                self._inserter = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = asyncio.Lock()
        self._queue = None if self.is_sqlite() else ConnectionQueue()
        #: A SQLite file is brought to this version before it is used.
        self._is_checked = self.is_sqlite()

    def is_sqlite(self) -> bool:
        """Return whether the database is a SQLite file, which has one writer at a time."""
        return urls.is_sqlite(self._url)

    def describe(self) -> str:
        """Return the database's description for people, without user or password."""
        return urls.describe(self._url)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that cannot write.

        :raises ConfigurationError: the tables are of an older or newer procomp-pay.
        :raises DatabaseUnavailable: no connection, no tables, or similar.
        """
        async with self._transaction(self._reader) as session:
            yield session

    @asynccontextmanager
    async def selecting(self) -> AsyncIterator[AsyncSession]:
        """Open a session for a few SELECTs, each of which sees what is committed when it begins, as in
        :meth:`reading`. On PostgreSQL there is no transaction around them: where people wait, the round
        trips of BEGIN and COMMIT take longer than the SELECT.

        :raises ConfigurationError: the tables are of an older or newer procomp-pay.
        :raises DatabaseUnavailable: no connection, no tables, or similar.
        """
        async with self._transaction(self._selector) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that writes. On SQLite it is the only writer (``BEGIN IMMEDIATE``) and waits up
        to 30 s for others; on PostgreSQL it is READ COMMITTED and rows are locked by ``with_for_update()``.

        :raises ConfigurationError: the tables are of an older or newer procomp-pay.
        :raises DatabaseBusy: another transaction blocked it; nothing was written, run it again.
        :raises DatabaseUnavailable: no connection, no tables, or similar.
        """
        async with self._turn_to_write(), self._transaction(self._writer) as session:
            yield session

    @asynccontextmanager
    async def writing_rows(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for one statement that writes: without an ORM session, whose set-up takes longer,
        and on PostgreSQL without BEGIN and COMMIT: the statement is a transaction, committed when it returns.

        :raises ConfigurationError, DatabaseBusy, DatabaseUnavailable: as :meth:`writing`.
        """
        async with (
            self._turn_to_write(),
            self._connecting(self._writer),
            self._inserter.begin() as connection,
        ):
            yield connection

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        """On SQLite, let the tasks of this process take turns in order, instead of all trying to lock the
        file."""
        if not self.is_sqlite():
            yield
            return
        await self._wait_turn()
        try:
            yield
        finally:
            self._turn.release()

    async def _wait_turn(self) -> None:
        try:
            async with asyncio.timeout(sqlite.BUSY_TIMEOUT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseBusy(
                "Another change has locked the database", next_step="try again", retry_after=1
            ) from None

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
        async with (
            self._connecting(engine),
            AsyncSession(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def _connecting(self, engine: AsyncEngine) -> AsyncIterator[None]:
        """Keep one of the pool's connections for the block, and translate the errors of the database."""
        try:
            async with self._connection_of_its_own():
                if not self._is_checked:
                    await self._check_revision()
                yield
        except SQLAlchemyError as error:
            reads = engine is not self._writer
            translated = translate(error, self.describe(), reads=reads, pooled=self.is_pooled)
            if translated is None:
                raise
            raise translated from error

    @asynccontextmanager
    async def _connection_of_its_own(self) -> AsyncIterator[None]:
        """Wait until one of the pool's connections is free, and let nobody else have it meanwhile."""
        if self._queue is None:
            yield
            return
        await self._queue.take()
        try:
            yield
        finally:
            self._queue.give_back()

    async def _check_revision(self) -> None:
        """Compare, once in a process, in a transaction of its own: the caller's may set its isolation."""
        statement = f"SELECT version_num FROM {migrate.VERSION_TABLE}"  # noqa: S608 - ours
        async with self._reader.connect() as connection:
            migrate.check_revision((await connection.exec_driver_sql(statement)).scalar())
        self._is_checked = True

    def sqlite_path(self) -> Path | None:
        """Return the database's file; ``None`` on PostgreSQL."""
        return urls.sqlite_path(self._url) if self.is_sqlite() else None

    @property
    def is_pooled(self) -> bool:
        """Return whether PgBouncer is in between: no session lasts longer than a transaction."""
        return urls.is_pooled(self._url)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection that is not returned to the pool, in a transaction without time-outs that is
        rolled back at the end: for an advisory lock or temporary tables, which need one database session, and
        behind PgBouncer a session is a transaction.

        :raises DatabaseUnavailable: no connection.
        """
        try:
            async with self._connection_of_its_own(), self._engine.connect() as connection:
                try:
                    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                    yield connection
                finally:
                    with contextlib.suppress(SQLAlchemyError):  # a connection that was lost needs none
                        await connection.rollback()
                    await connection.invalidate()
        except SQLAlchemyError as error:
            translated = translate(error, self.describe(), pooled=self.is_pooled)
            if translated is None:
                raise
            raise translated from error

    async def dispose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
        await sqlite.finished(self._threads)

    def _sqlite_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self._url, connect_args=dict(sqlite.CONNECT_ARGUMENTS), hide_parameters=True, **EXACT_JSON_ENGINE
        )
        self._threads = sqlite.prepare(engine.sync_engine, urls.sqlite_path(self._url))
        return engine

    def _postgresql_engine(self, serving: bool) -> AsyncEngine:
        from procomp_pay.storage.database import postgresql  # a SQLite file needs no driver of PostgreSQL

        return postgresql.make_engine(self._url, serving=serving)
