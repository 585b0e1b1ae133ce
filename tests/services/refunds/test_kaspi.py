"""Refunds by Kaspi's scheme: with the customer's scan (standard), in the app and recorded (basic)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import AsyncMock

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    Conflict,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.exports import Export
from procomp_pay.domain.money import Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.providers.kaspi.refunds import KaspiRefunds, RefundQr
from procomp_pay.services.exports.movements import movements
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.services.refunds.customer_scan import customer_scan
from procomp_pay.services.refunds.manual import MadeInApp, record_made
from procomp_pay.services.refunds.send import sync_refunds
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments.repository import load_payment
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_payments import at_desk, gone, paid
from tests.support.report_books import ALMATY

S = PaymentStatus


async def scanned(
    environment: ServiceEnvironment,
    opened: views.Opening,
    *,
    unlisted: Callable[[], None] = lambda: None,
    **more: str,
) -> int | None:
    """The customer scans the refund QR as soon as it is shown."""
    tasks: list[asyncio.Task[Any]] = []

    def show(qr: RefundQr) -> None:
        body = {"action": "scan", **more}
        headers = {"Accept": "application/json"}
        tasks.append(
            asyncio.create_task(environment.http.post(f"/pay/{qr.token}", json=body, headers=headers))
        )
        tasks.append(asyncio.create_task(asyncio.sleep(0)))

    return await customer_scan(environment.ctx, opened.view.payment_id, show, unlisted)


@pytest.fixture(autouse=True)
async def quick(environment: ServiceEnvironment) -> None:
    """Kaspi's interval is 5 s; the sandbox's timers are made faster."""
    environment.sandbox.kaspi._book.timers = type(environment.sandbox.kaspi._book.timers).scaled(5)


async def test_standard_goes_back_after_the_scan(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.STANDARD)
    with pytest.raises(Refused, match="must be present") as refused:
        await use.refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    assert refused.value.next_step == (
        f'at the desk: procomp-pay refund {opened.view.payment_id} --reason "…"'
    )
    scan = await scanned(environment, opened)
    done = await use.refund(environment.ctx, at_desk(opened, scan, "4000"), CLERK)
    assert done.state is RefundState.SUCCEEDED
    assert await gone(environment, opened) == Decimal("4000.00")


async def test_standard_takes_the_scan_of_the_one_who_paid_alone(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.STANDARD)
    unlisted: list[bool] = []
    scan = await scanned(environment, opened, phone="87019999999", unlisted=lambda: unlisted.append(True))
    assert unlisted == [True]
    with pytest.raises(NotFound, match="Kaspi does not know this purchase"):
        await use.refund(environment.ctx, at_desk(opened, scan, "4000"), CLERK)
    assert await gone(environment, opened) == 0


async def test_standard_a_purchase_that_kaspi_does_not_list_goes_back(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi lists the latest ten purchases: a refund of an older one is possible all the same."""
    opened = await paid(environment, KaspiScheme.STANDARD)
    monkeypatch.setattr(KaspiRefunds, "is_theirs", AsyncMock(return_value=False))
    scan = await scanned(environment, opened)
    done = await use.refund(environment.ctx, at_desk(opened, scan, "4000"), CLERK)
    assert done.state is RefundState.SUCCEEDED


@pytest.mark.parametrize(
    ("fault", "ends", "back"),
    [("cut_after", RefundState.SUCCEEDED, "24000.00"), ("cut_before", RefundState.FAILED, "0.00")],
)
async def test_standard_a_lost_answer_is_compared_and_never_sent_again(
    environment: ServiceEnvironment, fault: str, ends: RefundState, back: str
) -> None:
    opened = await paid(environment, KaspiScheme.STANDARD)
    scan = await scanned(environment, opened)
    await environment.fault("/r2/v01/payment/return", fault, times=1)
    with pytest.raises(OutcomeUnknown):
        await use.refund(environment.ctx, at_desk(opened, scan), CLERK)
    await environment.maintain(after=60)
    (row,) = await environment.rows(Refund)
    assert row.state is ends
    assert await gone(environment, opened) == Decimal(back)
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["path"].endswith("/payment/return") for line in lines) == 1


@pytest.mark.parametrize(("times", "ends"), [(1, RefundState.SUCCEEDED), (2, RefundState.FAILED)])
async def test_could_not_be_made_is_tried_once_more_and_then_for_the_bank(
    environment: ServiceEnvironment, times: int, ends: RefundState
) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    forced = {"path": "/payment/return", "code": -99000006, "times": times}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(OutcomeUnknown):
        await use.refund(environment.ctx, at_desk(opened, None), CLERK)
    for _ in range(3):
        await environment.maintain(after=4000)
    (row,) = await environment.rows(Refund)
    assert row.state is ends
    assert await gone(environment, opened) == Decimal(24000 if ends is RefundState.SUCCEEDED else 0)
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["path"].endswith("/payment/return") for line in lines) == 2


async def test_basic_is_made_in_the_app_and_recorded(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.BASIC)
    pid = opened.view.payment_id
    with pytest.raises(Refused, match="no refund by API") as refused:
        await use.refund(environment.ctx, at_desk(opened, None), CLERK)
    assert "Kaspi Pay app" in str(refused.value.next_step)
    assert f"procomp-pay refund {pid} --made-in-app" in str(refused.value.next_step)
    part = MadeInApp(pid, "QR 1400 123 4567", "injured", Money.parse("4000", "KZT"))
    done = await record_made(environment.ctx, part, CLERK)
    assert (done.state, done.provider_refund_id) == (RefundState.SUCCEEDED, "kaspi:14001234567")
    assert await environment.status(opened) is S.COMPLETED
    with pytest.raises(Conflict, match="recorded before"):
        await record_made(environment.ctx, part, CLERK)
    with pytest.raises(Refused, match="more than what is left"):
        await record_made(
            environment.ctx, MadeInApp(pid, "14001234568", "x", Money.parse("24000", "KZT")), CLERK
        )
    await record_made(environment.ctx, MadeInApp(pid, "14001234568", "the rest"), CLERK)
    assert await environment.status(opened) is S.REFUNDED
    rows = await environment.rows(Refund)
    assert {(row.requested_by, row.reason) for row in rows} == {
        (CLERK.name, "injured"),
        (CLERK.name, "the rest"),
    }


async def test_a_payments_own_number_is_no_refund(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.BASIC)
    (operation,) = await environment.rows(KaspiOperation)
    with pytest.raises(Conflict, match="number of a payment"):
        await record_made(
            environment.ctx, MadeInApp(opened.view.payment_id, operation.operation_number, "x"), CLERK
        )


async def test_two_clerks_with_one_number_never_both_win(environment: ServiceEnvironment) -> None:
    first = await paid(environment, KaspiScheme.BASIC)
    second = await environment.paid()
    both = [MadeInApp(item.view.payment_id, "14001234567", "x") for item in (first, second)]
    ended = await asyncio.gather(
        *(record_made(environment.ctx, item, CLERK) for item in both), return_exceptions=True
    )
    assert len(await environment.rows(Refund)) == 1
    lost = [outcome for outcome in ended if isinstance(outcome, BaseException)]
    assert len(lost) == 1
    assert isinstance(lost[0], PaymentError)
    assert "recorded before" in str(lost[0])


async def test_where_kaspi_tells_a_persons_word_must_agree(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    made = MadeInApp(opened.view.payment_id, "14001234567", "x", Money.parse("4000", "KZT"))
    with pytest.raises(Refused, match="Kaspi has refunded"):
        await record_made(environment.ctx, made, CLERK)
    ref = (await environment.view(opened)).provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/cashier-refund", json={"Amount": 4000})
    assert (await record_made(environment.ctx, made, CLERK)).state is RefundState.SUCCEEDED


async def test_its_number_leaves_a_refund_on_the_day_of_the_books(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, KaspiScheme.ENHANCED)
    pid = opened.view.payment_id
    ref = (await environment.view(opened)).provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/cashier-refund", json={"Amount": 4000})
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, pid)
    await sync_refunds(environment.ctx, locked)
    [booked] = await environment.rows(Refund)
    environment.later(2 * 86_400)
    made = MadeInApp(pid, "14001234567", "injured", Money.parse("4000", "KZT"))
    await record_made(environment.ctx, made, CLERK)
    day = booked.updated_at.astimezone(ALMATY).date()

    async def exported(period: Period) -> list[tuple[str | None, Decimal]]:
        rows = movements(environment.ctx, Export.REFUNDS, period)
        return [(row.provider_number, row.gross) async for row in rows]

    assert await exported(Period(ALMATY, day, day)) == [("kaspi:14001234567", Decimal("-4000.00"))]
    assert await exported(Period(ALMATY, day + timedelta(days=1))) == []


async def test_standard_a_scan_that_could_not_be_used_fails_while_the_customer_is_here(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, KaspiScheme.STANDARD)
    scan = await scanned(environment, opened)
    await environment.fault("/r2/v01/payment", "status", status=503, times=999)
    with pytest.raises(ProviderUnavailable, match="Nothing was refunded"):
        await use.refund(environment.ctx, at_desk(opened, scan, "4000"), CLERK)
    await environment.no_faults()
    scan = await scanned(environment, opened)
    await use.refund(environment.ctx, at_desk(opened, scan, "4000"), CLERK)
    assert await gone(environment, opened) == Decimal("4000.00")
