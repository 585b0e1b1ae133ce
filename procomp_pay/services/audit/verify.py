"""Verify the audit trail: recompute every chain in bounded memory, and compare its end with the payment, or
with the closing that was signed.

A chain alone reveals entries that were edited, removed from the middle, inserted or swapped. A truncated
chain, one deleted with its payment, or one rewritten with new hashes is revealed by the seals
(:mod:`~procomp_pay.services.audit.seals`), which are recomputed in the same pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from procomp_pay.domain.errors import NotFound
from procomp_pay.services.audit.closings import ClosingRecord
from procomp_pay.services.audit.seals import SealCheck, choose
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import archive as archive_files
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.audit.archive import CHAIN, ArchivedEntries
from procomp_pay.storage.audit.chain import KEPT_BY_PLATFORM
from procomp_pay.storage.audit.erasure import Erasures
from procomp_pay.storage.audit.read import ChainEndRow, Link
from procomp_pay.storage.closing import repository as closings
from procomp_pay.storage.models.audit import AuditSeal
from procomp_pay.storage.models.closing import ClosingDay

#: Findings listed in a report; further ones are only counted.
MOST_FINDINGS = 1000
#: How often, at most, a chain that grows while it is read is read on.
_ROUNDS = 5
_NOTHING = Decimal("0.00")
_NOT_WHOLE = "its content does not match its hash"
_CHANGED_AFTER = "it was erased, and what is left of it was changed since"
_UNSIGNED = (
    "no encryption key of ours signed this record of an erasure: it is forged, the key is missing from "
    "ENCRYPTION_KEYS, or it is from before erasures were signed, and what it erased cannot be proven"
)


class Flaw(StrEnum):
    """A fault in a chain or a seal."""

    EDITED = "edited"  # the content does not match its hash
    MISSING = "missing"  # sequence numbers are missing
    BROKEN_LINK = "broken_link"  # it does not follow the previous entry: inserted or swapped
    DISAGREES = "disagrees"  # the last entry and the payment's row differ
    NO_CHAIN = "no_chain"  # a payment without any entry
    NO_PAYMENT = "no_payment"  # a chain whose payment was deleted
    SEAL = "seal"  # a seal does not match what it covers, or one is missing


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault and its place.

    :param payment_id: ``None`` for a seal, which covers all payments.
    :param seq: ``None`` if the fault is not in one entry.
    """

    payment_id: str | None
    flaw: Flaw
    seq: int | None
    detail: str


@dataclass(slots=True)
class AuditReport:
    """The result of a verification.

    :param seals: number of seals recomputed.
    :param root: root of the newest seal.
    :param archived: number of entries in archives. :param archives: number of archives that were read.
    :param erased: number of entries that lost a person's names, and match the record of that.
    :param more: number of findings that are not listed.
    """

    chains: int = 0
    entries: int = 0
    seals: int = 0
    root: str | None = None
    archived: int = 0
    archives: int = 0
    erased: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings: list them up to :data:`MOST_FINDINGS`, count the others."""
        for finding in findings:
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(finding)
            else:
                self.more += 1


@dataclass(slots=True)
class _Chain:
    """A chain as far as it was read, with its last snapshot."""

    payment_id: str
    erasures: Erasures
    seq: int = 0
    hash: str = audit.GENESIS
    row_id: int = 0
    status: str | None = None
    refunded: Any = _NOTHING
    is_platforms: bool = False
    #: The newest id that may be missing here, because it is in an archive.
    archived_until: int = 0
    closing: ClosingRecord | None = None

    def __post_init__(self) -> None:
        if self.payment_id.startswith(audit.CLOSING_CHAIN):
            self.closing = ClosingRecord()

    @property
    def _is_of_no_payment(self) -> bool:
        return self.payment_id == CHAIN or self.payment_id.startswith(
            (audit.CLOSING_CHAIN, audit.OPERATOR_CHAIN, audit.TOURNAMENT_CHAIN, audit.PAYOUT_CHAIN)
        )

    def take(self, link: Link) -> list[Finding]:
        """Add the next entry, and return its faults."""
        findings = []
        entry = link.entry
        if self.seq == 0 and link.seq > 1 and link.row_id <= self.archived_until:
            pass  # the entries before it are in an archive
        elif link.seq != self.seq + 1:
            findings.append(self._flaw(Flaw.MISSING, link.seq, f"after entry {self.seq} comes {link.seq}"))
        elif link.prev_hash != self.hash:
            findings.append(self._flaw(Flaw.BROKEN_LINK, link.seq, "it does not follow the previous entry"))
        elif link.row_id <= self.row_id:
            findings.append(
                self._flaw(Flaw.BROKEN_LINK, link.seq, "it was written before the previous entry")
            )
        if entry is None:
            findings.append(self._flaw(Flaw.EDITED, link.seq, _NOT_WHOLE))
        else:
            self.erasures.take(entry)
        self.seq, self.hash, self.row_id = link.seq, link.hash, link.row_id
        if entry is not None:
            if self.closing is not None:
                self.closing.take(entry)
            self.is_platforms = entry.action == KEPT_BY_PLATFORM or self._is_of_no_payment
        if entry is not None and isinstance(entry.after, dict):
            self.status = entry.after.get("status", self.status)
            # version 0.1.0 adopted refunded payments without writing down the sum
            default = None if entry.action == "adopted" and self.status == "REFUNDED" else self.refunded
            self.refunded = entry.after.get("refunded", default)
        return findings

    def end(self, row: ChainEndRow | None, day: ClosingDay | None = None) -> list[Finding]:
        """Return the differences between the chain's end and the row of the payment, or of the closing."""
        findings = [
            self._flaw(Flaw.EDITED, seq, _CHANGED_AFTER if seq in self.erasures.proven else _NOT_WHOLE)
            for seq in self.erasures.unproven()
        ]
        findings += [self._flaw(Flaw.EDITED, seq, _UNSIGNED) for seq in self.erasures.unsigned]
        if self.closing is not None:
            differences = ["its row, which was deleted"] if day is None else self.closing.differences(day)
            details = [f"the closing is not as it was recorded: {each}" for each in differences]
            return findings + [self._flaw(Flaw.DISAGREES, self.seq, detail) for detail in details]
        if row is None:
            if self.is_platforms:
                return findings  # no payment of ours, whatever became of it
            return [*findings, self._flaw(Flaw.NO_PAYMENT, None, "its payment was deleted")]
        if self.status != row.status:
            detail = f"the last status in the audit trail is {self.status}, the payment is {row.status}"
            findings.append(self._flaw(Flaw.DISAGREES, self.seq, detail))
        if self.refunded is not None and self.refunded != row.refunded:
            detail = f"refunded by the audit trail: {self.refunded}, by the payment: {row.refunded}"
            findings.append(self._flaw(Flaw.DISAGREES, self.seq, detail))
        return findings

    def _flaw(self, flaw: Flaw, seq: int | None, detail: str) -> Finding:
        return Finding(self.payment_id, flaw, seq, detail)


async def verify(
    ctx: AppContext,
    payment_id: str | None = None,
    *,
    root: str | None = None,
    all_seals: bool = False,
    archives: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> AuditReport:
    """Verify one payment's chain, or all chains and the seals.

    Safe while the system is in use: the end of a chain and its row are compared as of one moment, and a seal
    covers only what was committed when it was made.

    :param root: a root that was stored elsewhere; one of the seals must have it.
    :param all_seals: recompute every seal; otherwise the newest ones and some of the older ones.
    :param archives: the directory of the archives: their entries are verified too. Without it, chains begin
        at what is left of them, and seals from before the newest archive are not recomputed.
    :param on_progress: called now and then with the number of entries so far.
    :raises ManualReviewRequired: an archive is missing or was changed.
    :raises NotFound: no such payment, and no chain of one.
    """
    report = AuditReport()
    async with ctx.db.reading() as session:
        records = await archive_files.recorded(session)
    report.archived = sum(record.entries for record in records)
    every = await audit_seals.every(ctx.db)
    doubt = _doubt(records, every)
    seals = [] if payment_id is not None else every
    cut_until = records[-1].last_entry_id if records and doubt is None else 0
    chosen = choose(seals, root=root, everyone=all_seals)
    check = SealCheck([seal for seal in chosen if archives or seal.last_entry_id >= cut_until])
    ended: list[_Chain] = []
    with ArchivedEntries() if archives and records else nullcontext() as archived:
        if archives is not None and archived is not None:
            for record in records:
                archived.load(archives, record)
            report.archives = len(records)
        async for chain in _chains(ctx, payment_id, report, check, cut_until, archived):
            report.chains += 1
            ended.append(chain)
            if len(ended) >= audit_read.PAGE:
                await _check_rows(ctx, ended, report)
                if on_progress is not None:
                    on_progress(report.entries)
        await _check_rows(ctx, ended, report)
        if archived is not None and payment_id is None:
            for missing_id in archived.unseen():
                detail = "its entries are in an archive, and none of it is left in the database"
                report.add([Finding(missing_id, Flaw.MISSING, None, detail)])
    async for missing_id in _without_chain(ctx, payment_id):
        report.add([Finding(missing_id, Flaw.NO_CHAIN, None, "it has no audit entry at all")])
    report.seals, report.root = len(check.seals), seals[-1].merkle_root if seals else None
    flaws = [
        *check.flaws(seals, root),
        *([] if doubt is None else [doubt]),
        *_not_recomputed(chosen, check, root),
    ]
    report.add(Finding(None, Flaw.SEAL, None, detail) for detail in flaws)
    if payment_id is not None and not report.chains and report.is_sound:
        raise NotFound(f"There is no payment {payment_id[:64]!r}", next_step="procomp-pay list")
    return report


async def _without_chain(ctx: AppContext, payment_id: str | None) -> AsyncIterator[str]:
    """Yield the payments without any audit entry, and then the closings."""
    async for missing_id in audit_read.without_chain(ctx.db, payment_id):
        yield missing_id
    if payment_id is None:
        async with ctx.db.reading() as session:
            unchained = await closings.without_chain(session)
        for missing_id in unchained:
            yield missing_id


def _not_recomputed(chosen: list[AuditSeal], check: SealCheck, root: str | None) -> list[str]:
    if any(seal.merkle_root == root and seal not in check.seals for seal in chosen):
        return ["the seal of this root covers entries that are in archives: give their directory, --archive"]
    return []


def _doubt(records: list[archive_files.Archive], seals: list[AuditSeal]) -> str | None:
    """Return why the records of archives cannot be trusted: each belongs to a seal, and begins where the one
    before it ended. A record alone would let anybody delete what it claims to hold."""
    by_number = {seal.number: seal for seal in seals}
    after_id = 0
    for record in records:
        seal = by_number.get(record.seal)
        if (
            seal is None
            or (seal.merkle_root, seal.last_entry_id) != (record.root, record.last_entry_id)
            or record.after_id != after_id
        ):
            return f"the record of the archive {record.file} does not agree with the seals"
        after_id = record.last_entry_id
    return None


async def _chains(
    ctx: AppContext,
    payment_id: str | None,
    report: AuditReport,
    check: SealCheck,
    cut_until: int,
    archived: ArchivedEntries | None,
) -> AsyncIterator[_Chain]:
    """Yield every chain after checking all of its entries, those of its archives first.

    :param cut_until: entries up to this id may be in an archive.
    """
    chain: _Chain | None = None
    copies: dict[int, str] = {}
    async for link in audit_read.links(ctx.db, payment_id):
        if chain is None or chain.payment_id != link.payment_id:
            if chain is not None:
                yield chain
            chain = _Chain(
                link.payment_id, Erasures(ctx.keyring), archived_until=cut_until if archived is None else 0
            )
            copies = {}
            for copy in archived.chain(link.payment_id) if archived is not None else ():
                copies[copy.seq] = copy.hash
                if copy.seq < link.seq:
                    report.entries += 1
                    report.add(chain.take(copy))
                    check.take(copy)
        report.entries += 1
        report.add(chain.take(link))
        if copies.get(link.seq, link.hash) != link.hash:
            report.add([Finding(link.payment_id, Flaw.EDITED, link.seq, "its archive has another entry")])
        check.take(link)
    if chain is not None:
        yield chain


async def _check_rows(ctx: AppContext, ended: list[_Chain], report: AuditReport) -> None:
    """Compare the ends of chains with their payments; read on first in a chain that has grown meanwhile."""
    waiting = list(ended)
    ended.clear()
    for _ in range(_ROUNDS):
        rows = await audit_read.chain_end_rows(ctx.db, [chain.payment_id for chain in waiting])
        async with ctx.db.reading() as session:
            of_closings = [chain.payment_id for chain in waiting if chain.closing is not None]
            days = await closings.with_chain_ends(session, of_closings) if of_closings else {}
        grown = []
        for chain in waiting:
            row = rows.get(chain.payment_id)
            day, last_seq = days.get(chain.payment_id, (None, row.last_seq if row is not None else 0))
            if last_seq > chain.seq:
                grown.append(chain)
            else:
                report.add(chain.end(row, day))
                report.erased += len(chain.erasures.changed) - len(chain.erasures.unproven())
        waiting = grown
        for chain in waiting:
            async for link in audit_read.links(ctx.db, chain.payment_id, after_seq=chain.seq):
                report.entries += 1
                report.add(chain.take(link))
        if not waiting:
            return
