"""``reconcile --statement``: lines against our payments, without requests to a provider."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementPeriod
from procomp_pay.domain.states import Channel, PaymentMethod, PaymentStatus
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.payouts.fetch import keep_kaspi_report
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.refunds.manual import MadeInApp, record_made
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import ReconciliationRun
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.reconciliation import staging_matches
from procomp_pay.storage.reconciliation.staging_matches import Repeats
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_payments import paid as paid_by_kaspi
from tests.support.reconciliation import compare, line
from tests.support.statement_files import STRIPE, stripe, text


async def charged(
    environment: ServiceEnvironment, number: int, opened: views.Opening, **more: Any
) -> StatementLine:
    intent = await reconciliation.intent_of(environment, opened)
    fees = {"fee": Decimal("1.75"), "net": Decimal("48.25")}
    return line(number, f"ch_{number}", environment.now(), payment_ref=intent, **(fees | more))


async def test_a_clean_statement(environment: ServiceEnvironment) -> None:
    paid = [await reconciliation.paid(environment) for _ in range(3)]
    lines = [await charged(environment, number, each) for number, each in enumerate(paid, start=2)]
    await refund(environment.ctx, RefundCommand(paid[0].view.payment_id, "injured"), CLERK)
    [back] = await environment.stripe_objects("refunds")
    lines.append(
        line(
            9,
            back["id"],
            environment.now(),
            kind=LineKind.REFUND,
            payment_ref=lines[0].payment_ref,
            fee=Decimal(0),
        )
    )
    lines.append(line(10, "po_1", environment.now(), "145.25 USD", kind=LineKind.OTHER))
    for _ in range(2):
        report = await compare(environment, lines)
        assert (report.found, report.still_open, report.read["lines"]) == (0, 0, 5), report.listed
    rows: list[ProviderMovement] = await environment.rows(ProviderMovement)
    assert sorted((each.ref, each.amount, each.net) for each in rows) == sorted(
        [(each.ref, Decimal("50.00"), Decimal("48.25")) for each in lines[:3]]
        + [(back["id"], Decimal("-50.00"), Decimal("-50.00"))]
    )


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("first", ["statement", "payouts"])
async def test_each_part_of_a_purchase_under_its_one_number_is_a_movement(
    environment: ServiceEnvironment, order: int, first: str
) -> None:
    """Kaspi's report may list each part of a refund under the purchase's number; whoever reads it first."""
    opened = await paid_by_kaspi(environment, KaspiScheme.BASIC)
    other = await environment.paid()  # refunded once, under its number
    ref, other_ref = str(opened.view.provider_ref), str(other.view.provider_ref)
    now, zone = environment.now(), ZoneInfo("Asia/Almaty")

    def part(number: int, days: int, amount: str, of: str = ref) -> StatementLine:
        money, at = f"{amount} KZT", now - timedelta(days=days)
        return line(number, of, at, money, kind=LineKind.REFUND, fee=Decimal("0.00"))

    days = [
        [part(2, 1, "1000.00"), part(3, 1, "1000.00"), part(4, 1, "500.00")],
        [part(5, 0, "500.00"), part(6, 0, "1000.00"), part(7, 0, "24000.00", other_ref)],
    ]

    async def read_statement(lines: list[StatementLine]) -> None:
        await reconciliation.run(
            environment, "kaspi", lines=reconciliation.Lines(lines), source_name="kaspi.csv",
            since=now - timedelta(days=3), until=environment.now() + timedelta(seconds=2),
        )  # fmt: skip

    async def read_payouts(lines: list[StatementLine]) -> None:
        await keep_kaspi_report(environment.ctx, lines, zone, through=now.astimezone(zone).date())

    readers = [read_statement, read_payouts][:: 1 if first == "statement" else -1]
    for lines in [*days[::order], [each for day in days for each in reversed(day)]]:
        for read in readers:
            await read(lines)
    rows: list[ProviderMovement] = await environment.rows(ProviderMovement)
    kept = [(row.payment_id, row.amount) for row in rows if row.kind is LineKind.REFUND]
    of_first = [amount for payment_id, amount in kept if payment_id == opened.view.payment_id]
    assert sorted(of_first) == [Decimal(each) for each in ("-1000", "-1000", "-1000", "-500", "-500")]
    assert [row for row in kept if row[0] == other.view.payment_id] == [
        (other.view.payment_id, Decimal("-24000.00"))
    ]


async def test_mismatches_in_a_statement(environment: ServiceEnvironment) -> None:
    right, wrong, euro, lost, twice = [await reconciliation.paid(environment) for _ in range(5)]
    missed = await reconciliation.missed_webhook(environment)
    intent = next(
        each["id"]
        for each in await environment.stripe_objects("payment_intents")
        if each["metadata"].get("payment_id") == missed.view.payment_id
    )
    await environment.sql(
        """UPDATE "Payment" SET "stripePaymentId" = :pi WHERE id = :id""",
        pi=intent,
        id=missed.view.payment_id,
    )
    lines = [
        await charged(environment, 2, right),
        await charged(environment, 3, wrong, amount="49.00 USD"),
        await charged(environment, 4, euro, amount="50.00 EUR"),
        await charged(environment, 5, twice),
        await charged(environment, 6, twice),
        line(7, "ch_7", environment.now(), payment_ref=intent),
        line(8, "ch_8", environment.now(), payment_ref="pi_nobodys"),
    ]
    dry = await compare(environment, lines, dry_run=True)
    assert dry.found == 6
    report = await compare(environment, lines)
    assert reconciliation.kinds(report) == {
        ("AMOUNT_MISMATCH", "opened"): 1,
        ("CURRENCY_MISMATCH", "opened"): 1,
        ("MISSING_AT_PROVIDER", "opened"): 1,
        ("DUPLICATE_PAYMENT", "opened"): 1,
        ("MISSING_LOCALLY", "opened"): 1,
        ("STATUS_MISMATCH", "repaired"): 1,
    }
    named = {each.finding.kind: each.finding for each in report.listed}
    missing = named[DiscrepancyKind.MISSING_AT_PROVIDER]
    assert missing.ours is not None
    assert missing.ours.payment_id == lost.view.payment_id
    assert named[DiscrepancyKind.MISSING_LOCALLY].theirs.number == 8  # type: ignore[union-attr]
    assert await environment.status(missed) is PaymentStatus.COMPLETED
    again = await compare(environment, lines)
    assert reconciliation.kinds(again) == {
        (kind.value, "again"): 1 for kind in named if kind != "STATUS_MISMATCH"
    }


async def test_an_account_that_settles_in_another_currency(environment: ServiceEnvironment) -> None:
    """The charged amount is compared; the balance's currency is that of fees and nets alone."""
    right, wrong, back = [await reconciliation.paid(environment) for _ in range(3)]
    await refund(environment.ctx, RefundCommand(back.view.payment_id, "injured"), CLERK)
    [given_back] = await environment.stripe_objects("refunds")
    euro: dict[str, Any] = {"fee": Decimal("1.58"), "net": Decimal("44.30"), "settlement_currency": "EUR"}
    intent = await reconciliation.intent_of(environment, back)
    out: dict[str, Any] = {
        "kind": LineKind.REFUND, "payment_ref": intent, "settlement_currency": "EUR", "fee": Decimal(0),
    }  # fmt: skip
    lines = [
        await charged(environment, 2, right, **euro),
        await charged(environment, 3, wrong, amount="40.00 USD", **euro),
        await charged(environment, 4, back, **euro),
        # not told: how many dollars
        line(5, given_back["id"], environment.now(), "45.88 EUR", net=Decimal("-45.88"), **out),
        line(6, "re_unknown", environment.now(), "4.00 EUR", net=Decimal("-4.00"), **out),
    ]
    for became in ("opened", "again"):
        report = await compare(environment, lines)
        assert reconciliation.kinds(report) == {
            ("AMOUNT_MISMATCH", became): 1,
            ("REFUND_MISMATCH", became): 1,
        }
    assert (await environment.view(back)).refunded.amount == Decimal("50.00")
    rows: list[ProviderMovement] = await environment.rows(ProviderMovement)
    assert {(each.ref, each.amount, each.fee, each.net, each.currency) for each in rows} == {
        *[(f"ch_{n}", Decimal("45.88"), Decimal("1.58"), Decimal("44.30"), "EUR") for n in (2, 3, 4)],
        (given_back["id"], Decimal("-45.88"), Decimal(0), Decimal("-45.88"), "EUR"),
        ("re_unknown", Decimal("-4.00"), Decimal(0), Decimal("-4.00"), "EUR"),
    }


async def test_a_currency_that_nobody_accepts(environment: ServiceEnvironment, tmp_path: Path) -> None:
    """It is a difference, and does not keep the others from being compared."""
    pounds, lost = [await reconciliation.paid(environment) for _ in range(2)]
    at = f"{environment.now():%Y-%m-%d %H:%M:%S}"
    rows = [
        stripe(2, created_utc=at, created=at, currency="gbp",
               payment_intent_id=await reconciliation.intent_of(environment, pounds)),
        stripe(3, created_utc=at, created=at, currency="gbp", payment_intent_id="pi_nobodys"),
    ]  # fmt: skip
    path = tmp_path / "balance.csv"
    path.write_text(text([STRIPE, *rows], delimiter=","), newline="")
    with open_statement(path, looks=False) as statement:
        report = await reconciliation.run(environment, lines=statement)
    assert {(kind, became) for kind, became in reconciliation.kinds(report)} == {
        ("CURRENCY_MISMATCH", "opened"), ("MISSING_LOCALLY", "opened"), ("MISSING_AT_PROVIDER", "opened"),
    }  # fmt: skip
    assert missing(report) == {lost.view.payment_id}
    assert report.skipped == 0


async def test_what_was_accepted_stays_so_in_another_export(environment: ServiceEnvironment) -> None:
    """There the same money stands in another line."""
    wrong = await reconciliation.paid(environment)
    stated = await charged(environment, 3, wrong, amount="49.00 USD")
    await compare(environment, [stated])
    [row] = await reconciliation.open_rows(environment)
    await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.ACCEPT, "a dollar", CLERK)
    report = await compare(environment, [replace(stated, number=70)])
    assert reconciliation.kinds(report) == {("AMOUNT_MISMATCH", "accepted"): 1}


async def test_an_unreadable_line_makes_no_payment_missing(environment: ServiceEnvironment) -> None:
    on_progress, _ = await reconciliation.paid(environment), await reconciliation.paid(environment)

    report = await compare(environment, [await charged(environment, 2, on_progress)], skipped=1)
    assert (report.found, report.skipped, report.needs_person) == (0, 1, True)


async def test_a_file_that_ends_early_reports_no_mismatch(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.paid(environment)
    good = await charged(environment, 2, opened)

    def broken() -> Any:
        yield good
        raise ValueError("line 3")

    with pytest.raises(ValueError, match="line 3"):
        await reconciliation.run(
            environment, lines=reconciliation.Lines(broken()), since=environment.now() - timedelta(days=1)
        )
    assert [each.state for each in await environment.rows(ReconciliationRun)] == ["failed"]


# -- the window

NOON = datetime(2026, 5, 1, 7, tzinfo=UTC)  # of 1 May in Almaty
DAY = StatementPeriod(NOON - timedelta(hours=12), NOON + timedelta(hours=12))


async def paid_at(
    environment: ServiceEnvironment, at: datetime, started_at: datetime | None = None
) -> views.Opening:
    opened = await reconciliation.paid(environment)
    async with environment.ctx.db.writing() as session:
        payment = await session.get(Payment, opened.view.payment_id)
        detail = await session.get(PaymentDetail, opened.view.payment_id)
        assert payment is not None
        assert detail is not None
        payment.created_at = detail.created_at = started_at or at - timedelta(seconds=30)
        detail.completed_at = detail.news_at = at
    return opened


def missing(report: Report) -> set[str]:
    kind = DiscrepancyKind.MISSING_AT_PROVIDER
    return {str(each.finding.ours and each.finding.ours.payment_id) for each in report.listed
            if each.finding.kind is kind}  # fmt: skip


async def test_without_a_period_whole_days_are_compared(environment: ServiceEnvironment) -> None:
    day_before = NOON - timedelta(hours=12, minutes=1)
    right = await paid_at(environment, NOON)
    at_night = await paid_at(environment, NOON + timedelta(hours=11, minutes=58))
    over_midnight = await paid_at(environment, NOON - timedelta(hours=11, minutes=59), day_before)
    refunded = await paid_at(environment, NOON - timedelta(days=3))
    await refund(environment.ctx, RefundCommand(refunded.view.payment_id, "injured"), CLERK)
    [back] = await environment.rows(Refund)
    await paid_at(environment, day_before)
    await paid_at(environment, DAY.until)
    async with environment.ctx.db.writing() as session:
        row = await session.get(Refund, back.id)
        assert row is not None
        row.sent_at = NOON + timedelta(hours=1)
    stated = replace(await charged(environment, 2, right), at=NOON)
    other = line(3, "po_1", NOON, "48.25 USD", kind=LineKind.OTHER)
    report = await reconciliation.run(
        environment, lines=reconciliation.Lines([stated, other]), source_name="b.csv"
    )
    assert (report.since, report.until) == (DAY.since, DAY.until)
    assert missing(report) == {at_night.view.payment_id, over_midnight.view.payment_id}
    assert reconciliation.kinds(report) == {
        ("MISSING_AT_PROVIDER", "opened"): 2,
        ("REFUND_MISMATCH", "opened"): 1,
    }
    document = report.full()
    assert document["sums"] == [
        {"kind": "payment", "currency": "USD", "difference": Decimal("-100.00"),
         "ours": {"count": 3, "sum": Decimal("150.00")}, "theirs": {"count": 1, "sum": Decimal("50.00")}},
        {"kind": "refund", "currency": "USD", "difference": Decimal("-50.00"),
         "ours": {"count": 1, "sum": Decimal("50.00")}, "theirs": {"count": 0, "sum": Decimal("0.00")}},
    ]  # fmt: skip
    assert document["window"] == "the days of its first and last line"
    assert document["not_compared"] == [
        "what was paid or refunded before 2026-05-01 00:00 or after 2026-05-02 00:00",
        "1 lines of other kinds, such as payouts, fees and cash",
    ]


async def test_the_files_own_period_is_compared(environment: ServiceEnvironment) -> None:
    early, right = await paid_at(environment, NOON - timedelta(days=1)), await paid_at(environment, NOON)
    stated = replace(await charged(environment, 2, right), at=NOON)
    period = StatementPeriod(DAY.since - timedelta(days=1), DAY.until)
    report = await reconciliation.run(environment, lines=reconciliation.Lines([stated], period=period))
    assert (report.since, report.until, missing(report)) == (
        period.since, period.until, {early.view.payment_id},
    )  # fmt: skip
    # a part of it is asked for: the rest is named, and more than the file covers is not compared
    report = await reconciliation.run(
        environment, lines=reconciliation.Lines([stated], period=period), since=DAY.since - timedelta(days=9),
        until=DAY.since, is_ours=True,
    )  # fmt: skip
    assert (report.since, report.until, missing(report)) == (
        period.since, DAY.since, {early.view.payment_id},
    )  # fmt: skip
    assert report.not_compared[1] == "1 lines of other days"
    assert [sums.difference for sums in report.sums] == [Decimal(-50)]
    with pytest.raises(Refused, match="covers 2026-04-30 00:00 to 2026-05-02 00:00"):
        await reconciliation.run(
            environment, lines=reconciliation.Lines([stated], period=period), since=DAY.until
        )
    # lines outside of it: then their days are covered too
    period = StatementPeriod(DAY.since - timedelta(days=2), DAY.since - timedelta(days=1))
    report = await reconciliation.run(environment, lines=reconciliation.Lines([stated], period=period))
    assert (report.since, report.until) == (period.since, DAY.until)


async def test_an_empty_statement_of_a_period(environment: ServiceEnvironment) -> None:
    report = await reconciliation.run(environment, lines=reconciliation.Lines([], period=DAY))
    assert (report.found, report.is_foreign) == (0, False)
    lost = await paid_at(environment, NOON)
    with pytest.raises(Refused, match="none of our 1 payments"):
        await reconciliation.run(environment, lines=reconciliation.Lines([], period=DAY))
    report = await reconciliation.run(environment, lines=reconciliation.Lines([], period=DAY), is_ours=True)
    assert missing(report) == {lost.view.payment_id}


async def test_a_later_refund_does_not_move_the_payment(environment: ServiceEnvironment) -> None:
    """A statement of the refund's day need not list the payment."""
    opened = await paid_at(environment, NOON - timedelta(days=2))
    await refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    [back] = await environment.stripe_objects("refunds")
    stated = line(2, back["id"], environment.now(), kind=LineKind.REFUND,
                payment_ref=await reconciliation.intent_of(environment, opened))  # fmt: skip
    report = await reconciliation.run(environment, lines=reconciliation.Lines([stated]))
    assert report.found == 0, report.listed


# -- Kaspi


async def no_number(environment: ServiceEnvironment, opened: views.Opening) -> None:
    """Remove the operation number, as in scheme basic."""
    await environment.sql(
        """UPDATE "Payment" SET "kaspiTransactionId" = NULL WHERE id = :id""",
        id=opened.view.payment_id,
    )
    await environment.sql("DELETE FROM pay_kaspi_operation WHERE payment_id = :id", id=opened.view.payment_id)


async def test_kaspi_lines_by_number_and_by_amount_and_time(environment: ServiceEnvironment) -> None:
    known = await reconciliation.paid_by_kaspi(environment)
    unidentified = await reconciliation.paid_by_kaspi(environment)
    await no_number(environment, unidentified)
    async with environment.ctx.db.reading() as session:
        row = await session.get(Payment, known.view.payment_id)
    assert row is not None
    lines = [
        line(5, str(row.kaspi_transaction_id), environment.now(), "24000.00 KZT"),
        line(6, "700000001", environment.now(), "24000.00 KZT"),
        line(7, "700000002", environment.now(), "5000.00 KZT"),
    ]
    report = await compare(environment, lines, "kaspi")
    assert reconciliation.kinds(report) == {("MISSING_LOCALLY", "opened"): 1}
    assert report.listed[0].finding.reference == "700000002"


@pytest.mark.parametrize("order", [1, -1])
async def test_a_second_refund_of_one_amount_is_found_in_any_order(
    environment: ServiceEnvironment, order: int
) -> None:
    opened = await paid_by_kaspi(environment, KaspiScheme.BASIC)
    [used] = await environment.rows(KaspiOperation)
    made = MadeInApp(opened.view.payment_id, "14001234567", "injured", Money.parse("4000", "KZT"))
    await record_made(environment.ctx, made, CLERK)
    refunds = [
        line(
            number, f"1400123456{number}", environment.now(), "4000.00 KZT", kind=LineKind.REFUND,
            payment_ref=used.operation_number,
        )
        for number in (7, 8)
    ]  # fmt: skip
    lines = [line(2, used.operation_number, environment.now(), "24000.00 KZT"), *refunds[::order]]
    for _ in range(2):
        await compare(environment, lines, "kaspi")
    assert sorted(str(row.provider_refund_id) for row in await environment.rows(Refund)) == [
        "kaspi:14001234567", "kaspi:14001234568",
    ]  # fmt: skip
    assert await reconciliation.open_rows(environment) == []


@pytest.mark.parametrize("with_own_number", [True, False])
async def test_a_part_of_the_same_amount_on_another_day_is_another_refund(
    environment: ServiceEnvironment, with_own_number: bool
) -> None:
    """Each evening's statement shows its own day alone."""
    opened = await paid_by_kaspi(environment, KaspiScheme.BASIC)
    [used] = await environment.rows(KaspiOperation)
    paid = line(2, used.operation_number, environment.now(), "24000.00 KZT")
    environment.later(3 * 86400)
    lines = []
    for days in (2, 1):
        own = {"payment_ref": used.operation_number} if with_own_number else {}
        number = f"1400123456{days}" if with_own_number else used.operation_number
        at = environment.now() - timedelta(days=days)
        lines.append(line(5, number, at, "4000.00 KZT", kind=LineKind.REFUND, **own))
    for each, total in ((lines[0], "4000"), (lines[1], "8000"), (lines[1], "8000"), (lines[0], "8000")):
        await reconciliation.run(
            environment, "kaspi", lines=reconciliation.Lines([each]), source_name="kaspi.csv",
            since=each.at - timedelta(hours=1), until=each.at + timedelta(hours=1),
        )  # fmt: skip
        view = await views.one(environment.ctx, opened.view.payment_id)
        assert view.refunded == Money.parse(total, "KZT")
    await compare(environment, [paid, *lines], "kaspi")
    assert (await views.one(environment.ctx, opened.view.payment_id)).refunded == Money.parse("8000", "KZT")
    assert await reconciliation.open_rows(environment) == []


async def test_a_kaspi_line_completes_the_matching_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    environment.later(4000)
    at = environment.now() - timedelta(seconds=3900)  # not polled since: Kaspi's last status is not known
    report = await compare(environment, [line(5, "700000003", at, "24000.00 KZT")], "kaspi")
    assert ("STATUS_MISMATCH", "repaired") in reconciliation.kinds(report)
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    [used] = await environment.rows(KaspiOperation)
    assert (used.operation_number, used.payment_id) == ("700000003", opened.view.payment_id)


async def test_two_candidates_for_a_line_are_not_matched(environment: ServiceEnvironment) -> None:
    first, second = [await reconciliation.paid_by_kaspi(environment) for _ in range(2)]
    for each in (first, second):
        await no_number(environment, each)
    report = await compare(environment, [line(5, "700000004", environment.now(), "24000.00 KZT")], "kaspi")
    unknown = [e.finding for e in report.listed if e.finding.kind is DiscrepancyKind.MISSING_LOCALLY]
    assert unknown[0].what == "several payments fit it"
    assert set(unknown[0].theirs.candidates) == {first.view.payment_id, second.view.payment_id}  # type: ignore[union-attr]


async def test_who_cannot_see_it_cannot_close_it(environment: ServiceEnvironment) -> None:
    """Scheme basic reports neither refunds nor, in some editions, amounts."""
    await environment.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    back, other = [await reconciliation.paid_by_kaspi(environment) for _ in range(2)]
    lines = [
        line(2, str(back.view.provider_ref), environment.now(), "24000.00 KZT"),
        line(3, "990001", environment.now(), "5000.00 USD", kind=LineKind.REFUND,
             payment_ref=str(back.view.provider_ref)),
        line(4, str(other.view.provider_ref), environment.now(), "20000.00 KZT"),
    ]  # fmt: skip
    report = await compare(environment, lines, "kaspi")
    assert reconciliation.kinds(report) == {
        ("REFUND_MISMATCH", "opened"): 1,
        ("AMOUNT_MISMATCH", "opened"): 1,
    }
    report = await reconciliation.run(environment, "kaspi")
    assert (report.found, report.closed, report.still_open) == (0, 0, 2)
    for row in await reconciliation.open_rows(environment):
        with pytest.raises(ManualReviewRequired, match="Kaspi does not report what this is about") as refused:
            await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.FIX, "look again", CLERK)
        assert f"resolve {row.id} --how accept" in str(refused.value.next_step)
    assert len(await reconciliation.open_rows(environment)) == 2


def test_repeats_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names, many = Repeats(), [f"pi_{number}" for number in range(50_000)]
    for first in range(0, len(many), 1000):
        names.note_all(many[first : first + 1000])
    assert names.repeated is not None
    assert len(names.repeated) < 200
    again = many[::1000]
    names.note_all(again[:25])
    names.note_all([*again[25:], "twice at once", "twice at once"])
    assert {*again, "twice at once"} <= names.repeated
    monkeypatch.setattr(staging_matches, "MOST", 10)
    names.note_all(again)
    assert names.repeated is None  # too many repetitions: the database compares all names


@pytest.mark.parametrize("oddity", ["none", "a line twice", "a text of two lines"])
async def test_a_file_compares_equally_by_blocks_and_by_lines(
    environment: ServiceEnvironment, tmp_path: Path, oddity: str
) -> None:
    """Read in blocks, or begun in blocks and continued line by line."""
    right, _lost = await reconciliation.paid(environment), await reconciliation.paid(environment)
    at = f"{environment.now():%Y-%m-%d %H:%M:%S}"
    intent = await reconciliation.intent_of(environment, right)
    rows = [
        stripe(number, created_utc=at, created=at, payment_intent_id=each)
        for number, each in enumerate([intent, "pi_nobodys"], start=2)
    ]
    if oddity == "a line twice":
        rows.append(rows[0])
    elif oddity == "a text of two lines":
        rows.append(stripe(9, created_utc=at, created=at, reporting_category="payout", description="a\nb"))
    path = tmp_path / "balance.csv"
    path.write_text(text([STRIPE, *rows], delimiter=","), newline="")
    with open_statement(path, looks=False) as statement:
        report = await reconciliation.run(
            environment, "stripe", lines=statement, source_name="balance.csv",
            since=environment.now() - timedelta(days=1), until=environment.now() + timedelta(seconds=2),
        )  # fmt: skip
        assert statement.summary.repeated_count == (oddity == "a line twice")
    assert report.read["lines"] == (3 if oddity == "a text of two lines" else 2)
    assert reconciliation.kinds(report) == {
        ("MISSING_AT_PROVIDER", "opened"): 1,
        ("MISSING_LOCALLY", "opened"): 1,
    }
    [kept] = await environment.rows(ProviderMovement)
    assert (kept.ref, kept.fee) == ("ch_2", Decimal("1.75"))


async def test_after_a_restore_nobody_pays_again_for_a_line_of_unknown_owner(
    environment: ServiceEnvironment,
) -> None:
    payer, other = await environment.participant(), await environment.participant()
    lines = [
        line(5, "700000005", environment.now(), "24000.00 KZT"),
        line(6, "700000006", environment.now(), "5000.00 KZT"),
    ]
    await compare(environment, lines, "kaspi", is_ours=True)
    await environment.start(other, "apple_pay")  # not after a restore: a stray line stops nobody
    await compare(environment, lines, "kaspi", is_ours=True, recover=True)
    with pytest.raises(ManualReviewRequired, match="may have paid") as refusal:
        await environment.start(payer, "apple_pay")
    assert "operation 700000005" in str(refusal.value.next_step)
    request = InitiateRequest(payer, PaymentMethod.KASPI_QR, Channel.KASPI_QR, is_not_theirs=True)
    started = await initiate(environment.ctx, request, CLERK)
    numbered = VerificationRequest(started.payment_id, "700000005", override=True, reason="paid before")
    await verify(environment.ctx, numbered, CLERK)
    await environment.start()  # the line has its owner
    await compare(environment, lines, "kaspi", is_ours=True)
    row = next(row for row in await reconciliation.open_rows(environment) if "700000006" in str(row.detail))
    assert row.detail["after_restore"], "another run does not forget it"
