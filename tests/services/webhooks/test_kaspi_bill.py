"""Kaspi's bill protocol: what check refuses, what pay keeps, and once for each txn_id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import col, delete

from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.webhooks.inbox import handle_next
from procomp_pay.services.webhooks.kaspi_bill import check, keep_unreadable, pay, read_sum
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import KaspiOperation, TournamentFee
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage, WebhookEvent
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.payments.repository import lock_payment
from tests.support.environment import CLERK, World
from tests.support.kaspi_bill import ask, of

S = PaymentStatus
FEE = Money.parse("24000", "KZT")


async def kinds(world: World) -> list[str]:
    return sorted(row.kind for row in await world.rows(Discrepancy))


async def topics(world: World) -> list[str]:
    return sorted(row.topic for row in await world.rows(OutboxMessage))


async def change(world: World, who: str, **values: Any) -> None:
    async with world.ctx.db.writing() as session:
        row = await session.get(Participant, who)
        assert row is not None
        for name, value in values.items():
            setattr(row, name, value)


# --- check


async def test_check_says_what_is_due_and_changes_nothing(world: World) -> None:
    who = await world.participant(full_name="Қайрат Нұрланов")
    answer = await check(world.ctx, ask(who, text="1.00"))  # the sum is a placeholder
    assert (answer.result, answer.money, answer.comment) == (Result.OK, FEE, "Almaty Open: Қайрат Н.")
    opened = await world.start(who)
    for typed in (str(opened.view.code), str(opened.view.code).lower().replace("-", "")):
        assert (await check(world.ctx, ask(typed))).result is Result.OK
    assert await world.rows(WebhookEvent) == []
    assert len(await world.rows(Payment)) == 1


async def test_check_refuses_what_pay_would_have_to_keep(world: World) -> None:
    assert (await check(world.ctx, ask("nobody"))).result is Result.NO_ACCOUNT
    assert (await check(world.ctx, ask(""))).result is Result.NO_ACCOUNT
    gone = await world.participant(status=ParticipantStatus.CANCELLED)
    assert (await check(world.ctx, ask(gone))).result is Result.CANCELLED
    paid = await world.participant(status=ParticipantStatus.PAID)
    assert (await check(world.ctx, ask(paid))).result is Result.PAID
    busy = await world.participant()
    opened = await world.start(busy)
    await world.phone(opened, "scan")
    await poll_payment(world.ctx, opened.view.payment_id)
    assert (await check(world.ctx, ask(busy))).result is Result.IN_PROGRESS
    feeless = await world.participant()
    async with world.ctx.db.writing() as session:
        await session.exec(delete(TournamentFee).where(col(TournamentFee.tournament_id) == f"t-{feeless}"))
    answer = await check(world.ctx, ask(feeless))
    assert (answer.result, answer.money) == (Result.OTHER, None)


# --- pay


async def test_pay_settles_in_one_go_and_is_answered_the_same_for_ever(world: World) -> None:
    who = await world.participant()
    first = await pay(world.ctx, ask(who))
    assert (first.result, first.money) == (Result.OK, FEE)
    assert str(first.prv_txn).isdigit()
    assert len(str(first.prv_txn)) == 15
    [(payment, detail)] = await of(world, who)
    assert (payment.status, detail.channel, detail.provider_open) == (S.COMPLETED, Channel.KASPI_BILL, False)
    assert payment.kaspi_transaction_id == "777000111"
    assert (await world.who(who)).payment_id == payment.id
    world.later(86_400)
    assert await pay(world.ctx, ask(who)) == first
    assert await pay(world.ctx, ask(who)) == first
    [row] = await world.rows(WebhookEvent)
    assert (row.state, row.payment_id, row.provider) == (EventState.DONE, payment.id, "kaspi_bill")
    assert "24000" not in row.payload_enc
    [number] = await world.rows(KaspiOperation)
    assert (number.operation_number, number.source) == ("777000111", "kaspi_bill")
    assert (await topics(world), await kinds(world)) == (["payment.received"], [])
    assert await handle_next(world.ctx) is None  # it is done: the inbox has no work with it
    assert (await check(world.ctx, ask(who))).result is Result.PAID


async def test_twenty_times_at_once_is_once(world: World, database_url: str) -> None:
    db2 = PaymentDatabaseService(database_url)
    desks = [world.ctx, replace(world.ctx, db=db2)]
    who = await world.participant()
    try:
        answers = await asyncio.gather(*(pay(desks[n % 2], ask(who)) for n in range(20)))
    finally:
        await db2.dispose()
    assert len({(a.result, a.prv_txn) for a in answers}) == 1
    assert len(await of(world, who)) == 1
    assert await topics(world) == ["payment.received"]


async def test_a_second_txn_id_is_real_money(world: World) -> None:
    who = await world.participant()
    await asyncio.gather(*(pay(world.ctx, ask(who, f"77700{n}")) for n in range(3)))
    rows = await of(world, who)
    assert [payment.status for payment, _ in rows] == [S.COMPLETED] * 3
    assert sorted(detail.is_duplicate for _, detail in rows) == [False, True, True]
    assert await kinds(world) == ["DUPLICATE_PAYMENT"] * 2
    assert (await topics(world)).count("alert.duplicate_payment") == 2


async def test_pay_beside_an_open_qr(world: World) -> None:
    """The QR cannot be recalled: if it is paid too, that is the second payment, and nothing is lost."""
    who = await world.participant()
    opened = await world.start(who)
    await pay(world.ctx, ask(str(opened.view.code)))
    assert await world.status(opened) is S.PENDING
    await world.phone(opened)
    await one_pass(world.ctx)
    view = await world.view(opened)
    assert (view.status, view.is_duplicate) == (S.COMPLETED, True)
    assert await kinds(world) == ["DUPLICATE_PAYMENT"]


async def test_another_amount_is_kept_for_a_person(world: World) -> None:
    who = await world.participant()
    answer = await pay(world.ctx, ask(who, text="23999.99"))
    assert (answer.result, str(answer.money)) == (Result.OK, "23\u00a0999.99\u00a0KZT")
    [(payment, _)] = await of(world, who)
    assert payment.status is S.PENDING
    assert (await world.who(who)).status is ParticipantStatus.REGISTERED
    [found] = await world.rows(Discrepancy)
    assert (found.kind, found.detail["provider"]) == ("AMOUNT_MISMATCH", "777000111")
    assert await topics(world) == ["alert.amount_mismatch"]
    assert (await check(world.ctx, ask(who))).result is Result.OTHER
    with pytest.raises(ManualReviewRequired):
        await initiate(world.ctx, InitiateRequest(who, PaymentMethod.KASPI_QR, Channel.KASPI_QR), CLERK)
    with pytest.raises(Refused, match="different amount was received"):
        await verify(world.ctx, VerificationRequest(payment.id, "777000111"), CLERK)
    order = VerificationRequest(
        payment.id, "777000111", money=Money.parse("23999.99", "KZT"), override=True, reason="a cent"
    )
    assert (await verify(world.ctx, order, CLERK)).status is S.COMPLETED


async def test_a_payment_of_before_there_were_codes_is_paid_by_the_participant_s_id(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    async with world.ctx.db.writing() as session:
        (await lock_payment(session, opened.view.payment_id)).detail.short_code = None
    assert (await check(world.ctx, ask(str(opened.view.code)))).result is Result.NO_ACCOUNT
    assert (await check(world.ctx, ask(who))).result is Result.OK
    assert (await pay(world.ctx, ask(who))).result is Result.OK
    assert (await world.who(who)).status is ParticipantStatus.PAID


@pytest.mark.parametrize("status", [ParticipantStatus.CANCELLED, ParticipantStatus.PAID])
async def test_pay_is_never_refused_for_a_known_account(world: World, status: ParticipantStatus) -> None:
    who = await world.participant()
    await change(world, who, status=status)
    assert (await pay(world.ctx, ask(who))).result is Result.OK
    [(payment, _)] = await of(world, who)
    assert payment.status is S.COMPLETED


async def test_an_unknown_account_keeps_the_money_and_tells(world: World) -> None:
    for _ in range(3):
        answer = await pay(world.ctx, ask("nobody"))
        assert answer.result is Result.NO_ACCOUNT
    [row] = await world.rows(WebhookEvent)
    assert row.state is EventState.FOREIGN
    [found] = await world.rows(Discrepancy)
    assert (found.kind, found.payment_id, found.detail["account"]) == ("MISSING_LOCALLY", None, "nobody")
    assert await topics(world) == ["alert.unapplied_money"]
    # the participant is there by now, and an operator replays it
    await world.participant(id="nobody")
    async with world.ctx.db.writing() as session:
        again = await session.get(WebhookEvent, row.id)
        assert again is not None
        again.state, again.next_attempt_at = EventState.PENDING, world.now()
    handled = await handle_next(world.ctx)
    assert handled is not None
    assert handled.state is EventState.DONE
    assert (await world.who("nobody")).status is ParticipantStatus.PAID
    assert (await pay(world.ctx, ask("nobody"))).result is Result.NO_ACCOUNT  # the answer stays


async def test_one_txn_id_with_two_contents(world: World) -> None:
    one, two = await world.participant(), await world.participant()
    first = await pay(world.ctx, ask(one))
    second = await pay(world.ctx, ask(two))
    assert (second.result, second.prv_txn) == (first.result, first.prv_txn)
    assert await of(world, two) == []
    assert await kinds(world) == ["AMOUNT_MISMATCH"]


async def test_a_clerk_typed_the_number_before_kaspi_called(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.fault("/r1", "cut_before", times=99)
    await verify(world.ctx, VerificationRequest(opened.view.payment_id, "777000111"), CLERK)
    assert (await pay(world.ctx, ask(who))).result is Result.OK
    assert len(await of(world, who)) == 1  # the same money, once
    assert await kinds(world) == []
    other = await world.participant()
    assert (await pay(world.ctx, ask(other, "0777000111"))).result is Result.OK
    assert await kinds(world) == ["DUPLICATE_PAYMENT"]  # one number, two people: a person compares


async def test_a_clerk_and_kaspi_in_the_same_moment(world: World, database_url: str) -> None:
    """The clerk's transaction is open when Kaspi calls: the money is counted once all the same."""
    who = await world.participant()
    opened = await world.start(who)
    word = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, world.now(), CLERK.source, CLERK.name,
        ids=ProviderIds(kaspi_operation="777000111"),
    )  # fmt: skip
    db2 = PaymentDatabaseService(database_url)
    try:
        async with db2.writing() as session:
            await apply_event_in(session, world.ctx, word)
            call = asyncio.create_task(pay(world.ctx, ask(who)))
            await asyncio.sleep(0.5)
        assert (await call).result is Result.OK
    finally:
        await db2.dispose()
    assert [payment.status for payment, _ in await of(world, who)] == [S.COMPLETED]
    assert await kinds(world) == []


async def test_bill_money_goes_back_by_hand(world: World) -> None:
    who = await world.participant()
    await pay(world.ctx, ask(who))
    [(payment, _)] = await of(world, who)
    with pytest.raises(Refused):
        await refund(world.ctx, RefundCommand(payment.id, "injured"), CLERK)


async def test_an_unreadable_pay_is_kept(world: World) -> None:
    for _ in range(2):
        await keep_unreadable(world.ctx, "command=pay&txn_id=\x00&account=p1\ud800")
    [row] = await world.rows(WebhookEvent)
    assert (row.type, row.state) == ("unreadable", EventState.FOREIGN)
    assert await topics(world) == ["alert.unapplied_money"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("24000", "24000.00"), ("24000.00", "24000.00"), ("24000.000", "24000.00"), ("0.01", "0.01"),
        ("024000", "24000.00"), ("", None), ("0", None), ("-1", None), ("1e5", None), ("24 000", None),
        ("24000,00", None), ("24000.001", None), ("NaN", None), ("١٢", None), ("1.2.3", None),
        ("99999999999999", None), ("100000000", None),
    ],
)  # fmt: skip
def test_sums(text: str, read: str | None) -> None:
    found = read_sum(text)
    assert (None if found is None else str(found.amount)) == read
