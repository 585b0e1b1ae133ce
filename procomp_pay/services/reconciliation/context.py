"""Define the context of a comparison, and store its results for manual review."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from procomp_pay.domain.errors import DatabaseUnavailable, Unavailable
from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.reconciliation.our_records import CoverageWindow
from procomp_pay.services.reconciliation.repair import ask, repair_by_asking
from procomp_pay.services.reconciliation.report import Report, facts
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation import discrepancies as store

Repair = Callable[[AppContext, Mismatch, Actor], Awaitable[None]]
Pace = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ReconciliationContext:
    """The parameters of a comparison.

    :param repair: how a difference is repaired.
    :param asks: whether the provider can be asked about one payment; with a statement it is not.
    :param pace: awaited before each question, so that the provider is not flooded.
    """

    ctx: AppContext
    actor: Actor
    coverage: CoverageWindow
    report: Report
    repair: Repair = repair_by_asking
    asks: bool = True
    pace: Pace | None = None


async def ask_again(context: ReconciliationContext, locked: OrmLockedPayment) -> list[ProviderRecord] | None:
    """Return the provider's present records of a payment; ``None`` if it cannot be asked, or no longer."""
    if context.report.provider_unavailable:
        return None
    if context.pace is not None:
        await context.pace()
    return await ask(context.ctx, locked)


def stop_asking(report: Report, error: Unavailable) -> None:
    """Note that the provider stopped answering, so that it is not asked about further payments.

    :raises DatabaseUnavailable: the database is unavailable, not the provider.
    """
    if isinstance(error, DatabaseUnavailable):
        raise error
    report.provider_unavailable = True
    report.cut = report.cut or N_("%(error)s, while differences were looked into", error=error.message)


@dataclass(slots=True)
class PageResult:
    """The results of a page, stored together because a million lines may have thousands of differences."""

    left: list[Mismatch] = field(default_factory=list)
    repaired: list[Mismatch] = field(default_factory=list)


async def record_page(context: ReconciliationContext, result: PageResult) -> None:
    """Store the differences that are left; in a dry run only report what would be done."""
    ctx, report, left = context.ctx, context.report, result.left
    for mismatch in result.repaired:
        report.add(mismatch, "repaired")
    if report.dry_run:
        for mismatch in left:
            report.add(mismatch, "would repair" if mismatch.repair else "would open")
        return
    if not left:
        return
    differences = [
        store.Difference(
            mismatch.fingerprint,
            mismatch.kind,
            report.provider,
            mismatch.ours.payment_id if mismatch.ours else None,
            {"what": mismatch.what, "source": report.source}
            | ({store.AFTER_RESTORE: True} if report.after_restore else {})
            | facts(mismatch),
        )
        for mismatch in left
    ]
    ids = [ctx.new_id() for _ in left]
    async with ctx.db.writing() as session:
        outcomes = await store.keep(session, differences, ids=ids, run_id=report.run_id, now=ctx.clock())
    for mismatch, outcome in zip(left, outcomes, strict=True):
        report.add(mismatch, outcome)


class PageWriter:
    """Store a page's results while the next page is compared, in order."""

    def __init__(self, context: ReconciliationContext) -> None:
        self._context = context
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, result: PageResult) -> None:
        """Start to store a page's results, once those of the page before are stored.

        :raises DatabaseUnavailable: the results of the page before could not be stored.
        """
        await self._written()
        self._writing = asyncio.create_task(record_page(self._context, result))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def __aenter__(self) -> PageWriter:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._written()
