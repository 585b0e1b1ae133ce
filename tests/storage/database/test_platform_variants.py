"""Databases of a platform as Prisma makes them, each a little different: adopted, or refused in words.

Not one column, index, constraint, enum or trigger of the platform is different afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlmodel import col, select

from procomp_pay.config import platform_map
from procomp_pay.config.platform_map import ENUMS
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.money import Currency
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User
from procomp_pay.storage.models.schema import PLATFORM_TABLES
from tests.support.platform_map import EVERYTHING, NAME_OF_TWO, rename
from tests.support.postgres import create_platform_tables
from tests.support.processes import run_to_end

ROOT = Path(__file__).parents[3]

#: Everything in the catalog but our own tables and what belongs to them.
_CATALOG = """
    SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
           pg_get_expr(d.adbin, d.adrelid)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND c.relname !~ '^pay_'
    UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes
    WHERE schemaname !~ '^(pg_|information_schema)' AND tablename !~ '^pay_'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
    FROM pg_constraint WHERE conrelid <> 0 AND conrelid::regclass::text !~ '^(pay_|pg_|information_schema)'
    UNION ALL SELECT 'enum', typname, enumlabel, enumsortorder::text, '', ''
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', ''
    FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^"'
    ORDER BY 1, 2, 3, 4
"""

_TIMES = {"Tournament": ["startsAt", "createdAt", "updatedAt"], "Participant": ["createdAt", "updatedAt"],
          "Payment": ["createdAt", "updatedAt"]}  # fmt: skip
_AMOUNT = {"Payment": ["amount"]}


def retyped(columns: dict[str, list[str]], kind: str, using: str = "") -> str:
    return "; ".join(
        f'ALTER TABLE "{table}" ALTER "{name}" TYPE {kind} {using.format(name)}'
        for table, names in columns.items()
        for name in names
    )


def without(columns: dict[str, list[str]]) -> str:
    return "; ".join(
        f'ALTER TABLE "{table}" ALTER "{name}" DROP NOT NULL'
        for table, names in columns.items()
        for name in names
    )


ADOPTED = {
    "nothing else": "",
    "nullable texts": without({"Participant": ["fullName"], "Tournament": ["name"], "User": ["name"]}),
    "nullable start and fee": without({"Tournament": ["startsAt", "entryFee"]}),
    "nullable labels": without({"Payment": ["status", "currency"], "Participant": ["status"]}),
    "nullable amount": without({"Payment": ["amount"]}),
    "guests without a user": without({"Payment": ["userId"], "Participant": ["userId"]}),
    "another status": """ALTER TYPE "PaymentStatus" ADD VALUE 'DISPUTED'""",
    "another registration": """ALTER TYPE "ParticipantStatus" ADD VALUE 'WAITLISTED'""",
    "another currency": """ALTER TYPE "Currency" ADD VALUE 'UZS'""",
    "another method": """ALTER TYPE "PaymentMethod" ADD VALUE 'CASH'""",
    "another role": """ALTER TYPE "UserRole" ADD VALUE 'COACH' BEFORE 'STAFF'""",
    "VARCHAR": retyped({"User": ["email"], "Payment": ["id", "failureReason"]}, "VARCHAR(200)"),
    "microseconds": retyped(_TIMES, "TIMESTAMP(6)"),
    "times with a zone": retyped(_TIMES, "TIMESTAMPTZ(3)", """USING "{}" AT TIME ZONE 'UTC'"""),
    "larger amounts": retyped({"Tournament": ["entryFee"], "Payment": ["amount"]}, "DECIMAL(12,2)"),
    "a further column": 'ALTER TABLE "Payment" ADD "note" TEXT',
    "one with a default": """ALTER TABLE "Payment" ADD "source" TEXT NOT NULL DEFAULT 'web'""",
    "one that counts": 'ALTER TABLE "Payment" ADD "number" INT GENERATED ALWAYS AS IDENTITY',
    "no indexes": 'DROP INDEX "Payment_createdAt_id_idx"; DROP INDEX "Participant_userId_idx"',
    "further indexes": 'CREATE UNIQUE INDEX "mine" ON "Payment" ("kaspiTransactionId")',
    "a trigger": """
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER touched BEFORE UPDATE ON "Payment" FOR EACH ROW EXECUTE FUNCTION touch()""",
    "a view beside them": 'CREATE VIEW "PaidParticipant" AS SELECT id FROM "Participant"',
}

OTHER_NAMES = "; ".join(f'ALTER TABLE "{name}" RENAME TO {name.lower()}s' for name in sorted(PLATFORM_TABLES))
#: What is different, and what the refusal says.
REFUSED = {
    "a column that needs a value": (
        'ALTER TABLE "Payment" ADD "branch" TEXT NOT NULL',
        'the column "Payment"."branch" requires a value that procomp-pay does not have',
    ),
    "a label that is missing": (
        """ALTER TYPE "PaymentStatus" RENAME VALUE 'EXPIRED' TO 'TIMED_OUT'""",
        '"Payment"."status" has .* lacks EXPIRED',
    ),
    "an enum of another name": (
        'ALTER TYPE "Currency" RENAME TO currency',
        '"Payment"."currency" is currency, not "Currency"',
    ),
    "a status as text": (
        'ALTER TABLE "Payment" ALTER status DROP DEFAULT, ALTER status TYPE TEXT',
        '"Payment"."status" is TEXT, not',
    ),
    "ids as uuid": (
        """ALTER TABLE "Participant" DROP CONSTRAINT "Participant_userId_fkey";
        ALTER TABLE "Payment" DROP CONSTRAINT "Payment_userId_fkey";"""
        + retyped(
            {"User": ["id"], "Participant": ["userId"], "Payment": ["userId"]}, "UUID", 'USING "{}"::uuid'
        ),
        '"User"."id" is UUID, not TEXT',
    ),
    "times in seconds": (
        retyped({"Payment": ["createdAt"]}, "TIMESTAMP(0)"),
        r'"Payment"."createdAt" is TIMESTAMP\(0\) .* not',
    ),
    "other decimals": (retyped(_AMOUNT, "DECIMAL(10,4)"), r'"Payment"."amount" is NUMERIC\(10, 4\), not'),
    "smaller amounts": (retyped(_AMOUNT, "DECIMAL(8,2)"), r'"Payment"."amount" is NUMERIC\(8, 2\), not'),
    "floating point": (retyped(_AMOUNT, "FLOAT8"), '"Payment"."amount" is DOUBLE PRECISION, not'),
    "a link that must be": (
        'ALTER TABLE "Participant" ALTER "paymentId" SET NOT NULL',
        '"Participant"."paymentId" refuses NULL',
    ),
    "another table name": ('ALTER TABLE "Payment" RENAME TO payments', 'the table "Payment" is missing'),
    "another column name": (
        'ALTER TABLE "Participant" RENAME "fullName" TO full_name',
        'the column "Participant"."fullName" is missing',
    ),
    "a name in two columns": (
        """ALTER TABLE "Participant" RENAME "fullName" TO "firstName";
        ALTER TABLE "Participant" ADD "lastName" TEXT""",
        'the column "Participant"."fullName" is missing',
    ),
    "a view in place of a table": (
        'ALTER TABLE "Tournament" RENAME TO events; CREATE VIEW "Tournament" AS SELECT * FROM events',
        'the table "Tournament" is missing',
    ),
    "other names": (
        OTHER_NAMES,
        'the table "public"."payments".* A second one is not made beside it',
    ),
    "other names in another schema": (
        OTHER_NAMES
        + "; CREATE SCHEMA other; "
        + "; ".join(f'ALTER TABLE "{table.lower()}s" SET SCHEMA other' for table in sorted(PLATFORM_TABLES))
        + "; "
        + "; ".join(f'ALTER TYPE "{enum}" SET SCHEMA other' for enum in sorted(ENUMS)),
        'the table "other"."payments".* A second one is not made beside it',
    ),
    "another schema": (
        "CREATE SCHEMA other; "
        + "; ".join(f'ALTER TABLE "{table}" SET SCHEMA other' for table in sorted(PLATFORM_TABLES)),
        'the table "other"."Participant".* A second one is not made beside it',
    ),
}


#: Maps, and nothing else that is different.
MAPPED = {
    "everything": EVERYTHING,
    "other tables": """[tables]\nPayment = "payments"\nUser = "app_user" """,
    "other columns": """[columns.Payment]\nstatus = "state"\ncreatedAt = "created_at" """,
    "two names changed about": """[columns.Payment]\nuserId = "tournamentId"\ntournamentId = "userId" """,
    "two labels changed about": """[labels.PaymentStatus]\nFAILED = "CANCELLED"\nCANCELLED = "FAILED" """,
    "other enums": """[enums]\nPaymentStatus = "status_of_payment"\nUserRole = "role" """,
    "another schema": """schema = "platform" """,
    "the schema of the URL": """schema = "public" """,
    "letters of here": """[tables]\nParticipant = "Участник"\n[columns.Participant]\nfullName = "имя" """,
}

#: A map, what is different from what it says, and what the refusal says.
WRONG_MAPS = {
    "a table that is not there": (
        """[tables]\nPayment = "payments" """,
        "ALTER TABLE payments RENAME TO bills",
        'the table "payments" is missing',
    ),
    "a column that is not there": (
        """schema = "app"\n[columns.Participant]\nfullName = "full_name" """,
        'ALTER TABLE app."Participant" RENAME full_name TO name',
        'the column "app"."Participant"."full_name" is missing',
    ),
    "half of a name": (
        NAME_OF_TWO,
        'ALTER TABLE "Participant" DROP last_name',
        'the column "Participant"."last_name" is missing',
    ),
    "a label that is not there": (
        """[labels.PaymentStatus]\nCOMPLETED = "paid" """,
        """ALTER TYPE "PaymentStatus" RENAME VALUE 'paid' TO 'done'""",
        '"Payment"."status" has the labels .* and lacks paid',
    ),
    "a label under both words": (
        """[labels.PaymentStatus]\nCOMPLETED = "paid" """,
        """ALTER TYPE "PaymentStatus" ADD VALUE 'COMPLETED'""",
        '"Payment"."status" has the label COMPLETED too',
    ),
    "an enum that is not there": (
        """[enums]\nCurrency = "tender" """,
        "ALTER TYPE tender RENAME TO coin",
        '"Payment"."currency" is coin, not tender',
    ),
    "a schema that is not there": (
        """schema = "app" """,
        "ALTER SCHEMA app RENAME TO other",
        'the table "app"."Participant" is missing',
    ),
    "an empty database": (
        """[tables]\nPayment = "payments" """,
        'DROP TABLE payments, "Participant", "Tournament", "User" CASCADE',
        'the table "User" is missing',
    ),
    "ids as uuid": (
        """[tables]\nUser = "users" """,
        """ALTER TABLE "Participant" DROP CONSTRAINT "Participant_userId_fkey";
        ALTER TABLE "Payment" DROP CONSTRAINT "Payment_userId_fkey";
        ALTER TABLE users ALTER id TYPE UUID USING id::uuid""",
        '"users"."id" is UUID, not TEXT',
    ),
    "a view under the name": (
        """[tables]\nTournament = "tournaments" """,
        "ALTER TABLE tournaments RENAME TO events; CREATE VIEW tournaments AS SELECT * FROM events",
        'the table "tournaments" is missing',
    ),
}

#: A map is read once in a process: this one runs in its own.
_ADOPTION = """
import asyncio, sys
from tests.storage.database.test_platform_variants import migrate, rows_come_back
migrate.upgrade(sys.argv[1])
migrate.upgrade(sys.argv[1])
notes = migrate.platform_notes(sys.argv[1])
assert (notes.faults, notes.unknown_labels, notes.missing_indexes) == ([], {}, []), notes
asyncio.run(rows_come_back(sys.argv[1]))
"""


def catalog(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(_CATALOG.encode()).fetchall()


@pytest.mark.parametrize("variant", ADOPTED)
async def test_it_is_adopted(empty_postgres_url: str, variant: str) -> None:
    before = made(empty_postgres_url, ADOPTED[variant])
    migrate.upgrade(empty_postgres_url)
    await rows_come_back(empty_postgres_url)
    assert catalog(empty_postgres_url) == before


@pytest.mark.parametrize("variant", REFUSED)
def test_it_is_refused(empty_postgres_url: str, variant: str) -> None:
    change, message = REFUSED[variant]
    before = made(empty_postgres_url, change)
    with pytest.raises(ConfigurationError, match=message) as refused:
        migrate.upgrade(empty_postgres_url)
    assert refused.value.next_step
    assert catalog(empty_postgres_url) == before
    assert migrate.current(empty_postgres_url) is None


@pytest.mark.parametrize("variant", MAPPED)
def test_it_is_adopted_by_a_map(empty_postgres_url: str, tmp_path: Path, variant: str) -> None:
    create_platform_tables(empty_postgres_url)
    file = rename(empty_postgres_url, MAPPED[variant], tmp_path)
    before = catalog(empty_postgres_url)
    command = [sys.executable, "-c", _ADOPTION, empty_postgres_url]
    subprocess.run(command, env={**os.environ, "PLATFORM_MAP": str(file)}, cwd=ROOT, check=True)
    assert catalog(empty_postgres_url) == before


@pytest.mark.parametrize("variant", WRONG_MAPS)
def test_a_map_that_is_wrong_is_refused(empty_postgres_url: str, tmp_path: Path, variant: str) -> None:
    toml, change, message = WRONG_MAPS[variant]
    create_platform_tables(empty_postgres_url)
    file = rename(empty_postgres_url, toml, tmp_path)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(change.encode())
    before = catalog(empty_postgres_url)
    settings = {"PLATFORM_MAP": str(file), "DATABASE_URL": empty_postgres_url}
    upgrade = [sys.executable, "-m", "procomp_pay", "db", "upgrade"]
    environment = {**os.environ, **settings}
    done = run_to_end(upgrade, env=environment, cwd=ROOT)
    assert done.returncode == 7
    assert re.search(message, " ".join(done.stderr.split()))
    assert "correct the map" in done.stderr
    assert catalog(empty_postgres_url) == before
    assert migrate.current(empty_postgres_url) is None


def made(url: str, change: str) -> list[tuple[str, ...]]:
    """Make the platform's database, and return its catalog."""
    create_platform_tables(url)
    with psycopg.connect(url) as connection:
        connection.execute(change.encode())
    before = catalog(url)
    assert len(before) > 60
    return before


async def rows_come_back(url: str) -> None:
    """Write rows as procomp-pay does, and read what the database has of them."""
    at = datetime(2026, 5, 1, 23, 59, 58, 123_000, UTC)
    stamps, fee = {"created_at": at, "updated_at": at}, Decimal("50.10")
    keys = {"user_id": "u", "tournament_id": "t"}
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            session.add(User(id="u", email="aida@example.kz", name="Аида"))
            session.add(
                Tournament(id="t", name="Cup", entry_fee=fee, currency=Currency.USD, starts_at=at, **stamps)
            )
            await session.flush()
            session.add(Participant(id="p", full_name="Аида", **keys, **stamps))
            session.add(Payment(id="pay", amount=fee, meta={"a": fee}, **keys, **stamps))
        async with db.reading() as session:
            due = select(Payment).where(col(Payment.created_at) >= at, col(Payment.created_at) <= at)
            payment = (await session.exec(due)).one()
            tournament = await session.get_one(Tournament, "t")
        assert (payment.amount, payment.created_at, payment.meta) == (fee, at, {"a": fee})
        assert (tournament.entry_fee, tournament.starts_at) == (fee, at)
    finally:
        await db.dispose()
    query = platform_map.current().sql("""SELECT p."createdAt" FROM "Payment" p""")
    with psycopg.connect(url, options="-c timezone=Asia/Almaty") as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    stored = row[0].replace(tzinfo=UTC) if row[0].tzinfo is None else row[0]
    assert stored == at
