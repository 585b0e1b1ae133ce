"""A whole tournament goes back: what is taken up, what is left alone, and when a run ends by itself."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlmodel import select

from procomp_pay.domain.errors import ConfigurationError, OutcomeUnknown, Refused
from procomp_pay.domain.money import LARGEST, Currency, Money
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.services.refunds import bulk
from procomp_pay.services.refunds.bulk import BulkRefundRequest
from procomp_pay.services.refunds.bulk_report import Ending, Group, Line
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.refunds import Refund
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_payments import Kaspi
from tests.support.stripe_payments import at_stripe, back, paid


async def request(environment: ServiceEnvironment) -> BulkRefundRequest:
    """For the first participant's tournament."""
    async with environment.ctx.db.writing() as session:
        people = (await session.exec(select(Participant))).all()
        first = people[0].tournament_id
    return BulkRefundRequest(first, "the hall is flooded")


async def test_kaspi_a_refund_asked_for_a_moment_ago_is_not_sent_again(
    environment: ServiceEnvironment,
) -> None:
    """Another process may be waiting for Kaspi's answer, and Kaspi would pay back twice."""
    kaspi = Kaspi(environment)
    opened = await kaspi.paid()
    await environment.fault("/r3/v01/payment/return", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await kaspi.back(opened, "4000")
    wanted = await request(environment)
    report = await bulk.run(environment.ctx, wanted, CLERK)
    assert report.of(Ending.UNKNOWN).count == 1
    assert await kaspi.gone(opened) == Decimal("4000.00")
    environment.later(60)
    report = await bulk.run(environment.ctx, wanted, CLERK)
    assert report.of(Ending.BACK).count == 1
    assert await kaspi.gone(opened) == Decimal("24000.00")


async def test_a_refund_that_failed_is_named_then_asked_for_again(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await back(environment, opened)
    await environment.no_faults()
    environment.later(24 * 3600)  # Stripe has forgotten the key, and never had the refund
    wanted = await request(environment)
    report = await bulk.run(environment.ctx, wanted, CLERK)
    [line] = report.of(Ending.FAILED).named
    assert "never received" in line.why
    report = await bulk.run(environment.ctx, wanted, CLERK)
    assert report.of(Ending.BACK).count == 1
    assert await at_stripe(environment) == 5000
    assert [r.state for r in await environment.rows(Refund)] == [RefundState.FAILED, RefundState.SUCCEEDED]


async def test_the_bank_that_takes_its_time_is_asked_again_not_paid_again(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment, "pm_card_pendingRefund")
    await back(environment, opened)
    wanted = await request(environment)
    report = await bulk.run(environment.ctx, wanted, CLERK)
    assert report.of(Ending.ON_ITS_WAY).count + report.of(Ending.BACK).count == 1
    assert len(await environment.rows(Refund)) == 1
    assert not report.needs_person


async def test_two_runs_at_once_pay_back_once(environment: ServiceEnvironment) -> None:
    await paid(environment)
    wanted = await request(environment)
    reports = await asyncio.gather(*(bulk.run(environment.ctx, wanted, CLERK) for _ in range(4)))
    assert await at_stripe(environment) == 5000
    assert len(await environment.rows(Refund)) == 1
    assert not any(report.needs_person for report in reports)


async def test_a_stopped_run_begins_nothing(environment: ServiceEnvironment) -> None:
    await paid(environment)
    report = await bulk.run(environment.ctx, await request(environment), CLERK, stop=lambda: True)
    assert report.stopped
    assert await environment.rows(Refund) == []


async def test_it_gives_up_when_nobody_answers(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "GIVE_UP_AFTER", 1)
    await paid(environment)
    await environment.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    report = await bulk.run(environment.ctx, await request(environment), CLERK)
    assert report.of(Ending.UNKNOWN).count == 1
    await environment.no_faults()


async def test_a_provider_that_is_not_configured_ends_it(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid(environment)
    wanted = await request(environment)

    def none(_: object, channel: Channel) -> None:
        raise ConfigurationError(f"{channel} is not configured")

    monkeypatch.setattr(type(environment.ctx.providers), "of", none)
    with pytest.raises(ConfigurationError):
        await bulk.preview(environment.ctx, wanted)
    with pytest.raises(ConfigurationError):
        await bulk.run(environment.ctx, wanted, CLERK)
    assert await environment.rows(Refund) == []


async def test_a_reason_is_needed_before_anything_is_read(environment: ServiceEnvironment) -> None:
    with pytest.raises(Refused, match="reason"):
        BulkRefundRequest("t1", " ")


async def test_a_total_may_be_larger_than_any_amount(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    view = await environment.view(opened)
    group = Group()
    for _ in range(3):
        group.add(Line(view, Ending.BACK, Money(LARGEST, Currency.USD)), name=False)
    assert group.sums[(PaymentMethod.APPLE_PAY, Currency.USD)].amount == 3 * LARGEST
    assert group.named == []
    assert usd("50") == view.rest
