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
from procomp_pay.services.refunds.bulk_report import Ending, Line, Tally
from procomp_pay.storage.models.payments import Refund
from procomp_pay.storage.models.platform import Participant
from tests.services.conftest import CLERK, World, usd
from tests.services.refunds.test_create import Kaspi, at_stripe, back, paid


async def order(world: World) -> BulkRefundRequest:
    """For the first participant's tournament."""
    async with world.ctx.db.writing() as session:
        people = (await session.exec(select(Participant))).all()
        first = people[0].tournament_id
    return BulkRefundRequest(first, "the hall is flooded")


async def test_kaspi_a_refund_asked_for_a_moment_ago_is_not_sent_again(world: World) -> None:
    """Another process may be waiting for Kaspi's answer, and Kaspi would pay back twice."""
    kaspi = Kaspi(world)
    opened = await kaspi.paid()
    await world.fault("/r3/v01/payment/return", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await kaspi.back(opened, "4000")
    wanted = await order(world)
    report = await bulk.run(world.ctx, wanted, CLERK)
    assert report.of(Ending.UNKNOWN).count == 1
    assert await kaspi.gone(opened) == Decimal("4000.00")
    world.later(60)
    report = await bulk.run(world.ctx, wanted, CLERK)
    assert report.of(Ending.BACK).count == 1
    assert await kaspi.gone(opened) == Decimal("24000.00")


async def test_a_refund_that_failed_is_named_then_asked_for_again(world: World) -> None:
    opened = await paid(world)
    await world.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await back(world, opened)
    await world.no_faults()
    world.later(24 * 3600)  # Stripe has forgotten the key, and never had the refund
    wanted = await order(world)
    report = await bulk.run(world.ctx, wanted, CLERK)
    [line] = report.of(Ending.FAILED).named
    assert "never received" in line.why
    report = await bulk.run(world.ctx, wanted, CLERK)
    assert report.of(Ending.BACK).count == 1
    assert await at_stripe(world) == 5000
    assert [r.state for r in await world.rows(Refund)] == [RefundState.FAILED, RefundState.SUCCEEDED]


async def test_the_bank_that_takes_its_time_is_asked_again_not_paid_again(world: World) -> None:
    opened = await paid(world, "pm_card_pendingRefund")
    await back(world, opened)
    wanted = await order(world)
    report = await bulk.run(world.ctx, wanted, CLERK)
    assert report.of(Ending.ON_ITS_WAY).count + report.of(Ending.BACK).count == 1
    assert len(await world.rows(Refund)) == 1
    assert not report.needs_person


async def test_two_runs_at_once_pay_back_once(world: World) -> None:
    await paid(world)
    wanted = await order(world)
    reports = await asyncio.gather(*(bulk.run(world.ctx, wanted, CLERK) for _ in range(4)))
    assert await at_stripe(world) == 5000
    assert len(await world.rows(Refund)) == 1
    assert not any(report.needs_person for report in reports)


async def test_a_stopped_run_begins_nothing(world: World) -> None:
    await paid(world)
    report = await bulk.run(world.ctx, await order(world), CLERK, stop=lambda: True)
    assert report.stopped
    assert await world.rows(Refund) == []


async def test_it_gives_up_when_nobody_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "GIVE_UP_AFTER", 1)
    await paid(world)
    await world.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    report = await bulk.run(world.ctx, await order(world), CLERK)
    assert report.of(Ending.UNKNOWN).count == 1
    await world.no_faults()


async def test_a_provider_that_is_not_configured_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid(world)
    wanted = await order(world)

    def none(_: object, channel: Channel) -> None:
        raise ConfigurationError(f"{channel} is not configured")

    monkeypatch.setattr(type(world.ctx.providers), "of", none)
    with pytest.raises(ConfigurationError):
        await bulk.survey(world.ctx, wanted)
    with pytest.raises(ConfigurationError):
        await bulk.run(world.ctx, wanted, CLERK)
    assert await world.rows(Refund) == []


async def test_a_reason_is_needed_before_anything_is_read(world: World) -> None:
    with pytest.raises(Refused, match="reason"):
        BulkRefundRequest("t1", " ")


async def test_a_total_may_be_larger_than_any_amount(world: World) -> None:
    opened = await paid(world)
    view = await world.view(opened)
    tally = Tally()
    for _ in range(3):
        tally.add(Line(view, Ending.BACK, Money(LARGEST, Currency.USD)), name=False)
    assert tally.sums[(PaymentMethod.APPLE_PAY, Currency.USD)].amount == 3 * LARGEST
    assert tally.named == []
    assert usd("50") == view.rest
