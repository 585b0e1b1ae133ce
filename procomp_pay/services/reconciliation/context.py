"""Hold the context of a comparison, and write its results for manual review."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from procomp_pay.domain.errors import DatabaseUnavailable, Unavailable
from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.reconciliation.our_records import CoverageWindow
from procomp_pay.services.reconciliation.repair import ask, repair_by_asking
from procomp_pay.services.reconciliation.report import Report, facts
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation import discrepancies as store

Mend = Callable[[AppContext, Mismatch, Actor], Awaitable[None]]
Pace = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ReconciliationContext:
    """What judging needs.

    :param repair: how a difference is repaired.
    :param asks: whether the provider can be asked about one payment; with a statement it is not.
    :param pace: awaited before each question, so that the provider is not flooded.
    """

    ctx: AppContext
    actor: Actor
    coverage: CoverageWindow
    report: Report
    repair: Mend = repair_by_asking
    asks: bool = True
    pace: Pace | None = None


async def asked(context: ReconciliationContext, locked: OrmLockedPayment) -> list[ProviderRecord] | None:
    """Return the provider's state now; ``None`` if it cannot be asked about this payment, or no longer."""
    if context.report.provider_unavailable:
        return None
    if context.pace is not None:
        await context.pace()
    return await ask(context.ctx, locked)


def stop_asking(report: Report, error: Unavailable) -> None:
    """A provider that goes away while it is asked about single payments ends the asking, and undoes nothing.

    :raises DatabaseUnavailable: it is the database that went away.
    """
    if isinstance(error, DatabaseUnavailable):
        raise error
    report.provider_unavailable = True
    report.cut = report.cut or f"{error.message}, while differences were looked into"


@dataclass(slots=True)
class PageResult:
    """A page's: written down together, since a million lines may have thousands of differences."""

    left: list[Mismatch] = field(default_factory=list)
    repaired: list[Mismatch] = field(default_factory=list)


async def record_page(context: ReconciliationContext, result: PageResult) -> None:
    """Write down what is left; in a dry run say what would be."""
    ctx, report, left = context.ctx, context.report, result.left
    for each in result.repaired:
        report.add(each, "repaired")
    if report.dry_run:
        for each in left:
            report.add(each, "would repair" if each.repair else "would open")
        return
    if not left:
        return
    found = [
        store.Difference(
            each.fingerprint,
            each.kind,
            report.provider,
            each.ours.payment_id if each.ours else None,
            {"what": each.what, "source": report.source} | facts(each),
        )
        for each in left
    ]
    ids = [ctx.new_id() for _ in left]
    async with ctx.db.writing() as session:
        became = await store.keep(session, found, ids=ids, run_id=report.run_id, now=ctx.clock())
    for each, word in zip(left, became, strict=True):
        report.add(each, word)


class PageWriter:
    """Write a page's results while the next page is compared, in order; all of them at its end."""

    def __init__(self, context: ReconciliationContext) -> None:
        self._court = context
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, result: PageResult) -> None:
        """
        :raises DatabaseUnavailable: those before could not be written.
        """
        await self._written()
        self._writing = asyncio.create_task(record_page(self._court, result))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def __aenter__(self) -> PageWriter:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._written()
