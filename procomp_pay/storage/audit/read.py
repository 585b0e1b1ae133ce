"""Read the audit trail as a stream, page by page, even if entries were made unreadable."""

from __future__ import annotations

import contextlib
from collections import namedtuple
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, cast

from sqlalchemy import Text
from sqlalchemy import cast as cast_sql
from sqlmodel import col, func, select, tuple_

from procomp_pay.storage.audit import document
from procomp_pay.storage.audit.chain import hash_of_texts
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import among
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment

#: Rows of a page: so many are in memory at a time.
PAGE = 2000


_NAMES = tuple(AuditEntry.model_fields)
#: An entry that is only read, with the hash of its content: an object of the ORM takes three times as long.
_entry_of = cast(Any, namedtuple("AuditEntry", (*_NAMES, "digest")))._make
_DOCUMENTS = ("before", "after")
_PLACE = ("payment_id", "seq", "id", "prev_hash", "hash")


class Link(NamedTuple):
    """An entry's place in its chain; ``entry`` is ``None`` if its content cannot be read."""

    payment_id: str
    seq: int
    row_id: int
    prev_hash: str
    hash: str
    entry: AuditEntry | None


@dataclass(frozen=True, slots=True)
class ChainEndRow:
    """A payment's status, and the end of its chain at that moment."""

    status: str
    refunded: Decimal
    last_seq: int


class ChainRange(NamedTuple):
    """The chains after one, up to and with another; ``None``: from the first, to the last."""

    after: str | None
    last: str | None


async def ranges(db: PaymentDatabaseService, size: int) -> AsyncIterator[ChainRange]:
    """Yield ranges that have all chains, each of at least ``size`` entries but the last one."""
    after: str | None = None
    while True:
        query: Any = select(AuditEntry.payment_id)
        if after is not None:
            query = query.where(AuditEntry.payment_id > after)
        query = query.order_by(col(AuditEntry.payment_id), col(AuditEntry.seq)).offset(size).limit(1)
        async with db.selecting() as session:
            last = (await session.exec(query)).first()
        yield ChainRange(after, last)
        if last is None:
            return
        after = last


async def links(
    db: PaymentDatabaseService,
    payment_id: str | None = None,
    *,
    after_seq: int = 0,
    span: tuple[int, int] | None = None,
    chains: ChainRange | None = None,
    whole: bool = True,
) -> AsyncIterator[Link]:
    """Yield every entry of all chains, or of one, ordered by payment and number.

    :param after_seq: in one chain, start after this entry.
    :param span: only the entries after the first of these ids, and up to the second.
    :param chains: only these.
    :param whole: with the content; else only the links.
    """
    last: tuple[str, int] | None = None if payment_id is None else (payment_id, after_seq)
    while True:
        links_of_page = await _page(db, payment_id, last, span, chains, whole)
        for link in links_of_page:
            yield link
        if len(links_of_page) < PAGE:
            return
        last = (links_of_page[-1].payment_id, links_of_page[-1].seq)


def _column(name: str) -> Any:
    """Return a column to read: a document as text, of which equal ones are read once."""
    column = getattr(AuditEntry, name)
    return cast_sql(column, Text).label(name) if name in _DOCUMENTS else column


def _link(row: Any) -> Link:
    """Return the link of a row of :data:`_NAMES`; without an entry if a document of it cannot be read."""
    *start, before, after, note, prev_hash, its_hash = row
    row_id, payment_id, seq, at, actor, source, source_id, request_id, action = start
    try:
        (before, before_text), (after, after_text) = document.read(before), document.read(after)
    except (ValueError, TypeError):
        return Link(payment_id, seq, row_id, prev_hash, its_hash, None)
    digest = ""
    texts = action, actor, note, payment_id, prev_hash, request_id, source, source_id
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # we could not have written it
        digest = hash_of_texts(texts, seq, at, before_text, after_text)
    entry = _entry_of((*start, before, after, note, prev_hash, its_hash, digest))
    return Link(payment_id, seq, row_id, prev_hash, its_hash, entry)


async def _page(
    db: PaymentDatabaseService,
    payment_id: str | None,
    after: tuple[str, int] | None,
    span: tuple[int, int] | None,
    chains: ChainRange | None,
    whole: bool,
) -> list[Link]:
    def ordered(names: Sequence[str]) -> Any:
        query: Any = select(*(_column(name) for name in names))
        query = query.order_by(col(AuditEntry.payment_id), col(AuditEntry.seq)).limit(PAGE)
        if payment_id is not None:
            query = query.where(AuditEntry.payment_id == payment_id)
        if chains is not None and chains.after is not None and after is None:
            query = query.where(AuditEntry.payment_id > chains.after)
        if chains is not None and chains.last is not None:
            query = query.where(AuditEntry.payment_id <= chains.last)
        if after is not None:
            query = query.where(tuple_(col(AuditEntry.payment_id), col(AuditEntry.seq)) > after)
        if span is not None:
            query = query.where(col(AuditEntry.id) > span[0], col(AuditEntry.id) <= span[1])
        return query

    if whole:
        with contextlib.suppress(ValueError, TypeError):  # one cannot be read: find out which
            async with db.selecting() as session:
                rows = (await (await session.connection()).execute(ordered(_NAMES))).all()
            return [_link(row) for row in rows]
    async with db.selecting() as session:
        places = (await session.exec(ordered(_PLACE))).all()
    entries = await _entries(db, [row[2] for row in places]) if whole else {}
    return [Link(row[0], row[1], row[2], row[3], row[4], entries.get(row[2])) for row in places]


async def _entries(db: PaymentDatabaseService, ids: list[int]) -> dict[int, AuditEntry | None]:
    """Return entries by id. If one cannot be read, read both halves separately, so that the others are
    found."""
    if not ids:
        return {}
    try:
        async with db.reading() as session:
            query: Any = select(*(_column(name) for name in _NAMES)).where(col(AuditEntry.id).in_(ids))
            return {row.id: _link(row).entry for row in (await session.exec(query)).all()}
    except (ValueError, TypeError):
        if len(ids) == 1:
            return {}
        middle = len(ids) // 2
        return await _entries(db, ids[:middle]) | await _entries(db, ids[middle:])


async def chain_end_rows(db: PaymentDatabaseService, payment_ids: list[str]) -> dict[str, ChainEndRow]:
    """Return payment rows by id, each with the end of its audit chain, read at the same moment."""
    if not payment_ids:
        return {}
    async with db.reading() as session:
        connection = await session.connection()
        rows = await connection.execute(_select_ends(not db.is_sqlite()), {"payments": payment_ids})
    return {key: ChainEndRow(status.value, refunded, seq or 0) for key, status, refunded, seq in rows}


@lru_cache
def _select_ends(postgresql: bool) -> Any:
    last = (
        select(func.max(AuditEntry.seq)).where(AuditEntry.payment_id == PaymentDetail.payment_id)
    ).scalar_subquery()
    payment_id: Any = Payment.id
    columns: list[Any] = [payment_id, Payment.status, PaymentDetail.refunded_amount, last]
    query: Any = select(*columns).join(PaymentDetail, col(PaymentDetail.payment_id) == payment_id)
    return query.where(among(payment_id, "payments", postgresql=postgresql))


async def without_chain(db: PaymentDatabaseService, payment_id: str | None = None) -> AsyncIterator[str]:
    """Yield the payments without any audit entry."""
    chained = select(AuditEntry.id).where(AuditEntry.payment_id == PaymentDetail.payment_id).exists()
    last = ""
    while True:
        query = select(PaymentDetail.payment_id).where(~chained, PaymentDetail.payment_id > last)
        if payment_id is not None:
            query = query.where(PaymentDetail.payment_id == payment_id)
        async with db.reading() as session:
            page = (await session.exec(query.order_by(col(PaymentDetail.payment_id)).limit(PAGE))).all()
        for unchained in page:
            yield unchained
        if len(page) < PAGE:
            return
        last = page[-1]
