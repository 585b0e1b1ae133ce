"""Manual verification, bill, callback, statement and reconciliation report the same payment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

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
from tests.support import reconciliation as plants
from tests.support.environment import CLERK, World
from tests.support.kaspi_bill import ask, of
from tests.support.reconciliation import compare, line

S = PaymentStatus
NUMBER = "19000000001"


async def test_a_paid_bill_is_not_missing_although_it_cannot_be_polled(world: World) -> None:
    await pay(world.ctx, ask(await world.participant()))
    report = await plants.run(world, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.told


async def test_a_manually_verified_payment_is_not_missing(world: World) -> None:
    await world.fault("/r1", "cut_before", times=99)
    who = await world.participant()
    with pytest.raises(PaymentError):
        await world.start(who)
    [(payment, _)] = await of(world, who)
    await verify(world.ctx, VerificationRequest(payment.id, "19000000001"), CLERK)
    await world.no_faults()
    report = await plants.run(world, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.told


async def test_an_override_stays_open_after_reconciliation(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.phone(opened, "cancel")
    world.later(6)
    order = VerificationRequest(
        opened.view.payment_id, "19000000001", override=True, reason="seen in Kaspi Pay"
    )
    done = await verify(world.ctx, order, CLERK)
    assert done.overridden
    [mine] = await plants.open_rows(world)
    report = await plants.run(world, "kaspi")
    assert plants.kinds(report) == {("STATUS_MISMATCH", "again"): 1}
    [found] = await plants.open_rows(world)
    assert found.id == mine.id
    assert (found.detail["override"], found.detail["what"]) == (
        "seen in Kaspi Pay",
        "not paid at the provider",
    )
    # Kaspi no longer contradicts it, but an override is resolved only by an operator
    await plants.at_kaspi(world, opened, "late-process", {})
    assert (await plants.run(world, "kaspi")).still_open == 1


async def late_verification(world: World) -> VerificationRequest:
    opened = await world.start(await world.participant())
    await world.phone(opened)
    over = PaymentEvent(opened.view.payment_id, EventType.EXPIRED, world.now(), Source.CLOCK, "clock")
    await apply_event(world.ctx, over)
    return VerificationRequest(opened.view.payment_id, NUMBER)


async def lower_amount_verification(world: World) -> VerificationRequest:
    opened = await world.start(await world.participant())
    less = Money.parse("23900", "KZT")
    return VerificationRequest(
        opened.view.payment_id, NUMBER, money=less, override=True, reason="the coach pays"
    )


@pytest.mark.parametrize(
    "word", [late_verification, lower_amount_verification], ids=lambda each: each.__name__
)
async def test_a_discrepancy_of_a_verification_is_accepted_once(world: World, word: Any) -> None:
    """Whether the payment is found by the number of its QR or by the operation number."""
    order = await word(world)
    await world.fault("/r1", "cut_before", times=99)
    await verify(world.ctx, order, CLERK)
    await world.no_faults()
    [row] = await plants.open_rows(world)
    qr = row.fingerprint.split(":")[2]
    assert qr != NUMBER
    await discrepancies.resolve(world.ctx, row.id, How.ACCEPT, "it is so", CLERK)
    if order.money is None:
        again = [await plants.run(world, "kaspi")]
    else:
        told = [
            line(n, NUMBER, world.now(), "23900.00 KZT", payment_ref=ref) for n, ref in ((5, None), (6, qr))
        ]
        again = [await compare(world, [each], "kaspi") for each in told]
    # an accepted amount becomes the charged amount, so nothing differs any more
    left = {(row.kind, "accepted"): 1} if order.money is None else {}
    for report in again:
        assert plants.kinds(report) == left
    assert await plants.open_rows(world) == []


async def test_two_operations_of_one_qr_are_distinguished_by_their_numbers(world: World) -> None:
    opened = await plants.paid_by_kaspi(world)
    qr = str(opened.view.provider_ref)
    await plants.change(world, "UPDATE pay_kaspi_operation SET operation_number = '999000112'")
    told = [line(n, f"99900011{n}", world.now(), "24000.00 KZT", payment_ref=qr) for n in (1, 2)]
    await compare(world, told, "kaspi")
    [row] = await plants.open_rows(world)
    assert row.fingerprint == f"DUPLICATE_PAYMENT:{opened.view.payment_id}:999000111"
    with pytest.raises(Refused, match="a second operation at Kaspi"):
        await discrepancies.resolve(world.ctx, row.id, How.REFUND, "came twice", CLERK)


async def test_an_override_of_a_bill_stays_open(world: World) -> None:
    who = await world.participant()
    await pay(world.ctx, ask(who, "777000111", "20000.00"))
    [(payment, _)] = await of(world, who)
    order = VerificationRequest(
        payment.id, "777000111", money=Money.parse("20000", "KZT"), paid_at=world.now() - timedelta(days=3),
        override=True, reason="poor",
    )  # fmt: skip
    await verify(world.ctx, order, CLERK)
    before = {e.fingerprint for e in await plants.open_rows(world)}
    await plants.run(world, "kaspi")
    assert before <= {e.fingerprint for e in await plants.open_rows(world)}


async def test_a_second_operation_is_not_refunded_through_the_first(world: World) -> None:
    """Two operations at Kaspi for one payment: a refund by us returns the money of the QR."""
    opened = await plants.paid_by_kaspi(world)
    event = PaymentEvent(
        payment_id=opened.view.payment_id, event_type=EventType.SUCCEEDED, at=world.now(),
        source=Source.KASPI_CALLBACK, actor="gateway", source_id="x", money=opened.view.charged,
        ids=ProviderIds(kaspi_operation="999000111"),
    )  # fmt: skip
    await plants.change(world, "UPDATE pay_kaspi_operation SET operation_number = '999000112'")
    await apply_event(world.ctx, event)
    [row] = await plants.open_rows(world)
    with pytest.raises(Refused, match="a second operation at Kaspi"):
        await discrepancies.resolve(world.ctx, row.id, How.REFUND, "came twice", CLERK)
    assert await world.status(opened) is S.COMPLETED


async def test_the_number_of_a_bill_with_a_different_amount_settles_no_other_payment(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await pay(world.ctx, ask(who, "0777000111", "20000.00"))
    await world.fault("/r1", "cut_before", times=99)
    with pytest.raises(Conflict, match="was received for"):
        await verify(world.ctx, VerificationRequest(opened.view.payment_id, "777000111"), CLERK)
    assert await world.status(opened) is S.PENDING


async def test_a_refund_known_from_a_statement_is_not_missing_by_api(world: World) -> None:
    opened = await plants.paid_by_kaspi(world)
    number = str(opened.view.provider_ref)
    back = line(3, "600000001", world.now(), "24000.00 KZT", kind=LineKind.REFUND, payment_ref=number)
    await compare(world, [line(2, number, world.now(), "24000.00 KZT"), back], "kaspi")
    assert await world.status(opened) is S.REFUNDED
    report = await plants.run(world, "kaspi")
    assert (report.found, report.still_open) == (0, 0), report.told


async def test_a_line_matched_by_amount_does_not_settle_a_payment_that_kaspi_reports_as_unpaid(
    world: World,
) -> None:
    opened = await world.start(await world.participant())
    await world.phone(opened, "cancel")
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.FAILED
    report = await compare(world, [line(5, "700000003", world.now(), "24000.00 KZT")], "kaspi")
    assert plants.kinds(report) == {("MISSING_LOCALLY", "opened"): 1}
    finding = report.told[0].finding
    assert (finding.what, finding.theirs.candidates) == (  # type: ignore[union-attr]
        "it fits a payment that is over",
        (opened.view.payment_id,),
    )
    assert await world.status(opened) is S.FAILED


async def test_a_qr_is_polled_after_a_line_matched_by_amount(world: World) -> None:
    """The line may belong to another sale, so money paid through the QR must still be noticed."""
    opened = await world.start(await world.participant())
    await compare(world, [line(5, "700000003", world.now(), "24000.00 KZT")], "kaspi")
    assert await world.status(opened) is S.COMPLETED
    await world.phone(opened)
    world.later(10)
    await world.maintain()
    assert [e.kind for e in await plants.open_rows(world)] == ["DUPLICATE_PAYMENT"]


async def test_kaspis_final_status_contradicts_a_line_matched_by_amount(world: World) -> None:
    opened = await world.start(await world.participant())
    await compare(world, [line(5, "700000003", world.now(), "24000.00 KZT")], "kaspi")
    await world.phone(opened, "cancel")
    world.later(10)
    await world.maintain()
    assert await world.status(opened) is S.COMPLETED
    assert [e.kind for e in await plants.open_rows(world)] == ["STATUS_MISMATCH"]


async def test_a_statement_reports_a_bill_with_a_different_amount_once(world: World) -> None:
    await pay(world.ctx, ask(await world.participant(), "777000111", "20000.00"))
    before = {e.fingerprint for e in await plants.open_rows(world)}
    await compare(world, [line(5, "777000111", world.now(), "20000.00 KZT")], "kaspi")
    assert {e.fingerprint for e in await plants.open_rows(world)} == before


async def test_a_refunded_bill_with_a_different_amount_blocks_nothing(world: World) -> None:
    who = await world.participant()
    await pay(world.ctx, ask(who, "777000111", "20000.00"))
    [row] = await plants.open_rows(world)
    await discrepancies.resolve(world.ctx, row.id, How.ACCEPT, "given back in Kaspi Pay", CLERK)
    opened = await world.start(who)
    assert await world.status(opened) is S.PENDING
    await plants.run(world, "kaspi")
    assert await plants.open_rows(world) == []


async def test_settlement_and_reconciliation_open_the_same_discrepancy_for_a_bill(world: World) -> None:
    twice = await world.participant()
    gone = await world.participant(status=ParticipantStatus.CANCELLED)
    for number, who in enumerate((twice, twice, gone), start=777000111):
        await pay(world.ctx, ask(who, str(number)))
    before = {e.fingerprint for e in await plants.open_rows(world)}
    assert len(before) == 2
    await plants.run(world, "kaspi")
    assert {e.fingerprint for e in await plants.open_rows(world)} == before
