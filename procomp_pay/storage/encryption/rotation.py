"""Read and replace, in pages, every column with ciphertext of a ``Keyring``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.registrations import ParticipantDetail
from procomp_pay.storage.models.webhooks import WebhookEvent

#: Rows of a page: an event may have a megabyte, and SQLite's other writers wait for the transaction.
PAGE = 50


@dataclass(frozen=True, slots=True)
class EncryptedColumn:
    """A column with ciphertext, and the key of its rows."""

    table: type[Row]
    key: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.table.__tablename__}.{self.column}"


#: A test compares it with the columns that end in ``_enc``.
COLUMNS = (
    EncryptedColumn(PaymentDetail, "payment_id", "client_secret_enc"),
    EncryptedColumn(PaymentDetail, "payment_id", "qr_token_enc"),
    EncryptedColumn(PaymentDetail, "payment_id", "phone_enc"),
    EncryptedColumn(ParticipantDetail, "participant_id", "phone_enc"),
    EncryptedColumn(WebhookEvent, "id", "payload_enc"),
)


def _columns(encrypted: EncryptedColumn) -> tuple[Any, Any]:
    columns = encrypted.table.metadata.tables[str(encrypted.table.__tablename__)].c
    return columns[encrypted.key], columns[encrypted.column]


async def count(session: AsyncSession, encrypted: EncryptedColumn) -> int:
    """Return the number of rows with a ciphertext in this column; NULL and an empty text are none."""
    _, column = _columns(encrypted)
    query: Any = select(func.count()).where(column != "")
    return int((await session.exec(query)).one())


async def page(session: AsyncSession, encrypted: EncryptedColumn, after: str) -> list[tuple[str, str]]:
    """Return the next rows with a ciphertext in this column: key and ciphertext, in order of key."""
    key, column = _columns(encrypted)
    query: Any = select(key, column).where(column != "", key > after).order_by(key).limit(PAGE)
    return [(row[0], row[1]) for row in (await session.exec(query)).all()]


async def replace(
    session: AsyncSession, encrypted: EncryptedColumn, changes: Sequence[tuple[str, str, str]]
) -> int:
    """Replace ciphertexts, each only where it is still the one that was read; return how many were replaced.

    :param changes: key, the ciphertext that was read, the new one.
    """
    key, column = _columns(encrypted)
    table = encrypted.table.metadata.tables[str(encrypted.table.__tablename__)]
    connection, done = await session.connection(), 0
    for row, old, new in changes:
        statement = table.update().where(key == row, column == old).values({column.name: new})
        done += (await connection.execute(statement)).rowcount
    return done
