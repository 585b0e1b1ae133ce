"""Transactions, and what a person is told when the database cannot be used."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import col, select, update

from procomp_pay.domain.errors import ConfigurationError, DatabaseUnavailable
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.database import postgresql, sqlite, urls
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.retry import retrying
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.refunds import Refund
from tests.support.patience import wait_until
from tests.support.postgres import PostgresServer
from tests.support.rows import NOW, a_detail, a_payment

END_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'procomp-pay'"


async def status_of(db: PaymentDatabaseService) -> PaymentStatus:
    async with db.reading() as session:
        return (await session.get_one(Payment, "pay1")).status


async def test_a_context_block_is_one_transaction(filled: PaymentDatabaseService) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with filled.writing() as session:
            payment = await session.get_one(Payment, "pay1")
            payment.status = PaymentStatus.COMPLETED
            await session.flush()
            raise RuntimeError("half way")
    assert await status_of(filled) is PaymentStatus.PENDING
    async with filled.writing() as session:
        payment = await session.get_one(Payment, "pay1")
        payment.status = PaymentStatus.COMPLETED
    assert await status_of(filled) is PaymentStatus.COMPLETED
    assert payment.status is PaymentStatus.COMPLETED  # usable after the block


async def test_reading_cannot_write(filled: PaymentDatabaseService) -> None:
    for _ in range(2):
        with pytest.raises((DBAPIError, DatabaseUnavailable)):
            async with filled.reading() as session:
                await session.exec(update(Payment).values(status=PaymentStatus.FAILED))
        async with filled.writing() as session:  # the same pooled connection can write again
            await session.exec(update(Payment).values(failure_reason="x"))
    assert await status_of(filled) is PaymentStatus.PENDING


async def test_cancelled_work_is_rolled_back(filled: PaymentDatabaseService) -> None:
    changed = asyncio.Event()

    async def work() -> None:
        async with filled.writing() as session:
            await session.exec(update(Payment).values(status=PaymentStatus.FAILED))
            changed.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await status_of(filled) is PaymentStatus.PENDING
    async with filled.writing() as session:
        await session.exec(update(Payment).values(failure_reason="x"))


async def test_writers_at_once_lose_nothing(filled: PaymentDatabaseService, database_url: str) -> None:
    """Two services, as two processes would have; each change reads first."""
    other = PaymentDatabaseService(database_url)

    async def add(service: PaymentDatabaseService) -> None:
        async with service.writing() as session:
            row = (await session.exec(select(PaymentDetail).with_for_update())).one()
            await asyncio.sleep(0.002)
            row.refunded_amount += Decimal("1.00")

    await asyncio.gather(*(add(service) for _ in range(10) for service in (filled, other)))
    await other.dispose()
    async with filled.reading() as session:
        assert (await session.get_one(PaymentDetail, "pay1")).refunded_amount == Decimal("20.00")


async def test_a_writer_does_not_block_readers(filled: PaymentDatabaseService) -> None:
    async with filled.writing() as session:
        await session.exec(update(Payment).values(status=PaymentStatus.FAILED))
        assert await status_of(filled) is PaymentStatus.PENDING


async def test_waiting_too_long_for_a_lock_raises_database_busy(
    filled: PaymentDatabaseService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setitem(sqlite.CONNECT_ARGUMENTS, "timeout", 0.05)
    monkeypatch.setitem(urls._SESSION, "lock_timeout", "50")
    other = PaymentDatabaseService(database_url)
    change = update(Payment).values(status=PaymentStatus.FAILED)
    async with filled.writing() as session:
        await session.exec(change)
        with pytest.raises(DatabaseBusy) as caught:
            async with other.writing() as second:
                await second.exec(change)
        assert caught.value.retry_after == 1
        if filled.is_sqlite():
            with pytest.raises(DatabaseBusy):
                async with filled.writing():
                    pass
    await other.dispose()


async def test_a_deadlock_is_retried(postgres_url: str) -> None:
    """Two rows locked in opposite orders: PostgreSQL ends one, and running it again works."""
    service = PaymentDatabaseService(postgres_url)
    async with service.writing() as session:
        await session.exec(text("CREATE TABLE n (id int PRIMARY KEY, v int NOT NULL)"))
        await session.exec(text("INSERT INTO n VALUES (1, 0), (2, 0)"))
    runs = 0
    both = asyncio.Barrier(2)

    async def work(first: int, second: int) -> None:
        nonlocal runs
        runs += 1
        async with service.writing() as session:
            await session.exec(text(f"UPDATE n SET v = v + 1 WHERE id = {first}"))
            if runs <= 2:
                await both.wait()
            await session.exec(text(f"UPDATE n SET v = v + 1 WHERE id = {second}"))

    await asyncio.gather(retrying(lambda: work(1, 2)), retrying(lambda: work(2, 1)))
    async with service.reading() as session:
        assert (await session.exec(text("SELECT v FROM n"))).all() == [(2,), (2,)]
    assert runs == 3
    await service.dispose()


async def test_retrying_gives_up() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        raise DatabaseBusy("busy")

    with pytest.raises(DatabaseBusy):
        await retrying(work, attempts=3)
    assert runs == 3


@pytest.mark.parametrize(
    "change",
    [
        {"refunded_amount": Decimal("24000.01")},
        {"refunded_amount": Decimal("-0.01")},
        {"charged_amount": Decimal("0.00"), "refunded_amount": Decimal("0.00")},
        {"payment_id": "unknown"},
    ],
    ids=["more than charged", "negative", "nothing charged", "no such payment"],
)
async def test_check_constraints_reject_invalid_rows(
    filled: PaymentDatabaseService, change: dict[str, object]
) -> None:
    with pytest.raises(IntegrityError):
        async with filled.writing() as session:
            await session.exec(update(PaymentDetail).values(**change))


async def test_unknown_enum_values_violate_the_checks(filled: PaymentDatabaseService) -> None:
    for table, column in (("pay_payment_detail", "channel"), ("pay_payment_detail", "charged_currency")):
        with pytest.raises(IntegrityError):
            async with filled.writing() as session:
                await session.exec(text(f"UPDATE {table} SET {column} = 'other'"))
    with pytest.raises(DBAPIError):
        async with filled.writing() as session:
            await session.exec(text("UPDATE \"Payment\" SET status = 'other'"))


async def test_a_payment_settles_one_participant(filled: PaymentDatabaseService) -> None:
    async with filled.writing() as session:
        session.add(a_payment("pay2"))
        (await session.get_one(Participant, "p1")).payment_id = "pay1"
        await session.flush()
        session.add(a_detail("pay2", provider_ref=None))
    second = Participant(
        id="p2",
        user_id="u1",
        tournament_id="t1",
        full_name="B",
        payment_id="pay1",
        created_at=NOW,
        updated_at=NOW,
    )
    with pytest.raises(IntegrityError):
        async with filled.writing() as session:
            session.add(second)


async def test_a_payment_with_detail_cannot_be_deleted(filled: PaymentDatabaseService) -> None:
    with pytest.raises(IntegrityError):
        async with filled.writing() as session:
            await session.delete(await session.get_one(Payment, "pay1"))


async def test_a_refund_of_zero_is_rejected(filled: PaymentDatabaseService) -> None:
    refund = Refund(
        id="r1",
        payment_id="pay1",
        amount=Decimal("0.00"),
        currency="KZT",
        reason="",
        requested_by="desk",
        created_at=NOW,
        updated_at=NOW,
    )
    with pytest.raises(IntegrityError):
        async with filled.writing() as session:
            session.add(refund)


async def test_audit_entry_ids_are_generated(filled: PaymentDatabaseService) -> None:
    def entry(seq: int) -> AuditEntry:
        return AuditEntry(
            payment_id="pay1",
            seq=seq,
            at=NOW,
            actor="desk",
            source="person",
            action="a",
            prev_hash="",
            hash="h",
        )

    async with filled.writing() as session:
        session.add(entry(1))
        await session.flush()
        session.add(entry(2))
    async with filled.reading() as session:
        assert (await session.exec(select(AuditEntry.id).order_by(col(AuditEntry.id)))).all() == [1, 2]
    # on PostgreSQL two transactions can append to one chain at a time; the later one begins again
    with pytest.raises(IntegrityError if filled.is_sqlite() else DatabaseBusy):
        async with filled.writing() as session:
            session.add(entry(2))


async def refused(url: str) -> DatabaseUnavailable:
    """The error of the first statement."""
    service = PaymentDatabaseService(url)
    try:
        with pytest.raises(DatabaseUnavailable) as caught:
            async with service.writing() as session:
                await session.exec(select(Payment))
    finally:
        await service.dispose()
    assert caught.value.next_step
    assert caught.value.exit_code == 5
    shown = f"{caught.value} {caught.value.next_step}"
    assert "geheim" not in shown
    assert "(Background on this error" not in shown
    return caught.value


async def test_an_absent_server() -> None:
    error = await refused("postgresql://me:geheim@127.0.0.1:9/procomp")
    assert "does not answer: nothing listens there" in error.message
    assert "procomp on 127.0.0.1:9" in error.message


async def test_an_unknown_host() -> None:
    assert "does not answer" in (await refused("postgres://me:geheim@no-such-host.invalid/procomp")).message


async def test_a_database_that_does_not_exist(postgres_server: PostgresServer) -> None:
    assert "does not exist" in (await refused(postgres_server.url("nowhere"))).message


async def test_an_unknown_role(postgres_server: PostgresServer) -> None:
    url = postgres_server.url("postgres").replace("//postgres:", "//nobody:geheim", 1)
    assert "refuses the user" in (await refused(url)).message


def _is_refused(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


async def test_a_wrong_password(postgres_url: str, postgres_server: PostgresServer) -> None:
    """The server of the tests trusts everybody: put one rule before the others, and take it away again."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        rules = Path(hba).read_text()
        connection.execute("CREATE ROLE clerk LOGIN PASSWORD 'right'")
        try:
            Path(hba).write_text(f"local all clerk scram-sha-256\n{rules}")
            connection.execute("SELECT pg_reload_conf()")
            url = postgres_url.replace("//postgres:", "//clerk:geheim", 1)
            await wait_until(lambda: _is_refused(url))  # the server reads its rules in its own time
            error = await refused(url)
            assert "refuses the user name or password" in error.message
        finally:
            Path(hba).write_text(rules)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DROP ROLE clerk")


async def test_missing_tables(empty_database_url: str) -> None:
    error = await refused(empty_database_url)
    assert "has no tables" in error.message
    assert error.next_step == "procomp-pay db upgrade"


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and longer than a header of one hundred bytes" * 9)
    assert "is not a SQLite database" in (await refused(f"sqlite:///{path}")).message


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened" in (await refused(f"sqlite:///{tmp_path / 'file' / 'pay.sqlite3'}")).message
    assert (
        "cannot be created: File name too long"
        in (await refused(f"sqlite:///{tmp_path / ('n' * 300)}")).message
    )
    assert "cannot be opened" in (await refused(f"sqlite:///{tmp_path}")).message


@pytest.mark.parametrize("spoil", ["directory", "text", "cancelled"])
def test_a_short_command_ends_without_a_traceback(
    sqlite_url: str, spoil: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The loop ends right after the failure; the driver's thread must not outlive it."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    if spoil == "directory":
        path.unlink()
        path.mkdir()
    elif spoil == "text":
        path.write_text("not a database, and longer than a header of one hundred bytes" * 9)

    async def command() -> None:
        service = PaymentDatabaseService(sqlite_url)
        try:
            async with service.writing() as session:
                await session.exec(select(Payment))
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
                while True:
                    await session.exec(select(Payment))
        finally:
            await service.dispose()

    for _ in range(20):
        with pytest.raises((DatabaseUnavailable, asyncio.CancelledError)):
            asyncio.run(command())
    assert capfd.readouterr().err == ""


async def test_a_disk_that_is_full(sqlite_url: str) -> None:
    service = PaymentDatabaseService(sqlite_url)
    with pytest.raises(DatabaseUnavailable, match="is full"):  # noqa: PT012
        async with service.writing() as session:
            await session.exec(text("PRAGMA max_page_count=1"))
            for number in range(2000):
                await session.exec(
                    text(f"INSERT INTO \"User\" VALUES ('{number}', 'e{number}', 'n', 'USER')")
                )
    await service.dispose()


async def test_a_connection_that_died_is_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "STALE_S", 0.0)
    service = PaymentDatabaseService(postgres_url)
    async with service.reading() as session:
        await session.exec(select(Payment))
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(END_OURS)
    async with service.reading() as session:
        assert (await session.exec(select(Payment))).all() == []
    await service.dispose()


async def test_a_connection_lost_half_way(postgres_url: str) -> None:
    service = PaymentDatabaseService(postgres_url)
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012
        async with service.writing() as session:
            await session.exec(select(Payment))
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute(END_OURS)
            await session.exec(select(Payment))
    await service.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "geheim",
        "mysql://me:geheim@h/d",
        "postgresql+asyncpg://me:geheim@h/d",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PaymentDatabaseService(url)
    assert "geheim" not in str(caught.value)
    assert "DATABASE_URL" in str(caught.value.next_step)


async def test_a_url_as_prisma_writes_it(postgres_url: str) -> None:
    service = PaymentDatabaseService(f"{postgres_url}&schema=public&connection_limit=5&pool_timeout=3")
    async with service.reading() as session:
        assert (await session.exec(select(Payment))).all() == []
    await service.dispose()


async def test_a_url_with_another_schema(empty_postgres_url: str) -> None:
    from procomp_pay.storage.database import migrate

    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "pro comp"')
    url = f"{empty_postgres_url}&schema=pro%20comp"
    migrate.upgrade(url)
    with psycopg.connect(empty_postgres_url) as connection:
        schemas = connection.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'pay_%'")
        assert schemas.fetchall() == [("pro comp",)]


async def test_a_pgbouncer_url(postgres_url: str) -> None:
    service = PaymentDatabaseService(f"{postgres_url}&pgbouncer=true")
    async with service.reading() as session:
        assert (await session.exec(select(Payment))).all() == []
    await service.dispose()


async def test_postgresql_session_settings(postgres_url: str) -> None:
    service = PaymentDatabaseService(postgres_url)
    async with service.writing() as session:
        for name, wanted in (
            ("timezone", "UTC"),
            ("statement_timeout", "1min"),
            ("lock_timeout", "10s"),
            ("transaction_isolation", "read committed"),
            ("application_name", "procomp-pay"),
        ):
            assert (await session.exec(text(f"SHOW {name}"))).scalar_one() == wanted
    await service.dispose()


async def test_sqlite_pragmas_for_durability(sqlite_url: str) -> None:
    service = PaymentDatabaseService(sqlite_url)
    async with service.writing() as session:
        for name, wanted in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 30000),
        ):
            assert (await session.exec(text(f"PRAGMA {name}"))).scalar_one() == wanted
    await service.dispose()


async def test_sqlite_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pay.sqlite3"
    before = os.umask(0)
    try:
        service = PaymentDatabaseService(f"sqlite:///{path}")
        async with service.writing() as session:
            await session.exec(text("CREATE TABLE t (x)"))
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        await service.dispose()
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


async def test_commits_are_seen_by_others(sqlite_url: str) -> None:
    service = PaymentDatabaseService(sqlite_url)
    async with service.writing() as session:
        await session.exec(text("INSERT INTO \"User\" VALUES ('u', 'e', 'n', 'USER')"))
    await service.dispose()
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert connection.execute('SELECT id FROM "User"').fetchall() == [("u",)]
    connection.close()
