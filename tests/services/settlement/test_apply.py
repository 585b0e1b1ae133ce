"""Apply payment events: repeated, concurrent, late, with a different amount, for a second payment."""

import asyncio
from dataclasses import replace

import pytest

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.domain.transitions import Outcome
from procomp_pay.services.settlement.apply import apply_event, apply_event_in
from procomp_pay.services.views import payment as views
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models.payments import AuditEntry, KaspiOperation
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage
from tests.support.environment import World

S = PaymentStatus
KZT = Money.parse("24000", "KZT")


def paid(world: World, opened: views.Opening, money: Money = KZT) -> PaymentEvent:
    return PaymentEvent(
        payment_id=opened.view.payment_id,
        event_type=EventType.SUCCEEDED,
        at=world.now(),
        source=Source.KASPI_STATUS,
        actor="kaspi",
        money=money,
        final_at_provider=True,
    )


async def test_twenty_concurrent_events_settle_once(world: World) -> None:
    who = await world.participant()
    event = paid(world, await world.start(who))
    results = await asyncio.gather(*(apply_event(world.ctx, event) for _ in range(20)))
    outcomes = [r.outcome for r in results]
    assert (outcomes.count(Outcome.MOVED), outcomes.count(Outcome.ALREADY)) == (1, 19)
    assert [m.topic for m in await world.rows(OutboxMessage)] == ["payment.received"]
    assert (await world.who(who)).status is ParticipantStatus.PAID


async def test_two_concurrent_payments_of_one_participant(world: World) -> None:
    who = await world.participant()
    kaspi, apple = await world.start(who), await world.start(who, "apple_pay")
    dollars = Money.parse("50", "USD")
    await asyncio.gather(
        apply_event(world.ctx, paid(world, kaspi)), apply_event(world.ctx, paid(world, apple, dollars))
    )
    both = [await world.view(kaspi), await world.view(apple)]
    assert [v.status for v in both] == [S.COMPLETED, S.COMPLETED]
    assert sorted(v.is_duplicate for v in both) == [False, True]
    first = next(v for v in both if not v.is_duplicate)
    assert (await world.who(who)).payment_id == first.payment_id
    assert [d.kind for d in await world.rows(Discrepancy)] == ["DUPLICATE_PAYMENT"]
    topics = sorted(m.topic for m in await world.rows(OutboxMessage))
    assert topics == ["alert.duplicate_payment", "payment.received", "payment.received"]


async def test_a_different_amount_does_not_settle_and_alerts_once(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    for _ in range(3):
        settled = await apply_event(world.ctx, paid(world, opened, Money.parse("2400", "KZT")))
        assert settled.outcome is Outcome.MISMATCH
    assert await world.status(opened) is S.PENDING
    assert (await world.who(who)).status is ParticipantStatus.REGISTERED
    [found] = await world.rows(Discrepancy)
    assert found.kind == "AMOUNT_MISMATCH"
    assert (str(found.detail["charged"]["amount"]), str(found.detail["paid"]["amount"])) == (
        "24000.00",
        "2400.00",
    )
    assert [m.topic for m in await world.rows(OutboxMessage)] == ["alert.amount_mismatch"]


async def test_money_of_a_deleted_participant_is_kept(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    async with world.ctx.db.writing() as session:
        await session.delete(await session.get(Participant, who))
    assert (await apply_event(world.ctx, paid(world, opened))).status is S.COMPLETED
    assert [d.kind for d in await world.rows(Discrepancy)] == ["PARTICIPANT_MISMATCH"]


async def test_a_crash_inside_the_transaction_writes_nothing(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    before = len(await world.rows(AuditEntry))

    async def crash() -> None:
        async with world.ctx.db.writing() as session:
            await apply_event_in(session, world.ctx, paid(world, opened))
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        await crash()
    assert await world.status(opened) is S.PENDING
    assert (await world.who(who)).status is ParticipantStatus.REGISTERED
    assert len(await world.rows(AuditEntry)) == before
    assert await world.rows(OutboxMessage) == []


async def test_one_operation_number_settles_one_payment(world: World) -> None:
    first, second = await world.start(await world.participant()), await world.start(await world.participant())
    for opened in (first, second, first):
        await apply_event(world.ctx, replace(paid(world, opened), ids=ProviderIds(kaspi_operation="777")))
    [used] = await world.rows(KaspiOperation)
    assert (used.operation_number, used.payment_id) == ("777", first.view.payment_id)
    [found] = await world.rows(Discrepancy)
    assert (found.kind, found.payment_id) == ("DUPLICATE_PAYMENT", second.view.payment_id)
    assert found.detail["settled"] == first.view.payment_id


async def test_an_unknown_payment(world: World) -> None:
    opened = await world.start(await world.participant())
    with pytest.raises(NotFound):
        await apply_event(world.ctx, replace(paid(world, opened), payment_id="nothing"))


async def test_the_audit_chain_is_unbroken(world: World) -> None:
    """Each hash covers the entry, as read from the database, and the hash of the previous entry."""
    who = await world.participant()
    opened = await world.start(who)
    await apply_event(world.ctx, paid(world, opened))
    async with world.ctx.db.reading() as session:
        chain = await audit.entries(session, opened.view.payment_id)
    assert len(chain) == 3
    before = audit.GENESIS
    for entry in chain:
        assert (entry.prev_hash, entry.hash) == (before, audit.entry_hash(entry))
        before = entry.hash
