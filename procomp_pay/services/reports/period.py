"""The report of a period: what was tried, what money moved, what does not agree.

What is counted when: attempts (success, time to complete, reasons) by the day on which they were *started*;
money by the day on which it *moved* in our books: a payment when it was completed, a refund when it went
through, a dispute when its newest word came. So the days of a period add up to it, and a day that is over
keeps its figures. Only the newest word of a dispute is known: one that was opened in May and lost in June
is June's.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.period import Period, offsets
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations.tournaments import find_tournament
from procomp_pay.services.reports.figures import Attempts, Flow, Ranks, Tally
from procomp_pay.services.reports.period_result import Report, TournamentLine
from procomp_pay.storage.reports import attempts as counts
from procomp_pay.storage.reports import money
from procomp_pay.storage.reports.attempts import Scope

#: Failure reasons that are named, the most frequent ones.
MOST_REASONS = 20

_EPOCH = date(1970, 1, 1)


async def report(ctx: AppContext, period: Period, tournament: str | None = None) -> Report:
    """Count a period; its figures are all of one moment.

    :param tournament: its id or whole name; ``None`` for all.
    :raises NotFound: no such tournament. :raises Refused: several have that name.
    """
    chosen = None if tournament is None else await find_tournament(ctx, tournament)
    made = Report(period, ctx.clock())
    scope = Scope(chosen.tournament_id if chosen else None, period.begins, period.ends)
    async with ctx.db.reading() as session:
        await counts.one_moment(ctx.db, session)
        zone = offsets(period.zone, *await counts.first_and_last(session, made.made_at))
        per_tournament = await _count_attempts(session, scope, made)
        await _time(session, scope, made)
        made.reasons = await counts.reasons(session, scope, limit=MOST_REASONS)
        made.disagreements = await counts.discrepancies(session, scope)
        for by in (money.By(zone), money.By()):
            await _count_money(session, scope, made, by)
            await _count_fees(session, scope, made, by)
        for currency, count, amount in await money.on_their_way(session, scope):
            made.total.of("", currency).on_their_way.add(count, amount)
        ids = set(per_tournament) | made.by_tournament.keys()
        if chosen is not None:
            made.tournament = (chosen.tournament_id, chosen.name)
            ids.add(chosen.tournament_id)
        made.tournaments = await _tournaments(session, ids, per_tournament, made)
    return made


async def _count_attempts(session: AsyncSession, scope: Scope, made: Report) -> dict[str, Attempts]:
    per_tournament: dict[str, Attempts] = {}
    made.methods = {method: Attempts() for method in PaymentMethod}
    async for tournament_id, method, status, count in counts.attempts(session, scope):
        for attempts in (
            made.attempts,
            made.methods[_known(method)],
            per_tournament.setdefault(tournament_id, Attempts()),
        ):
            attempts.by_status[status] += count
    return per_tournament


async def _time(session: AsyncSession, scope: Scope, made: Report) -> None:
    ranks = {method: Ranks(attempts.paid) for method, attempts in made.methods.items()}
    of_all = Ranks(made.attempts.paid)
    async for seconds, method, count in counts.durations(session, scope):
        of_all.add(seconds, count)
        ranks[_known(method)].add(seconds, count)
    made.attempts.median_s, made.attempts.p95_s = of_all.median, of_all.p95
    for method, attempts in made.methods.items():
        attempts.median_s, attempts.p95_s = ranks[method].median, ranks[method].p95


async def _count_money(session: AsyncSession, scope: Scope, made: Report, by: money.By) -> None:
    async for came in money.received(session, scope, by):
        for flow in _flows(made, came.group):
            flow.paid.add(came.count, came.amount)
            flow.late += came.late
            flow.duplicates += came.duplicate
    async for back in money.paid_back(session, scope, by):
        for flow in _flows(made, back.group):
            flow.refunds.add(back.count, back.amount)
    async for dispute in money.disputes(session, scope, by):
        if dispute.word is not None:
            for flow in _flows(made, dispute.group):
                flow.disputes.setdefault(dispute.word, Tally()).add(dispute.count, dispute.amount)


async def _count_fees(session: AsyncSession, scope: Scope, made: Report, by: money.By) -> None:
    async for fee in money.fees(session, scope, by):
        for flow in _flows(made, fee.group):
            flow.fees = (flow.fees or Decimal("0.00")) + fee.amount
        for flow in _flows(made, fee.group, currency=fee.charged) if fee.payments else ():
            flow.with_fee += fee.payments


def _flows(made: Report, group: money.Group, currency: str | None = None) -> list[Flow]:
    """The flows of which a group is a part: its tournament's; or of all, of its method and its day."""
    unit = str(currency or group.currency)
    if group.day is None:
        return [made.by_tournament.of(str(group.tournament_id), unit)]
    return [
        made.total.of("", unit),
        made.by_method.of(_known(group.method), unit),
        made.days.of(_EPOCH + timedelta(days=group.day), unit),
    ]


async def _tournaments(
    session: AsyncSession, ids: set[str], attempts: dict[str, Attempts], made: Report
) -> list[TournamentLine]:
    return [
        TournamentLine(
            row.tournament_id,
            row.name,
            attempts.get(row.tournament_id, Attempts()),
            row.heads,
            made.by_tournament.by_currency(row.tournament_id),
        )
        for row in await counts.tournaments(session, ids)
    ]


def _known(method: PaymentMethod | None) -> PaymentMethod:
    # as in views: the platform's column may be empty, ours never is
    return method or PaymentMethod.KASPI_QR
