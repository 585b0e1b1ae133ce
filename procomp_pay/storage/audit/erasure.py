"""Prove what is left of audit entries that lost a person's names.

Such an entry no longer matches its hash. The record of the erasure, an entry of the same chain, has the
SHA-256 of what is left of every erased entry of the chain, signed with the encryption key: whoever can write
to the database alone can neither change an erased entry nor forge an erasure. The newest record counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit import chain
from procomp_pay.storage.audit.chain import PERSON_ERASED, AuditRecord
from procomp_pay.storage.encryption.keyring import Keyring
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.audit import AuditEntry

_PURPOSE = "audit erasure"
#: The actions of entries that may name anybody, not only whom their chain is about.
OF_ANYBODY = (chain.APPROVED, chain.VERIFY_REFUSED)


@dataclass(slots=True)
class Erasures:
    """The erased entries of one chain, whose entries are passed in order.

    :param changed: the digest of what is there, of each entry that does not match its hash.
    :param proven: the digest of what has to be there, by the newest record that is signed.
    :param unsigned: the records after it that no present key signed.
    """

    keyring: Keyring
    changed: dict[int, str] = field(default_factory=dict)
    proven: dict[int, str] = field(default_factory=dict)
    unsigned: list[int] = field(default_factory=list)

    def take(self, entry: AuditEntry) -> None:
        """Add the next entry."""
        if not chain.is_whole(entry):
            self.changed[entry.seq] = _digest(entry)
        elif entry.action == PERSON_ERASED:
            proof = _proof_in(self.keyring, entry)
            if proof is None:
                self.unsigned.append(entry.seq)
            else:
                self.proven, self.unsigned = proof, []

    def concern_any(self) -> bool:
        """Return whether any entry lost its content, or is the record of that."""
        return bool(self.changed or self.proven or self.unsigned)

    def unproven(self) -> list[int]:
        """Return the numbers of the entries that match neither their hash nor a signed record."""
        return [seq for seq, digest in self.changed.items() if self.proven.get(seq) != digest or not digest]


def of(keyring: Keyring, entries: Iterable[AuditEntry]) -> Erasures:
    """Return the erased entries of a chain."""
    erasures = Erasures(keyring)
    for entry in entries:
        erasures.take(entry)
    return erasures


async def record(
    session: AsyncSession,
    keyring: Keyring,
    entries: list[AuditEntry],
    *,
    by: tuple[str, str],
    erased: list[int],
    at: datetime,
) -> None:
    """Append the record of an erasure to a chain, signed with the newest key. The payment is locked.

    It repeats what earlier records prove, also of entries that are in archives now.

    :param entries: of the chain, in order, as they are after the erasure.
    :param by: actor and source. :param erased: the numbers of the entries that lost names just now.
    """
    last = entries[-1]
    known = of(keyring, entries)
    digests = {str(seq): digest for seq, digest in (known.proven | known.changed).items()}
    signature = keyring.sign(_PURPOSE, _signed(last.payment_id, last.seq + 1, last.hash, digests))
    after = {"erased": erased, "proof": {"sha256": digests, "signature": signature}}
    actor, source = by
    made = AuditRecord(actor=actor, source=source, action=PERSON_ERASED, after=after)
    await chain.append(session, last.payment_id, made, at)


async def of_others(session: AsyncSession, wanted: Callable[[Any], bool]) -> list[str]:
    """Return the chains with such a content in an entry that may be about anybody."""
    query = select(AuditEntry.payment_id, AuditEntry.after, AuditEntry.note).where(
        col(AuditEntry.action).in_(OF_ANYBODY)
    )
    rows = (await session.exec(query)).all()
    return sorted({name for name, *content in rows if wanted(content)})


async def newest_records(session: AsyncSession) -> list[AuditEntry]:
    """Return the newest record of every chain that has one."""
    newest = (
        select(func.max(AuditEntry.id))
        .where(AuditEntry.action == PERSON_ERASED)
        .group_by(col(AuditEntry.payment_id))
    )
    query = select(AuditEntry).where(col(AuditEntry.id).in_(newest)).order_by(col(AuditEntry.id))
    return list((await session.exec(query)).all())


def signed_by(keyring: Keyring, entry: AuditEntry) -> int | None:
    """Return which key signed a record, 0 for the newest; ``None`` if none did."""
    parts = _parts(entry)
    if parts is None:
        return None
    digests, signature = parts
    signed = _signed(entry.payment_id, entry.seq, entry.prev_hash, digests)
    signatures = keyring.signatures(_PURPOSE, signed)
    return signatures.index(signature) if signature in signatures else None


def _proof_in(keyring: Keyring, entry: AuditEntry) -> dict[int, str] | None:
    parts = _parts(entry)
    if parts is None or signed_by(keyring, entry) is None:
        return None
    return {int(seq): digest for seq, digest in parts[0].items()}


def _parts(entry: AuditEntry) -> tuple[dict[str, str], str] | None:
    """Return digests and signature of a record; ``None`` if it is none of ours."""
    match entry.after:
        case {"proof": {"sha256": dict() as digests, "signature": str() as signature}}:
            return digests, signature
    return None


def _signed(payment_id: str, seq: int, prev_hash: str, digests: dict[str, Any]) -> str:
    """Return the text that is signed. It names the record's place: a copy elsewhere proves nothing."""
    return exact_json.dumps([payment_id, seq, prev_hash, digests], canonical=True)


def _digest(entry: AuditEntry) -> str:
    """Return the SHA-256 of an entry's present content; empty if we could not have written it."""
    try:
        return chain.entry_hash(entry)
    except (ValueError, TypeError, AttributeError):
        return ""
