"""Payouts through a real sandbox and real databases: fetched, matched to the tiyn, run twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.payouts import BankLine, PayoutState
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.providers.bank.values import BankFile
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.payouts.fetch import Fetched, fetch_stripe, keep_kaspi_report
from procomp_pay.services.payouts.match import Matched, match_by_hand, match_payouts
from procomp_pay.services.payouts.view import list_payouts, show_payout, view_of
from procomp_pay.services.reports.period import report
from procomp_pay.services.reports.tournament_closing import tournament_closing
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payouts import BalanceEntry, BankStatementLine, Payout
from procomp_pay.storage.models.reconciliation import ReconciliationRun
from procomp_pay.storage.payouts import repository as store
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.stripe_payments import back, paid

ALMATY = ZoneInfo("Asia/Almaty")
OURS = "KZ12722S000001234567"


def bank(*lines: tuple[date, str, str, str], account: str = OURS, told: tuple[date, ...] = ()) -> BankFile:
    read = [BankLine(account, day, Decimal(amount), unit, "1", text) for day, amount, unit, text in lines]
    return BankFile(account, "test", read, told)


async def fetched(environment: ServiceEnvironment) -> Fetched:
    now = environment.now()
    return await fetch_stripe(environment.ctx, now - timedelta(days=30), now + timedelta(days=1))


async def matched(environment: ServiceEnvironment, file: BankFile | None, **more: Any) -> Matched:
    return await match_payouts(environment.ctx, file, CLERK, ALMATY, **more)


async def control(environment: ServiceEnvironment, path: str, **body: Any) -> Any:
    answer = await environment.http.post(f"/_sandbox/stripe/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_stripe_payout_from_the_payment_to_the_bank(environment: ServiceEnvironment) -> None:
    first, second = await paid(environment), await paid(environment)
    await back(environment, first, "10.00")
    await control(environment, "fees", amount=7, description="Radar")
    payout = await control(environment, "payouts")
    assert (await fetched(environment)).incomplete == []
    again = await fetched(environment)
    assert (again.new, again.entries) == (0, 0)
    (content,) = await show_payout(environment.ctx, first.view.payment_id, ALMATY)
    row = content.view.row
    assert (row.gross, row.fee, row.net) == (Decimal("89.93"), Decimal("3.50"), Decimal("86.43"))
    assert content.view.adds_up
    assert row.payout.ref == payout["id"]
    assert {entry.payment_id for entry, _ in content.entries} == {
        first.view.payment_id, second.view.payment_id, None,
    }  # fmt: skip
    assert [name for entry, name in content.entries if entry.category == "fee"] == [None]
    assert content.view.state is PayoutState.ON_THE_WAY
    day = row.payout.expected_on + timedelta(days=1)
    statement = bank((day, "86.43", "USD", "STRIPE"), (day, "1.00", "KZT", "Rent"))
    result = await matched(environment, statement)
    assert (result.read, result.kept, result.new, result.is_clean) == (2, 1, 1, True)
    (view,) = await list_payouts(environment.ctx, ALMATY, None, None)
    assert (view.state, view.arrived_on) == (PayoutState.ARRIVED, day)
    before = [await environment.rows(table) for table in (Payout, BankStatementLine, BalanceEntry)]
    result = await matched(environment, statement)
    assert (result.new, result.matches, result.is_clean) == (0, [], True)
    assert [await environment.rows(t) for t in (Payout, BankStatementLine, BalanceEntry)] == before


async def test_a_failed_payout_comes_back_and_is_in_the_next_one(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    payout = await control(environment, "payouts")
    await fetched(environment)
    (view,) = await list_payouts(environment.ctx, ALMATY, None, None)
    day = view.row.payout.expected_on
    await matched(environment, bank((day, "48.25", "USD", "STRIPE")))
    environment.later(60)
    before = environment.now()
    environment.later(60)
    await control(environment, f"payouts/{payout['id']}/fail")
    await control(environment, "payouts")
    assert (await fetched(environment)).incomplete == []
    views = await list_payouts(environment.ctx, ALMATY, None, None)
    assert sorted(view.state for view in views) == [PayoutState.ON_THE_WAY, PayoutState.RETURNED]
    assert {view.row.payout.amount for view in views} == {Decimal("48.25")}
    [returned] = [view for view in views if view.state is PayoutState.RETURNED]
    assert returned.full()["failed_at"] is not None
    # before it failed, it had arrived
    then = await tournament_closing(environment.ctx, opened.view.tournament_id, ALMATY, before)
    assert [list(each["states"]) for each in then.full()["payouts"]] == [["arrived"]]


async def test_payouts_and_all_fees_are_in_the_report_and_on_the_closing_sheet(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment)
    await control(environment, "fees", amount=7, description="Radar")
    await control(environment, "payouts")
    await fetched(environment)
    (view,) = await list_payouts(environment.ctx, ALMATY, None, None)
    tournament = opened.view.tournament_id

    async def states() -> tuple[Any, Any]:
        made = await report(environment.ctx, Period(ALMATY))
        sheet = await tournament_closing(environment.ctx, tournament, ALMATY)
        return made.full()["payouts"], sheet.full()["payouts"]

    on_the_way = {"on_the_way": {"count": 1, "amount": Decimal("48.18")}}
    of_tournament = {"on_the_way": {"count": 1, "amount": Decimal("48.25")}}
    assert await states() == (
        [{"currency": "USD", "states": on_the_way}], [{"currency": "USD", "states": of_tournament}],
    )  # fmt: skip
    before = environment.now()
    environment.later(60)
    await matched(environment, bank((view.row.payout.expected_on, "48.18", "USD", "STRIPE")))
    whole, part = await states()
    assert (list(whole[0]["states"]), list(part[0]["states"])) == (["arrived"], ["arrived"])
    then = await tournament_closing(environment.ctx, tournament, ALMATY, before)
    assert then.full()["payouts"] == [{"currency": "USD", "states": of_tournament}]
    made = await report(environment.ctx, Period(ALMATY))
    (flow,) = made.money
    # the payout told the payment's fee: no reconciliation is needed for it
    assert (flow.net, made.costs) == (Decimal("48.25"), {"USD": Decimal("0.07")})
    assert made.full()["account_costs"] == [{"currency": "USD", "amount": Decimal("0.07")}]
    assert (await report(environment.ctx, Period(ALMATY), tournament)).costs == {}


async def test_costs_of_the_account_are_kept_without_a_payout(environment: ServiceEnvironment) -> None:
    await control(environment, "fees", amount=550, description="Radar")
    await fetched(environment)
    await fetched(environment)
    async with environment.ctx.db.reading() as session:
        assert await store.costs(session, None, None) == [("USD", Decimal("5.50"), 1)]


def sale(
    number: int, day: int, amount: str, fee: str | None, kind: LineKind = LineKind.PAYMENT
) -> StatementLine:
    at, money = datetime(2026, 5, day, 12, tzinfo=UTC), Money(Decimal(amount), Currency.KZT)
    return StatementLine(
        number, kind, str(number), at, money,
        fee=None if fee is None else Decimal(fee),
    )  # fmt: skip


SALES = [
    sale(1, 1, "24000.00", "228.00"), sale(2, 1, "12000.00", "114.00"),
    sale(3, 1, "12000.00", "-114.00", LineKind.REFUND), sale(4, 2, "24000.00", "228.00"),
]  # fmt: skip


async def test_the_days_of_kaspis_report_are_payouts_of_their_net(environment: ServiceEnvironment) -> None:
    for _ in range(2):
        result = await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    assert (result.payouts, result.new) == (2, 0)
    first, second = await list_payouts(environment.ctx, ALMATY, None, None)
    assert [(v.row.payout.ref, v.row.payout.amount, v.row.fee) for v in (first, second)] == [
        ("2026-05-01", Decimal("23772.00"), Decimal("228.00")),
        ("2026-05-02", Decimal("23772.00"), Decimal("228.00")),
    ]
    # of one sum, and the bank does not say of which day: left open and named
    one = await matched(environment, bank((date(2026, 5, 3), "23772.00", "KZT", "Kaspi Pay")))
    assert (one.matches, len(one.questions), one.is_clean) == ([], 1, False)
    (line,) = await environment.rows(BankStatementLine)
    await match_by_hand(environment.ctx, ["2026-05-02"], line.id, CLERK)
    with pytest.raises(Conflict):
        await _taken(environment)
    two = await matched(environment, bank((date(2026, 5, 4), "23772.00", "KZT", "Kaspi Pay")))
    assert [[v.row.payout.ref for v in views] for _, views, _ in two.matches] == [["2026-05-01"]]
    entries = [row for row in await environment.rows(AuditEntry) if row.action == "payout_matched"]
    both = await list_payouts(environment.ctx, ALMATY, None, None)
    assert {row.payment_id for row in entries} == {f"payout:{view.row.payout.id}" for view in both}
    assert {row.actor for row in entries} == {CLERK.name}
    assert sorted((row.after or {})["how"] == "by hand" for row in entries) == [False, True]
    assert (await verify(environment.ctx)).is_sound
    # a line of the day that comes later makes a difference that is shown
    await keep_kaspi_report(environment.ctx, [sale(9, 1, "100.00", "1.00")], ALMATY)
    first, second = await list_payouts(environment.ctx, ALMATY, None, None)
    assert (first.state, second.state) == (PayoutState.DIFFERS, PayoutState.ARRIVED)


async def test_a_sale_in_cash_is_not_paid_out(environment: ServiceEnvironment, tmp_path: Path) -> None:
    await environment.paid()
    path = tmp_path / "kaspi.csv"
    report_file = await environment.http.get("/_sandbox/kaspi/statement.csv?layout=2026&cash=1")
    path.write_bytes(report_file.content)
    with open_statement(path) as statement:
        lines = list(statement)
    assert [line.kind for line in lines] == [LineKind.PAYMENT, LineKind.OTHER]
    # editions without a zero fee, and words of which nobody knows the direction
    lines.append(replace(lines[1], number=20, fee=None, description="Абонентская плата"))
    today = environment.now().astimezone(ALMATY).date()
    await keep_kaspi_report(environment.ctx, lines, ALMATY, through=today)
    (view,) = await list_payouts(environment.ctx, ALMATY, None, None)
    assert (view.row.gross, view.row.payout.amount) == (Decimal("24000.00"), Decimal("23772.00"))
    assert (view.row.entries, view.row.payments) == (1, 1)
    environment.later(86_400)
    kept = await keep_kaspi_report(environment.ctx, lines, ALMATY)
    assert [str(note) for note in kept.notes] == [
        "left out: 2 lines of other kinds, such as payouts, fees and cash"
    ]


async def _taken(environment: ServiceEnvironment) -> None:
    await matched(environment, bank((date(2026, 5, 9), "23772.00", "KZT", "Kaspi Pay")))
    free = next(line for line in await environment.rows(BankStatementLine) if line.booked_on.day == 9)
    await match_by_hand(environment.ctx, ["2026-05-02"], free.id, CLERK)


@pytest.mark.parametrize("order", [1, -1])
async def test_a_purchase_that_is_refunded_in_parts(environment: ServiceEnvironment, order: int) -> None:
    def part(day: int, amount: str) -> StatementLine:
        return sale(1, day, amount, "0.00", LineKind.REFUND)  # under the number of its purchase

    days = [
        [sale(1, 1, "24000.00", "0.00"), part(1, "1000.00"), part(1, "1000.00"), part(1, "500.00")],
        [sale(2, 2, "24000.00", "0.00"), part(2, "500.00")],
    ]
    reports = [*days[::order], [line for day in days for line in reversed(day)]]
    for report_lines in reports:
        await keep_kaspi_report(environment.ctx, report_lines, ALMATY)
    views = await list_payouts(environment.ctx, ALMATY, None, None)
    assert [(v.row.payout.ref, v.row.payout.amount, v.row.entries) for v in views] == [
        ("2026-05-01", Decimal("21500.00"), 4), ("2026-05-02", Decimal("23500.00"), 2),
    ]  # fmt: skip


async def test_a_credit_in_two_formats_is_one_line(environment: ServiceEnvironment) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    day = date(2026, 5, 3)

    def file(kind: str, *texts: str) -> BankFile:
        return BankFile(OURS, kind, bank(*((day, "23772.00", "KZT", text) for text in texts)).lines)

    one_c = file("1C (cp1251)", "Kaspi Pay за 01.05.2026")
    first = await matched(environment, one_c)
    assert [[v.row.payout.ref for v in views] for _, views, _ in first.matches] == [["2026-05-01"]]
    for kind in ("MT940 (UTF-8)", "CSV (UTF-8, ;)", "1C (UTF-8)"):
        again = await matched(environment, file(kind, "KASPI PAY 01.05.2026"))
        assert (again.kept, again.new, again.matches) == (1, 0, [])
    # a second credit of the sum is new, once, in whatever order the file has them
    both = "Kaspi Pay за 02.05.2026", "KASPI PAY за 01.05.2026"
    second = await matched(environment, file("MT940 (UTF-8)", *both))
    assert second.new == 1
    assert [[v.row.payout.ref for v in views] for _, views, _ in second.matches] == [["2026-05-02"]]
    for kind in ("MT940 (UTF-8)", "CSV (UTF-8, ;)"):
        assert (await matched(environment, file(kind, *both))).new == 0
    both = both[0], "Kaspi Pay за 01.05.2026"
    assert (await matched(environment, file("1C (cp1251)", *both))).new == 0
    assert len(await environment.rows(BankStatementLine)) == 2
    # another credit in a further file of the same format is another one
    assert (await matched(environment, file("1C (cp1251)", *both, "Kaspi Pay bonus"))).new == 1


async def test_a_credit_that_only_another_format_told_hides_no_other(environment: ServiceEnvironment) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    day = date(2026, 5, 3)
    for n, (kind, of) in enumerate((("1C (cp1251)", "01.05.2026"), ("MT940 (UTF-8)", "02.05.2026"))):
        lines = bank((day, "23772.00", "KZT", f"Kaspi Pay за {of}")).lines
        result = await matched(environment, BankFile(OURS, kind, lines))
        assert (result.new, len(result.matches)) == (1, 1), n
    assert {view.state for view in await list_payouts(environment.ctx, ALMATY, None, None)} == {
        PayoutState.ARRIVED
    }  # fmt: skip


async def test_the_day_of_a_contract_makes_no_second_credit(environment: ServiceEnvironment) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    told = (
        ("1C (cp1251)", "Kaspi Pay за 01.05.2026", 1),
        ("MT940 (UTF-8)", "Kaspi Pay, договор 12.01.2024", 0),
    )
    for kind, said, new in told:
        lines = bank((date(2026, 5, 3), "23772.00", "KZT", said)).lines
        assert (await matched(environment, BankFile(OURS, kind, lines))).new == new, said
    views = await list_payouts(environment.ctx, ALMATY, None, None)
    assert [view.row.payout.ref for view in views if view.state is PayoutState.ARRIVED] == ["2026-05-01"]


async def test_matching_by_hand_waits_for_a_reconciliation(environment: ServiceEnvironment) -> None:
    async with only_process(environment.ctx.db, "reconcile") as alone:
        assert alone
        with pytest.raises(Conflict, match="reconciliation"):
            await match_by_hand(environment.ctx, ["2026-05-02"], "x", CLERK)


async def test_one_line_of_the_bank_for_a_weekend(environment: ServiceEnvironment) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    result = await matched(environment, bank((date(2026, 5, 4), "47544.00", "KZT", "Kaspi Pay")))
    assert [found.how for found, *_ in result.matches] == ["sum of several"]
    views = await list_payouts(environment.ctx, ALMATY, None, None)
    assert {view.state for view in views} == {PayoutState.ARRIVED}


async def test_a_credit_that_the_bank_takes_back_is_told(environment: ServiceEnvironment) -> None:
    """Whether the bank corrects itself, or the provider asked for it, only a person knows."""
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    credit = (date(2026, 5, 4), "47544.00", "KZT", "Kaspi Pay")
    back = (date(2026, 5, 5), "-47544.00", "KZT", "Kaspi Pay, возврат")
    assert (await matched(environment, bank(credit))).matches
    for file in (bank(credit, back), bank(credit, back), None):
        result = await matched(environment, file)
        assert [line.amount for line in result.unexplained] == [Decimal("-47544.00")]
        assert not result.is_clean


async def test_what_did_not_arrive_is_missing_and_another_account_is_refused(
    environment: ServiceEnvironment,
) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    line = (date(2026, 5, 1), "5.00", "KZT", "Kaspi Pay bonus")
    result = await matched(environment, bank(line, told=(date(2026, 5, 7),)))
    assert [view.row.payout.ref for view in result.missing] == ["2026-05-01", "2026-05-02"]
    assert [line.amount for line in result.unexplained] == [Decimal("5.00")]
    other = bank((date(2026, 5, 1), "23772.00", "KZT", "Kaspi Pay"), account="KZ99")
    with pytest.raises(Refused, match="is of KZ99"):
        await matched(environment, other)
    assert len(await environment.rows(BankStatementLine)) == 1
    await matched(environment, other, is_ours=True)


async def test_only_a_statement_of_its_days_calls_a_payout_missing(
    environment: ServiceEnvironment,
) -> None:
    async def states(as_of: datetime | None = None) -> list[PayoutState]:
        async with environment.ctx.db.reading() as session:
            rows = await store.payouts(session)
        return [view_of(row, environment.now().date(), as_of).state for row in rows]

    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    assert await states() == [PayoutState.NO_BANK_LINES] * 2
    result = await matched(environment, None)
    assert (result.missing, len(result.unknown), result.is_clean) == ([], 2, False)
    # also one without a line about payouts says that they did not arrive
    result = await matched(environment, bank((date(2026, 5, 1), "5.00", "KZT", "Rent")))
    assert (result.missing, len(result.unknown), result.kept) == ([], 2, 0)
    later = bank((date(2026, 5, 4), "5.00", "KZT", "Rent"), (date(2026, 5, 30), "5.00", "KZT", "Kaspi bonus"))
    result = await matched(environment, later)
    assert (result.missing, len(result.unknown), result.new) == ([], 2, 1)  # the 2nd and 3rd of May
    before = environment.now()
    environment.later(1)
    for _ in range(2):
        result = await matched(environment, bank(told=(date(2026, 5, 2), date(2026, 5, 3))))
        assert (len(result.missing), result.unknown) == (2, [])
    assert await states() == [PayoutState.MISSING] * 2
    assert await states(before) == [PayoutState.NO_BANK_LINES] * 2
    assert len(await environment.rows(ReconciliationRun)) == 3


async def test_a_statement_covers_no_day_that_is_still_to_come(environment: ServiceEnvironment) -> None:
    await keep_kaspi_report(environment.ctx, SALES, ALMATY)
    environment.offset += datetime(2026, 5, 4, 9, tzinfo=UTC) - environment.now()
    result = await matched(environment, bank(told=(date(2026, 5, 1), date(2026, 5, 31))))
    assert (result.missing, result.unknown) == ([], [])  # they are on the way
    environment.offset += timedelta(days=9)
    result = await matched(environment, None)
    assert (result.missing, len(result.unknown)) == ([], 2)


async def test_a_report_without_fees_is_refused(environment: ServiceEnvironment) -> None:
    with pytest.raises(Refused, match="has no fee"):
        await keep_kaspi_report(environment.ctx, [sale(1, 1, "24000.00", None)], ALMATY)
    assert await environment.rows(Payout) == []
