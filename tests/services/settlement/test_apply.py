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
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import ServiceEnvironment

S = PaymentStatus
KZT = Money.parse("24000", "KZT")


def paid(environment: ServiceEnvironment, opened: views.Opening, money: Money = KZT) -> PaymentEvent:
    return PaymentEvent(
        payment_id=opened.view.payment_id,
        event_type=EventType.SUCCEEDED,
        at=environment.now(),
        source=Source.KASPI_STATUS,
        actor="kaspi",
        money=money,
        final_at_provider=True,
    )


async def test_twenty_concurrent_events_settle_once(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    event = paid(environment, await environment.start(participant_id))
    results = await asyncio.gather(*(apply_event(environment.ctx, event) for _ in range(20)))
    outcomes = [r.outcome for r in results]
    assert (outcomes.count(Outcome.MOVED), outcomes.count(Outcome.ALREADY)) == (1, 19)
    assert [m.topic for m in await environment.rows(OutboxMessage)] == ["payment.received"]
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


async def test_two_concurrent_payments_of_one_participant(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi, apple = (
        await environment.start(participant_id),
        await environment.start(participant_id, "apple_pay"),
    )
    dollars = Money.parse("50", "USD")
    await asyncio.gather(
        apply_event(environment.ctx, paid(environment, kaspi)),
        apply_event(environment.ctx, paid(environment, apple, dollars)),
    )
    both = [await environment.view(kaspi), await environment.view(apple)]
    assert [v.status for v in both] == [S.COMPLETED, S.COMPLETED]
    assert sorted(v.is_duplicate for v in both) == [False, True]
    first = next(v for v in both if not v.is_duplicate)
    assert (await environment.read_participant(participant_id)).payment_id == first.payment_id
    assert [d.kind for d in await environment.rows(Discrepancy)] == ["DUPLICATE_PAYMENT"]
    topics = sorted(m.topic for m in await environment.rows(OutboxMessage))
    assert topics == ["alert.duplicate_payment", "payment.received", "payment.received"]


async def test_a_different_amount_does_not_settle_and_alerts_once(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    for _ in range(3):
        settled = await apply_event(environment.ctx, paid(environment, opened, Money.parse("2400", "KZT")))
        assert settled.outcome is Outcome.MISMATCH
    assert await environment.status(opened) is S.PENDING
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.REGISTERED
    [discrepancy] = await environment.rows(Discrepancy)
    assert discrepancy.kind == "AMOUNT_MISMATCH"
    assert (str(discrepancy.detail["charged"]["amount"]), str(discrepancy.detail["paid"]["amount"])) == (
        "24000.00",
        "2400.00",
    )
    assert [m.topic for m in await environment.rows(OutboxMessage)] == ["alert.amount_mismatch"]


async def test_money_of_a_deleted_participant_is_kept(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    async with environment.ctx.db.writing() as session:
        await session.delete(await session.get(Participant, participant_id))
    assert (await apply_event(environment.ctx, paid(environment, opened))).status is S.COMPLETED
    assert [d.kind for d in await environment.rows(Discrepancy)] == ["PARTICIPANT_MISMATCH"]


async def test_a_crash_inside_the_transaction_writes_nothing(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    before = len(await environment.rows(AuditEntry))

    async def crash() -> None:
        async with environment.ctx.db.writing() as session:
            await apply_event_in(session, environment.ctx, paid(environment, opened))
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        await crash()
    assert await environment.status(opened) is S.PENDING
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.REGISTERED
    assert len(await environment.rows(AuditEntry)) == before
    assert await environment.rows(OutboxMessage) == []


async def test_one_operation_number_settles_one_payment(environment: ServiceEnvironment) -> None:
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    for opened in (first, second, first):
        await apply_event(
            environment.ctx, replace(paid(environment, opened), ids=ProviderIds(kaspi_operation="777"))
        )
    [used] = await environment.rows(KaspiOperation)
    assert (used.operation_number, used.payment_id) == ("777", first.view.payment_id)
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.payment_id) == ("DUPLICATE_PAYMENT", second.view.payment_id)
    assert discrepancy.detail["settled"] == first.view.payment_id


async def test_an_unknown_payment(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    with pytest.raises(NotFound):
        await apply_event(environment.ctx, replace(paid(environment, opened), payment_id="nothing"))


async def test_the_audit_chain_is_unbroken(environment: ServiceEnvironment) -> None:
    """Each hash covers the entry, as read from the database, and the hash of the previous entry."""
    opened = await environment.start()
    await apply_event(environment.ctx, paid(environment, opened))
    async with environment.ctx.db.reading() as session:
        chain = await audit.entries(session, opened.view.payment_id)
    assert len(chain) == 3
    before = audit.GENESIS
    for entry in chain:
        assert (entry.prev_hash, entry.hash) == (before, audit.entry_hash(entry))
        before = entry.hash
