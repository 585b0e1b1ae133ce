"""Money that goes back, attacked: two ways to give the same money back, two ways to write the same down."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    AlreadyPaid,
    Conflict,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.closing.figures import count
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.notifications.alerts import compose
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.reconciliation.discrepancies import How
from procomp_pay.services.refunds import bulk, send
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.bulk import BulkRefundRequest
from procomp_pay.services.refunds.bulk_report import Ending
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.services.refunds.manual import MadeInApp, record_made
from procomp_pay.services.refunds.send import sync_refunds as look_what_went_back
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.views import payment as views
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments.repository import load_payment
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask, of
from tests.support.kaspi_payments import at_desk, gone, paid
from tests.support.patience import wait_until
from tests.support.reconciliation import compare, line
from tests.support.report_books import ALMATY

S = PaymentStatus
#: What is decided before any database is asked.
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def kzt(amount: str) -> Money:
    return Money.parse(amount, "KZT")


async def another(environment: ServiceEnvironment) -> views.Opening:
    """A second payment in the scheme that :func:`paid` has set."""
    return await environment.paid()


async def number_of(environment: ServiceEnvironment, opened: views.Opening) -> str:
    return str((await environment.view(opened)).provider_ref)


async def in_the_app(environment: ServiceEnvironment, opened: views.Opening, amount: int) -> None:
    """A cashier gives money back in the Kaspi Pay app, and tells nobody."""
    ref = await number_of(environment, opened)
    path = f"/_sandbox/kaspi/payments/{ref}/cashier-refund"
    assert (await environment.http.post(path, json={"Amount": amount})).status_code == 200


async def refunded(environment: ServiceEnvironment, opened: views.Opening) -> Money:
    return (await environment.view(opened)).refunded


async def returns(environment: ServiceEnvironment) -> int:
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    return sum(item["path"].endswith("/payment/return") for item in lines)


async def test_a_part_that_a_cashier_gave_back_is_not_given_back_again(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await in_the_app(environment, opened, 10000)
    with pytest.raises(Conflict, match="has already refunded"):
        await use.refund(environment.ctx, at_desk(opened, None, "10000"), CLERK)
    assert await gone(environment, opened) == Decimal("10000.00")
    assert await refunded(environment, opened) == kzt("10000")  # taken over: whoever asks again sees it
    done = await use.refund(environment.ctx, at_desk(opened, None, "10000"), CLERK)
    assert done.state is RefundState.SUCCEEDED
    assert await refunded(environment, opened) == kzt("20000")
    assert await gone(environment, opened) == Decimal("20000.00")


@ONE_DATABASE
async def test_nothing_is_sent_where_kaspi_cannot_say_what_went_back(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await environment.fault("/r3/v01/payment/details", "cut_after", times=99)
    with pytest.raises(ProviderUnavailable):
        await use.refund(environment.ctx, at_desk(opened, None, "10000"), CLERK)
    assert await returns(environment) == 0
    await environment.no_faults()
    await environment.maintain(after=60)
    assert (await gone(environment, opened), await returns(environment)) == (Decimal("10000.00"), 1)


@ONE_DATABASE
async def test_a_payment_of_another_scheme_is_refused_and_holds_nothing_back(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    pid = opened.view.payment_id
    was = "UPDATE pay_payment_detail SET provider_ref = 'inv_1' WHERE payment_id = :id"
    await environment.sql(was, id=pid)  # taken through a gateway, before the desk had a contract
    with pytest.raises(Refused, match="not made through Kaspi's own API"):
        await use.refund(environment.ctx, at_desk(opened, None), CLERK)
    assert [row.state for row in await environment.rows(Refund)] == [RefundState.FAILED]


@ONE_DATABASE
@pytest.mark.parametrize("whose", ["its own", "another's", "an open one's"])
async def test_the_number_on_a_payments_receipt_is_no_refunds(
    environment: ServiceEnvironment, whose: str
) -> None:
    """Refuse the purchase's own operation number as the number of its refund."""
    await environment.http.post("/_sandbox/kaspi/settings", json={"operation_numbers": "own"})
    opened = await paid(environment, KaspiScheme.BASIC)
    bearer = opened
    if whose == "another's":
        bearer = await another(environment)
    elif whose == "an open one's":
        bearer = await environment.start()
    made = MadeInApp(opened.view.payment_id, await number_of(environment, bearer), "injured")
    with pytest.raises(Conflict, match="number of a payment"):
        await record_made(environment.ctx, made, CLERK)
    assert await environment.status(opened) is S.COMPLETED


@ONE_DATABASE
async def test_the_number_of_a_refund_settles_no_fee(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.BASIC)
    await record_made(environment.ctx, MadeInApp(opened.view.payment_id, "14001234567", "injured"), CLERK)
    participant_id = await environment.participant()
    await environment.fault("/r1", "cut_before", times=99)  # Kaspi cannot be asked: the clerk's word counts
    with pytest.raises(PaymentError):
        await environment.start(participant_id)
    [detail] = [row for row in await environment.rows(PaymentDetail) if row.participant_id == participant_id]
    for override in (False, True):
        request = VerificationRequest(
            detail.payment_id, "№ QR14001234567", override=override, reason="he shows it"
        )
        with pytest.raises(Conflict, match="number of a refund"):
            await verify(environment.ctx, request, CLERK)


async def test_one_refund_is_written_down_once_though_two_see_it_at_once(
    environment: ServiceEnvironment,
) -> None:
    """Two clerks, one of whom mistypes the number, and the nightly run: Kaspi tells all three one sum."""
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await in_the_app(environment, opened, 10000)
    pid = opened.view.payment_id
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, pid)
    ended = await asyncio.gather(
        record_made(environment.ctx, MadeInApp(pid, "14001234567", "x", kzt("10000")), CLERK),
        record_made(environment.ctx, MadeInApp(pid, "14001234568", "x", kzt("10000")), CLERK),
        look_what_went_back(environment.ctx, locked),
        look_what_went_back(environment.ctx, locked),
        return_exceptions=True,
    )
    assert all(
        isinstance(outcome, PaymentError) for outcome in ended if isinstance(outcome, BaseException)
    ), ended
    assert await refunded(environment, opened) == kzt("10000")


async def test_a_statement_does_not_count_again_what_kaspis_sum_has_shown(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    for _ in range(2):
        await in_the_app(environment, opened, 6000)
    await reconciliation.run(environment, "kaspi")
    assert await refunded(environment, opened) == kzt("12000")
    ref = await number_of(environment, opened)
    whole = line(5, ref, environment.now(), "24000.00 KZT")
    parts: list[Any] = [
        line(n, f"70000000{n}", environment.now(), "6000.00 KZT", kind=LineKind.REFUND, payment_ref=ref)
        for n in (6, 7)
    ]
    report = await compare(environment, [whole, *parts], "kaspi")
    assert (report.listed, await refunded(environment, opened)) == ([], kzt("12000"))
    report = await compare(
        environment, [whole, parts[0]], "kaspi"
    )  # of one half nobody can say whether it is
    assert [each.became for each in report.listed] == ["opened"]
    assert (await environment.status(opened), await refunded(environment, opened)) == (
        S.COMPLETED,
        kzt("12000"),
    )


async def test_a_number_that_was_written_down_for_another_payment(environment: ServiceEnvironment) -> None:
    first = await paid(environment, KaspiScheme.ENHANCED)
    second = await another(environment)
    await in_the_app(environment, first, 10000)
    # the clerk's slip: the very number that Kaspi gives to the next refund but one
    number = environment.sandbox.kaspi._book.next_id() + 1
    slip = MadeInApp(first.view.payment_id, str(number), "x", kzt("10000"))
    await record_made(environment.ctx, slip, CLERK)
    done = await use.refund(environment.ctx, at_desk(second, None, "5000"), CLERK)
    assert (done.state, done.provider_refund_id) == (RefundState.SUCCEEDED, None)
    assert await gone(environment, second) == Decimal("5000.00")
    assert [row.kind for row in await reconciliation.open_rows(environment)] == ["REFUND_MISMATCH"]


async def test_a_statements_refund_that_was_written_down_for_another_payment(
    environment: ServiceEnvironment,
) -> None:
    first = await paid(environment, KaspiScheme.BASIC)
    second = await another(environment)
    slip = MadeInApp(first.view.payment_id, "14001234567", "x", kzt("10000"))
    await record_made(environment.ctx, slip, CLERK)
    ref = await number_of(environment, second)
    lines = [
        line(5, ref, environment.now(), "24000.00 KZT"),
        line(6, "14001234567", environment.now(), "10000.00 KZT", kind=LineKind.REFUND, payment_ref=ref),
    ]
    await compare(environment, lines, "kaspi")
    mine = [
        row for row in await reconciliation.open_rows(environment) if row.payment_id == second.view.payment_id
    ]
    assert [item.kind for item in mine] == ["REFUND_MISMATCH"]
    assert await refunded(environment, second) == Money(Decimal(0), kzt("1").currency)


async def test_a_process_that_slept_does_not_send_what_another_one_has_sent(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await environment.fault("/r3/v01/payment/details", "delay", after=True, seconds=4, times=1)
    sleeper = asyncio.create_task(use.refund(environment.ctx, at_desk(opened, None, "10000"), CLERK))
    # it has asked what went back, and waits for the answer
    await wait_until(lambda: not environment.sandbox.faults.to_json())
    assert (await environment.rows(Refund))[0].sent_at
    await environment.maintain(after=60)  # another process takes the refund up
    assert await returns(environment) == 1
    with pytest.raises(ProviderUnavailable, match="nothing was sent"):
        await sleeper
    await environment.maintain(after=60)
    assert (await gone(environment, opened), await returns(environment)) == (Decimal("10000.00"), 1)
    [row] = await environment.rows(Refund)
    assert row.state is RefundState.SUCCEEDED


async def test_a_refund_that_another_process_has_ended_is_not_failed(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    await use.refund(environment.ctx, at_desk(opened, None, "10000"), CLERK)
    [row] = await environment.rows(Refund)
    # Kaspi refused the attempt of a process that was slower, and its total names no refund
    await send._find_or_fail(environment.ctx, row.id, "Kaspi refused it")
    [row] = await environment.rows(Refund)
    assert row.state is RefundState.SUCCEEDED


@ONE_DATABASE
async def test_two_desks_that_were_asked_at_once_give_one_part_back(environment: ServiceEnvironment) -> None:
    """Both have shown the same plan to their clerk, and both clerks have said yes."""
    opened = await paid(environment, KaspiScheme.ENHANCED)
    request = at_desk(opened, None, "10000")
    asked = replace(request, before=(await use.plan(environment.ctx, request)).before)
    await use.refund(environment.ctx, asked, CLERK)
    with pytest.raises(Conflict, match="changed while you were confirming"):
        await use.refund(environment.ctx, asked, CLERK)
    assert await gone(environment, opened) == Decimal("10000.00")


@pytest.mark.parametrize("by_night", [False, True])
async def test_of_two_payments_the_first_goes_back_and_the_second_keeps_the_place(
    environment: ServiceEnvironment, by_night: bool
) -> None:
    """Paid twice, and the desk gives the wrong one back: nobody is asked for a third payment."""
    opened = await paid(environment, KaspiScheme.ENHANCED)
    participant_id = opened.view.participant_id
    await pay(environment.ctx, ask(participant_id, "777000111"))
    [other] = [
        payment
        for payment, _ in await of(environment, participant_id)
        if payment.id != opened.view.payment_id
    ]
    await use.refund(environment.ctx, at_desk(opened, None), CLERK)
    if by_night:  # as it was left by a desk of before
        free = """UPDATE "Participant" SET "paymentId" = NULL, status = 'REGISTERED' WHERE id = :id"""
        await environment.sql(free, id=participant_id)
        await environment.sql("UPDATE pay_payment_detail SET is_duplicate = :yes WHERE payment_id = :id",
            id=other.id, yes=True,
        )  # fmt: skip
    await reconciliation.run(environment, "kaspi")
    person = await environment.read_participant(participant_id)
    assert (person.status, person.payment_id) == (ParticipantStatus.PAID, other.id)
    with pytest.raises(AlreadyPaid):
        await environment.start(participant_id)
    assert await reconciliation.open_rows(environment) == []


@ONE_DATABASE
async def test_one_purchase_of_another_trade_point_stops_neither_the_tournament_nor_the_night(
    environment: ServiceEnvironment,
) -> None:
    first = await paid(environment, KaspiScheme.ENHANCED)
    person = await environment.read_participant(first.view.participant_id)
    second = await environment.participant(tournament_id=person.tournament_id)
    await environment.paid(second)
    forced = {"path": "/payment/details", "code": -99000003, "times": 1}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    report = await bulk.run(environment.ctx, BulkRefundRequest(person.tournament_id, "cancelled"), CLERK)
    assert (report.of(Ending.FAILED).count, report.of(Ending.BACK).count) == (1, 1)
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    night = await reconciliation.run(environment, "kaspi")
    assert (night.cut, night.read["payments asked for"]) == (None, 2)


@pytest.mark.parametrize("amounts", [("6000", "6000"), ("6000", "4000")])
async def test_parts_that_stand_under_the_purchases_own_number(
    environment: ServiceEnvironment, amounts: tuple[str, str]
) -> None:
    """Some of Kaspi's reports give a refund no number of its own."""
    opened = await paid(environment, KaspiScheme.BASIC)
    ref = await number_of(environment, opened)
    lines = [line(5, ref, environment.now(), "24000.00 KZT")]
    for n, amount in enumerate(amounts):
        at = environment.now() - timedelta(minutes=n)
        lines.append(line(6 + n, ref, at, f"{amount}.00 KZT", kind=LineKind.REFUND))
    for _ in range(2):
        report = await compare(environment, lines, "kaspi")
        assert await reconciliation.open_rows(environment) == [], report.listed
        assert await refunded(environment, opened) == kzt(amounts[0]) + kzt(amounts[1])


@pytest.mark.parametrize("amount", [None, "24000", "10000"])
async def test_the_number_of_what_a_sum_has_shown_is_kept_with_it_and_settles_no_fee(
    environment: ServiceEnvironment, amount: str | None
) -> None:
    """The night was faster than the clerk: the money is in the books, the number is not."""
    opened = await paid(environment, KaspiScheme.ENHANCED)
    pid, back = opened.view.payment_id, amount or "24000"
    await in_the_app(environment, opened, int(back))
    await reconciliation.run(environment, "kaspi")
    money = None if amount is None else kzt(amount)
    brought = [MadeInApp(pid, number, "injured", money) for number in ("14001234567", "14001234568")]
    ended = await asyncio.gather(
        *(record_made(environment.ctx, item, CLERK) for item in brought), return_exceptions=True
    )
    assert sum(isinstance(outcome, PaymentError) for outcome in ended) == 1, ended
    [row] = await environment.rows(Refund)
    kept = str(row.provider_refund_id).removeprefix("kaspi:")
    assert kept in {item.number for item in brought}
    assert await refunded(environment, opened) == kzt(back)
    assert kept in {item.source_id for item in await environment.rows(AuditEntry)}
    assert (await audit_verify.verify(environment.ctx)).is_sound
    other = await environment.start()
    request = VerificationRequest(other.view.payment_id, kept, override=True, reason="he shows it")
    with pytest.raises(Conflict, match="number of a refund"):
        await verify(environment.ctx, request, CLERK)
    await reconciliation.run(environment, "kaspi")
    assert (await refunded(environment, opened), await reconciliation.open_rows(environment)) == (
        kzt(back),
        [],
    )


@ONE_DATABASE
async def test_of_two_sums_the_amount_says_whose_number_it_is(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    pid = opened.view.payment_id
    for amount in (10000, 14000):
        await in_the_app(environment, opened, amount)
        await reconciliation.run(environment, "kaspi")
    with pytest.raises(Conflict, match="several refunds without a number"):
        await record_made(environment.ctx, MadeInApp(pid, "14001234567", "injured"), CLERK)
    for number, back in (("14001234567", "14000"), ("14001234568", "10000")):
        done = await record_made(environment.ctx, MadeInApp(pid, number, "injured", kzt(back)), CLERK)
        assert (done.money, done.provider_refund_id) == (kzt(back), f"kaspi:{number}")
    with pytest.raises(Conflict, match="only a completed payment"):
        await record_made(environment.ctx, MadeInApp(pid, "14001234569", "x", kzt("14000")), CLERK)


@pytest.mark.parametrize("scheme", [KaspiScheme.ENHANCED, KaspiScheme.BASIC])
async def test_money_that_was_verified_for_another_payment_is_not_given_back_as_a_second_one(
    environment: ServiceEnvironment, scheme: KaspiScheme
) -> None:
    """The customer pays the first QR, Kaspi does not answer, and the clerk enters the receipt's number for
    the second QR."""
    await paid(environment, scheme)  # sets the scheme
    participant_id = await environment.participant()
    first = await environment.start(participant_id)
    assert await cancel(environment.ctx, first.view.payment_id, CLERK) is S.CANCELLED
    second = await environment.start(participant_id)
    await environment.phone(first)
    path = "/r3" if scheme is KaspiScheme.ENHANCED else "/r1"
    await environment.fault(path, "cut_before", times=99)
    number = "19000000077"
    await verify(environment.ctx, VerificationRequest(second.view.payment_id, number), CLERK)
    await environment.no_faults()
    status = PaymentEvent(
        first.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
        money=kzt("24000"), ids=ProviderIds(kaspi_payment=first.view.provider_ref, kaspi_operation=number),
        final_at_provider=True,
    )  # fmt: skip
    await apply_event(environment.ctx, status)
    assert (await environment.read_participant(participant_id)).payment_id == second.view.payment_id
    command = RefundCommand(first.view.payment_id, "paid twice", at_desk=True)
    with pytest.raises(Conflict, match="the money came once"):
        await use.refund(environment.ctx, command, CLERK)
    for row in await reconciliation.open_rows(environment):
        if row.kind == "DUPLICATE_PAYMENT":
            with pytest.raises((Conflict, Refused), match=r"the money came once|is one operation"):
                await discrepancies.resolve(environment.ctx, row.id, How.REFUND, "paid twice", CLERK)
    today = environment.now().astimezone(ALMATY).date()
    figures = await count(environment.ctx, Period(ALMATY, today, today), None, {})
    assert figures.by_hand == []
    # until somebody has decided, the closing and an alert say that one sum is counted twice
    assert second.view.payment_id in [view.detail.get("settled") for view in figures.open]
    assert not all(line.agrees for line in figures.both)
    alerts = [compose(row.topic, row.payload, None) for row in await environment.rows(OutboxMessage)]
    [alert] = [alert for alert in alerts if alert.title.startswith("One operation for two payments")]
    assert f"verified for payment {second.view.payment_id}, too: the money came once" in " ".join(alert.lines)
    assert not any("refund" in command for command in alert.commands)
    if scheme is KaspiScheme.ENHANCED:
        assert await gone(environment, first) == 0
        await use.refund(environment.ctx, replace(command, force=True), CLERK)
        assert await gone(environment, first) == kzt("24000").amount
