"""Read seals, and compute the leaves that they cover."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.merkle import leaf_hash
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from procomp_pay.storage.models.types import utc_text

#: How long a seal waits for running writers, while later writers wait for it.
_LOCK_TIMEOUT = "2s"


async def fence(session: AsyncSession, *, is_sqlite: bool) -> int:
    """Return the newest entry's id, below which no entry can be added any more; 0 if there is none.

    Ids are assigned before their transactions commit: on PostgreSQL one with a lower id may still be running.
    The lock waits until every writer has ended, and is released with this transaction, which must be short
    and writing. SQLite has one writer, which is this transaction.

    :raises DatabaseBusy: a writer did not end in time; nothing is locked.
    """
    if not is_sqlite:
        connection = await session.connection()
        await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        await connection.execute(text("LOCK TABLE pay_audit_entry IN SHARE MODE"))
    return await newest_entry(session)


async def newest_entry(session: AsyncSession) -> int:
    """Return the highest id of an audit entry; 0 if there is none."""
    return (await session.exec(select(func.max(AuditEntry.id)))).one() or 0


async def newest(session: AsyncSession) -> AuditSeal | None:
    """Return the newest seal."""
    result = await session.exec(select(AuditSeal).order_by(col(AuditSeal.number).desc()).limit(1))
    return result.first()


async def every(db: PaymentDatabaseService) -> list[AuditSeal]:
    """Return all seals, oldest first: one a day, a few hundred bytes each."""
    async with db.reading() as session:
        return list((await session.exec(select(AuditSeal).order_by(col(AuditSeal.number)))).all())


def head_leaf(payment_id: str, seq: int, entry_hash: str) -> bytes:
    """Return the leaf of a chain: its length, and the hash of its last entry, which covers all of it."""
    if type(entry_hash) is str and exact_json.is_plain(payment_id + entry_hash):  # a tenth of the time
        return leaf_hash(f'["{payment_id}",{seq},"{entry_hash}"]'.encode())
    return leaf_hash(exact_json.dumps([payment_id, seq, entry_hash]).encode())


def seal_leaf(seal: AuditSeal) -> bytes:
    """Return the last leaf: the seal's own data, so that a root covers all seals before it."""
    content = {
        "seal": seal.number,
        "at": utc_text(seal.sealed_at),
        "by": seal.sealed_by,
        "last_entry_id": seal.last_entry_id,
        "chains": seal.chain_count,
        "entries": seal.entry_count,
        "previous_root": seal.previous_root,
    }
    return leaf_hash(exact_json.dumps(content, canonical=True).encode())
