"""Upgrade, check, downgrade and adoption, on both databases."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, inspect

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.schema import METADATA, PLATFORM_TABLES
from tests.support.patience import PATIENCE_S
from tests.support.postgres import create_platform_tables
from tests.support.processes import run_to_end
from tests.support.warm_processes import WarmProcess

ROOT = Path(__file__).parents[3]


def tables(url: str) -> set[str]:
    with migrate.exclusive(url) as connection:
        return set(inspect(connection).get_table_names())


def run_python(code: str, **environment: str) -> WarmProcess:
    return WarmProcess(
        (),
        code=code,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_upgrade_makes_all_tables(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    assert migrate.pending(empty_database_url) == [f"{n:04}" for n in range(1, int(migrate.HEAD) + 1)]
    migrate.upgrade(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.HEAD
    assert migrate.pending(empty_database_url) == []
    assert tables(empty_database_url) == {*METADATA.tables, "pay_alembic_version"}


def test_the_known_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(migrate._config()).get_heads() == [migrate.HEAD]


def test_alembic_runs_from_a_checkout(empty_database_url: str) -> None:
    """The commands that a developer types; ``check`` finds that models and migrations agree."""
    for command in ("upgrade head", "check", "current"):
        done = run_to_end(
            [sys.executable, "-m", "alembic", *command.split()],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": empty_database_url, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
    assert f"{migrate.HEAD} (head)" in done.stdout


def test_downgrade_leaves_the_platform_tables(database_url: str) -> None:
    migrate.downgrade(database_url)
    assert tables(database_url) == {*PLATFORM_TABLES, "pay_alembic_version"}
    migrate.upgrade(database_url)
    assert tables(database_url) == {*METADATA.tables, "pay_alembic_version"}


@pytest.fixture
def prisma_url(empty_postgres_url: str) -> str:
    """A platform database, with a table that is none of our business."""
    create_platform_tables(empty_postgres_url)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute('CREATE TABLE "Club" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3))')
        connection.execute("INSERT INTO \"User\" VALUES ('u1', 'a@example.kz', 'Aida', 'ADMIN')")
    return empty_postgres_url


def test_a_platform_database_is_adopted(prisma_url: str) -> None:
    migrate.upgrade(prisma_url)
    assert {"Club", *METADATA.tables} <= tables(prisma_url)
    migrate.downgrade(prisma_url)
    assert tables(prisma_url) == {"Club", "pay_alembic_version", *PLATFORM_TABLES}
    with psycopg.connect(prisma_url) as connection:
        assert connection.execute('SELECT role::text FROM "User"').fetchall() == [("ADMIN",)]


def test_an_adopted_database_passes_the_check(prisma_url: str) -> None:
    migrate.upgrade(prisma_url)
    done = run_python("from alembic.config import main; main(['check'])", DATABASE_URL=prisma_url)
    output, _ = done.communicate(timeout=PATIENCE_S)
    assert done.returncode == 0, output


def test_additional_platform_columns_are_accepted(prisma_url: str) -> None:
    with psycopg.connect(prisma_url) as connection:
        connection.execute('ALTER TABLE "User" ADD "passwordHash" TEXT')
        connection.execute('ALTER TABLE "Payment" ADD "note" TEXT')
        connection.execute('DROP INDEX "Payment_createdAt_id_idx"')
    migrate.upgrade(prisma_url)
    assert migrate.pending(prisma_url) == []


def test_additional_labels_are_accepted_and_named(prisma_url: str) -> None:
    with psycopg.connect(prisma_url, autocommit=True) as connection:
        connection.execute("ALTER TYPE \"PaymentStatus\" ADD VALUE 'HELD' BEFORE 'FAILED'")
        connection.execute("ALTER TYPE \"Currency\" ADD VALUE 'UZS'")
    migrate.upgrade(prisma_url)
    assert migrate.platform_notes(prisma_url).unknown_labels == {
        "Currency": ["UZS"],
        "PaymentStatus": ["HELD"],
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            'ALTER TABLE "Payment" ALTER amount TYPE DOUBLE PRECISION',
            '"Payment"."amount" is DOUBLE PRECISION',
        ),
        (
            'ALTER TABLE "Payment" ALTER "createdAt" TYPE TIMESTAMPTZ(0)',
            '"Payment"."createdAt" is TIMESTAMP(0) WITH',
        ),
        ('ALTER TABLE "Payment" RENAME "kaspiQrCode" TO qr', '"Payment"."kaspiQrCode" is missing'),
        ('ALTER TABLE "Payment" ADD "orderId" TEXT NOT NULL', '"Payment"."orderId" requires a value'),
        ('ALTER TABLE "Payment" ALTER method SET NOT NULL', '"Payment"."method" refuses NULL'),
        (
            "ALTER TYPE \"PaymentMethod\" RENAME VALUE 'KASPI_QR' TO 'KASPI'",
            "has the labels KASPI, APPLE_PAY, GOOGLE_PAY, and lacks KASPI_QR",
        ),
        ('DROP TABLE "Participant"', 'the table "Participant" is missing'),
    ],
)
def test_faults_of_a_platform_database_are_listed(prisma_url: str, change: str, named: str) -> None:
    with psycopg.connect(prisma_url) as connection:
        connection.execute(change.encode())
    before = tables(prisma_url)
    with pytest.raises(ConfigurationError) as caught:
        migrate.upgrade(prisma_url)
    assert named in caught.value.message
    assert tables(prisma_url) == before


@pytest.mark.parametrize(
    ("trace", "named", "step"),
    [
        (
            'CREATE TABLE "_prisma_migrations" (id TEXT)',
            'the table "public"."_prisma_migrations"',
            "run the platform's own migrations first",
        ),
        (
            "CREATE TYPE \"PaymentStatus\" AS ENUM ('PENDING')",
            'the enum "public"."PaymentStatus"',
            "run the platform's own migrations first",
        ),
        (
            'CREATE VIEW "Payment" AS SELECT 1 AS id',
            'the view "public"."Payment"',
            "run the platform's own migrations first",
        ),
        (
            'CREATE SCHEMA app; CREATE TABLE app."Participant" (id TEXT)',
            'the table "app"."Participant"',
            "name its schema in DATABASE_URL: ?schema=app",
        ),
    ],
)
def test_a_second_platform_is_never_made(empty_postgres_url: str, trace: str, named: str, step: str) -> None:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(trace.encode())
    with pytest.raises(ConfigurationError) as caught:
        migrate.upgrade(empty_postgres_url)
    assert named in caught.value.message
    assert step in str(caught.value.next_step)
    assert tables(empty_postgres_url).isdisjoint({"User", "pay_alembic_version", "pay_payment_detail"})


def test_tables_of_others_are_no_platform(empty_postgres_url: str) -> None:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(
            'CREATE SCHEMA forum; CREATE TABLE forum."User" (id TEXT); CREATE TABLE club (id TEXT)'
        )
    migrate.upgrade(empty_postgres_url)
    assert migrate.current(empty_postgres_url) == migrate.HEAD


def test_an_upgrade_does_not_wait_behind_a_long_transaction(
    prisma_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's queries would wait behind it: it gives up, tries again, and says whose lock it is."""
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 1)
    monkeypatch.setattr(migrate, "LOCK_TRIES", 2)
    monkeypatch.setattr(migrate, "LOCK_PAUSE_S", 0.1)
    with psycopg.connect(prisma_url, application_name="nightly export") as blocker:
        blocker.execute('LOCK TABLE "Payment" IN SHARE ROW EXCLUSIVE MODE')
        with pytest.raises(DatabaseBusy) as caught:
            migrate.upgrade(prisma_url)
        pid = blocker.info.backend_pid
        assert (
            f'process {pid} (postgres, nightly export), which has used "Payment" for' in caught.value.message
        )
        assert f"pg_terminate_backend({pid})" in str(caught.value.next_step)
        assert migrate.current(prisma_url) is None
    migrate.upgrade(prisma_url)


def test_an_upgrade_tries_again(prisma_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 1)
    blocker = psycopg.connect(prisma_url)
    blocker.execute('LOCK TABLE "Payment" IN SHARE ROW EXCLUSIVE MODE')
    pauses: list[float] = []

    def release(seconds: float) -> None:
        pauses.append(seconds)
        blocker.close()

    monkeypatch.setattr("procomp_pay.storage.database.migrate.time.sleep", release)
    migrate.upgrade(prisma_url)
    assert (pauses, migrate.current(prisma_url)) == ([migrate.LOCK_PAUSE_S], migrate.HEAD)


def test_no_index_is_built_while_the_platform_s_tables_are_locked(prisma_url: str) -> None:
    """A new table that refers to the platform's locks them until its transaction ends."""
    held = (
        "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE l.pid = pg_backend_pid() AND l.mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock')"
    )
    migrate.upgrade(prisma_url)
    migrate.downgrade(prisma_url, "0001")
    with psycopg.connect(prisma_url) as connection:
        old_tables = {name for (name,) in connection.execute("SELECT relname FROM pg_class")}
    locked: list[tuple[str, set[str]]] = []

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        scanned = re.search(
            r"CREATE (?:UNIQUE )?INDEX .* ON (\w+) |ALTER TABLE (\w+) ADD CONSTRAINT", statement
        )
        if scanned and (table := scanned[1] or scanned[2]) in old_tables:
            locked.append((table, {name for (name,) in cursor.connection.execute(held)} & PLATFORM_TABLES))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        migrate.upgrade(prisma_url)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(locked) > 5
    assert [(table, names) for table, names in locked if names] == []


@pytest.mark.parametrize("old", [None, "0005"])
def test_concurrent_upgrades(empty_database_url: str, old: str | None) -> None:
    """Real processes, held back until all are up."""
    if old is not None:
        migrate.upgrade(empty_database_url)
        migrate.downgrade(empty_database_url, old)
    code = (
        "import sys, os\n"
        "from procomp_pay.storage.database import migrate\n"
        "from procomp_pay.storage.models import schema\n"
        "import alembic.command\n"
        "migrate.upgrade(os.environ['URL'])\n"
    )
    running = [run_python(code, URL=empty_database_url) for _ in range(4)]
    for process in running:
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, output
    assert tables(empty_database_url) == {*METADATA.tables, "pay_alembic_version"}
    assert migrate.pending(empty_database_url) == []


def test_an_upgrade_that_is_killed(empty_database_url: str) -> None:
    """Kill it after ever more statements; each next one begins where a whole migration ended."""
    code = (
        "import os, signal\n"
        "from sqlalchemy import Engine, event\n"
        "from procomp_pay.storage.database import migrate\n"
        "left = [int(os.environ['STATEMENTS'])]\n"
        "def count(*_):\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "event.listen(Engine, 'after_cursor_execute', count)\n"
        "migrate.upgrade(os.environ['URL'])\n"
    )
    ends = []
    for statements in (10, 40, 90, 10_000):
        process = run_python(code, URL=empty_database_url, STATEMENTS=str(statements))
        output, _ = process.communicate(timeout=PATIENCE_S)
        ends.append(process.returncode)
    assert ends == [-signal.SIGKILL] * 3 + [0], output
    assert tables(empty_database_url) == {*METADATA.tables, "pay_alembic_version"}
    assert migrate.pending(empty_database_url) == []


def test_a_newer_database_is_rejected(database_url: str) -> None:
    with migrate.exclusive(database_url) as connection:
        connection.exec_driver_sql("UPDATE pay_alembic_version SET version_num = '9999'")
        connection.commit()
    calls: list[Callable[[str], object]] = [migrate.upgrade, migrate.pending]
    for call in calls:
        with pytest.raises(ConfigurationError, match="newer procomp-pay"):
            call(database_url)


async def test_a_failed_migration_leaves_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on SQLite: the tables come in one transaction."""
    monkeypatch.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        migrate.upgrade(empty_database_url)
    assert tables(empty_database_url) == set()


async def test_sqlite_is_migrated_at_first_use(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pay.sqlite3"
    url = f"sqlite:///{path}"
    migrate.ensure_sqlite(url)
    assert migrate.current(url) == migrate.HEAD
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    service = PaymentDatabaseService(url)
    async with service.writing():
        pass
    await service.dispose()


def test_another_program_s_sqlite_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT)")
        connection.commit()
    before, url = path.read_bytes(), f"sqlite:///{path}"
    calls: list[Callable[[str], object]] = [
        migrate.ensure_sqlite, migrate.upgrade, migrate.current, PaymentDatabaseService,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ConfigurationError, match="belongs to another program: it has the table orders"):
            call(url)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["shop.sqlite3"]


def test_a_sqlite_file_with_the_platform_s_tables_alone_is_taken(tmp_path: Path) -> None:
    """Also one that Prisma has opened and not yet given any table, and an empty one."""
    made = tmp_path / "made.sqlite3"
    migrate.ensure_sqlite(f"sqlite:///{made}")
    with closing(sqlite3.connect(made)) as connection:
        tables = [
            sql
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
            if name in ("User", "Tournament", "Participant", "Payment")
        ]
    assert len(tables) == 4
    prisma = "CREATE TABLE _prisma_migrations (id TEXT)"
    for number, statements in enumerate(([*tables, prisma], tables, [prisma], [])):
        path = tmp_path / f"{number}.sqlite3"
        path.touch()
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        migrate.ensure_sqlite(f"sqlite:///{path}")
        assert migrate.current(f"sqlite:///{path}") == migrate.HEAD


def test_the_common_path_imports_no_alembic(sqlite_url: str) -> None:
    code = (
        "import os, sys\n"
        "from procomp_pay.storage.database import migrate, service\n"
        "from procomp_pay.storage.encryption import keyring\n"
        "from procomp_pay.storage.models import payments, webhooks\n"
        "migrate.ensure_sqlite(os.environ['URL'])\n"
        "service.PaymentDatabaseService(os.environ['URL'])\n"
        "heavy = {'alembic', 'psycopg', 'cryptography', 'filelock', 'simplejson', 'tenacity',\n"
        "         'sqlalchemy.dialects.postgresql'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = run_to_end(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "URL": sqlite_url},
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_postgresql_is_not_set_up_by_itself(empty_postgres_url: str) -> None:
    migrate.ensure_sqlite(empty_postgres_url)
    assert migrate.current(empty_postgres_url) is None


def test_alembic_migrates_the_database_that_the_commands_use(tmp_path: Path) -> None:
    """Without DATABASE_URL it is the one in PROCOMP_HOME, for a bare ``alembic`` too."""
    env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = run_to_end(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT), "PROCOMP_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert migrate.current(f"sqlite:///{tmp_path / 'procomp-pay.sqlite3'}") == migrate.HEAD


def test_old_outbox_messages_are_skipped(empty_database_url: str) -> None:
    """Nobody gets a letter about last month's payment on the day of the upgrade; and back again."""
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "0002")
    columns = "id, topic, payload, state, attempts, next_attempt_at, created_at"
    values = "'m1', 'payment.received', '{}', 'waiting', 0, '2026-05-01 09:00:00.000000+00:00', '2026-05-01'"
    with migrate.exclusive(empty_database_url) as connection, connection.begin():
        connection.exec_driver_sql(f"INSERT INTO pay_outbox ({columns}) VALUES ({values})")
    migrate.upgrade(empty_database_url)
    assert _outbox_states(empty_database_url) == ["skipped"]
    migrate.downgrade(empty_database_url, "0002")
    assert _outbox_states(empty_database_url) == ["delivered"]


def _outbox_states(url: str) -> list[str]:
    with migrate.exclusive(url) as connection, connection.begin():
        return [row[0] for row in connection.exec_driver_sql("SELECT state FROM pay_outbox")]
