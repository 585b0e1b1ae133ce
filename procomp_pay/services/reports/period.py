"""Report a period: attempts, money moved, and open discrepancies.

Attempts (success, time to complete, reasons) count on the day on which they were *started*. Money counts on
the day on which it *moved* in our books: a payment when it was completed, a refund when it succeeded, a
dispute when its newest event came. So the days of a period add up to it, and past days keep their figures.
Only a dispute's newest state is known: one that was opened in May and lost in June counts in June.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from procomp_pay.domain.period import Period, offsets
from procomp_pay.domain.states import AnyMethod, AnyStatus, PaymentMethod
from procomp_pay.services.context import AppContext
from procomp_pay.services.payouts import view as payouts
from procomp_pay.services.payouts.view import PayoutSums
from procomp_pay.services.registrations.tournaments import tournament_view
from procomp_pay.services.reports.figures import Attempts, Flow, Ranks, Total
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.registrations.participants import Headcount
from procomp_pay.storage.reports import attempts as counts
from procomp_pay.storage.reports import money
from procomp_pay.storage.reports.attempts import Scope

_K = TypeVar("_K", bound=Hashable)


class Flows(Generic[_K]):
    """Money by a key (a day, a method, a tournament) and currency."""

    def __init__(self) -> None:
        self._flows: dict[_K, dict[str, Flow]] = {}

    def of(self, key: _K, currency: str) -> Flow:
        """Return the flow of a key and currency, creating it if it is missing."""
        return self._flows.setdefault(key, {}).setdefault(currency, Flow(currency))

    def by_currency(self, key: _K) -> list[Flow]:
        """Return a key's flows, tenge first."""
        flows = self._flows.get(key, {})
        return [
            flows[currency] for currency in sorted(flows, key=lambda currency: (currency != "KZT", currency))
        ]

    def sorted(self) -> list[tuple[_K, Flow]]:
        """Return every key's flows, ordered by key."""
        keys: list[Any] = sorted(self._flows)
        return [(key, flow) for key in keys for flow in self.by_currency(key)]

    def keys(self) -> set[_K]:
        return set(self._flows)


@dataclass(frozen=True, slots=True)
class TournamentLine:
    """One tournament in a report; ``heads`` is the present number of participants."""

    tournament_id: str
    name: str
    attempts: Attempts
    headcount: Headcount
    flows: list[Flow]

    def full(self) -> dict[str, Any]:
        return {
            "tournament_id": self.tournament_id,
            "name": self.name,
            "started": self.attempts.started,
            "paid": self.attempts.paid,
            "success_percent": self.attempts.success_percent,
            "participants": self.headcount.registered,
            "participants_paid": self.headcount.paid,
            "participants_not_paid": self.headcount.registered - self.headcount.paid,
            "money": [flow.short() for flow in self.flows],
        }


@dataclass(slots=True)
class Report:
    """The whole report. ``reasons`` are status, reason and count; ``disagreements`` are kind, whether it
    is about a payment of ours, and count."""

    period: Period
    made_at: datetime
    tournament: tuple[str, str] | None = None
    attempts: Attempts = field(default_factory=Attempts)
    methods: dict[AnyMethod, Attempts] = field(default_factory=dict)
    by_method: Flows[AnyMethod] = field(default_factory=Flows)
    total: Flows[str] = field(default_factory=Flows)
    days: Flows[date] = field(default_factory=Flows)
    by_tournament: Flows[str] = field(default_factory=Flows)
    tournaments: list[TournamentLine] = field(default_factory=list)
    reasons: list[tuple[AnyStatus, str | None, int]] = field(default_factory=list)
    disagreements: list[tuple[str, bool, int]] = field(default_factory=list)
    payouts: list[PayoutSums] = field(default_factory=list)
    #: The provider accounts' own costs, of no payment, by currency; of no tournament.
    costs: dict[str, Decimal] = field(default_factory=dict)
    #: The money of as many days right before, by currency; ``None`` where the period has an open end.
    before: list[Flow] | None = None

    @property
    def money(self) -> list[Flow]:
        return self.total.by_currency("")

    @property
    def headcount(self) -> Headcount:
        """Return the number of participants of the report's tournaments."""
        return Headcount(
            sum(line.headcount.registered for line in self.tournaments),
            sum(line.headcount.paid for line in self.tournaments),
        )

    @property
    def reasons_not_named(self) -> int:
        """Return the number of payments that failed for a reason too rare to be listed."""
        ended = self.attempts.started - self.attempts.waiting - self.attempts.paid
        return max(0, ended - sum(count for *_, count in self.reasons))

    @property
    def open_discrepancies(self) -> int:
        return sum(count for *_, count in self.disagreements)

    @property
    def of_no_payment(self) -> int:
        """Return the open discrepancies about money that belongs to no payment."""
        return sum(count for _, ours, count in self.disagreements if not ours)

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "report": "period",
            "made_at": instant(self.made_at),
            "timezone": self.period.zone.key,
            "since": self.period.since.isoformat() if self.period.since else None,
            "until": self.period.until.isoformat() if self.period.until else None,
            "tournament": dict(zip(("tournament_id", "name"), self.tournament, strict=True))
            if self.tournament
            else None,
            "attempts": self.attempts.full(),
            "methods": [
                {"method": method.public_name, **attempts.full(), "money": self._money_of(method)}
                for method, attempts in self.methods.items()
            ],
            "failure_reasons": [
                {"status": status.value, "reason": reason, "count": count}
                for status, reason, count in self.reasons
            ],
            "failure_reasons_not_named": self.reasons_not_named,
            "money": [flow.full() for flow in self.money],
            "account_costs": [
                {"currency": currency, "amount": amount} for currency, amount in self.costs.items()
            ],
            "payouts": [sums.full() for sums in self.payouts],
            "money_before": None if self.before is None else [flow.short() for flow in self.before],
            "days": [{"day": day.isoformat(), **flow.short()} for day, flow in self.days.sorted()],
            "tournaments": [line.full() for line in self.tournaments],
            "participants": {
                "registered": self.headcount.registered,
                "paid": self.headcount.paid,
                "not_paid": self.headcount.registered - self.headcount.paid,
            },
            "open_discrepancies": {
                "count": self.open_discrepancies,
                "of_no_payment": self.of_no_payment,
                "kinds": [
                    {"kind": kind, "of_our_payments": ours, "count": count}
                    for kind, ours, count in self.disagreements
                ],
            },
        }

    def _money_of(self, method: AnyMethod) -> list[dict[str, Any]]:
        return [flow.short() for flow in self.by_method.by_currency(method)]


#: The number of failure reasons that are listed, the most frequent first.
MOST_REASONS = 20

_EPOCH = date(1970, 1, 1)


async def report(ctx: AppContext, period: Period, tournament_id: str | None = None) -> Report:
    """Return the report of a period, with all figures as of one moment.

    :param tournament_id: ``None`` for all.
    :raises NotFound: no such tournament.
    """
    chosen = None if tournament_id is None else await tournament_view(ctx, tournament_id)
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
        result.before = await _before(session, result, scope.tournament_id)
        for currency, count, amount in await money.on_their_way(session, scope):
            result.total.of("", currency).on_their_way.add(count, amount)
        await _count_payouts(session, scope, result)
        ids = set(per_tournament) | result.by_tournament.keys()
        if chosen is not None:
            result.tournament = (chosen.tournament_id, chosen.name)
            ids.add(chosen.tournament_id)
        result.tournaments = await _tournaments(session, ids, per_tournament, result)
    return result


async def _before(session: AsyncSession, result: Report, tournament_id: str | None) -> list[Flow] | None:
    """Return the money of as many days right before a report's period."""
    period = result.period
    if period.since is None or period.until is None:
        return None
    days = period.until - period.since + timedelta(days=1)
    earlier = Period(period.zone, period.since - days, period.since - timedelta(days=1))
    scope = Scope(tournament_id, earlier.begins, earlier.ends)
    counted = Report(earlier, result.made_at)
    await _count_money(session, scope, counted, money.By())
    await _count_fees(session, scope, counted, money.By())
    total: Flows[str] = Flows()
    for _, flow in counted.by_tournament.sorted():
        total.of("", flow.currency).add(flow)
    return total.by_currency("")


async def _count_attempts(session: AsyncSession, scope: Scope, result: Report) -> dict[str, Attempts]:
    per_tournament: dict[str, Attempts] = {}
    result.methods = {method: Attempts() for method in PaymentMethod}
    async for tournament_id, method, status, count in counts.attempts(session, scope):
        for attempts in (
            result.attempts,
            result.methods.setdefault(_method_of(method), Attempts()),
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
                flow.disputes.setdefault(dispute.state, Total()).add(dispute.count, dispute.amount)


async def _count_fees(session: AsyncSession, scope: Scope, result: Report, by: money.By) -> None:
    async for fee in money.fees(session, scope, by):
        for flow in _flows(result, fee.group):
            flow.fees = (flow.fees or Decimal("0.00")) + fee.amount
        for flow in _flows(result, fee.group, currency=fee.charged) if fee.payments else ():
            flow.with_fee += fee.payments


async def _count_payouts(session: AsyncSession, scope: Scope, result: Report) -> None:
    """Sum the payouts that are expected in the period; of a tournament, what of it is in any payout."""
    period = result.period
    if scope.tournament_id is not None:
        result.payouts = await payouts.sums_of_tournament(
            session, scope.tournament_id, result.made_at, period.zone
        )
        return
    on = result.made_at.astimezone(period.zone).date()
    result.payouts = await payouts.sums_in_period(session, period.since, period.until, on)
    result.costs = await payouts.costs(session, scope.since, scope.until)
    for currency in result.costs:
        result.total.of("", currency)


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
            row.headcount,
            result.by_tournament.by_currency(row.tournament_id),
        )
        for row in await counts.tournaments(session, ids)
    ]


def _method_of(method: AnyMethod | None) -> AnyMethod:
    # as in views: the platform's column may be empty, the detail's never is
    return method or PaymentMethod.KASPI_QR
