"""A different amount that an admin accepts: all records use the received amount."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.reconciliation.discrepancies import How
from procomp_pay.services.refunds.manual import MadeInApp, check_made
from procomp_pay.services.reports.period import report
from procomp_pay.services.reports.tournament_closing import tournament_closing
from procomp_pay.services.views.payment import one
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support import reconciliation
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask
from tests.support.reconciliation import compare, line

ALMATY = ZoneInfo("Asia/Almaty")
NUMBER = "777000111"


async def short_by_4000(environment: ServiceEnvironment) -> str:
    """Pay 20 000 by bill for a fee of 24 000 tenge."""
    await pay(environment.ctx, ask(await environment.participant(), NUMBER, "20000.00"))
    [payment] = await environment.rows(Payment)
    return str(payment.id)


def override(payment_id: str, amount: str | None = "20000") -> VerificationRequest:
    money = None if amount is None else Money.parse(amount, "KZT")
    return VerificationRequest(
        payment_id, NUMBER, money=money, override=True, reason="the coach pays the rest"
    )


async def test_an_override_needs_the_received_amount(environment: ServiceEnvironment) -> None:
    payment_id = await short_by_4000(environment)
    with pytest.raises(Refused, match="an override needs the amount"):
        await verify(environment.ctx, override(payment_id, amount=None), CLERK)
    assert (await one(environment.ctx, payment_id)).status is PaymentStatus.PENDING


async def test_all_records_use_the_received_amount(environment: ServiceEnvironment) -> None:
    payment_id = await short_by_4000(environment)
    await verify(environment.ctx, override(payment_id), CLERK)
    came, asked = Money.parse("20000", "KZT"), Money.parse("24000", "KZT")
    view = await one(environment.ctx, payment_id)
    assert (view.charged, view.requested, view.rest) == (came, asked, came)
    [row] = await environment.rows(Payment)
    assert row.amount == came.amount  # the platform reads this one
    sheet = await tournament_closing(environment.ctx, row.tournament_id, ALMATY)
    assert [total.taken for total in sheet.totals] == [came.amount]
    now = environment.now()
    made = await report(environment.ctx, Period(ALMATY, now - timedelta(days=1), now + timedelta(days=1)))
    assert [item.paid.amount for item in made.money] == [came.amount]
    with pytest.raises(Refused, match="more than what is left"):
        await check_made(environment.ctx, MadeInApp(payment_id, "777000999", "injured", asked))
    assert (await audit_verify.verify(environment.ctx)).is_sound


async def test_one_discrepancy_stays_open_and_is_not_reopened_once_resolved(
    environment: ServiceEnvironment,
) -> None:
    payment_id = await short_by_4000(environment)
    await verify(environment.ctx, override(payment_id), CLERK)
    [left] = await reconciliation.open_rows(environment)
    assert len(await environment.rows(Discrepancy)) == 1
    detail = left.detail
    assert (detail["charged"]["amount"], detail["paid"]["amount"]) == (
        Decimal("24000.00"),
        Decimal("20000.00"),
    )
    assert (detail["by"], detail["override"]) == ("aigerim", "the coach pays the rest")
    for still_open in (1, 0):
        first = await compare(environment, [line(5, NUMBER, environment.now(), "20000.00 KZT")], "kaspi")
        assert (first.found, first.still_open) == (0, still_open), first.listed
        asked = await reconciliation.run(environment, "kaspi")
        assert (asked.found, asked.still_open) == (0, still_open), asked.listed
        if still_open:
            await discrepancies.resolve(environment.ctx, left.id, How.ACCEPT, "seen", CLERK)


async def test_a_repeated_verification_returns_the_accepted_amount(environment: ServiceEnvironment) -> None:
    payment_id = await short_by_4000(environment)
    results = [
        await verify(environment.ctx, override(payment_id, amount), CLERK) for amount in ("20000", "22000")
    ]
    assert [(result.already, str(result.money.amount)) for result in results] == [
        (False, "20000.00"), (True, "20000.00"),
    ]  # fmt: skip


async def test_an_amount_other_than_the_accepted_one_is_a_new_discrepancy(
    environment: ServiceEnvironment,
) -> None:
    """An admin accepted 20 000 for a QR while Kaspi was unavailable; Kaspi then reports 24 000 for it."""
    opened = await environment.start()
    await environment.fault("/r1", "cut_before", times=99)
    money = Money.parse("20000", "KZT")
    request = VerificationRequest(
        opened.view.payment_id, NUMBER, money=money, override=True, reason="he shows it"
    )
    await verify(environment.ctx, request, CLERK)
    [row] = await reconciliation.open_rows(environment)
    await discrepancies.resolve(environment.ctx, row.id, How.ACCEPT, "seen", CLERK)
    await environment.no_faults()
    await environment.phone(opened)
    await environment.maintain(after=6)
    ref = str((await environment.view(opened)).provider_ref)
    for _ in range(2):
        await reconciliation.run(environment, "kaspi")
        # two numbers for one payment: the status of its QR says nothing about the one that was typed
        assert "DUPLICATE_PAYMENT" in {item.kind for item in await reconciliation.open_rows(environment)}
        await compare(environment, [line(5, ref, environment.now(), "24000.00 KZT")], "kaspi")
        assert "AMOUNT_MISMATCH" in {item.kind for item in await reconciliation.open_rows(environment)}
