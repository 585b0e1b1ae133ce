"""Append to and read the audit trail: one hash chain for each payment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, inspect, true
from sqlalchemy import select as select_core
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.redact import redact
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import among, listed
from procomp_pay.storage.models.types import utc_text

#: The previous hash of the first entry of a chain.
GENESIS = "0" * 64
#: The action of the entry of a payment that is accepted as the platform's own, and never becomes ours.
KEPT_BY_PLATFORM = "kept_by_platform"
#: The action of the record of an erasure: ``after["erased"]`` are the entries that lost a person's names.
PERSON_ERASED = "person_erased"
#: Of a payment that goes to another participant; ``before`` has the former one's id.
PAYMENT_MOVED = "payment_moved"
#: The beginning of the names of the chains of closings, which belong to no payment.
CLOSING_CHAIN = "closing:"
#: The beginning of the names of the chains of operators, which belong to no payment.
OPERATOR_CHAIN = "operator:"
#: The beginning of the names of the chains of tournaments: their fees by day and refund policies.
TOURNAMENT_CHAIN = "tournament:"
#: The beginning of the names of the chains of payouts: by which line of the bank they arrived.
PAYOUT_CHAIN = "payout:"
#: The beginnings of the names of all chains that belong to no payment.
OF_NO_PAYMENT = (CLOSING_CHAIN, OPERATOR_CHAIN, TOURNAMENT_CHAIN, PAYOUT_CHAIN)
#: The action of the entry that has what a second operator approved.
APPROVED = "approved"
#: Of a verification that was refused; ``note`` is why, and named other participants in earlier versions.
VERIFY_REFUSED = "verify_refused"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The actor, the action and its evidence.

    :param source: the kind of evidence: ``stripe_webhook``, ``kaspi_status``, ``person`` …
    :param source_id: the event's id there.
    """

    actor: str
    source: str
    action: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    source_id: str | None = None
    request_id: str | None = None
    note: str | None = None


async def append(session: AsyncSession, payment_id: str, record: AuditRecord, at: datetime) -> AuditEntry:
    """Append to a payment's chain. The caller has the payment's row lock, so that the chain does not fork."""
    chain_end = (await session.exec(_end(), params={"payment": payment_id})).first()
    entry = AuditEntry(**_linked(payment_id, chain_end, record, at))
    session.add(entry)
    await session.flush()
    return entry


@lru_cache
def _end() -> Any:
    return (
        select(AuditEntry.seq, AuditEntry.hash)
        .where(AuditEntry.payment_id == bindparam("payment"))
        .order_by(col(AuditEntry.seq).desc())
        .limit(1)
    )


def first_entry(payment_id: str, record: AuditRecord, at: datetime) -> dict[str, Any]:
    """Return the row that begins the chain of a new payment, for the caller to write with its others."""
    return _linked(payment_id, None, record, at)


def _redacted(snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a snapshot without secrets. Long numbers are providers' ids, except in free text."""
    if snapshot is None:
        return None
    return {name: _safe(name, value) for name, value in snapshot.items()}


def _safe(name: str, value: Any) -> Any:
    return redact(value, cards=name == "failure_reason") if isinstance(value, str) else value


def _linked(
    payment_id: str, last: tuple[int, str] | None, record: AuditRecord, at: datetime
) -> dict[str, Any]:
    """Return the values of the entry that follows ``last`` in a chain."""
    seq, prev_hash = (last[0] + 1, last[1]) if last else (1, GENESIS)
    values = {
        "payment_id": payment_id,
        "seq": seq,
        "at": at,
        "actor": record.actor,
        "source": record.source,
        "source_id": record.source_id,
        "request_id": record.request_id,
        "action": record.action,
        "before": _redacted(record.before),
        "after": _redacted(record.after),
        "note": redact(record.note) if record.note is not None else None,
        "prev_hash": prev_hash,
    }
    return values | {"hash": _hash_of(values)}


class Chains:
    """The ends of many payments' chains, and the entries added to them. The payments are locked."""

    def __init__(self, ends: dict[str, tuple[int, str]]) -> None:
        self._ends = ends
        self.added: list[dict[str, Any]] = []

    @classmethod
    async def read(cls, session: AsyncSession, payment_ids: list[str]) -> Chains:
        """Read the ends of these payments' chains."""
        connection = await session.connection()
        statement = _ends(connection.dialect.name == "postgresql")
        rows = await connection.execute(statement, {"payments": payment_ids})
        return cls({payment_id: (seq, digest) for payment_id, seq, digest in rows})

    def __contains__(self, payment_id: str) -> bool:
        return payment_id in self._ends

    def add(self, payment_id: str, record: AuditRecord, at: datetime) -> None:
        """Add an entry as :func:`append` does; the caller writes all of them at the end."""
        entry = _linked(payment_id, self._ends.get(payment_id), record, at)
        self._ends[payment_id] = (entry["seq"], entry["hash"])
        self.added.append(entry)


@lru_cache
def _ends(postgresql: bool) -> Select[Any]:
    """Select payment, seq and hash: the last of a payment's rows is the end of its chain."""
    entry = inspect(AuditEntry).columns
    query = select_core(entry.payment_id, entry.seq, entry.hash)
    if not postgresql:
        return query.where(among(entry.payment_id, "payments", postgresql=False)).order_by(entry.seq)
    payment_id = listed("payments")
    of_one = query.where(entry.payment_id == payment_id).order_by(entry.seq.desc()).limit(1).lateral("ends")
    return select_core(*of_one.c).join_from(payment_id.table, of_one, true())


async def entries(session: AsyncSession, payment_id: str) -> list[AuditEntry]:
    """Return a payment's chain, oldest entry first."""
    result = await session.exec(
        select(AuditEntry).where(AuditEntry.payment_id == payment_id).order_by(col(AuditEntry.seq))
    )
    return list(result.all())


def entry_hash(entry: AuditEntry) -> str:
    """Return the SHA-256 of the entry's content and the previous hash, as canonical JSON."""
    return _hash_of({name: getattr(entry, name) for name in _HASHED})


_HASHED = (
    "payment_id", "seq", "at", "actor", "source", "source_id", "request_id", "action", "before", "after",
    "note", "prev_hash",
)  # fmt: skip


def _hash_of(content: dict[str, Any]) -> str:
    hashed = content | {"at": utc_text(content["at"])}
    return hashlib.sha256(exact_json.dumps(hashed, canonical=True).encode()).hexdigest()


def hash_of_texts(texts: Sequence[str | None], seq: int, at: datetime, before: str, after: str) -> str:
    """Return the hash of an entry as :func:`entry_hash` does, in a third of the time.

    :param texts: action, actor, note, payment, previous hash, request, source, and its id there.
    :param before, after: the documents as canonical JSON.
    :raises TypeError: a value of another type, which SQLite may have stored.
    """
    is_plain = exact_json.is_plain("".join([text for text in texts if text is not None]))
    quote = _in_quotes if is_plain else exact_json.dumps
    action, actor, note, payment_id, prev_hash, request_id, source, source_id = map(quote, texts)
    number = seq if type(seq) is int else exact_json.dumps(seq)
    content = (
        f'{{"action":{action},"actor":{actor},"after":{after},"at":"{utc_text(at)}","before":{before},'
        f'"note":{note},"payment_id":{payment_id},"prev_hash":{prev_hash},"request_id":{request_id},'
        f'"seq":{number},"source":{source},"source_id":{source_id}}}'
    )
    return hashlib.sha256(content.encode()).hexdigest()


def _in_quotes(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


def is_whole(entry: AuditEntry) -> bool:
    """Return whether an entry's content matches its hash."""
    try:
        return (getattr(entry, "digest", None) or entry_hash(entry)) == entry.hash
    except (ValueError, TypeError, AttributeError):  # we could not have written it
        return False
