"""Report a period: attempts, money moved, and open discrepancies.

Attempts (success, time to complete, reasons) count on the day on which they were *started*. Money counts on
the day on which it *moved* in our books: a payment when it was completed, a refund when it succeeded, a
dispute when its newest event came. So the days of a period add up to it, and past days keep their figures.
Only a dispute's newest state is known: one that was opened in May and lost in June counts in June.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from procomp_pay.domain.period import Period, offsets
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations.tournaments import find_tournament
from procomp_pay.services.reports.figures import Attempts, Flow, Ranks, Tally
from procomp_pay.services.reports.period_result import Report, TournamentLine
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.reports import attempts as counts
from procomp_pay.storage.reports import money
from procomp_pay.storage.reports.attempts import Scope

#: The number of failure reasons that are listed, the most frequent first.
MOST_REASONS = 20

_EPOCH = date(1970, 1, 1)


async def report(ctx: AppContext, period: Period, tournament: str | None = None) -> Report:
    """Return the report of a period, with all figures as of one moment.

    :param tournament: its id or whole name; ``None`` for all.
    :raises NotFound: no such tournament. :raises Refused: several have that name.
    """
    chosen = None if tournament is None else await find_tournament(ctx, tournament)
    result = Report(period, ctx.clock())
    scope = Scope(chosen.tournament_id if chosen else None, period.begins, period.ends)
    async with ctx.db.reading() as session:
        await counts.one_moment(ctx.db, session)
        zone = offsets(period.zone, *await counts.first_and_last(session, result.made_at))
        per_tournament = await _count_attempts(session, scope, result)
        await _count_durations(session, scope, result)
        result.reasons = await counts.reasons(session, scope, limit=MOST_REASONS)
        result.disagreements = await counts.discrepancies(session, scope)
        for by in (money.By(zone), money.By()):
            await _count_money(session, scope, result, by)
            await _count_fees(session, scope, result, by)
        for currency, count, amount in await money.on_their_way(session, scope):
            result.total.of("", currency).on_their_way.add(count, amount)
        ids = set(per_tournament) | result.by_tournament.keys()
        if chosen is not None:
            result.tournament = (chosen.tournament_id, chosen.name)
            ids.add(chosen.tournament_id)
        result.tournaments = await _tournaments(session, ids, per_tournament, result)
    return result


async def _count_attempts(session: AsyncSession, scope: Scope, result: Report) -> dict[str, Attempts]:
    per_tournament: dict[str, Attempts] = {}
    result.methods = {method: Attempts() for method in PaymentMethod}
    async for tournament_id, method, status, count in counts.attempts(session, scope):
        for attempts in (
            result.attempts,
            result.methods[_method_of(method)],
            per_tournament.setdefault(tournament_id, Attempts()),
        ):
            attempts.by_status[status] += count
    return per_tournament


async def _count_durations(session: AsyncSession, scope: Scope, result: Report) -> None:
    ranks = {method: Ranks(attempts.paid) for method, attempts in result.methods.items()}
    of_all = Ranks(result.attempts.paid)
    async for seconds, method, count in counts.durations(session, scope):
        of_all.add(seconds, count)
        ranks[_method_of(method)].add(seconds, count)
    result.attempts.median_s, result.attempts.p95_s = of_all.median, of_all.p95
    for method, attempts in result.methods.items():
        attempts.median_s, attempts.p95_s = ranks[method].median, ranks[method].p95


async def _count_money(session: AsyncSession, scope: Scope, result: Report, by: money.By) -> None:
    async for payment in money.received(session, scope, by):
        for flow in _flows(result, payment.group):
            flow.paid.add(payment.count, payment.amount)
            flow.late += payment.late
            flow.duplicates += payment.duplicate
    async for refund in money.paid_back(session, scope, by):
        for flow in _flows(result, refund.group):
            flow.refunds.add(refund.count, refund.amount)
    async for dispute in money.disputes(session, scope, by):
        if dispute.state is not None:
            for flow in _flows(result, dispute.group):
                flow.disputes.setdefault(dispute.state, Tally()).add(dispute.count, dispute.amount)


async def _count_fees(session: AsyncSession, scope: Scope, result: Report, by: money.By) -> None:
    async for fee in money.fees(session, scope, by):
        for flow in _flows(result, fee.group):
            flow.fees = (flow.fees or Decimal("0.00")) + fee.amount
        for flow in _flows(result, fee.group, currency=fee.charged) if fee.payments else ():
            flow.with_fee += fee.payments


def _flows(result: Report, group: money.Group, currency: str | None = None) -> list[Flow]:
    """Return the flows that a group belongs to: its tournament's; or the total, its method's and its
    day's."""
    unit = str(currency or group.currency)
    if group.day is None:
        return [result.by_tournament.of(str(group.tournament_id), unit)]
    return [
        result.total.of("", unit),
        result.by_method.of(_method_of(group.method), unit),
        result.days.of(_EPOCH + timedelta(days=group.day), unit),
    ]


async def _tournaments(
    session: AsyncSession, ids: set[str], attempts: dict[str, Attempts], result: Report
) -> list[TournamentLine]:
    return [
        TournamentLine(
            row.tournament_id,
            row.name,
            attempts.get(row.tournament_id, Attempts()),
            row.heads,
            result.by_tournament.by_currency(row.tournament_id),
        )
        for row in await counts.tournaments(session, ids)
    ]


def _method_of(method: PaymentMethod | None) -> PaymentMethod:
    # as in views: the platform's column may be empty, the detail's never is
    return method or PaymentMethod.KASPI_QR
