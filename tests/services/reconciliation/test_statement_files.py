"""Files that the sandbox exports are read back and matched to the payments that were made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementSummary
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.views import payment as views
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.reconciliation.staging import open_staging
from procomp_pay.storage.reconciliation.staging_rows import Scope
from tests.support import reconciliation
from tests.support.environment import ServiceEnvironment
from tests.support.kaspi_bill import ask, of
from tests.support.statement_files import HEADS, kaspi, text

FEE = Money(Decimal(24000), Currency.KZT)


async def export(
    environment: ServiceEnvironment, path: Path, what: str
) -> tuple[list[StatementLine], StatementSummary, str]:
    """Export a file of the sandbox, with its oddities, and read it."""
    answer = await environment.http.get(f"/_sandbox/{what}")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    with open_statement(path) as statement:
        assert statement.owner == ("123456789012" if "kaspi" in what and "title=0" not in what else None)
        return list(statement), statement.summary, statement.kind


async def reconciled(environment: ServiceEnvironment, path: Path) -> Report:
    """Reconcile the file that was exported last."""
    with open_statement(path, looks=False) as statement:
        return await reconciliation.run(environment, "kaspi", lines=statement, source_name=path.name)


async def paid(environment: ServiceEnvironment) -> views.Opening:
    opened = await environment.start()
    await environment.phone(opened)
    return opened


async def control(environment: ServiceEnvironment, path: str, body: Any) -> Any:
    answer = await environment.http.post(f"/_sandbox/kaspi{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


ODD_FILES = (
    "kaspi/statement.csv",
    "kaspi/statement.csv?encoding=cp1251&delimiter=comma&decimal=dot&seconds=0",
    "kaspi/statement.csv?encoding=utf-16&delimiter=tab&thousands=nbsp&order=columns&title=0",
    "kaspi/statement.csv?order=newest&thousands=space&refunds=purchase&payment_ids=1",
    "kaspi/statement.csv?duplicate=1&encoding=utf-8",
    "kaspi/statement.xlsx",
    "kaspi/statement.xlsx?title=0&total=0&duplicate=1&order=columns",
)
FILES_OF_2026 = (
    "kaspi/statement.csv?layout=2026",
    "kaspi/statement.xlsx?layout=2026&cash=1",
    "kaspi/statement.xlsx?layout=2026&title=0&order=columns&refunds=purchase&duplicate=1",
    "kaspi/statement.csv?layout=2026&delimiter=tab&thousands=nbsp&order=newest&total=0",
)


async def test_kaspis_export_matches_our_payments(environment: ServiceEnvironment, tmp_path: Path) -> None:
    first, second = await paid(environment), await paid(environment)
    await control(environment, f"/payments/{first.view.provider_ref}/cashier-refund", {"Amount": "5000.00"})
    for what in ODD_FILES:
        lines, summary, kind = await export(environment, tmp_path / "f", what)
        assert kind.startswith("XLSX" if ".xlsx" in what else "CSV")
        assert not summary.needs_person, (what, summary.skipped, summary.totals)
        assert summary.counts == {LineKind.PAYMENT: 2, LineKind.REFUND: 1}, what
        assert summary.repeated_count == ("duplicate" in what)
        money = {
            line.ref: (line.money, line.fee, line.net) for line in lines if line.kind is LineKind.PAYMENT
        }
        whole = (FEE, Decimal("228.00"), Decimal("23772.00"))
        assert money == {first.view.provider_ref: whole, second.view.provider_ref: whole}
        report = await reconciled(environment, tmp_path / "f")
        # the first file completes its payments; every other one agrees with them then
        repaired = {("STATUS_MISMATCH", "repaired"): 2, ("REFUND_MISMATCH", "repaired"): 1}
        assert reconciliation.kinds(report) == (repaired if what == ODD_FILES[0] else {}), (
            what,
            report.listed,
        )
    assert (await environment.view(first)).refunded.amount == Decimal("5000.00")
    assert (await environment.view(second)).refunded.amount == 0


async def test_kaspis_export_of_2026(environment: ServiceEnvironment, tmp_path: Path) -> None:
    first, second = await paid(environment), await paid(environment)
    await control(environment, f"/payments/{first.view.provider_ref}/cashier-refund", {"Amount": "5000.00"})
    for what in FILES_OF_2026:
        lines, summary, _ = await export(environment, tmp_path / "f", what)
        assert not summary.needs_person, (what, summary.skipped, summary.totals)
        has_totals = "title=0" not in what and "total=0" not in what
        assert [total.agrees for total in summary.totals] == [True] * (4 if has_totals else 0)
        fees = {line.ref: line.fee for line in lines if line.kind is LineKind.PAYMENT}
        assert fees == {first.view.provider_ref: Decimal(228), second.view.provider_ref: Decimal(228)}
        assert [line.fee for line in lines if line.kind is LineKind.REFUND] == [Decimal("-47.50")]
        report = await reconciled(environment, tmp_path / "f")
        mended = {("STATUS_MISMATCH", "repaired"): 2, ("REFUND_MISMATCH", "repaired"): 1}
        assert reconciliation.kinds(report) == (mended if what == FILES_OF_2026[0] else {}), (
            what,
            report.listed,
        )
        assert [sums.difference for sums in report.sums] == [0, 0]
    assert (await environment.view(first)).refunded.amount == Decimal("5000.00")
    kept = {(row.kind, row.payment_id, row.fee, row.net) for row in await environment.rows(ProviderMovement)}
    assert kept == {
        (LineKind.PAYMENT, first.view.payment_id, Decimal(228), Decimal(23772)),
        (LineKind.PAYMENT, second.view.payment_id, Decimal(228), Decimal(23772)),
        (LineKind.REFUND, first.view.payment_id, Decimal("-47.50"), Decimal("-4952.50")),
    }


async def test_an_order_number_names_the_payment(environment: ServiceEnvironment, tmp_path: Path) -> None:
    """Two of one minute and sum, under numbers of their own."""
    await control(environment, "/settings", {"operation_numbers": "own"})
    both = {(await paid(environment)).view.payment_id for _ in range(2)}
    lines, _, _ = await export(environment, tmp_path / "f", "kaspi/statement.csv?layout=2026")
    assert {line.order for line in lines} == both
    report = await reconciled(environment, tmp_path / "f")
    assert reconciliation.kinds(report) == {("STATUS_MISMATCH", "repaired"): 2}
    used = {row.operation_number: row.payment_id for row in await environment.rows(KaspiOperation)}
    assert used == {line.ref: line.order for line in lines}
    kept = {(row.ref, row.payment_id) for row in await environment.rows(ProviderMovement)}
    assert kept == set(used.items())


async def test_fees_of_lines_that_name_their_qr(environment: ServiceEnvironment, tmp_path: Path) -> None:
    await control(environment, "/settings", {"operation_numbers": "own"})
    opened = await paid(environment)
    await export(environment, tmp_path / "f", "kaspi/statement.csv?payment_ids=1")
    for _ in range(2):
        report = await reconciled(environment, tmp_path / "f")
        assert report.settlements == 1
    [row] = await environment.rows(ProviderMovement)
    assert (row.payment_id, row.fee) == (opened.view.payment_id, Decimal("228.00"))


async def test_bill_lines_are_tied_by_their_account(environment: ServiceEnvironment, tmp_path: Path) -> None:
    """Kaspi's report has numbers of its own there, and the account in the purchase's details."""
    people = [await environment.participant() for _ in range(3)]
    opened = await environment.start(people[1])
    accounts = [people[0], f"{opened.view.code}", people[2]]
    bills = {}
    for number, (participant, account) in enumerate(zip(people, accounts, strict=True), start=1):
        await pay(environment.ctx, ask(account, f"55500{number}"))
        [bills[account]] = [
            payment.id
            for payment, detail in await of(environment, participant)
            if detail.channel is Channel.KASPI_BILL
        ]
    at = environment.now().astimezone(ZoneInfo("Asia/Almaty"))
    details = [f"Взнос {accounts[0]}", accounts[1].lower(), "Cup", accounts[2], accounts[2]]
    when = {"day": f"{at:%d.%m.%Y}", "time": f"{at:%H:%M:%S}"}
    rows = [[*kaspi(ref=f"QR7700000{n}", **when), text] for n, text in enumerate(details)]
    rows[2] = [*kaspi(ref="QR77000002", amount="700,00", fee="", net="", **when), "Cup"]
    path = tmp_path / "k.csv"
    path.write_text(text([[*HEADS, "Детали покупки"], *rows]), encoding="utf-8-sig", newline="")
    report = await reconciled(environment, path)
    refused = {(each.finding.kind.value, each.finding.reference) for each in report.listed}
    # one of nobody's account, and two of one account for its one payment: a person decides
    assert refused >= {("MISSING_LOCALLY", f"7700000{n}") for n in (2, 3, 4)}
    assert not {ref for kind, ref in refused if kind == "MISSING_LOCALLY"} & {"77000000", "77000001"}
    named = [each.finding.theirs.candidates for each in report.listed if each.finding.reference == "77000003"
             and each.finding.theirs]  # fmt: skip
    assert named == [(bills[accounts[2]],)]
    assert [sums.their_count for sums in report.sums] == [5]


@pytest.mark.parametrize("numbers", ["payment-id", "own"])
@pytest.mark.parametrize("layout", ["numbered", "2026"])
async def test_the_sandbox_exports_bills(
    environment: ServiceEnvironment, tmp_path: Path, numbers: str, layout: str
) -> None:
    await control(environment, "/settings", {"operation_numbers": numbers})
    participant = await environment.participant()
    body = {
        "url": "http://127.0.0.1:9/",
        "command": "pay",
        "account": participant,
        "sum": "24000.00",
        "tries": 1,
    }
    for _ in range(2):  # told twice, taken once
        sent = (await control(environment, "/bill", body | {"txn_id": "777000111"}))["sent"]
    await pay(environment.ctx, replace(ask(participant, sent["txn_id"]), at=environment.now()))
    what = f"kaspi/statement.csv?layout={layout}&payment_ids=1"
    [line], _, _ = await export(environment, tmp_path / "f", what)
    assert (line.ref == "777000111") == (numbers == "payment-id")
    report = await reconciled(environment, tmp_path / "f")
    assert (report.found, report.settlements) == (0, 1), report.listed


async def test_numbers_of_their_own_are_matched_by_amount_and_time(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    await control(environment, "/settings", {"operation_numbers": "own"})
    first = await paid(environment)
    environment.later(3600)
    second, third = await paid(environment), await paid(environment)
    lines, _, _ = await export(environment, tmp_path / "f", "kaspi/statement.csv")
    report = await reconciled(environment, tmp_path / "f")
    assert await environment.status(first) is PaymentStatus.COMPLETED
    # two in the same minutes for the same fee cannot be told apart: both are named
    rivals = tuple(sorted((second.view.payment_id, third.view.payment_id)))
    unknown = [each.finding for each in report.listed if each.became == "opened"]
    assert {each.reference for each in unknown} == {lines[1].ref, lines[2].ref}
    assert [each.theirs.candidates for each in unknown if each.theirs] == [rivals] * 2
    # once one number is known, one candidate is left
    await _record(environment, second, lines[1].ref)
    await reconciled(environment, tmp_path / "f")
    used = {row.operation_number: row.payment_id for row in await environment.rows(KaspiOperation)}
    assert used == {
        line.ref: each.view.payment_id for line, each in zip(lines, (first, second, third), strict=True)
    }


async def _record(environment: ServiceEnvironment, opened: views.Opening, number: str) -> None:
    async with environment.ctx.db.writing() as session:
        session.add(
            KaspiOperation(
                operation_number=number,
                payment_id=opened.view.payment_id,
                amount=FEE.amount,
                source="test",
                recorded_by="test",
                created_at=environment.now(),
            )
        )


async def test_candidates_have_the_amount_and_the_time(environment: ServiceEnvironment) -> None:
    """A QR is valid for minutes, an invoice for a day; a line's candidates were valid at its time."""
    started = environment.now()
    opened = await environment.start()
    await environment.start(method="apple_pay")
    verified = await environment.start()
    await _record(environment, verified, "55")  # its line has that number, so no other line matches it
    invoice = await environment.start()
    async with environment.ctx.db.writing() as session:
        detail = await session.get(PaymentDetail, invoice.view.payment_id)
        assert detail is not None
        detail.channel, detail.created_at = Channel.KASPI_REMOTE, started - timedelta(hours=20)
        detail.sent_at, detail.expires_at = None, started + timedelta(hours=4)
    environment.later(3 * 3600)
    line = StatementLine(1, LineKind.PAYMENT, "77", started + timedelta(minutes=1), FEE)
    others = [
        replace(line, number=2, ref="78", money=Money(Decimal(23999), Currency.KZT)),
        replace(line, number=3, ref="79", at=started - timedelta(hours=21)),
        replace(line, number=4, ref="80", kind=LineKind.REFUND),
        replace(line, number=5, ref="81", at=started + timedelta(hours=2)),
        replace(line, number=6, ref="82", payment_ref="19999999999"),  # it names another QR
    ]
    async with open_staging(environment.ctx.db, "kaspi") as staging:
        await staging.load_lines([line, *others])
        await staging.find_candidates(Scope("kaspi", started, started), check_books=False)
        [(suspects, theirs)] = [page async for page in staging.pages(100)]
    qr, of_a_day = opened.view.payment_id, invoice.view.payment_id
    named = {each.ref: each.candidates for each in theirs if each.candidates}
    assert named == {"77": tuple(sorted((qr, of_a_day))), "81": (of_a_day,)}
    assert [each for each in suspects if each.payment_id and each.key != verified.view.payment_id] == []


async def test_a_statement_without_a_line_of_ours_is_refused(
    environment: ServiceEnvironment, tmp_path: Path
) -> None:
    """Most likely of another merchant: nothing is compared until the operator confirms that it is ours."""
    ours = await reconciliation.paid_by_kaspi(environment)
    line = StatementLine(1, LineKind.PAYMENT, "77", environment.now(), Money(Decimal(700), Currency.KZT))
    lines = [line, replace(line, number=2, ref="78")]
    window = {
        "since": environment.now() - timedelta(days=1),
        "until": environment.now() + timedelta(seconds=2),
    }
    with pytest.raises(
        Refused, match=r"Not one of the 2 lines of k\.csv .* none of our 1 payments"
    ) as refused:
        await reconciliation.run(
            environment, "kaspi", lines=reconciliation.Lines(lines), source_name="k.csv", **window
        )
    assert "--yes" in str(refused.value.next_step)
    assert await environment.rows(Discrepancy) == []
    report = await reconciliation.run(
        environment, "kaspi", lines=reconciliation.Lines(lines), is_ours=True, **window
    )
    assert report.is_foreign
    assert reconciliation.kinds(report) == {
        ("MISSING_LOCALLY", "opened"): 2,
        ("MISSING_AT_PROVIDER", "opened"): 1,
    }
    # one line of ours is enough
    own = replace(line, number=3, ref=str(ours.view.provider_ref), money=FEE)
    assert not (
        await reconciliation.run(environment, "kaspi", lines=reconciliation.Lines([*lines, own]), **window)
    ).is_foreign


async def test_cash_completes_nothing(environment: ServiceEnvironment, tmp_path: Path) -> None:
    opened = await environment.start()
    at = environment.now().astimezone(ZoneInfo("Asia/Almaty"))
    headers = [*HEADS, "Канал оплаты"]
    headers[8] = "Способ оплаты"
    row = kaspi(1, day=f"{at:%d.%m.%Y}", time=f"{at:%H:%M:%S}")
    path = tmp_path / "k.csv"
    for method, channel, status in (
        ("Наличные", "Касса", PaymentStatus.PENDING),
        ("Kaspi Gold", "POS наличные", PaymentStatus.PENDING),
        ("Kaspi Gold", "Kaspi QR", PaymentStatus.COMPLETED),
    ):
        row[8] = method
        path.write_text(text([headers, [*row, channel]]), encoding="utf-8-sig", newline="")
        await reconciled(environment, path)
        assert await environment.status(opened) is status


async def test_stripes_report_of_what_happened(environment: ServiceEnvironment, tmp_path: Path) -> None:
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened)
    [intent] = await environment.stripe_objects("payment_intents")
    [charge] = await environment.stripe_objects("charges")
    await environment.http.post(f"/_sandbox/stripe/payment_intents/{intent['id']}/dispute", json={})
    [dispute] = await environment.stripe_objects("disputes")
    await environment.http.post(f"/_sandbox/stripe/disputes/{dispute['id']}/close", json={"won": True})
    for oddity in ("", "?encoding=utf-16&delimiter=tab", "?delimiter=semicolon&decimal=comma&order=columns"):
        lines, summary, _ = await export(environment, tmp_path / "f", f"stripe/balance.csv{oddity}")
        assert not summary.needs_person
        assert [(line.kind, line.ref, line.payment_ref) for line in lines] == [
            (LineKind.PAYMENT, charge["id"], intent["id"]),
            (LineKind.DISPUTE, dispute["id"], intent["id"]),
            (LineKind.DISPUTE_REVERSED, dispute["id"], intent["id"]),
        ]
        assert lines[0].money == Money(Decimal(50), Currency.USD)
        assert (lines[0].fee, lines[0].net) == (Decimal("1.75"), Decimal("48.25"))
    newest, _, _ = await export(environment, tmp_path / "f", "stripe/balance.csv?order=newest")
    assert [line.ref for line in newest] == [line.ref for line in lines][::-1]


async def test_an_unknown_oddity_is_refused(environment: ServiceEnvironment) -> None:
    kaspi = ("csv?encoding=morse", "xlsx?total=2", "csv?x=1", "csv?since=x")
    for what in (*(f"kaspi/statement.{each}" for each in kaspi), "stripe/balance.csv?decimal=x"):
        assert (await environment.http.get(f"/_sandbox/{what}")).status_code == 400


async def test_an_export_of_a_period(environment: ServiceEnvironment, tmp_path: Path) -> None:
    await paid(environment)
    since = environment.now().timestamp() + 60
    environment.later(120)
    late = await paid(environment)
    lines, _, _ = await export(environment, tmp_path / "f", f"kaspi/statement.csv?since={since}")
    assert [line.ref for line in lines] == [late.view.provider_ref]
    lines, _, _ = await export(environment, tmp_path / "f", f"kaspi/statement.csv?until={since}")
    assert len(lines) == 1
    lines, _, _ = await export(environment, tmp_path / "f", f"stripe/balance.csv?since={since}")
    assert lines == []
