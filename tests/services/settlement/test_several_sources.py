"""Manual verification, bill, callback, statement and reconciliation report the same payment."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Conflict, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.reconciliation.discrepancies import How
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.payments.repository import load_payment
from procomp_pay.storage.reconciliation.discrepancies import Difference, keep
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask, of
from tests.support.reconciliation import compare, line

S = PaymentStatus
NUMBER = "19000000001"


async def test_a_paid_bill_is_not_missing_although_it_cannot_be_polled(
    environment: ServiceEnvironment,
) -> None:
    await pay(environment.ctx, ask(await environment.participant()))
    report = await reconciliation.run(environment, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.listed


async def test_a_manually_verified_payment_is_not_missing(environment: ServiceEnvironment) -> None:
    await environment.fault("/r1", "cut_before", times=99)
    participant_id = await environment.participant()
    with pytest.raises(PaymentError):
        await environment.start(participant_id)
    [(payment, _)] = await of(environment, participant_id)
    await verify(environment.ctx, VerificationRequest(payment.id, "19000000001"), CLERK)
    await environment.no_faults()
    report = await reconciliation.run(environment, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.listed


async def test_an_override_stays_open_after_reconciliation(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened, "cancel")
    environment.later(6)
    request = VerificationRequest(
        opened.view.payment_id, "19000000001", override=True, reason="seen in Kaspi Pay"
    )
    done = await verify(environment.ctx, request, CLERK)
    assert done.overridden
    [mine] = await reconciliation.open_rows(environment)
    report = await reconciliation.run(environment, "kaspi")
    assert reconciliation.kinds(report) == {("STATUS_MISMATCH", "again"): 1}
    [discrepancy] = await reconciliation.open_rows(environment)
    assert discrepancy.id == mine.id
    assert (discrepancy.detail["override"], discrepancy.detail["what"]) == (
        "seen in Kaspi Pay",
        "not paid at the provider",
    )
    # Kaspi no longer contradicts it, but an override is resolved only by an operator
    await reconciliation.at_kaspi(environment, opened, "late-process", {})
    assert (await reconciliation.run(environment, "kaspi")).still_open == 1


async def late_verification(environment: ServiceEnvironment) -> VerificationRequest:
    opened = await environment.start()
    await environment.phone(opened)
    over = PaymentEvent(opened.view.payment_id, EventType.EXPIRED, environment.now(), Source.CLOCK, "clock")
    await apply_event(environment.ctx, over)
    return VerificationRequest(opened.view.payment_id, NUMBER)


async def lower_amount_verification(environment: ServiceEnvironment) -> VerificationRequest:
    opened = await environment.start()
    less = Money.parse("23900", "KZT")
    return VerificationRequest(
        opened.view.payment_id, NUMBER, money=less, override=True, reason="the coach pays"
    )


@pytest.mark.parametrize(
    "word", [late_verification, lower_amount_verification], ids=lambda each: each.__name__
)
async def test_a_discrepancy_of_a_verification_is_accepted_once(
    environment: ServiceEnvironment, word: Any
) -> None:
    """Find the payment by the number of its QR or by the operation number."""
    request = await word(environment)
    await environment.fault("/r1", "cut_before", times=99)
    await verify(environment.ctx, request, CLERK)
    await environment.no_faults()
    [row] = await reconciliation.open_rows(environment)
    qr = row.fingerprint.split(":")[2]
    assert qr != NUMBER
    await discrepancies.resolve(environment.ctx, row.id, How.ACCEPT, "it is so", CLERK)
    if request.money is None:
        again = [await reconciliation.run(environment, "kaspi")]
    else:
        rows = [
            line(n, NUMBER, environment.now(), "23900.00 KZT", payment_ref=ref)
            for n, ref in ((5, None), (6, qr))
        ]
        again = [await compare(environment, [item], "kaspi") for item in rows]
    # an accepted amount becomes the charged amount, so nothing differs any more
    left = {(row.kind, "accepted"): 1} if request.money is None else {}
    for report in again:
        assert reconciliation.kinds(report) == left
    assert await reconciliation.open_rows(environment) == []


async def test_two_operations_of_one_qr_are_distinguished_by_their_numbers(
    environment: ServiceEnvironment,
) -> None:
    opened = await reconciliation.paid_by_kaspi(environment)
    qr = str(opened.view.provider_ref)
    await environment.sql("UPDATE pay_kaspi_operation SET operation_number = '999000112'")
    lines = [line(n, f"99900011{n}", environment.now(), "24000.00 KZT", payment_ref=qr) for n in (1, 2)]
    await compare(environment, lines, "kaspi")
    [row] = await reconciliation.open_rows(environment)
    assert row.fingerprint == f"DUPLICATE_PAYMENT:{opened.view.payment_id}:999000111"
    with pytest.raises(Refused, match="a second operation at Kaspi"):
        await discrepancies.resolve(environment.ctx, row.id, How.REFUND, "came twice", CLERK)


async def test_an_override_of_a_bill_stays_open(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await pay(environment.ctx, ask(participant_id, "777000111", "20000.00"))
    [(payment, _)] = await of(environment, participant_id)
    request = VerificationRequest(
        payment.id,
        "777000111",
        money=Money.parse("20000", "KZT"),
        paid_at=environment.now() - timedelta(days=3),
        override=True, reason="poor",
    )  # fmt: skip
    await verify(environment.ctx, request, CLERK)
    before = {e.fingerprint for e in await reconciliation.open_rows(environment)}
    await reconciliation.run(environment, "kaspi")
    assert before <= {e.fingerprint for e in await reconciliation.open_rows(environment)}


async def test_a_second_operation_is_not_refunded_through_the_first(environment: ServiceEnvironment) -> None:
    """Two operations at Kaspi for one payment: a refund by us returns the money of the QR."""
    opened = await reconciliation.paid_by_kaspi(environment)
    event = PaymentEvent(
        payment_id=opened.view.payment_id, event_type=EventType.SUCCEEDED, at=environment.now(),
        source=Source.KASPI_CALLBACK, actor="gateway", source_id="x", money=opened.view.charged,
        ids=ProviderIds(kaspi_operation="999000111"),
    )  # fmt: skip
    await environment.sql("UPDATE pay_kaspi_operation SET operation_number = '999000112'")
    await apply_event(environment.ctx, event)
    [row] = await reconciliation.open_rows(environment)
    with pytest.raises(Refused, match="a second operation at Kaspi"):
        await discrepancies.resolve(environment.ctx, row.id, How.REFUND, "came twice", CLERK)
    assert await environment.status(opened) is S.COMPLETED


async def test_the_number_of_a_bill_with_a_different_amount_settles_no_other_payment(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await pay(environment.ctx, ask(participant_id, "0777000111", "20000.00"))
    await environment.fault("/r1", "cut_before", times=99)
    with pytest.raises(Conflict, match="was received for"):
        await verify(environment.ctx, VerificationRequest(opened.view.payment_id, "777000111"), CLERK)
    assert await environment.status(opened) is S.PENDING


async def test_a_refund_known_from_a_statement_is_not_missing_by_api(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.paid_by_kaspi(environment)
    number = str(opened.view.provider_ref)
    back = line(3, "600000001", environment.now(), "24000.00 KZT", kind=LineKind.REFUND, payment_ref=number)
    await compare(environment, [line(2, number, environment.now(), "24000.00 KZT"), back], "kaspi")
    assert await environment.status(opened) is S.REFUNDED
    report = await reconciliation.run(environment, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.listed


async def test_a_line_matched_by_amount_does_not_settle_a_payment_that_kaspi_reports_as_unpaid(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await environment.phone(opened, "cancel")
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.FAILED
    report = await compare(environment, [line(5, "700000003", environment.now(), "24000.00 KZT")], "kaspi")
    assert reconciliation.kinds(report) == {("MISSING_LOCALLY", "opened"): 1}
    finding = report.listed[0].finding
    assert (finding.what, finding.theirs.candidates) == (  # type: ignore[union-attr]
        "it fits a payment that is over",
        (opened.view.payment_id,),
    )
    assert await environment.status(opened) is S.FAILED


async def test_a_qr_is_polled_after_a_line_matched_by_amount(environment: ServiceEnvironment) -> None:
    """The line may belong to another sale, so money paid through the QR must still be noticed."""
    opened = await environment.start()
    await compare(environment, [line(5, "700000003", environment.now(), "24000.00 KZT")], "kaspi")
    assert await environment.status(opened) is S.COMPLETED
    await environment.phone(opened)
    await environment.maintain(after=10)
    assert [e.kind for e in await reconciliation.open_rows(environment)] == ["DUPLICATE_PAYMENT"]


async def test_kaspis_final_status_contradicts_a_line_matched_by_amount(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await compare(environment, [line(5, "700000003", environment.now(), "24000.00 KZT")], "kaspi")
    await environment.phone(opened, "cancel")
    await environment.maintain(after=10)
    assert await environment.status(opened) is S.COMPLETED
    assert [e.kind for e in await reconciliation.open_rows(environment)] == ["STATUS_MISMATCH"]


async def test_a_statement_reports_a_bill_with_a_different_amount_once(
    environment: ServiceEnvironment,
) -> None:
    await pay(environment.ctx, ask(await environment.participant(), "777000111", "20000.00"))
    before = {e.fingerprint for e in await reconciliation.open_rows(environment)}
    await compare(environment, [line(5, "777000111", environment.now(), "20000.00 KZT")], "kaspi")
    assert {e.fingerprint for e in await reconciliation.open_rows(environment)} == before


async def test_a_refunded_bill_with_a_different_amount_blocks_nothing(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    await pay(environment.ctx, ask(participant_id, "777000111", "20000.00"))
    [row] = await reconciliation.open_rows(environment)
    await discrepancies.resolve(environment.ctx, row.id, How.ACCEPT, "given back in Kaspi Pay", CLERK)
    opened = await environment.start(participant_id)
    assert await environment.status(opened) is S.PENDING
    await reconciliation.run(environment, "kaspi")
    assert await reconciliation.open_rows(environment) == []


async def test_settlement_and_reconciliation_open_the_same_discrepancy_for_a_bill(
    environment: ServiceEnvironment,
) -> None:
    twice = await environment.participant()
    gone = await environment.participant(status=ParticipantStatus.CANCELLED)
    for number, participant_id in enumerate((twice, twice, gone), start=777000111):
        await pay(environment.ctx, ask(participant_id, str(number)))
    before = {e.fingerprint for e in await reconciliation.open_rows(environment)}
    assert len(before) == 2
    await reconciliation.run(environment, "kaspi")
    assert {e.fingerprint for e in await reconciliation.open_rows(environment)} == before


OTHER = "777000333"


async def other_amount_by_bill(environment: ServiceEnvironment) -> tuple[str, str | None]:
    participant_id = await environment.participant()
    await pay(environment.ctx, ask(participant_id, OTHER, "500.00"))
    [(payment, _)] = await of(environment, participant_id)
    return payment.id, None


async def other_amount_by_callback(environment: ServiceEnvironment) -> tuple[str, str | None]:
    opened = await environment.start()
    event = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_CALLBACK, "gateway",
        money=Money.parse("500", "KZT"), ids=ProviderIds(kaspi_operation=OTHER),
    )  # fmt: skip
    await apply_event(environment.ctx, event)
    return opened.view.payment_id, opened.view.provider_ref


async def settled_since(environment: ServiceEnvironment, payment_id: str) -> None:
    await environment.fault("/r1", "cut_before", times=99)
    request = VerificationRequest(
        payment_id, NUMBER, money=Money.parse("24000", "KZT"), override=True, reason="then the whole fee"
    )
    await verify(environment.ctx, request, CLERK)


@pytest.mark.parametrize("names_qr", [False, True])
@pytest.mark.parametrize("is_accepted", [False, True])
@pytest.mark.parametrize(
    "came", [other_amount_by_bill, other_amount_by_callback], ids=lambda each: each.__name__
)
async def test_a_line_of_money_beside_that_which_settled_the_payment_is_told_once(
    environment: ServiceEnvironment, came: Any, *, is_accepted: bool, names_qr: bool
) -> None:
    payment_id, qr = await came(environment)
    if is_accepted:
        [row] = await reconciliation.open_rows(environment)
        await discrepancies.resolve(environment.ctx, row.id, How.ACCEPT, "given back", CLERK)
    await settled_since(environment, payment_id)
    before = {row.fingerprint for row in await reconciliation.open_rows(environment)}
    assert (f"AMOUNT_MISMATCH:{payment_id}:{OTHER}" in before) is not is_accepted
    name = qr if names_qr else None
    lines = [
        line(5, OTHER, environment.now(), "500.00 KZT", payment_ref=name),
        line(6, NUMBER, environment.now(), "24000.00 KZT", payment_ref=name),
    ]
    for file in (lines, lines, lines[:1]):
        report = await compare(environment, file, "kaspi")
        became = ("AMOUNT_MISMATCH", "accepted" if is_accepted else "again")
        missing = {} if file is lines else {("MISSING_AT_PROVIDER", "opened"): 1}
        assert reconciliation.kinds(report) == {became: 1} | missing
    left = {row.fingerprint for row in await reconciliation.open_rows(environment)}
    assert {each for each in left if "MISSING_AT_PROVIDER" not in each} == before


@pytest.mark.parametrize(("amount", "left"), [("500.00", 0), ("501.00", 1)])
async def test_other_money_that_an_earlier_version_listed_as_nobodys_is_not(
    environment: ServiceEnvironment, amount: str, left: int
) -> None:
    payment_id, _ = await other_amount_by_bill(environment)
    theirs = {"kind": "payment", "ref": OTHER, "amount": Decimal(amount), "currency": "KZT"}
    kind = DiscrepancyKind.MISSING_LOCALLY
    old = Difference(f"{kind}:-:{OTHER}", kind, "kaspi", None, {"ours": None, "theirs": theirs})
    async with environment.ctx.db.writing() as session:
        await keep(session, [old], ids=["d1"], run_id=None, now=environment.now())
    await settled_since(environment, payment_id)
    await environment.no_faults()
    await reconciliation.run(environment, "kaspi")
    kinds = [row.kind for row in await reconciliation.open_rows(environment)]
    assert kinds.count("MISSING_LOCALLY") == left
    assert "AMOUNT_MISMATCH" in kinds


async def test_what_went_back_of_other_money_is_no_refund_of_the_payment(
    environment: ServiceEnvironment,
) -> None:
    payment_id, _ = await other_amount_by_bill(environment)
    await settled_since(environment, payment_id)
    now = environment.now()
    back = line(7, "888000111", now, "500.00 KZT", kind=LineKind.REFUND, payment_ref=OTHER)
    lines = [line(5, OTHER, now, "500.00 KZT"), line(6, NUMBER, now, "24000.00 KZT"), back]
    report = await compare(environment, lines, "kaspi")
    assert reconciliation.kinds(report) == {
        ("AMOUNT_MISMATCH", "again"): 1,
        ("MISSING_LOCALLY", "opened"): 1,  # a refund that is not in our books
    }
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    assert (locked.payment.status, locked.detail.refunded_amount) == (S.COMPLETED, 0)


async def test_a_line_of_a_second_object_is_told_once(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.paid_by_kaspi(environment)
    event = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_CALLBACK, "gateway",
        money=opened.view.charged, ids=ProviderIds(kaspi_payment="inv_2", kaspi_operation=OTHER),
    )  # fmt: skip
    await apply_event(environment.ctx, event)
    before = {row.fingerprint for row in await reconciliation.open_rows(environment)}
    assert before == {f"DUPLICATE_PAYMENT:{opened.view.payment_id}:inv_2"}
    lines = [
        line(5, str(opened.view.provider_ref), environment.now(), "24000.00 KZT"),
        line(6, OTHER, environment.now(), "24000.00 KZT"),
    ]
    report = await compare(environment, lines, "kaspi")
    assert reconciliation.kinds(report) == {("DUPLICATE_PAYMENT", "again"): 1}
    assert {row.fingerprint for row in await reconciliation.open_rows(environment)} == before
