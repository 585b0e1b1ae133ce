"""Rename the platform's tables as a map says, as a Prisma schema with @@map and @map would have made them."""

from __future__ import annotations

from pathlib import Path

import psycopg

from procomp_pay.config import platform_map
from procomp_pay.config.platform_map import COLUMNS, ENUMS, PlatformMap

#: Everything that a map can say, but for a name of two columns.
EVERYTHING = """
schema = "app"

[tables]
User = "users"
Tournament = "tournaments"
Participant = "participants"
Payment = "payments"

[columns.User]
id = "user_no"
email = "mail"

[columns.Tournament]
entryFee = "entry_fee"
startsAt = "starts_at"

[columns.Participant]
userId = "user_id"
tournamentId = "tournament_id"
paymentId = "payment_id"
fullName = "full_name"
status = "state"
createdAt = "created_at"

[columns.Payment]
id = "payment_no"
amount = "total"
status = "state"
metadata = "meta"
stripePaymentId = "stripe_payment_id"
kaspiQrCode = "kaspi_qr_code"
kaspiTransactionId = "kaspi_transaction_id"
userId = "user_id"
tournamentId = "tournament_id"
createdAt = "created_at"

[enums]
PaymentStatus = "payment_status"
Currency = "currency"

[labels.PaymentStatus]
COMPLETED = "paid"
PENDING = "pending"
EXPIRED = "timed out"

[labels.ParticipantStatus]
PAID = "PAID_UP"

[labels.PaymentMethod]
KASPI_QR = "kaspi"
"""
#: A name of two columns, and nothing else.
NAME_OF_TWO = """
[columns.Participant]
fullName = ["first_name", "last_name"]
"""


def rename(url: str, toml: str, folder: Path) -> Path:
    """Rename what Prisma made with our names; return the file of the map."""
    file = folder / "platform.toml"
    file.write_text(toml, "utf-8")
    with psycopg.connect(url) as connection:
        connection.execute(";".join(_changes(platform_map.read(file))).encode())
    return file


def _changes(names: PlatformMap) -> list[str]:
    """Return the statements; by way of a name of its own each, since a map may change two about."""
    changes = []
    for enum, words in names.labels.items():
        steps = [(old, f"{old} before", new) for old, new in words.items()]
        rename = "ALTER TYPE \"{}\" RENAME VALUE '{}' TO '{}'"
        changes += [rename.format(enum, old, between) for old, between, _ in steps]
        changes += [rename.format(enum, between, new) for _, between, new in steps]
    changes += [f'ALTER TYPE "{ours}" RENAME TO "{theirs}"' for ours, theirs in names.enums.items()]
    for table, columns in names.columns.items():
        alter = f'ALTER TABLE "{table}" '
        changes += [f'{alter}RENAME "{ours}" TO "{ours} before"' for ours in columns]
        changes += [f'{alter}RENAME "{ours} before" TO "{theirs[0]}"' for ours, theirs in columns.items()]
        for more in (name for theirs in columns.values() for name in theirs[1:]):
            changes.append(f"""{alter}ADD "{more}" TEXT NOT NULL DEFAULT 'Bek'""")
            changes.append(f'{alter}ALTER "{more}" DROP DEFAULT')
    changes += [f'ALTER TABLE "{ours}" RENAME TO "{theirs}"' for ours, theirs in names.tables.items()]
    if names.schema:
        changes.append(f'CREATE SCHEMA IF NOT EXISTS "{names.schema}"')
        changes += [f'ALTER TABLE "{names.table(table)}" SET SCHEMA "{names.schema}"' for table in COLUMNS]
        types = [names.enums.get(enum, enum) for enum in ENUMS]
        changes += [f'ALTER TYPE "{name}" SET SCHEMA "{names.schema}"' for name in types]
    return changes
