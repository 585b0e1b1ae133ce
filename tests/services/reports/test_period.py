"""A report's figures against an independent count, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.period import Period, midnight, offsets
from procomp_pay.domain.states import ParticipantStatus, PaymentMethod
from procomp_pay.services.reports.figures import Flow
from procomp_pay.services.reports.period import Report, report
from procomp_pay.storage.database.service import PaymentDatabaseService
from tests.support.report_books import ALMATY, TOURNAMENTS, Books, Oracle, desk_on, random_books

_SCOPES = [
    (None, None, None),
    ("t2", None, None),
    (None, date(2024, 2, 29), date(2024, 2, 29)),
    (None, date(2024, 3, 1), None),
    ("t1", date(2024, 2, 28), date(2024, 3, 1)),
]


@pytest.mark.parametrize("seed", range(6))
async def test_the_figures_equal_an_independent_count(db: PaymentDatabaseService, seed: int) -> None:
    books = random_books(seed)
    await books.write(db)
    for tournament, since, until in _SCOPES:
        made = await report(desk_on(db), Period(ALMATY, since, until), tournament)
        oracle = Oracle(books, tournament, since, until)
        assert made.attempts.full() == oracle.attempts()
        for method in PaymentMethod:
            assert made.methods[method].full() == oracle.attempts(method)
        assert {(s.value, r): n for s, r, n in made.reasons} == oracle.reasons()
        assert {(kind, ours): n for kind, ours, n in made.disagreements} == oracle.open_discrepancies()
        _money_agrees(made, oracle)
        _headcounts_agree(made, books)


def _money_agrees(made: Report, oracle: Oracle) -> None:
    assert _figures([("", flow) for flow in made.money]) == _wanted(oracle.money("all"))
    assert _figures(made.days.sorted()) == _wanted(oracle.money("day"))
    assert _figures(made.by_method.sorted()) == _wanted(oracle.money("method"))
    lines = [(line.tournament_id, flow) for line in made.tournaments for flow in line.flows]
    assert _figures(lines) == _wanted(oracle.money("tournament"))
    # the days of a period add up to it
    for name in ("revenue", "refunded", "disputes_lost"):
        by_day = sum((flow.short()[name] for _, flow in made.days.sorted()), Decimal(0))
        assert by_day == sum((flow.short()[name] for flow in made.money), Decimal(0))


def _figures(flows: Any) -> dict[Any, dict[str, Any]]:
    return {(key, flow.currency): _of(flow) for key, flow in flows if _of(flow) != _of(Flow(flow.currency))}


def _of(flow: Flow) -> dict[str, Any]:
    full = flow.full()
    return {
        "payments": flow.paid.count, "revenue": full["revenue"], "late": flow.late,
        "duplicates": flow.duplicates, "refunds": full["refunds"], "refunded": full["refunded"],
        "open": full["disputes"]["open"]["amount"], "open_count": full["disputes"]["open"]["count"],
        "won": full["disputes"]["won"]["amount"], "won_count": full["disputes"]["won"]["count"],
        "lost": full["disputes"]["lost"]["amount"], "lost_count": full["disputes"]["lost"]["count"],
        "fees": full["provider_fees"], "before_fees": full["net_before_fees"], "net": full["net"],
    }  # fmt: skip


def _wanted(money: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Return the oracle's rows in the same form; Decimal and int compare by value."""
    names = _of(Flow("KZT"))
    wanted = {key: {name: row[name] for name in names} for key, row in money.items()}
    return {key: row for key, row in wanted.items() if row != _of(Flow(key[1]))}


def _headcounts_agree(made: Report, books: Books) -> None:
    for line in made.tournaments:
        ours = [p for p in books.participants if p.tournament_id == line.tournament_id]
        there = [p for p in ours if p.status is not ParticipantStatus.CANCELLED]
        paid = [p for p in there if p.status is ParticipantStatus.PAID]
        assert (line.headcount.registered, line.headcount.paid) == (len(there), len(paid))


async def test_all_figures_are_exact_numbers(db: PaymentDatabaseService) -> None:
    await random_books(3).write(db)
    types: set[type] = set()

    def walk(value: Any) -> None:
        types.add(type(value))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    document = (await report(desk_on(db), Period(ALMATY))).full()
    walk(document)
    assert types == {dict, list, str, int, bool, Decimal, type(None)}
    amounts = [flow["revenue"] for flow in document["money"]]
    assert all(isinstance(amount, Decimal) and amount.as_tuple().exponent == -2 for amount in amounts)


async def test_a_period_without_payments(db: PaymentDatabaseService) -> None:
    await Books().write(db)
    made = await report(desk_on(db), Period(ALMATY), "t1")
    assert made.tournament == ("t1", "Кубок t1")
    assert made.attempts.success_percent is None
    assert made.money == []
    assert [line.tournament_id for line in made.tournaments] == ["t1"]
    assert (await report(desk_on(db), Period(ALMATY))).tournaments == []


async def test_an_unknown_tournament_is_refused(db: PaymentDatabaseService) -> None:
    await Books().write(db)
    with pytest.raises(NotFound):
        await report(desk_on(db), Period(ALMATY), "t9")
    assert (await report(desk_on(db), Period(ALMATY), "t2")).tournament == (TOURNAMENTS[1], "Кубок t2")


@pytest.mark.parametrize("name", ["Asia/Almaty", "Africa/Cairo", "Europe/London", "Asia/Kathmandu", "UTC"])
def test_days_follow_the_time_zone(name: str) -> None:
    zone = ZoneInfo(name)
    first = datetime(2023, 12, 30, tzinfo=UTC)
    pieces = offsets(zone, first, first + timedelta(days=500))

    def day(at: datetime) -> date:
        ahead = [piece.seconds for piece in pieces if piece.since is None or piece.since <= at][-1]
        return date(1970, 1, 1) + timedelta(seconds=int(at.timestamp()) + ahead) // timedelta(
            days=1
        ) * timedelta(days=1)

    for number in range(490):
        wanted = date(2023, 12, 31) + timedelta(days=number)
        begins = midnight(wanted, zone)
        assert day(begins) == wanted == begins.astimezone(zone).date()
        assert day(begins - timedelta(microseconds=1)) == wanted - timedelta(days=1)


def test_almatys_day_of_25_hours() -> None:
    """The night to 1 March 2024 had an hour twice."""
    period = Period(ALMATY, date(2024, 2, 29), date(2024, 2, 29))
    assert period.begins is not None
    assert period.ends is not None
    assert period.ends - period.begins == timedelta(hours=25)


def test_invalid_periods_are_refused() -> None:
    with pytest.raises(Refused):
        Period(ALMATY, date(2024, 3, 2), date(2024, 3, 1))
    with pytest.raises(Refused):
        _ = Period(ALMATY, until=date.max).ends
