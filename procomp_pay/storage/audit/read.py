"""Read the audit trail as a stream, page by page, also where somebody made it unreadable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlmodel import col, func, select, tuple_

from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import AuditEntry, PaymentDetail
from procomp_pay.storage.models.platform import Payment

#: Rows of one page: what is in memory at a time.
PAGE = 500


@dataclass(frozen=True, slots=True)
class Link:
    """An entry's place in its chain; ``entry`` is ``None`` where its content cannot be read."""

    payment_id: str
    seq: int
    row_id: int
    prev_hash: str
    hash: str
    entry: AuditEntry | None


@dataclass(frozen=True, slots=True)
class ChainEndRow:
    """How a payment stands, and how far its chain reached at that moment."""

    status: str
    refunded: Decimal
    last_seq: int


async def links(
    db: PaymentDatabaseService, payment_id: str | None = None, *, after_seq: int = 0, whole: bool = True
) -> AsyncIterator[Link]:
    """Every entry of all chains, or of one, in order of payment and number.

    :param after_seq: of one chain, only those after this one.
    :param whole: with the content; else only their places.
    """
    mark: tuple[str, int] | None = None if payment_id is None else (payment_id, after_seq)
    while True:
        page = await _page(db, payment_id, mark, whole)
        for link in page:
            yield link
        if len(page) < PAGE:
            return
        mark = (page[-1].payment_id, page[-1].seq)


async def _page(
    db: PaymentDatabaseService, only: str | None, mark: tuple[str, int] | None, whole: bool
) -> list[Link]:
    names = ("payment_id", "seq", "id", "prev_hash", "hash")
    places: list[Any] = [getattr(AuditEntry, name) for name in names]
    query: Any = select(*places)
    query = query.order_by(col(AuditEntry.payment_id), col(AuditEntry.seq)).limit(PAGE)
    if only is not None:
        query = query.where(AuditEntry.payment_id == only)
    if mark is not None:
        query = query.where(tuple_(col(AuditEntry.payment_id), col(AuditEntry.seq)) > mark)
    async with db.reading() as session:
        rows = (await session.exec(query)).all()
    entries = await _entries(db, [row[2] for row in rows]) if whole else {}
    return [Link(row[0], row[1], row[2], row[3], row[4], entries.get(row[2])) for row in rows]


async def _entries(db: PaymentDatabaseService, ids: list[int]) -> dict[int, AuditEntry]:
    """Entries by id. One that cannot be read does not hide the others: halves are tried by themselves."""
    if not ids:
        return {}
    try:
        async with db.reading() as session:
            found = await session.exec(select(AuditEntry).where(col(AuditEntry.id).in_(ids)))
            return {entry.id: entry for entry in found.all() if entry.id is not None}
    except (ValueError, TypeError):
        if len(ids) == 1:
            return {}
        middle = len(ids) // 2
        return await _entries(db, ids[:middle]) | await _entries(db, ids[middle:])


async def chain_end_rows(db: PaymentDatabaseService, payment_ids: list[str]) -> dict[str, ChainEndRow]:
    """How payments stand, by id, each with its chain's end as of the same moment."""
    if not payment_ids:
        return {}
    last = (
        select(func.max(AuditEntry.seq)).where(AuditEntry.payment_id == PaymentDetail.payment_id)
    ).scalar_subquery()
    places: list[Any] = [Payment.id, Payment.status, PaymentDetail.refunded_amount, last]
    query: Any = (
        select(*places)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(col(Payment.id).in_(payment_ids))
    )
    async with db.reading() as session:
        rows = (await session.exec(query)).all()
    return {key: ChainEndRow(status.value, refunded, seq or 0) for key, status, refunded, seq in rows}


async def without_chain(db: PaymentDatabaseService, payment_id: str | None = None) -> AsyncIterator[str]:
    """Payments that have no audit entry at all."""
    chained = select(AuditEntry.id).where(AuditEntry.payment_id == PaymentDetail.payment_id).exists()
    mark = ""
    while True:
        query = select(PaymentDetail.payment_id).where(~chained, PaymentDetail.payment_id > mark)
        if payment_id is not None:
            query = query.where(PaymentDetail.payment_id == payment_id)
        async with db.reading() as session:
            page = (await session.exec(query.order_by(col(PaymentDetail.payment_id)).limit(PAGE))).all()
        for found in page:
            yield found
        if len(page) < PAGE:
            return
        mark = page[-1]
