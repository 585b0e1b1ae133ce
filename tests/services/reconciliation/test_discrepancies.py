"""Discrepancies end once, each in its way, and what was decided holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from procomp_pay.domain.errors import Conflict, ManualReviewRequired, NotFound, OutcomeUnknown, Refused
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind
from procomp_pay.services.reconciliation import discrepancies as use
from procomp_pay.services.reconciliation.discrepancies import How
from procomp_pay.storage.models.payments import AuditEntry, Refund
from procomp_pay.storage.models.states import DiscrepancyState
from tests.support import reconciliation as plants
from tests.support.environment import CLERK, World


async def only(world: World, **wanted: Any) -> use.DiscrepancyView:
    [found], following = await use.many(world.ctx, use.Filter(**wanted))
    assert following is None
    return found


async def test_accepted_it_stays_closed_until_it_changes(world: World) -> None:
    opened = await plants.participant_gone(world)
    await plants.run(world)
    found = await only(world, state=DiscrepancyState.OPEN, payment_id=opened.view.payment_id)
    done = await use.resolve(world.ctx, found.discrepancy_id, How.ACCEPT, "he withdrew, no refund", CLERK)
    assert (done.state, done.resolution, done.resolved_by) == ("resolved", "accept", "aigerim")
    assert done.resolved_at is not None
    entries: list[AuditEntry] = await world.rows(AuditEntry)
    [entry] = [each for each in entries if each.action == "discrepancy_resolved"]
    assert (entry.payment_id, entry.actor, entry.note) == (
        opened.view.payment_id, "aigerim", "he withdrew, no refund",
    )  # fmt: skip
    with pytest.raises(Conflict, match="resolved by aigerim"):
        await use.resolve(world.ctx, found.discrepancy_id, How.WRITE_OFF, "again", CLERK)
    report = await plants.run(world)
    assert plants.kinds(report) == {("PARTICIPANT_MISMATCH", "accepted"): 1}
    assert not report.needs_person
    clear = """UPDATE "Participant" SET "paymentId" = NULL WHERE id = :id"""
    await plants.change(world, clear, id=opened.view.participant_id)
    assert plants.kinds(await plants.run(world)) == {("PARTICIPANT_MISMATCH", "accepted"): 1}
    back = """UPDATE "Participant" SET "paymentId" = :other, status = 'PAID' WHERE id = :id"""
    other = await plants.paid(world)
    free = """UPDATE "Participant" SET "paymentId" = NULL, status = 'CANCELLED' WHERE id = :id"""
    await plants.change(world, free, id=other.view.participant_id)
    await plants.change(world, back, id=opened.view.participant_id, other=other.view.payment_id)
    assert ("DUPLICATE_PAYMENT", "opened") in plants.kinds(await plants.run(world))


async def test_given_back_once(world: World) -> None:
    opened = await plants.late(world)
    await plants.run(world)
    found = await only(world)
    for _ in range(2):  # the first one is as good as killed before it closed the row
        await use._give_back(world.ctx, found, CLERK)
    await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "it came too late", CLERK)
    assert await world.status(opened) is PaymentStatus.REFUNDED
    assert len(await world.rows(Refund)) == 1
    assert len(await world.stripe_objects("refunds")) == 1
    report = await plants.run(world)
    assert (report.found, report.still_open) == (0, 0)


async def test_a_fix_takes_over_what_the_provider_says(world: World) -> None:
    opened = await plants.never_paid(world)
    await plants.run(world)
    found = await only(world, kind=DiscrepancyKind.STATUS_MISMATCH)
    with pytest.raises(ManualReviewRequired, match="not paid at the provider"):
        await use.resolve(world.ctx, found.discrepancy_id, How.FIX, "look again", CLERK)
    assert (await use.one(world.ctx, found.discrepancy_id)).is_open
    await world.confirm(str(opened.view.provider_ref), "pm_card_visa")
    done = await use.resolve(world.ctx, found.discrepancy_id, How.FIX, "it is paid by now", CLERK)
    assert done.resolution == "fix"


async def test_what_cannot_be(world: World) -> None:
    await plants.not_ours(world)
    await plants.run(world)
    found = await only(world, provider="stripe")
    assert found.payment_id is None
    with pytest.raises(Refused, match="no payment of ours"):
        await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "whose?", CLERK)
    with pytest.raises(ManualReviewRequired):
        await use.resolve(world.ctx, found.discrepancy_id, How.FIX, "whose?", CLERK)
    with pytest.raises(Refused, match="note"):
        await use.resolve(world.ctx, found.discrepancy_id, How.ACCEPT, " ", CLERK)
    with pytest.raises(NotFound):
        await use.resolve(world.ctx, "nothing", How.ACCEPT, "x", CLERK)
    assert (await use.one(world.ctx, found.discrepancy_id)).is_open


async def test_a_second_intent_is_not_given_back_by_mistake(world: World) -> None:
    opened = await plants.paid_twice(world)
    await plants.run(world)
    found = await only(world)
    with pytest.raises(Refused, match="second payment at Stripe"):
        await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "paid twice", CLERK)
    assert await world.status(opened) is PaymentStatus.COMPLETED


async def test_pages_and_filters(world: World) -> None:
    for _ in range(3):
        await plants.not_ours(world)
    gone = await plants.participant_gone(world)
    await plants.run(world)
    first, cursor = await use.many(world.ctx, use.Filter(), limit=3)
    second, end = await use.many(world.ctx, use.Filter(), limit=3, cursor=cursor)
    assert len({each.discrepancy_id for each in first + second}) == 4
    assert end is None
    assert (await only(world, tournament_id=gone.view.tournament_id)).payment_id == gone.view.payment_id
    assert await use.many(world.ctx, use.Filter(provider="kaspi")) == ([], None)
    with pytest.raises(Refused, match="cursor"):
        await use.many(world.ctx, use.Filter(), cursor="??")


async def test_a_refund_that_was_refused_does_not_end_it_at_the_second_try(world: World) -> None:
    opened = await plants.late(world)
    await plants.run(world)
    found = await only(world)
    await world.fault("/v1/refunds", "status", method="POST", status=400, times=1)
    with pytest.raises(Refused):
        await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    done = await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    assert done.resolution == "refund"
    assert await world.status(opened) is PaymentStatus.REFUNDED
    assert [row.state.value for row in await world.rows(Refund)].count("SUCCEEDED") == 1


async def test_a_refund_that_nobody_knows_of_does_not_end_it(world: World) -> None:
    await plants.late(world)
    await plants.run(world)
    found = await only(world)
    await world.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
        assert (await only(world)).is_open
    with pytest.raises(Conflict, match="aigerim is giving the money back"):
        await use.resolve(
            world.ctx, found.discrepancy_id, How.ACCEPT, "it stays", replace(CLERK, name="aida")
        )
    await world.no_faults()
    world.later(60)
    await world.maintain()
    await use.resolve(world.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    assert len(await world.rows(Refund)) == 1
