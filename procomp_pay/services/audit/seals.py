"""Seal the audit trail: one Merkle root (RFC 6962) over the heads of all chains.

A seal stores the newest entry that it covers, so that its root can be recomputed at any time, and the
previous root, so that one root covers all seals before it. Whoever can write to the database can forge seals
as well; a root that was stored elsewhere (``audit seal --print``) cannot be forged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from procomp_pay.domain.errors import ManualReviewRequired
from procomp_pay.domain.merkle import Merkle
from procomp_pay.domain.text import N_
from procomp_pay.services.audit.chain_check import Heads, note_head
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.audit.read import Link
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.database.retry import retrying
from procomp_pay.storage.models.audit import AuditSeal

#: The number of newest seals that a verification recomputes; of the older ones it recomputes some.
NEWEST = 30


@dataclass(frozen=True, slots=True)
class Sealed:
    """A new seal, as shown to the operator."""

    number: int
    root: str
    previous_root: str
    chains: int
    entries: int
    last_entry_id: int
    at: str | None
    by: str

    def full(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def choose(seals: Sequence[AuditSeal], *, root: str | None = None, everyone: bool = False) -> list[AuditSeal]:
    """Return the seals to recompute: the newest, then at doubling distances, the first, and that of ``root``.

    Each seal is checked against the previous one when it is made, so that later seals cannot hide a wrong
    one.
    """
    if everyone or len(seals) <= NEWEST:
        return list(seals)
    indices, back = set(range(len(seals) - NEWEST, len(seals))), NEWEST
    while back < len(seals):
        indices.add(len(seals) - 1 - back)
        back *= 2
    return [seal for n, seal in enumerate(seals) if n in indices or seal.merkle_root == root or n == 0]


class _Sums:
    """Totals and Merkle tree of what one seal covers, added up chain by chain."""

    def __init__(self) -> None:
        self.tree, self.chains, self.entries = Merkle(), 0, 0

    def add(self, head: tuple[int, bytes]) -> None:
        self.chains += 1
        self.entries += head[0]
        self.tree.add(head[1])

    def root(self, seal: AuditSeal) -> str:
        """Return the root over the chain heads and the seal's own data; call it once, at the end."""
        self.tree.add(audit_seals.seal_leaf(seal))
        return self.tree.root()


class SealCheck:
    """Recompute seals from all entries, which are passed in order of payment and sequence number."""

    def __init__(self, seals: Sequence[AuditSeal]) -> None:
        self.seals = sorted(seals, key=lambda seal: seal.last_entry_id)
        self.sums = [_Sums() for _ in self.seals]
        self.bounds = [seal.last_entry_id for seal in self.seals]
        self._payment = ""
        self._heads: Heads = {}

    def take(self, link: Link) -> None:
        """Add the next entry."""
        if link.payment_id != self._payment:
            self.take_heads(link.payment_id, {})
        note_head(self._heads, self.bounds, link)

    def take_heads(self, payment_id: str, heads: Heads) -> None:
        """Begin the next chain, with the heads that are known already."""
        self._end_chain()
        self._payment, self._heads = payment_id, heads

    def end(self) -> list[_Sums]:
        """Return what each seal covers; call it after the last entry."""
        self._end_chain()
        return self.sums

    def _end_chain(self) -> None:
        head: tuple[int, bytes] | None = None
        for index in range(min(self._heads, default=len(self.sums)), len(self.sums)):
            if index in self._heads:
                seq, digest = self._heads[index]
                head = seq, audit_seals.head_leaf(self._payment, seq, digest)
            if head is not None:
                self.sums[index].add(head)
        self._heads = {}

    def flaws(self, seals: Sequence[AuditSeal], root: str | None = None) -> Iterator[str]:
        """Return one sentence for each fault; call it after the last entry.

        :param seals: all of them, in order of number.
        :param root: one that was kept elsewhere.
        """
        yield from _gaps(seals)
        for seal_row, sums in zip(self.seals, self.end(), strict=True):
            if (difference := _difference(seal_row, sums)) is not None:
                yield difference
        if root is not None and root.lower() not in {seal.merkle_root for seal in seals}:
            yield N_(
                "no seal has the root %(root)s: it was removed, changed, or is of another database",
                root=root[:64],
            )


def _gaps(seals: Sequence[AuditSeal]) -> Iterator[str]:
    """Return the gaps in the series of seals."""
    number, before, last = 0, audit.GENESIS, 0
    for seal in seals:
        if seal.number != number + 1:
            yield N_(
                "after seal %(before)s comes seal %(after)s: one was removed",
                before=number,
                after=seal.number,
            )
        elif seal.previous_root != before or seal.last_entry_id < last:
            yield N_("seal %(after)s does not continue seal %(before)s", before=number, after=seal.number)
        number, before, last = seal.number, seal.merkle_root, seal.last_entry_id


def _difference(seal: AuditSeal, sums: _Sums) -> str | None:
    """Return how a seal differs from what it covers now."""
    chains, entries = sums.chains, sums.entries
    if sums.root(seal) == seal.merkle_root:
        return None
    covered = N_(
        "seal %(number)s of %(time)s covers %(entries)s entries of %(payments)s payments",
        number=seal.number,
        time=instant(seal.sealed_at),
        entries=seal.entry_count,
        payments=seal.chain_count,
    )
    now = N_("now there are %(entries)s entries of %(payments)s payments", entries=entries, payments=chains)
    if chains < seal.chain_count:
        return N_("%(covered)s; %(now)s: a whole chain is gone", covered=covered, now=now)
    if entries < seal.entry_count:
        return N_("%(covered)s; %(now)s: the end of a chain was cut off", covered=covered, now=now)
    if (chains, entries) != (seal.chain_count, seal.entry_count):
        return N_("%(covered)s; %(now)s: entries were inserted", covered=covered, now=now)
    return N_("%(covered)s; an entry or the seal itself was rewritten", covered=covered)


async def seal(
    ctx: AppContext, by: str, *, force: bool = False, on_progress: Callable[[int], None] | None = None
) -> Sealed:
    """Seal everything that is committed now, after checking what the last seal covers.

    :param force: seal even if the trail does not match the last seal.
    :param on_progress: called now and then with the number of entries so far.
    :raises ManualReviewRequired: the trail does not match the last seal.
    :raises DatabaseBusy: writers kept the lock, or another process sealed meanwhile; nothing was written.
    """
    last, bound = await retrying(lambda: _fence(ctx))
    made = AuditSeal(
        id=ctx.new_id(),
        number=last.number + 1 if last else 1,
        sealed_at=ctx.clock(),
        last_entry_id=bound,
        merkle_root="",
        previous_root=last.merkle_root if last else audit.GENESIS,
        chain_count=0,
        entry_count=0,
        sealed_by=by,
    )
    before, now = await _sum_up(ctx, [last] if last else [], made, on_progress)
    difference = _difference(last, before) if last is not None and before is not None else None
    if difference is not None and not force:
        raise ManualReviewRequired(
            N_("The audit trail was changed: %(what)s", what=difference), next_step="procomp-pay audit verify"
        )
    made.chain_count, made.entry_count = now.chains, now.entries
    made.merkle_root = now.root(made)
    await _insert(ctx, made)
    return _as_sealed(made)


async def _sum_up(
    ctx: AppContext, last: list[AuditSeal], made: AuditSeal, on_progress: Callable[[int], None] | None
) -> tuple[_Sums | None, _Sums]:
    check, count = SealCheck([*last, made]), 0
    async for link in audit_read.links(ctx.db, whole=False):
        check.take(link)
        count += 1
        if on_progress is not None and count % audit_read.PAGE == 0:
            on_progress(count)
    sums = dict(zip((id(sealed) for sealed in check.seals), check.end(), strict=True))
    return (sums[id(last[0])] if last else None), sums[id(made)]


def _as_sealed(made: AuditSeal) -> Sealed:
    return Sealed(
        number=made.number,
        root=made.merkle_root,
        previous_root=made.previous_root,
        chains=made.chain_count,
        entries=made.entry_count,
        last_entry_id=made.last_entry_id,
        at=instant(made.sealed_at),
        by=made.sealed_by,
    )


async def _fence(ctx: AppContext) -> tuple[AuditSeal | None, int]:
    async with ctx.db.writing() as session:
        bound = await audit_seals.fence(session, is_sqlite=ctx.db.is_sqlite())
        return await audit_seals.newest(session), bound


async def _insert(ctx: AppContext, made: AuditSeal) -> None:
    """Insert the seal.

    :raises DatabaseBusy: another process sealed meanwhile.
    """
    async with ctx.db.writing() as session:
        if not await insert_once(session, AuditSeal, made.model_dump()):
            raise DatabaseBusy(
                N_("Another process sealed the audit trail meanwhile"), next_step=N_("try again")
            )


async def seal_if_due(ctx: AppContext, by: str, every: timedelta) -> Sealed | None:
    """Seal if the last seal is older than ``every`` and there are new entries; for cron.

    :raises ManualReviewRequired: as :func:`seal`.
    """
    async with ctx.db.reading() as session:
        last, bound = await audit_seals.newest(session), await audit_seals.newest_entry(session)
    if bound <= (last.last_entry_id if last else 0):
        return None
    if last is not None and ctx.clock() - last.sealed_at < every:
        return None
    return await seal(ctx, by)
