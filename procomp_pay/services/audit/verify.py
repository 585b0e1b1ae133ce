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
from pathlib import Path

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.text import N_
from procomp_pay.services.audit.chain_check import Chain, Finding, Flaw
from procomp_pay.services.audit.processes import checked_chains
from procomp_pay.services.audit.seals import SealCheck, choose
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import archive as archive_files
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.audit.archive import ArchivedEntries
from procomp_pay.storage.audit.erasure import Erasures
from procomp_pay.storage.closing import repository as closings
from procomp_pay.storage.models.audit import AuditSeal

#: Findings listed in a report; further ones are only counted.
MOST_FINDINGS = 1000
#: How often, at most, a chain that grows while it is read is read on.
_ROUNDS = 5


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


async def verify(
    ctx: AppContext,
    payment_id: str | None = None,
    *,
    root: str | None = None,
    all_seals: bool = False,
    archives: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    processes: int = 1,
) -> AuditReport:
    """Verify one payment's chain, or all chains and the seals.

    Safe while the system is in use: the end of a chain and its row are compared as of one moment, and a seal
    covers only what was committed when it was made.

    :param root: a root that was stored elsewhere; one of the seals must have it.
    :param all_seals: recompute every seal; otherwise the newest ones and some of the older ones.
    :param archives: the directory of the archives: their entries are verified too. Without it, chains begin
        at what is left of them, and seals from before the newest archive are not recomputed.
    :param on_progress: called now and then with the number of entries so far.
    :param processes: so many others hash the entries, if there are many, and no archives are read.
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
    ended: list[Chain] = []
    with ArchivedEntries() if archives and records else nullcontext() as archived:
        if archives is not None and archived is not None:
            for record in records:
                archived.load(archives, record)
            report.archives = len(records)
        async for chain in _chains(ctx, payment_id, report, check, cut_until, archived, processes):
            report.chains += 1
            ended.append(chain)
            if len(ended) >= audit_read.PAGE:
                await _check_rows(ctx, ended, report)
                if on_progress is not None:
                    on_progress(report.entries)
        await _check_rows(ctx, ended, report)
        if archived is not None and payment_id is None:
            for missing_id in archived.unseen():
                detail = N_("its entries are in an archive, and none of it is left in the database")
                report.add([Finding(missing_id, Flaw.MISSING, None, detail)])
    async for missing_id in _without_chain(ctx, payment_id):
        report.add([Finding(missing_id, Flaw.NO_CHAIN, None, N_("it has no audit entry at all"))])
    report.seals, report.root = len(check.seals), seals[-1].merkle_root if seals else None
    flaws = [
        *check.flaws(seals, root),
        *([] if doubt is None else [doubt]),
        *_not_recomputed(chosen, check, root),
    ]
    report.add(Finding(None, Flaw.SEAL, None, detail) for detail in flaws)
    if payment_id is not None and not report.chains and report.is_sound:
        raise NotFound(
            N_("There is no payment %(payment)s", payment=repr(payment_id[:64])), next_step="procomp-pay list"
        )
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
        return [
            N_("the seal of this root covers entries that are in archives: give their directory, --archive")
        ]
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
            return N_("the record of the archive %(file)s does not agree with the seals", file=record.file)
        after_id = record.last_entry_id
    return None


async def _chains(
    ctx: AppContext,
    payment_id: str | None,
    report: AuditReport,
    check: SealCheck,
    cut_until: int,
    archived: ArchivedEntries | None,
    processes: int = 1,
) -> AsyncIterator[Chain]:
    """Yield every chain after checking all of its entries, those of its archives first.

    :param cut_until: entries up to this id may be in an archive.
    """
    if processes > 1 and payment_id is None and archived is None:
        async for checked in _chains_by_processes(ctx, report, check, cut_until, processes):
            yield checked
        return
    chain: Chain | None = None
    copies: dict[int, str] = {}
    async for link in audit_read.links(ctx.db, payment_id):
        if chain is None or chain.payment_id != link.payment_id:
            if chain is not None:
                yield chain
            chain = Chain(
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
            report.add([Finding(link.payment_id, Flaw.EDITED, link.seq, N_("its archive has another entry"))])
        check.take(link)
    if chain is not None:
        yield chain


async def _chains_by_processes(
    ctx: AppContext, report: AuditReport, check: SealCheck, cut_until: int, processes: int
) -> AsyncIterator[Chain]:
    """Yield every chain as :func:`_chains` does. Other processes read and hash them; a chain in which they
    find anything but plain entries that follow each other is read again and judged here."""
    async for checked in checked_chains(ctx.db, check.bounds, cut_until, processes):
        if checked.end is None:
            async for chain in _chains(ctx, checked.payment_id, report, check, cut_until, None):
                yield chain
        else:
            report.entries += checked.entries
            check.take_heads(checked.payment_id, checked.heads)
            yield Chain(checked.payment_id, Erasures(ctx.keyring), *checked.end)


async def _check_rows(ctx: AppContext, ended: list[Chain], report: AuditReport) -> None:
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
