"""PostgreSQL that hangs or refuses: no exchange without an end, no refusing connection used again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import errors as postgres
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import select, text, update

from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.database import postgresql
from procomp_pay.storage.database.errors import DatabaseBusy, is_refusal, translate
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Payment
from tests.support.silent_proxy import SilentProxy


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[SilentProxy]:
    directory = parse_qs(urlsplit(postgres_url).query)["host"][0]
    async with SilentProxy(next(Path(directory).glob(".s.PGSQL.*[0-9]"))).running() as running:
        yield running


@pytest.fixture
async def db(
    proxy: SilentProxy, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PaymentDatabaseService]:
    """A database behind the proxy, whose statements have 0.3 s and exchanges 0.8 s."""
    monkeypatch.setattr(postgresql, "GRACE_S", 0.5)
    monkeypatch.setattr(postgresql, "PING_S", 0.5)
    name = urlsplit(postgres_url).path
    service = PaymentDatabaseService(
        f"postgresql://postgres@127.0.0.1:{proxy.port}{name}?statement_timeout=300&connect_timeout=2"
    )
    yield service
    await service.dispose()


async def count(db: PaymentDatabaseService) -> int:
    async with db.reading() as session:
        return len((await session.exec(select(Payment))).all())


@contextlib.contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


@pytest.mark.parametrize("moment", ["statement", "commit", "begin"])
async def test_a_server_that_falls_silent_is_left_in_time(
    db: PaymentDatabaseService, proxy: SilentProxy, moment: str
) -> None:
    await count(db)
    with ends_within(60), pytest.raises(DatabaseUnavailable, match="no answer in time"):  # noqa: PT012
        if moment == "begin":
            proxy.go_silent()
        async with db.writing() as session:
            await session.exec(select(Payment))
            proxy.go_silent()
            if moment == "statement":
                await session.exec(select(Payment))
            else:
                await session.exec(text("SELECT 1")) if moment == "begin" else None
    proxy.speak()
    assert await count(db) == 0, "by a new connection"
    assert proxy.connections == 2


async def test_every_other_connection_of_the_pool_is_given_up_as_well(
    db: PaymentDatabaseService, proxy: SilentProxy
) -> None:
    both = asyncio.Barrier(3)

    async def read() -> None:
        async with db.reading() as session:
            await session.exec(select(Payment))
            await both.wait()

    await asyncio.gather(read(), read(), read())
    assert proxy.connections == 3
    proxy.go_silent()
    with pytest.raises(DatabaseUnavailable):
        await count(db)
    proxy.speak()
    assert await count(db) == 0
    assert proxy.connections == 4, "a new one: none of the other two is used again"


async def test_an_idle_connection_that_does_not_answer_a_ping_is_replaced(
    db: PaymentDatabaseService, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "STALE_S", 0.0)
    await count(db)
    proxy.go_silent()
    asyncio.get_running_loop().call_later(0.3, proxy.speak)
    assert await count(db) == 0
    assert proxy.connections == 2


async def test_cancelled_work_does_not_wait_for_a_silent_server(
    db: PaymentDatabaseService, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_CANCEL_S", 0.2)
    await count(db)
    proxy.go_silent()
    task = asyncio.create_task(count(db))
    await asyncio.sleep(0.2)
    with ends_within(60):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_statement_that_may_take_long_is_not_cut(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "GRACE_S", 0.2)
    monkeypatch.setattr(postgresql, "SERVING_STATEMENT_MS", 100)
    for url, serving in ((f"{postgres_url}&statement_timeout=0", True), (postgres_url, False)):
        service = PaymentDatabaseService(url, serving=serving)
        async with service.reading() as session:
            await session.exec(text("SELECT pg_sleep(0.6)"))
        await service.dispose()
    service = PaymentDatabaseService(postgres_url, serving=True)
    with pytest.raises(DatabaseUnavailable, match="took too long"):
        async with service.reading() as session:
            await session.exec(text("SELECT pg_sleep(10)"))
    await service.dispose()


@pytest.mark.parametrize(
    ("kind", "message", "says", "is_left"),
    [
        (
            postgres.ReadOnlySqlTransaction,
            "cannot execute UPDATE in a read-only transaction",
            "read-only",
            True,
        ),
        (postgres.ObjectNotInPrerequisiteState, "recovery is in progress", "standby", True),
        (postgres.AdminShutdown, "terminating connection", "shutting down", True),
        (postgres.CrashShutdown, "terminating connection", "crashed", True),
        (postgres.CannotConnectNow, "the database system is starting up", "starting up", True),
        (postgres.DatabaseDropped, "terminating connection", "ended the connection", True),
        (postgres.IdleSessionTimeout, "terminating connection", "ended the connection", True),
        (postgres.IdleInTransactionSessionTimeout, "terminating", "idle for too long", True),
        (postgres.ConnectionException, "lost", "does not answer", True),
        (postgres.ConnectionFailure, "lost", "does not answer", True),
        (postgres.SqlserverRejectedEstablishmentOfSqlconnection, "no", "does not answer", True),
        (postgres.ProtocolViolation, "query_wait_timeout", "does not answer", True),
        (postgres.ProtocolViolation, "no more connections allowed", "no free connection", False),
        (postgres.InsufficientResources, "no", "short of resources", False),
        (postgres.DiskFull, "No space left on device", "out of disk space", False),
        (postgres.OutOfMemory, "no", "out of memory", False),
        (postgres.TooManyConnections, "sorry, too many clients already", "no free connection", False),
        (postgres.ConfigurationLimitExceeded, "temp_file_limit", "short of resources", False),
        (postgres.QueryCanceled, "due to statement timeout", "took too long", False),
        (postgres.InvalidSqlStatementName, "does not exist", "prepared statement", False),
        (postgres.DuplicatePreparedStatement, "already exists", "prepared statement", False),
        (postgres.InvalidAuthorizationSpecification, "no", "refuses the user", False),
        (postgres.InvalidPassword, "no", "user name or password", False),
        (postgres.InvalidCatalogName, "no", "does not exist", False),
        (postgres.InvalidSchemaName, "no", "schema", False),
        (postgres.InsufficientPrivilege, "no", "does not let", False),
        (postgres.IoError, "could not read block", "disk fails", False),
        (postgres.UndefinedFile, "could not open file", "disk fails", False),
        (postgres.DataCorrupted, "invalid page", "damaged", False),
        (postgres.IndexCorrupted, "invalid page", "damaged", False),
        (None, "FATAL:  remaining connection slots are reserved for roles", "no free connection", False),
        (None, "FATAL:  sorry, too many clients already", "no free connection", False),
        (None, 'FATAL:  too many connections for role "pay"', "no free connection", False),
        (None, "FATAL:  the database system is starting up", "starting up", True),
        (None, "FATAL:  the database system is not yet accepting connections", "starting up", True),
        (None, "FATAL:  the database system is in recovery mode", "coming back", True),
        (None, "FATAL:  the database system is shutting down", "shutting down", True),
        (None, 'FATAL:  database "pay" is not currently accepting connections', "shutting down", True),
        (None, "session is read-only", "read-only", True),
        (None, "server is in hot standby mode", "read-only", True),
        (None, "FATAL:  unsupported startup parameter: options", "start-up options", False),
        (None, "server closed the connection unexpectedly", "does not answer", False),
    ],
)
def test_classes_of_refusal(kind: type[psycopg.Error] | None, message: str, says: str, is_left: bool) -> None:
    error = (kind or psycopg.OperationalError)(message)  # libpq names no class while connecting
    translated = translate(OperationalError("SELECT 1", {}, error), "the database pay")
    assert translated is not None
    assert (translated.http_status, translated.exit_code) == (503, 5)
    assert says in translated.message
    assert translated.next_step
    assert is_refusal(error, reads=False) is is_left


@pytest.mark.parametrize("message", ["query_wait_timeout", "timeout: no answer within 65 s"])
def test_behind_pgbouncer_no_answer_may_be_a_small_pool(message: str) -> None:
    error = OperationalError("BEGIN", {}, postgres.ConnectionException(message))
    steps = [translate(error, "the database pay", pooled=pooled) for pooled in (False, True)]
    assert ["five connections" in str(each and each.next_step) for each in steps] == [False, True]


def test_what_is_no_refusal() -> None:
    bugs = (
        postgres.UniqueViolation("x"),
        postgres.SyntaxError("x"),
        postgres.UndefinedColumn("x"),
        postgres.ObjectNotInPrerequisiteState("currval of sequence is not yet defined"),
    )
    for bug in bugs:
        assert translate(DBAPIError("SELECT 1", {}, bug), "the database") is None
        assert not is_refusal(bug, reads=False)
    writes = postgres.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction")
    assert translate(DBAPIError("UPDATE", {}, writes), "the database", reads=True) is None, "a bug of ours"
    while_connecting = OperationalError("", {}, psycopg.OperationalError("session is read-only"))
    assert translate(while_connecting, "the database", reads=True) is not None
    assert isinstance(translate(DBAPIError("", {}, postgres.SerializationFailure("x")), "x"), DatabaseBusy)


@pytest.mark.parametrize("change", ["read-only", "terminated"])
async def test_a_node_that_refuses_is_left_and_sought_again(postgres_url: str, change: str) -> None:
    """Two pooled connections; the first refusal has both replaced."""
    name = urlsplit(postgres_url).path[1:]
    service = PaymentDatabaseService(postgres_url)
    both = asyncio.Barrier(2)

    async def backend() -> int:
        async with service.reading() as session:
            pid: int = (await session.exec(text("SELECT pg_backend_pid()"))).scalar_one()
            await both.wait()
            return pid

    async def write() -> None:
        async with service.writing() as session:
            await session.exec(update(Payment).values(status=PaymentStatus.FAILED))

    before = set(await asyncio.gather(backend(), backend()))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        if change == "terminated":
            admin.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [list(before)])
        else:
            admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
            await service.dispose()
        with pytest.raises(DatabaseUnavailable) as caught:
            await write()
        assert caught.value.exit_code == 5
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
    await write()
    assert not before & set(await asyncio.gather(backend(), backend()))
    await service.dispose()
