"""``reconcile --statement``: lines against our payments, without requests to a provider."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import KaspiOperation, Settlement
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.queues import ReconciliationRun
from procomp_pay.storage.reconciliation import staging_matches
from procomp_pay.storage.reconciliation.staging_matches import Repeats
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
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
        assert (report.found, report.still_open, report.read["lines"]) == (0, 0, 5), report.told
    rows: list[Settlement] = await environment.rows(Settlement)
    assert sorted((each.ref, each.amount, each.net) for each in rows) == sorted(
        [(each.ref, Decimal("50.00"), Decimal("48.25")) for each in lines[:3]]
        + [(back["id"], Decimal("-50.00"), Decimal("-50.00"))]
    )


async def test_mismatches_in_a_statement(environment: ServiceEnvironment) -> None:
    right, wrong, euro, lost, twice = [await reconciliation.paid(environment) for _ in range(5)]
    missed = await reconciliation.missed_webhook(environment)
    intent = next(
        each["id"]
        for each in await environment.stripe_objects("payment_intents")
        if each["metadata"].get("payment_id") == missed.view.payment_id
    )
    await reconciliation.change(
        environment,
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
    named = {each.finding.kind: each.finding for each in report.told}
    missing = named[DiscrepancyKind.MISSING_AT_PROVIDER]
    assert missing.ours is not None
    assert missing.ours.payment_id == lost.view.payment_id
    assert named[DiscrepancyKind.MISSING_LOCALLY].theirs.number == 8  # type: ignore[union-attr]
    assert await environment.status(missed) is PaymentStatus.COMPLETED
    again = await compare(environment, lines)
    assert reconciliation.kinds(again) == {
        (kind.value, "again"): 1 for kind in named if kind != "STATUS_MISMATCH"
    }


async def test_an_accepted_difference_stays_accepted_in_another_export(
    environment: ServiceEnvironment,
) -> None:
    """In the other export the same payment is on another line."""
    wrong = await reconciliation.paid(environment)
    said = await charged(environment, 3, wrong, amount="49.00 USD")
    await compare(environment, [said])
    [row] = await reconciliation.open_rows(environment)
    await discrepancies.resolve(environment.ctx, row.id, discrepancies.How.ACCEPT, "a dollar", CLERK)
    report = await compare(environment, [replace(said, number=70)])
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


# -- Kaspi


async def no_number(environment: ServiceEnvironment, opened: views.Opening) -> None:
    """Remove the operation number, as in scheme basic."""
    await reconciliation.change(
        environment,
        """UPDATE "Payment" SET "kaspiTransactionId" = NULL WHERE id = :id""",
        id=opened.view.payment_id,
    )
    await reconciliation.change(
        environment, "DELETE FROM pay_kaspi_operation WHERE payment_id = :id", id=opened.view.payment_id
    )


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
    assert report.told[0].finding.reference == "700000002"


async def test_a_kaspi_line_completes_the_matching_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start(await environment.participant())
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
    unknown = [e.finding for e in report.told if e.finding.kind is DiscrepancyKind.MISSING_LOCALLY]
    assert unknown[0].what == "several payments fit it"
    assert set(unknown[0].theirs.candidates) == {first.view.payment_id, second.view.payment_id}  # type: ignore[union-attr]


def test_every_repeated_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
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
    [kept] = await environment.rows(Settlement)
    assert (kept.ref, kept.fee) == ("ch_2", Decimal("1.75"))
