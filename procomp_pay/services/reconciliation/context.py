"""What judging needs, and what becomes of a verdict: it is written down for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from procomp_pay.domain.errors import DatabaseUnavailable, Unavailable
from procomp_pay.domain.reconciliation.records import Finding, Theirs
from procomp_pay.services.context import Actor, Desk
from procomp_pay.services.reconciliation.our_records import Reach
from procomp_pay.services.reconciliation.repair import ask, mend_by_asking
from procomp_pay.services.reconciliation.report import Report, facts
from procomp_pay.storage.payments.repository import Held
from procomp_pay.storage.reconciliation import discrepancies as store

Mend = Callable[[Desk, Finding, Actor], Awaitable[None]]
Pace = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Court:
    """What judging needs.

    :param mend: how a difference is mended.
    :param asks: whether the provider can be asked about one payment; a statement stands for itself.
    :param pace: awaited before each question, so that the provider is not flooded.
    """

    desk: Desk
    actor: Actor
    reach: Reach
    report: Report
    mend: Mend = mend_by_asking
    asks: bool = True
    pace: Pace | None = None


async def asked(court: Court, held: Held) -> list[Theirs] | None:
    """What the provider says now; ``None`` where it cannot be asked about this one, or not any more."""
    if court.report.silent:
        return None
    if court.pace is not None:
        await court.pace()
    return await ask(court.desk, held)


def fell_silent(report: Report, error: Unavailable) -> None:
    """A provider that goes away while it is asked about single payments ends the asking, and undoes nothing.

    :raises DatabaseUnavailable: it is the database that went away.
    """
    if isinstance(error, DatabaseUnavailable):
        raise error
    report.silent = True
    report.cut = report.cut or f"{error.message}, while differences were looked into"


@dataclass(slots=True)
class Verdicts:
    """A page's: written down together, since a million lines may have thousands of differences."""

    left: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)


async def keep(court: Court, verdicts: Verdicts) -> None:
    """Write down what is left; in a dry run say what would be."""
    desk, report, left = court.desk, court.report, verdicts.left
    for each in verdicts.mended:
        report.add(each, "repaired")
    if report.dry_run:
        for each in left:
            report.add(each, "would repair" if each.repair else "would open")
        return
    if not left:
        return
    found = [
        store.Found(
            each.fingerprint,
            each.kind,
            report.provider,
            each.ours.payment_id if each.ours else None,
            {"what": each.what, "source": report.source} | facts(each),
        )
        for each in left
    ]
    ids = [desk.new_id() for _ in left]
    async with desk.db.writing() as session:
        became = await store.keep(session, found, ids=ids, run_id=report.run_id, now=desk.clock())
    for each, word in zip(left, became, strict=True):
        report.add(each, word)


class Scribe:
    """Writes a page's verdicts down while the next page is judged, in their order; all of them at its end."""

    def __init__(self, court: Court) -> None:
        self._court = court
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, verdicts: Verdicts) -> None:
        """
        :raises DatabaseUnavailable: those before could not be written.
        """
        await self._written()
        self._writing = asyncio.create_task(keep(self._court, verdicts))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def __aenter__(self) -> Scribe:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._written()
