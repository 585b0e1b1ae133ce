"""The audit trail: one hash chain for each payment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, inspect
from sqlalchemy import select as select_core
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.redact import redact
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.columns import among
from procomp_pay.storage.models.payments import AuditEntry
from procomp_pay.storage.models.types import utc_text

#: What the first entry of a chain stands on.
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what, on whose word.

    :param source: where it came from: ``stripe_webhook``, ``kaspi_status``, ``person`` …
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
    """Add to a payment's chain. The caller holds the payment's row lock, so that the chain has one end."""
    last = (
        await session.exec(
            select(AuditEntry.seq, AuditEntry.hash)
            .where(AuditEntry.payment_id == payment_id)
            .order_by(col(AuditEntry.seq).desc())
            .limit(1)
        )
    ).first()
    entry = AuditEntry(**_linked(payment_id, last, record, at))
    session.add(entry)
    await session.flush()
    return entry


def _shown(picture: dict[str, Any] | None) -> dict[str, Any] | None:
    """A picture without secrets; long numbers in it are the providers' ids, but in what somebody wrote."""
    if picture is None:
        return None
    return {name: _safe(name, value) for name, value in picture.items()}


def _safe(name: str, value: Any) -> Any:
    return redact(value, cards=name == "failure_reason") if isinstance(value, str) else value


def _linked(
    payment_id: str, last: tuple[int, str] | None, record: AuditRecord, at: datetime
) -> dict[str, Any]:
    """The entry that follows the chain's ``last``."""
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
        "before": _shown(record.before),
        "after": _shown(record.after),
        "note": redact(record.note) if record.note is not None else None,
        "prev_hash": prev_hash,
    }
    return values | {"hash": _hash_of(values)}


class Chains:
    """The ends of many payments' chains, and what is added to them. Their payments are locked."""

    def __init__(self, ends: dict[str, tuple[int, str]]) -> None:
        self._ends = ends
        self.added: list[dict[str, Any]] = []

    @classmethod
    async def read(cls, session: AsyncSession, payment_ids: list[str]) -> Chains:
        """Read the ends."""
        connection = await session.connection()
        statement = _entries_of(connection.dialect.name == "postgresql")
        found = await connection.execute(statement, {"payments": payment_ids})
        return cls({payment_id: (seq, digest) for payment_id, seq, digest in found})

    def add(self, payment_id: str, record: AuditRecord, at: datetime) -> None:
        """As :func:`append`; written by whoever holds the chains."""
        entry = _linked(payment_id, self._ends.get(payment_id), record, at)
        self._ends[payment_id] = (entry["seq"], entry["hash"])
        self.added.append(entry)


@lru_cache
def _entries_of(postgresql: bool) -> Select[Any]:
    entry = inspect(AuditEntry).columns
    wanted = among(entry.payment_id, "payments", postgresql=postgresql)
    return select_core(entry.payment_id, entry.seq, entry.hash).where(wanted).order_by(entry.seq)


async def entries(session: AsyncSession, payment_id: str) -> list[AuditEntry]:
    """A payment's chain, oldest first."""
    found = await session.exec(
        select(AuditEntry).where(AuditEntry.payment_id == payment_id).order_by(col(AuditEntry.seq))
    )
    return list(found.all())


def entry_hash(entry: AuditEntry) -> str:
    """SHA-256 over the entry's content and the hash before it, as canonical JSON."""
    return _hash_of({name: getattr(entry, name) for name in _HASHED})


_HASHED = (
    "payment_id", "seq", "at", "actor", "source", "source_id", "request_id", "action", "before", "after",
    "note", "prev_hash",
)  # fmt: skip


def _hash_of(content: dict[str, Any]) -> str:
    whole = content | {"at": utc_text(content["at"])}
    return hashlib.sha256(exact_json.dumps(whole, canonical=True).encode()).hexdigest()


def is_whole(entry: AuditEntry) -> bool:
    """Whether an entry's content is what its hash was made of."""
    try:
        return entry_hash(entry) == entry.hash
    except (ValueError, TypeError, AttributeError):  # nothing that we could have written
        return False
