"""Kaspi's bill protocol: what check refuses, what pay keeps, and once for each txn_id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import col, delete, update

from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks.batch import handle_due
from procomp_pay.services.webhooks.kaspi_bill import check, keep_unreadable, pay, read_sum
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.terms import TournamentFee
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments.repository import lock_payment
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask, of

S = PaymentStatus
FEE = Money.parse("24000", "KZT")


async def kinds(environment: ServiceEnvironment) -> list[str]:
    return sorted(row.kind for row in await environment.rows(Discrepancy))


async def topics(environment: ServiceEnvironment) -> list[str]:
    return sorted(row.topic for row in await environment.rows(OutboxMessage))


async def change(environment: ServiceEnvironment, participant_id: str, **values: Any) -> None:
    async with environment.ctx.db.writing() as session:
        row = await session.get(Participant, participant_id)
        assert row is not None
        for name, value in values.items():
            setattr(row, name, value)


# --- check


async def test_check_says_what_is_due_and_changes_nothing(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant(full_name="Қайрат Нұрланов")
    answer = await check(environment.ctx, ask(participant_id, text="1.00"))  # the sum is a placeholder
    assert (answer.result, answer.money, answer.comment) == (Result.OK, FEE, "Almaty Open: Қайрат Н.")
    opened = await environment.start(participant_id)
    for typed in (str(opened.view.code), str(opened.view.code).lower().replace("-", "")):
        assert (await check(environment.ctx, ask(typed))).result is Result.OK
    assert await environment.rows(WebhookEvent) == []
    assert len(await environment.rows(Payment)) == 1


async def test_check_refuses_what_pay_would_have_to_keep(environment: ServiceEnvironment) -> None:
    assert (await check(environment.ctx, ask("nobody"))).result is Result.NO_ACCOUNT
    assert (await check(environment.ctx, ask(""))).result is Result.NO_ACCOUNT
    gone = await environment.participant(status=ParticipantStatus.CANCELLED)
    assert (await check(environment.ctx, ask(gone))).result is Result.CANCELLED
    paid = await environment.participant(status=ParticipantStatus.PAID)
    assert (await check(environment.ctx, ask(paid))).result is Result.PAID
    busy = await environment.participant()
    opened = await environment.start(busy)
    await environment.phone(opened, "scan")
    await poll_payment(environment.ctx, opened.view.payment_id)
    assert (await check(environment.ctx, ask(busy))).result is Result.IN_PROGRESS
    feeless = await environment.participant()
    free = {"entry_fee": Decimal(0), "currency": Currency.KZT}  # the platform's own column
    for statement in (
        delete(TournamentFee).where(col(TournamentFee.tournament_id) == f"t-{feeless}"),
        update(Tournament).values(**free).where(col(Tournament.id) == f"t-{feeless}"),
    ):
        async with environment.ctx.db.writing() as session:
            await session.exec(statement)
        answer = await check(environment.ctx, ask(feeless))
        assert (answer.result, answer.money) == (Result.OTHER, None)
    assert (await pay(environment.ctx, ask(feeless, "778"))).result is Result.OTHER
    unapplied = (await environment.rows(Discrepancy))[-1]
    assert (unapplied.kind, unapplied.detail["txn_id"]) == ("MISSING_LOCALLY", "778")


# --- pay


async def test_pay_settles_in_one_go_and_is_answered_the_same_for_ever(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    first = await pay(environment.ctx, ask(participant_id))
    assert (first.result, first.money) == (Result.OK, FEE)
    assert str(first.prv_txn).isdigit()
    assert len(str(first.prv_txn)) == 15
    [(payment, detail)] = await of(environment, participant_id)
    assert (payment.status, detail.channel, detail.provider_open) == (S.COMPLETED, Channel.KASPI_BILL, False)
    assert payment.kaspi_transaction_id == "777000111"
    assert (await environment.read_participant(participant_id)).payment_id == payment.id
    environment.later(86_400)
    assert await pay(environment.ctx, ask(participant_id)) == first
    assert await pay(environment.ctx, ask(participant_id)) == first
    [row] = await environment.rows(WebhookEvent)
    assert (row.state, row.payment_id, row.provider) == (EventState.DONE, payment.id, "kaspi_bill")
    assert "24000" not in row.payload_enc
    [number] = await environment.rows(KaspiOperation)
    assert (number.operation_number, number.source) == ("777000111", "kaspi_bill")
    assert (await topics(environment), await kinds(environment)) == (["payment.received"], [])
    assert await handle_due(environment.ctx) == []  # it is done already
    assert (await check(environment.ctx, ask(participant_id))).result is Result.PAID


async def test_twenty_times_at_once_is_once(environment: ServiceEnvironment, database_url: str) -> None:
    db2 = PaymentDatabaseService(database_url)
    desks = [environment.ctx, replace(environment.ctx, db=db2)]
    participant_id = await environment.participant()
    try:
        answers = await asyncio.gather(*(pay(desks[n % 2], ask(participant_id)) for n in range(20)))
    finally:
        await db2.dispose()
    assert len({(a.result, a.prv_txn) for a in answers}) == 1
    assert len(await of(environment, participant_id)) == 1
    assert await topics(environment) == ["payment.received"]


async def test_a_second_txn_id_is_real_money(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await asyncio.gather(*(pay(environment.ctx, ask(participant_id, f"77700{n}")) for n in range(3)))
    rows = await of(environment, participant_id)
    assert [payment.status for payment, _ in rows] == [S.COMPLETED] * 3
    assert sorted(detail.is_duplicate for _, detail in rows) == [False, True, True]
    assert await kinds(environment) == ["DUPLICATE_PAYMENT"] * 2
    assert (await topics(environment)).count("alert.duplicate_payment") == 2


async def test_pay_beside_an_open_qr(environment: ServiceEnvironment) -> None:
    """The QR cannot be recalled: if it is paid too, that is the second payment, and nothing is lost."""
    opened = await environment.start()
    await pay(environment.ctx, ask(str(opened.view.code)))
    assert await environment.status(opened) is S.PENDING
    await environment.phone(opened)
    await one_pass(environment.ctx)
    view = await environment.view(opened)
    assert (view.status, view.is_duplicate) == (S.COMPLETED, True)
    assert await kinds(environment) == ["DUPLICATE_PAYMENT"]


async def test_another_amount_is_kept_for_a_person(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    answer = await pay(environment.ctx, ask(participant_id, text="23999.99"))
    assert (answer.result, str(answer.money)) == (Result.OK, "23\u00a0999.99\u00a0KZT")
    [(payment, _)] = await of(environment, participant_id)
    assert payment.status is S.PENDING
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.REGISTERED
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.detail["provider"]) == ("AMOUNT_MISMATCH", "777000111")
    assert await topics(environment) == ["alert.amount_mismatch"]
    assert (await check(environment.ctx, ask(participant_id))).result is Result.OTHER
    with pytest.raises(ManualReviewRequired):
        await initiate(
            environment.ctx, InitiateRequest(participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_QR), CLERK
        )
    with pytest.raises(Refused, match="different amount was received"):
        await verify(environment.ctx, VerificationRequest(payment.id, "777000111"), CLERK)
    request = VerificationRequest(
        payment.id, "777000111", money=Money.parse("23999.99", "KZT"), override=True, reason="a cent"
    )
    assert (await verify(environment.ctx, request, CLERK)).status is S.COMPLETED


async def test_a_payment_of_before_there_were_codes_is_paid_by_the_participant_s_id(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    async with environment.ctx.db.writing() as session:
        (await lock_payment(session, opened.view.payment_id)).detail.short_code = None
    assert (await check(environment.ctx, ask(str(opened.view.code)))).result is Result.NO_ACCOUNT
    assert (await check(environment.ctx, ask(participant_id))).result is Result.OK
    assert (await pay(environment.ctx, ask(participant_id))).result is Result.OK
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


@pytest.mark.parametrize("status", [ParticipantStatus.CANCELLED, ParticipantStatus.PAID])
async def test_pay_is_never_refused_for_a_known_account(
    environment: ServiceEnvironment, status: ParticipantStatus
) -> None:
    participant_id = await environment.participant()
    await change(environment, participant_id, status=status)
    assert (await pay(environment.ctx, ask(participant_id))).result is Result.OK
    [(payment, _)] = await of(environment, participant_id)
    assert payment.status is S.COMPLETED


async def test_an_unknown_account_keeps_the_money_and_tells(environment: ServiceEnvironment) -> None:
    for _ in range(3):
        answer = await pay(environment.ctx, ask("nobody"))
        assert answer.result is Result.NO_ACCOUNT
    [row] = await environment.rows(WebhookEvent)
    assert row.state is EventState.FOREIGN
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.payment_id, discrepancy.detail["account"]) == (
        "MISSING_LOCALLY",
        None,
        "nobody",
    )
    assert await topics(environment) == ["alert.unapplied_money"]
    # the participant is there by now, and an operator replays it
    await environment.participant(id="nobody")
    async with environment.ctx.db.writing() as session:
        again = await session.get(WebhookEvent, row.id)
        assert again is not None
        again.state, again.next_attempt_at = EventState.PENDING, environment.now()
    [handled] = await handle_due(environment.ctx)
    assert handled.state is EventState.DONE
    assert (await environment.read_participant("nobody")).status is ParticipantStatus.PAID
    assert (await pay(environment.ctx, ask("nobody"))).result is Result.NO_ACCOUNT  # the answer stays


async def test_one_txn_id_with_two_contents(environment: ServiceEnvironment) -> None:
    one, two = await environment.participant(), await environment.participant()
    first = await pay(environment.ctx, ask(one))
    second = await pay(environment.ctx, ask(two))
    assert (second.result, second.prv_txn) == (first.result, first.prv_txn)
    assert await of(environment, two) == []
    assert await kinds(environment) == ["AMOUNT_MISMATCH"]


async def test_a_clerk_typed_the_number_before_kaspi_called(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.fault("/r1", "cut_before", times=99)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, "777000111"), CLERK)
    assert (await pay(environment.ctx, ask(participant_id))).result is Result.OK
    assert len(await of(environment, participant_id)) == 1  # the same money, once
    assert await kinds(environment) == []
    other = await environment.participant()
    assert (await pay(environment.ctx, ask(other, "0777000111"))).result is Result.OK
    assert await kinds(environment) == ["DUPLICATE_PAYMENT"]  # one number, two people: a person compares


async def test_a_payment_was_moved_before_kaspi_called(environment: ServiceEnvironment) -> None:
    """The account is the former participant's: it is the same money, and pays for one child."""
    wrong = await environment.participant()
    right = await environment.participant(tournament_id=f"t-{wrong}")
    opened = await environment.start(wrong)
    payment_id = opened.view.payment_id
    await environment.fault("/r1", "cut_before", times=99)
    await verify(environment.ctx, VerificationRequest(payment_id, "777000111"), CLERK)
    async with environment.ctx.db.writing() as session:  # Kaspi has nothing more to say about the QR
        (await lock_payment(session, payment_id)).detail.provider_open = False
    await move_payment(environment.ctx, payment_id, right, CLERK, reason="the brother", former_id=wrong)
    assert (await pay(environment.ctx, ask(wrong, "777000111"))).result is Result.OK
    assert [detail.payment_id for _, detail in await of(environment, right)] == [payment_id]
    assert await of(environment, wrong) == []
    assert (await environment.read_participant(wrong)).status is ParticipantStatus.REGISTERED
    assert (await environment.read_participant(right)).payment_id == payment_id
    assert await kinds(environment) == []


async def test_a_clerk_and_kaspi_in_the_same_moment(
    environment: ServiceEnvironment, database_url: str
) -> None:
    """The clerk's transaction is open when Kaspi calls: the money is counted once all the same."""
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    word = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), CLERK.source, CLERK.name,
        ids=ProviderIds(kaspi_operation="777000111"),
    )  # fmt: skip
    db2 = PaymentDatabaseService(database_url)
    try:
        async with db2.writing() as session:
            await apply_event_in(session, environment.ctx, word)
            call = asyncio.create_task(pay(environment.ctx, ask(participant_id)))
            await asyncio.sleep(0.5)
        assert (await call).result is Result.OK
    finally:
        await db2.dispose()
    assert [payment.status for payment, _ in await of(environment, participant_id)] == [S.COMPLETED]
    assert await kinds(environment) == []


async def test_bill_money_goes_back_by_hand(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await pay(environment.ctx, ask(participant_id))
    [(payment, _)] = await of(environment, participant_id)
    with pytest.raises(Refused):
        await refund(environment.ctx, RefundCommand(payment.id, "injured"), CLERK)


async def test_an_unreadable_pay_is_kept(environment: ServiceEnvironment) -> None:
    for _ in range(2):
        await keep_unreadable(environment.ctx, "command=pay&txn_id=\x00&account=p1\ud800")
    [row] = await environment.rows(WebhookEvent)
    assert (row.type, row.state) == ("unreadable", EventState.FOREIGN)
    assert await topics(environment) == ["alert.unapplied_money"]


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
    money = read_sum(text)
    assert (None if money is None else str(money.amount)) == read
