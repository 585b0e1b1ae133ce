"""Archive the audit trail: write old entries to a file, record it, and cut them behind a seal.

Killed anywhere, nothing is lost: entries are deleted only after their file is on the disk, is recorded in the
audit trail, and was read back. The next run continues.

Of each chain the end up to the seal stays, so that this seal and all later ones can be recomputed from the
database alone, and that chain and payment can be compared. What the books still show stays with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from procomp_pay.domain.errors import ManualReviewRequired, Refused, Unavailable
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import archive as archives
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.audit.archive import Archive
from procomp_pay.storage.audit.read import Link
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal

#: Entries that one transaction deletes, about.
BATCH = 500
#: Entries by which receipts and reports know something, or that prove others: the newest of each kind stays.
_SHOWN = ("fiscal_receipt", "dispute", audit.PERSON_ERASED)


@dataclass(frozen=True, slots=True)
class Archived:
    """The result of one run.

    :param made: the new archive; ``None`` if no seal is old enough. :param sealed_at: of its seal.
    :param cut: the entries that were deleted, also those of an earlier run that was interrupted.
    """

    made: Archive | None
    sealed_at: str | None
    cut: int


async def archive(
    ctx: AppContext,
    directory: Path,
    actor: Actor,
    *,
    keep: timedelta,
    on_progress: Callable[[int], None] | None = None,
) -> Archived:
    """Archive everything up to the newest seal that is older than ``keep``.

    :param directory: of the files; it exists.
    :raises Refused: there is no seal at all. :raises Unavailable: another process archives.
    :raises ManualReviewRequired: the audit trail is not intact, or a file was changed; nothing was deleted.
    """
    async with only_process(ctx.db, "archive") as ours:
        if not ours:
            raise Unavailable("Another process archives the audit trail", next_step="let it finish")
        async with ctx.db.reading() as session:
            earlier = await archives.recorded(session)
        for known in earlier:  # what is cut may be in any of them: the newest entries of a chain stay once
            _read_back(directory, known)
        cut = await _cut(ctx, directory, earlier[-1]) if earlier else 0
        after_id = earlier[-1].last_entry_id if earlier else 0
        seal = await _seal_before(ctx, keep, after_id)
        if seal is None:
            return Archived(None, None, cut)
        await _check(ctx, seal, on_progress)
        made = await _write(ctx, directory, seal, after_id)
        async with ctx.db.writing() as session:
            record = actor.record(archives.ARCHIVED, after=made.full())
            await audit.append(session, archives.CHAIN, record, ctx.clock())
        cut += await _cut(ctx, directory, made)
    return Archived(made, instant(seal.sealed_at), cut)


async def _seal_before(ctx: AppContext, keep: timedelta, after_id: int) -> AuditSeal | None:
    seals = await audit_seals.every(ctx.db)
    if not seals:
        raise Refused("There is no seal to archive up to", next_step="procomp-pay audit seal")
    old = [seal for seal in seals if ctx.clock() - seal.sealed_at >= keep and seal.last_entry_id > after_id]
    return old[-1] if old else None


async def _check(ctx: AppContext, seal: AuditSeal, on_progress: Callable[[int], None] | None) -> None:
    report = await audit_verify.verify(ctx, root=seal.merkle_root, on_progress=on_progress)
    if not report.is_sound:
        raise ManualReviewRequired(
            f"The audit trail is not intact: {report.findings[0].detail}; nothing was archived",
            next_step="procomp-pay audit verify",
        )


async def _write(ctx: AppContext, directory: Path, seal: AuditSeal, after_id: int) -> Archive:
    name = f"audit-{seal.number:06}.jsonl"
    made = Archive(name, seal.number, seal.merkle_root, after_id, seal.last_entry_id, 0, "")
    with archives.Writer(directory / name, made) as writer:
        async for link in audit_read.links(ctx.db, span=(after_id, seal.last_entry_id)):
            if link.payment_id == archives.CHAIN:
                continue
            if link.entry is None:
                raise ManualReviewRequired(
                    f"Entry {link.seq} of payment {link.payment_id} cannot be read",
                    next_step=f"procomp-pay audit verify {link.payment_id}",
                )
            writer.add(link.entry)
        return replace(made, entries=writer.entries, sha256=writer.close())


async def _cut(ctx: AppContext, directory: Path, made: Archive) -> int:
    """Delete what this archive and earlier ones hold, after reading the file back; return how many entries.

    :raises ManualReviewRequired: the file is missing or was changed.
    """
    ids: list[int] = []
    is_checked, done = False, 0
    async for chain in _chains(ctx, made.last_entry_id):
        ids += [link.row_id for link in chain[: _first_kept(chain)]]
        if len(ids) < BATCH:
            continue
        if not is_checked:
            _read_back(directory, made)
            is_checked = True
        done += await _delete(ctx, ids)
    if ids and not is_checked:
        _read_back(directory, made)
    return done + await _delete(ctx, ids)


def _read_back(directory: Path, made: Archive) -> None:
    for _ in archives.lines(directory / made.file, made):
        pass


async def _delete(ctx: AppContext, ids: list[int]) -> int:
    count = len(ids)
    if ids:
        async with ctx.db.writing() as session:
            await archives.cut(session, ids)
        ids.clear()
    return count


async def _chains(ctx: AppContext, last_entry_id: int) -> AsyncIterator[list[Link]]:
    """Yield each payment's entries up to this one."""
    chain: list[Link] = []
    async for link in audit_read.links(ctx.db, span=(0, last_entry_id)):
        if chain and chain[0].payment_id != link.payment_id:
            yield chain
            chain = []
        if link.payment_id != archives.CHAIN:
            chain.append(link)
    if chain:
        yield chain


def _first_kept(chain: list[Link]) -> int:
    """Return the index of the first entry that stays: the newest snapshot of the payment, what is shown, or
    the first by which a person is found.

    A chain without a snapshot stays whole.
    """
    kept: dict[str, int] = {}
    for index, link in enumerate(chain):
        if link.entry is not None:
            kept |= {kind: index for kind in _SHOWN if link.entry.action.startswith(kind)}
            if _is_snapshot(link.entry):
                kept["snapshot"] = index
            if _identifies_a_person(link.entry):
                kept.setdefault("person", index)
    return min(kept.values()) if "snapshot" in kept else 0


def _identifies_a_person(entry: AuditEntry) -> bool:
    """Return whether the entry alone says whose payment it was, or what their name was: an export and an
    erasure of the person look for both."""
    match entry.before, entry.after:
        case {"full_name": former}, {"full_name": present}:
            return bool(former != present)
    return entry.action == audit.PAYMENT_MOVED


def _is_snapshot(entry: AuditEntry) -> bool:
    return isinstance(entry.after, dict) and {"status", "refunded"} <= entry.after.keys()
