"""Manual verification: accept, reject and override; Kaspi is asked first; one number settles one payment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import select

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Conflict, NotFound, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.kaspi_verification import KaspiAnswer
from procomp_pay.domain.money import Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import CreateState, ParticipantStatus, PaymentStatus
from procomp_pay.providers.kaspi.refunds import KaspiRefunds
from procomp_pay.services.closing.figures import count
from procomp_pay.services.context import Actor
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified, verify
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.notifications.alerts import compose
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.settlement.apply import apply_event, apply_event_in
from procomp_pay.services.views import payment as views
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_payments import paid
from tests.support.reconciliation import compare, line

S = PaymentStatus
NUMBER = "19000000001"
ALMATY = ZoneInfo("Asia/Almaty")
DANA = Actor("dana", Source.PERSON)
KZT = Money.parse("24000", "KZT")


async def verify_manually(
    environment: ServiceEnvironment, opened: views.Opening, number: str = NUMBER, **more: Any
) -> Verified:
    """Verify as an operator."""
    actor = more.pop("actor", CLERK)
    return await verify(environment.ctx, VerificationRequest(opened.view.payment_id, number, **more), actor)


async def no_kaspi(environment: ServiceEnvironment) -> None:
    await environment.fault("/r1", "cut_before", times=99)


async def numbers(environment: ServiceEnvironment) -> list[tuple[str, str, str]]:
    operations: list[KaspiOperation] = await environment.rows(KaspiOperation)
    return [(row.operation_number, row.payment_id, row.recorded_by) for row in operations]


async def kinds(environment: ServiceEnvironment) -> list[str]:
    return sorted(row.kind for row in await environment.rows(Discrepancy))


async def audit_actions(environment: ServiceEnvironment) -> list[tuple[str, str]]:
    rows: list[AuditEntry] = await environment.rows(AuditEntry)
    return [(row.actor, row.action) for row in sorted(rows, key=lambda row: row.id or 0)]


# --- Kaspi is asked first


async def test_kaspi_reports_the_payment_with_the_typed_number(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.phone(opened)
    number = str(opened.view.provider_ref)  # the sandbox numbers operations as Kaspi's receipts seem to
    done = await verify_manually(environment, opened, f"QR {number}")
    assert (done.status, done.number, done.kaspi) == (S.COMPLETED, number, KaspiAnswer.PAID)
    assert [row[:2] for row in await numbers(environment)] == [(number, opened.view.payment_id)]
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    assert await kinds(environment) == []


async def test_kaspi_reports_the_payment_with_another_number(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened)
    with pytest.raises(Conflict, match="is already settled by operation") as conflict:
        await verify_manually(environment, opened)
    assert str(opened.view.provider_ref) in conflict.value.message
    assert await environment.status(opened) is S.COMPLETED
    assert len(await numbers(environment)) == 1


async def test_the_typed_number_is_stored_if_kaspi_reports_none(environment: ServiceEnvironment) -> None:
    await environment.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    opened = await environment.start()
    await environment.phone(opened)
    await poll_payment(environment.ctx, opened.view.payment_id)
    assert (await environment.status(opened), await numbers(environment)) == (S.COMPLETED, [])
    done = await verify_manually(environment, opened)
    assert (done.already, done.status) == (False, S.COMPLETED)
    assert await numbers(environment) == [(NUMBER, opened.view.payment_id, "aigerim")]
    assert ("aigerim", "number:noted") in await audit_actions(environment)
    assert (await environment.view(opened)).operation_number == NUMBER


@pytest.mark.parametrize(("action", "message"), [(None, "was not paid"), ("scan", "but not confirmed yet")])
async def test_kaspi_reports_the_payment_as_unpaid(
    environment: ServiceEnvironment, action: str | None, message: str
) -> None:
    opened = await environment.start()
    if action:
        await environment.phone(opened, action)
    with pytest.raises(Conflict, match=message):
        await verify_manually(environment, opened)
    assert await numbers(environment) == []
    assert ("aigerim", "verify_refused") in await audit_actions(environment)
    assert (await environment.view(opened)).status in (S.PENDING, S.PROCESSING)


async def test_an_override_opens_a_discrepancy(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    with pytest.raises(Refused, match="needs a reason"):
        await verify_manually(environment, opened, override=True, reason="  ")
    done = await verify_manually(environment, opened, override=True, reason="paid by the shop's own QR")
    assert (done.status, len(done.overridden)) == (S.COMPLETED, 1)
    [discrepancy] = await environment.rows(Discrepancy)
    assert discrepancy.kind == "STATUS_MISMATCH"
    assert (discrepancy.detail["by"], discrepancy.detail["override"]) == (
        "aigerim",
        "paid by the shop's own QR",
    )
    rows: list[AuditEntry] = await environment.rows(AuditEntry)
    assert [row.note for row in rows if row.action == "succeeded:moved"] == ["paid by the shop's own QR"]


# --- Kaspi does not answer: the verification counts, and the QR is still polled


async def test_verification_during_a_kaspi_outage(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await no_kaspi(environment)
    done = await verify_manually(environment, opened, actor=DANA)
    assert (done.status, done.kaspi) == (S.COMPLETED, KaspiAnswer.NO_ANSWER)
    view = await environment.view(opened)
    assert view.provider_open
    assert (await environment.read_participant(participant_id)).payment_id == opened.view.payment_id
    assert ("dana", "succeeded:moved") in await audit_actions(environment)
    again = await verify_manually(environment, opened)  # twice is once
    assert again.already
    assert await numbers(environment) == [(NUMBER, opened.view.payment_id, "dana")]


async def test_kaspis_final_status_contradicts_the_verification(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    await verify_manually(environment, opened, actor=DANA)
    await environment.no_faults()
    for _ in range(4):
        await environment.maintain(after=200)
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.detail["recorded_by"]) == ("STATUS_MISMATCH", "dana")
    assert "alert.status_mismatch" in [row.topic for row in await environment.rows(OutboxMessage)]
    view = await environment.view(opened)
    assert (view.status, view.provider_open) == (S.COMPLETED, False)


async def test_kaspi_confirms_the_verification_later(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened)
    await no_kaspi(environment)
    await verify_manually(environment, opened, str(opened.view.provider_ref))
    await environment.no_faults()
    await environment.maintain(after=10)
    view = await environment.view(opened)
    assert (view.status, view.provider_open, await kinds(environment)) == (S.COMPLETED, False, [])
    assert len(await numbers(environment)) == 1


async def test_kaspi_reports_another_number_later(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.http.post("/_sandbox/kaspi/settings", json={"operation_numbers": "own"})
    await environment.phone(opened)
    await no_kaspi(environment)
    await verify_manually(environment, opened)
    await environment.no_faults()
    await environment.maintain(after=10)
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.detail["recorded"]) == ("DUPLICATE_PAYMENT", NUMBER)
    assert len(await numbers(environment)) == 2


async def test_kaspi_is_asked_for_a_short_time_only(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.fault("/r1", "delay", seconds=60, times=9)
    began = asyncio.get_running_loop().time()
    assert (await verify_manually(environment, opened)).kaspi is KaspiAnswer.NO_ANSWER
    assert asyncio.get_running_loop().time() - began < 60


# --- refusals


async def test_one_number_settles_one_payment(environment: ServiceEnvironment) -> None:
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    await no_kaspi(environment)
    await verify_manually(environment, first, actor=DANA)
    with pytest.raises(Conflict) as conflict:
        await verify_manually(environment, second, override=True, reason="never mind")
    for part in (first.view.payment_id, "Әсел p1", "recorded by dana", NUMBER):
        assert part in conflict.value.message
    assert await environment.status(second) is S.PENDING
    with pytest.raises(Conflict, match="is already settled by operation 19000000001, recorded by dana"):
        await verify_manually(environment, first, "19000000002")
    assert len(await numbers(environment)) == 1


async def test_the_receipt_of_another_qr(environment: ServiceEnvironment) -> None:
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    await no_kaspi(environment)
    with pytest.raises(Conflict, match="is the receipt of another QR: Әсел p1"):
        await verify_manually(environment, second, f"QR{first.view.provider_ref}")
    notes = [row.note for row in await environment.rows(AuditEntry) if row.action == "verify_refused"]
    assert any("is the receipt of another QR: …, payment" in str(note) for note in notes)
    assert "Әсел p1" not in str(notes)


async def test_the_receipt_of_a_payment_that_the_platform_took(environment: ServiceEnvironment) -> None:
    """It is not adopted yet, so its number is not among those that settled a payment of ours."""
    first, second = await environment.start(), await environment.start()
    await no_kaspi(environment)
    await verify_manually(environment, first)
    for table in ("pay_kaspi_operation", "pay_payment_detail"):
        statement = f"DELETE FROM {table} WHERE payment_id = :id"
        await environment.sql(statement, id=first.view.payment_id)
    with pytest.raises(Conflict, match="which the platform took by itself"):
        await verify_manually(environment, second)
    assert await environment.status(second) is S.PENDING
    await environment.sql(
        """UPDATE "Payment" SET status = 'PENDING' WHERE id = :id""", id=first.view.payment_id
    )
    assert (await verify_manually(environment, second)).status is S.COMPLETED  # nor could it be adopted


async def test_a_different_amount(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    less = Money.parse("23900", "KZT")
    with pytest.raises(Refused, match="was charged"):
        await verify_manually(environment, opened, money=less)
    done = await verify_manually(
        environment, opened, money=less, override=True, reason="the coach pays the rest"
    )
    assert done.status is S.COMPLETED
    [row] = await environment.rows(KaspiOperation)
    assert str(row.amount) == "23900.00"
    assert set(await kinds(environment)) == {"AMOUNT_MISMATCH"}


async def test_a_date_outside_the_payments_time(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    born = opened.view.created_at
    for off, message in (
        (timedelta(minutes=-11), "before the payment was started"),
        (timedelta(minutes=30), "in the future"),
    ):
        with pytest.raises(Conflict, match=message):
            await verify_manually(environment, opened, paid_at=born + off)
    environment.later(3600)
    with pytest.raises(Conflict, match="after the payment expired"):
        await verify_manually(environment, opened, paid_at=born + timedelta(minutes=40))
    done = await verify_manually(environment, opened, paid_at=born + timedelta(minutes=2))
    assert done.status is S.COMPLETED
    [row] = await environment.rows(KaspiOperation)
    assert row.paid_at == born + timedelta(minutes=2)


async def test_what_cannot_be_verified(environment: ServiceEnvironment) -> None:
    apple = await environment.start(method="apple_pay")
    with pytest.raises(Refused, match="not a Kaspi payment"):
        await verify_manually(environment, apple)
    with pytest.raises(NotFound):
        await verify(environment.ctx, VerificationRequest("nothing", NUMBER), CLERK)
    with pytest.raises(Refused, match="too short"):
        await verify_manually(environment, apple, "12")
    assert ("aigerim", "verify_refused") in await audit_actions(environment)


async def test_verification_of_an_expired_payment(environment: ServiceEnvironment) -> None:
    """Paid while the network was down, after the payment expired: COMPLETED and flagged as late."""
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await no_kaspi(environment)
    await apply_event(
        environment.ctx,
        PaymentEvent(opened.view.payment_id, EventType.EXPIRED, environment.now(), Source.CLOCK, "clock"),
    )
    done = await verify_manually(environment, opened)
    assert (done.status, done.late) == (S.COMPLETED, True)
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    assert await kinds(environment) == ["LATE_PAYMENT"]


async def test_a_payment_with_a_different_amount_needs_an_override(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    other = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
        money=Money.parse("2400", "KZT"),
    )  # fmt: skip
    await apply_event(environment.ctx, other)
    await no_kaspi(environment)
    with pytest.raises(Refused, match="different amount was received"):
        await verify_manually(environment, opened)
    for wrong in (None, Money.parse("24000", "USD")):
        with pytest.raises((Refused, Conflict)):
            await verify_manually(environment, opened, money=wrong, override=True, reason="yes")
    paid = Money.parse("2400", "KZT")
    assert (
        await verify_manually(environment, opened, money=paid, override=True, reason="yes")
    ).status is S.COMPLETED


@pytest.mark.parametrize("before", [S.PENDING, S.EXPIRED, S.FAILED])
async def test_the_number_of_another_amount_is_not_accepted_for_another_payment(
    environment: ServiceEnvironment, before: PaymentStatus
) -> None:
    opened, other = await environment.start(), await environment.start()
    payment_id = opened.view.payment_id
    if before is not S.PENDING:
        type_ = EventType.EXPIRED if before is S.EXPIRED else EventType.FAILED
        await apply_event(
            environment.ctx,
            PaymentEvent(payment_id, type_, environment.now(), Source.KASPI_STATUS, "kaspi"),
        )
    await apply_event(
        environment.ctx,
        PaymentEvent(
            payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
            money=Money.parse("2400", "KZT"), ids=ProviderIds(kaspi_operation=f"QR{NUMBER}"),
            final_at_provider=True,
        ),
    )  # fmt: skip
    assert await environment.status(opened) is before
    await no_kaspi(environment)
    with pytest.raises(Conflict, match="was received for Әсел p1"):
        await verify_manually(environment, other)
    [discrepancy] = await environment.rows(Discrepancy)
    await resolve(environment.ctx, discrepancy.id, How.ACCEPT, "given back in the app", CLERK)
    with pytest.raises(Conflict, match="was received for Әсел p1"):
        await verify_manually(environment, other)
    assert await environment.status(other) is S.PENDING
    accepted = {"money": Money.parse("2400", "KZT"), "override": True, "reason": "the rest in cash"}
    assert (await verify_manually(environment, opened, **accepted)).status is S.COMPLETED


def _came(environment: ServiceEnvironment, of: views.Opening, number: str, amount: str) -> PaymentEvent:
    """Return Kaspi's event that this much was paid by the payment's QR."""
    return PaymentEvent(
        of.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_CALLBACK, "gateway",
        money=Money.parse(amount, "KZT"),
        ids=ProviderIds(kaspi_payment=of.view.provider_ref, kaspi_operation=number),
        final_at_provider=True,
    )  # fmt: skip


async def test_a_second_wrong_amount_does_not_hide_the_first(environment: ServiceEnvironment) -> None:
    opened, other = await environment.start(), await environment.start()
    second = "19000000002"
    events = [_came(environment, opened, NUMBER, "2400"), _came(environment, opened, second, "3600")]
    for event in (*events, *events[::-1]):  # and both are delivered again
        await apply_event(environment.ctx, event)
    rows: list[Discrepancy] = await environment.rows(Discrepancy)
    assert sorted((row.detail["operation"], str(row.detail["paid"]["amount"])) for row in rows) == [
        (NUMBER, "2400.00"), (second, "3600.00"),
    ]  # fmt: skip
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic == "alert.amount_mismatch"]
    assert len(alerts) == 2
    await compare(environment, [line(2, NUMBER, environment.now(), "2400.00 KZT")], "kaspi")
    assert len(await environment.rows(Discrepancy)) == 2  # the statement's line is the same money
    await no_kaspi(environment)
    for number in (NUMBER, second):
        with pytest.raises(Conflict, match="was received for Әсел p1"):
            await verify_manually(environment, other, number)
    accepted = {"money": Money.parse("3600", "KZT"), "override": True, "reason": "the rest in cash"}
    assert (await verify_manually(environment, opened, second, **accepted)).status is S.COMPLETED
    with pytest.raises(Conflict, match="was received for Әсел p1"):
        await verify_manually(environment, other, NUMBER)
    [first] = [row for row in await environment.rows(Discrepancy) if row.detail["operation"] == NUMBER]
    assert (first.state.value, str(first.detail["paid"]["amount"])) == ("open", "2400.00")
    with pytest.raises(Refused, match=f"{NUMBER} is a second operation at Kaspi"):
        await resolve(environment.ctx, first.id, How.REFUND, "another amount", CLERK)
    today = environment.now().astimezone(ALMATY).date()
    by_hand = (await count(environment.ctx, Period(ALMATY, today, today), None, {})).by_hand
    assert [(back.number, back.amount) for back in by_hand if back.is_second] == [
        (NUMBER, Decimal("2400.00"))
    ]


async def test_the_receipts_number_does_not_hide_that_of_the_operation(
    environment: ServiceEnvironment,
) -> None:
    """A receipt shows the number of the QR, under which another amount is accepted."""
    opened, other = await environment.start(), await environment.start()
    await apply_event(environment.ctx, _came(environment, opened, NUMBER, "2400"))
    await no_kaspi(environment)
    accepted = {"money": Money.parse("2400", "KZT"), "override": True, "reason": "the rest in cash"}
    await verify_manually(environment, opened, str(opened.view.provider_ref), **accepted)
    with pytest.raises(Conflict, match="was received for Әсел p1"):
        await verify_manually(environment, other, NUMBER)
    assert len(await environment.rows(Discrepancy)) == 1


async def test_another_amount_under_a_number_that_was_verified_for_another_payment(
    environment: ServiceEnvironment,
) -> None:
    opened, other = await environment.start(), await environment.start()
    await no_kaspi(environment)
    await verify_manually(environment, other)
    await apply_event(environment.ctx, _came(environment, opened, NUMBER, "2400"))
    [discrepancy] = [row for row in await environment.rows(Discrepancy) if row.kind == "AMOUNT_MISMATCH"]
    assert discrepancy.detail["settled"] == other.view.payment_id
    [alert] = [row for row in await environment.rows(OutboxMessage) if row.topic == "alert.amount_mismatch"]
    shown = " ".join(compose(alert.topic, alert.payload, None).lines)
    assert f"verified for payment {other.view.payment_id}, too: the money came once" in shown
    with pytest.raises(Refused, match="the money came once"):
        await resolve(environment.ctx, discrepancy.id, How.REFUND, "another amount", CLERK)


async def test_another_object_with_the_number_that_was_verified_is_no_second_payment(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    await verify_manually(environment, opened)
    ids = ProviderIds(kaspi_payment="777777", kaspi_operation=NUMBER)
    again = replace(_came(environment, opened, NUMBER, "24000"), ids=ids)
    await apply_event(environment.ctx, again)
    assert await kinds(environment) == []
    await apply_event(environment.ctx, replace(again, money=Money.parse("2400", "KZT")))
    assert await kinds(environment) == ["DUPLICATE_PAYMENT"]  # of another sum: somebody has to look


async def test_an_idempotency_key(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    request = VerificationRequest(opened.view.payment_id, NUMBER, idempotency_key="k1")
    answers = await asyncio.gather(*(verify(environment.ctx, request, CLERK) for _ in range(5)))
    assert {(a.status, a.already) for a in answers} == {(S.COMPLETED, False)}
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await verify(environment.ctx, replace(request, number="19000000002"), CLERK)


# --- at once


async def _outcome(work: Any) -> Any:
    try:
        return await work
    except PaymentError as error:
        return error


async def test_two_operators_verify_with_one_number_at_once(
    environment: ServiceEnvironment, database_url: str
) -> None:
    """Two contexts with their own connections: one wins, the others get an error that names the winner."""
    db2 = PaymentDatabaseService(database_url)
    desks = [environment.ctx, replace(environment.ctx, db=db2)]
    opened = [await environment.start() for _ in range(6)]
    await no_kaspi(environment)
    try:
        for number in ("19000000001", "19000000002", "19000000003"):
            pair = [opened.pop(), opened.pop()]
            jobs = [
                verify(
                    desks[n % 2],
                    VerificationRequest(pair[n % 2].view.payment_id, number),
                    Actor(f"clerk{n}", Source.PERSON),
                )
                for n in range(6)
            ]
            results = await asyncio.gather(*map(_outcome, jobs))
            won = [r for r in results if isinstance(r, Verified) and not r.already]
            lost = [r for r in results if isinstance(r, Conflict)]
            assert len(won) == 1, results
            assert len(lost) == 3
            [row] = [r for r in await numbers(environment) if r[0] == number]
            assert row[1] == won[0].payment_id
            assert all(row[2] in error.message and row[1] in error.message for error in lost)
            states = {(await environment.status(item)) for item in pair}
            assert states == {S.COMPLETED, S.PENDING}
    finally:
        await db2.dispose()
    assert await kinds(environment) == []


async def test_another_verification_commits_first(environment: ServiceEnvironment, database_url: str) -> None:
    """The other one is not committed yet when the checks pass: the primary key of the number decides."""
    first, second = (
        await environment.start(),
        await environment.start(),
    )
    async with environment.ctx.db.writing() as session:  # its answer was lost: Kaspi is not asked
        detail = await session.get(PaymentDetail, second.view.payment_id)
        assert detail is not None
        detail.provider_ref, detail.create_state = None, CreateState.SENT
    word = PaymentEvent(
        first.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.PERSON, "dana",
        ids=ProviderIds(kaspi_operation=NUMBER),
    )  # fmt: skip
    db2 = PaymentDatabaseService(database_url)
    try:
        async with db2.writing() as session:
            await apply_event_in(session, environment.ctx, word)
            late = asyncio.create_task(_outcome(verify_manually(environment, second)))
            await asyncio.sleep(0.5)
        objection = await late
    finally:
        await db2.dispose()
    assert isinstance(objection, Conflict), objection
    assert "recorded by dana" in objection.message
    assert await environment.status(second) is S.PENDING
    assert (await numbers(environment), await kinds(environment)) == (
        [(NUMBER, first.view.payment_id, "dana")],
        [],
    )


async def test_two_numbers_for_one_payment_at_once(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await no_kaspi(environment)
    results = await asyncio.gather(
        *(
            _outcome(
                verify_manually(environment, opened, f"1900000000{n}", actor=Actor(f"c{n}", Source.PERSON))
            )
            for n in range(5)
        )
    )
    assert sum(isinstance(result, Verified) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert len(await numbers(environment)) == 1


async def test_verification_poll_and_callback_at_once(environment: ServiceEnvironment) -> None:
    """In any order: COMPLETED once, one number, one message."""
    for _ in range(4):
        opened = await environment.start()
        await environment.phone(opened)
        number = str(opened.view.provider_ref)
        event = PaymentEvent(
            opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_CALLBACK, "gateway",
            money=KZT, ids=ProviderIds(kaspi_payment=number, kaspi_operation=number), final_at_provider=True,
        )  # fmt: skip
        results = await asyncio.gather(
            _outcome(verify_manually(environment, opened, number)),
            _outcome(poll_payment(environment.ctx, opened.view.payment_id)),
            _outcome(apply_event(environment.ctx, event)),
            _outcome(verify_manually(environment, opened, number, actor=DANA)),
        )
        assert not [result for result in results if isinstance(result, PaymentError)], results
        assert await environment.status(opened) is S.COMPLETED
        assert [row[0] for row in await numbers(environment) if row[1] == opened.view.payment_id] == [number]
    assert [row.topic for row in await environment.rows(OutboxMessage)] == ["payment.received"] * 4
    assert await kinds(environment) == []


async def test_a_poll_reports_a_number_that_settled_another_payment(environment: ServiceEnvironment) -> None:
    """A number typed for the wrong payment: the event is applied and left for manual review."""
    wrong, right = (
        await environment.start(),
        await environment.start(),
    )
    await no_kaspi(environment)
    await verify_manually(environment, wrong, "19000000077")
    event = PaymentEvent(
        right.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
        money=KZT, ids=ProviderIds(kaspi_operation="QR19000000077"), final_at_provider=True,
    )  # fmt: skip
    await apply_event(environment.ctx, event)
    assert await environment.status(right) is S.COMPLETED
    [discrepancy] = await environment.rows(Discrepancy)
    assert (discrepancy.kind, discrepancy.detail["settled"]) == ("DUPLICATE_PAYMENT", wrong.view.payment_id)


# --- codes


async def test_a_payment_is_found_by_its_code(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    code = str((await environment.view(opened)).code)
    assert (
        await views.one(environment.ctx, code.lower().replace("-", " "))
    ).payment_id == opened.view.payment_id
    last = "0" if code[-1] != "0" else "2"
    with pytest.raises(NotFound, match="mistyped"):
        await views.one(environment.ctx, code[:-1] + last)


# --- the answer to the creation was lost: Kaspi is asked for the number on the receipt


async def lost_payment(environment: ServiceEnvironment) -> tuple[str, str]:
    """Return the id of a payment that was paid although its creation was lost, and the purchase's number."""
    await paid(environment, KaspiScheme.ENHANCED)  # sets the scheme
    opened = await environment.start()
    await environment.phone(opened)
    async with environment.ctx.db.writing() as session:
        detail = await session.get(PaymentDetail, opened.view.payment_id)
        payment = await session.get(Payment, opened.view.payment_id)
        assert detail is not None
        assert payment is not None
        detail.create_state, detail.provider_ref, payment.kaspi_qr_code = CreateState.SENT, None, None
    return opened.view.payment_id, str(opened.view.provider_ref)


async def test_kaspi_is_asked_for_the_number_of_a_lost_payment(environment: ServiceEnvironment) -> None:
    payment_id, ref = await lost_payment(environment)
    done = await verify(environment.ctx, VerificationRequest(payment_id, f"QR{ref}"), CLERK)
    assert (done.status, done.kaspi) == (PaymentStatus.COMPLETED, KaspiAnswer.PAID)
    assert (await views.one(environment.ctx, payment_id)).operation_number == ref


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"TotalAmount": 20000, "AvailableReturnAmount": 20000}, "20.000.00.KZT was paid"),
        ({"AvailableReturnAmount": 0}, "not paid"),
        ({"TransactionDate": "2026-01-01T10:00:00+05:00"}, "before the payment was started"),
    ],
)
async def test_what_kaspi_says_about_the_number_counts(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], match: str
) -> None:
    payment_id, ref = await lost_payment(environment)
    real = KaspiRefunds.details

    async def details(self: KaspiRefunds, number: str) -> dict[str, Any]:
        return {**(await real(self, number)), **change}

    monkeypatch.setattr(KaspiRefunds, "details", details)
    with pytest.raises((Refused, Conflict), match=match):
        await verify(environment.ctx, VerificationRequest(payment_id, ref), CLERK)


async def test_an_override_books_no_other_amount_than_the_named_one(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi's own amount counts, and a second person has approved the named one."""
    payment_id, ref = await lost_payment(environment)
    real = KaspiRefunds.details

    async def details(self: KaspiRefunds, number: str) -> dict[str, Any]:
        return {**(await real(self, number)), "TotalAmount": 500, "AvailableReturnAmount": 500}

    monkeypatch.setattr(KaspiRefunds, "details", details)
    override = VerificationRequest(payment_id, ref, override=True, reason="the clerk saw it")
    for named in (None, KZT):
        with pytest.raises(Refused, match="an override needs the amount") as refusal:
            await verify(environment.ctx, replace(override, money=named), CLERK)
        assert "--amount 500.00" in str(refusal.value.next_step)
    assert (await views.one(environment.ctx, payment_id)).status is S.PENDING
    paid_amount = Money.parse("500", "KZT")
    done = await verify(environment.ctx, replace(override, money=paid_amount), CLERK)
    assert (done.status, done.money) == (S.COMPLETED, paid_amount)
    assert (await views.one(environment.ctx, payment_id)).charged == paid_amount


async def test_a_number_that_kaspi_does_not_know_is_left_to_the_operator(
    environment: ServiceEnvironment,
) -> None:
    payment_id, _ = await lost_payment(environment)
    done = await verify(environment.ctx, VerificationRequest(payment_id, NUMBER), CLERK)
    assert (done.status, done.kaspi) == (PaymentStatus.COMPLETED, KaspiAnswer.CANNOT_BE_ASKED)


async def _to_give_back(environment: ServiceEnvironment) -> list[tuple[str, Decimal]]:
    """Return what closing lists for a refund in the Kaspi Pay app: numbers and sums."""
    today = environment.now().astimezone(ALMATY).date()
    figures = await count(environment.ctx, Period(ALMATY, today, today), None, {})
    return [(back.number, back.amount) for back in figures.by_hand]


async def test_what_settled_a_payment_is_not_listed_beside_money_of_another_amount(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await apply_event(environment.ctx, _came(environment, opened, NUMBER, "2400"))
    await no_kaspi(environment)
    whole = {"money": Money.parse("24000", "KZT"), "override": True, "reason": "paid once more"}
    assert (await verify_manually(environment, opened, "19000000002", **whole)).status is S.COMPLETED
    assert await _to_give_back(environment) == [(NUMBER, Decimal("2400.00"))]


async def test_money_of_another_amount_without_its_number_gives_back_nothing_else(
    environment: ServiceEnvironment,
) -> None:
    """An earlier version stored no number with the discrepancy."""
    opened = await environment.start()
    for number, amount in ((NUMBER, "2400"), ("19000000002", "24000")):
        await apply_event(environment.ctx, _came(environment, opened, number, amount))
    assert await environment.status(opened) is S.COMPLETED
    async with environment.ctx.db.writing() as session:
        [row] = (await session.exec(select(Discrepancy))).all()
        row.detail = {name: value for name, value in row.detail.items() if name != "operation"}
    await no_kaspi(environment)
    assert await _to_give_back(environment) == []
    with pytest.raises(Refused, match="a refund from here would refund the first one"):
        await resolve(environment.ctx, row.id, How.REFUND, "another amount", CLERK)


async def test_money_of_another_amount_of_an_open_payment_is_no_second_one(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await apply_event(environment.ctx, _came(environment, opened, NUMBER, "2400"))
    [row] = await environment.rows(Discrepancy)
    with pytest.raises(Conflict, match="only a completed payment can be refunded"):
        await resolve(environment.ctx, row.id, How.REFUND, "another amount", CLERK)


async def test_an_accepted_second_operation_may_pay_for_somebody_else(
    environment: ServiceEnvironment,
) -> None:
    """The sister was paid by the same QR, and finance says so."""
    opened, sister = await environment.start(), await environment.start()
    await apply_event(environment.ctx, _came(environment, opened, NUMBER, "24000"))
    qr = opened.view.provider_ref
    second = line(2, "19000000002", environment.now(), "24000.00 KZT", payment_ref=qr)
    await compare(environment, [line(1, NUMBER, environment.now(), "24000.00 KZT"), second], "kaspi")
    await no_kaspi(environment)
    with pytest.raises(Conflict, match="was received for Әсел p1"):
        await verify_manually(environment, sister, "19000000002")
    [row] = await environment.rows(Discrepancy)
    await resolve(environment.ctx, row.id, How.ACCEPT, "it is the sister's", CLERK)
    assert (await verify_manually(environment, sister, "19000000002")).status is S.COMPLETED
