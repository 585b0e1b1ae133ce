"""Money at Kaspi that no payment had, and whose owner is found at the desk: it is given back to nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import ForeignMoney, LineKind
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import Actor
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.settlement.side_effects import keep_unapplied
from procomp_pay.services.webhooks import admin as events
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.services.webhooks.kaspi_gateway import apply_callback
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.reconciliation.discrepancies import Difference, keep
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask
from tests.support.reconciliation import compare, kinds, line, open_rows, run

S = PaymentStatus
NUMBER = "19000000001"
DANA = Actor("dana", Source.PERSON)
SOURCES = ["statement", "bill", "callback"]


async def came(environment: ServiceEnvironment, source: str, amount: str = "24000.00", **more: Any) -> None:
    """Let Kaspi report money that no payment of ours had."""
    if source == "statement":
        ours = await environment.paid()
        known = line(1, str(ours.view.provider_ref), environment.now(), "24000.00 KZT")
        before = environment.now() - timedelta(hours=5)  # no payment of ours was open then
        other = line(2, NUMBER, before, f"{amount} KZT", **more)
        await compare(environment, [known, other], "kaspi")
    elif source == "bill":
        await pay(environment.ctx, ask("nobody", NUMBER, amount))
    else:
        async with environment.ctx.db.writing() as session:
            told = {"payment": None, "operation": f"QR{NUMBER}", "status": "paid", "paid": amount}
            await keep_unapplied(session, environment.ctx, "kaspi", "a" * 64, told)
    [row] = await open_rows(environment)
    assert row.kind == "MISSING_LOCALLY"


async def callback(environment: ServiceEnvironment, status: str, amount: int) -> None:
    """Let a gateway tell of a payment that is not ours, at the last attempt."""
    body = {"id": "inv_other", "status": status, "amount": amount, "transaction_id": NUMBER}
    async with environment.ctx.db.writing() as session:
        row = WebhookEvent(
            id="w1", provider="kaspi", event_id=f"{amount:064}", type=status, attempts=10,
            payload_enc=environment.ctx.keyring.encrypt(json.dumps(body)),
        )  # fmt: skip
        await apply_callback(session, environment.ctx, row)


async def no_kaspi(environment: ServiceEnvironment) -> None:
    await environment.fault("/r1", "cut_before", times=99)


@pytest.mark.parametrize("source", SOURCES)
async def test_money_that_settles_a_payment_is_nobodys_no_more(
    environment: ServiceEnvironment, source: str
) -> None:
    opened = await environment.start()
    await came(environment, source)
    await no_kaspi(environment)
    done = await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert done.status is S.COMPLETED
    assert await open_rows(environment) == []
    [row] = await environment.rows(Discrepancy)
    assert (row.resolution, row.resolved_by) == ("gone", "aigerim")
    assert row.note == f"Its money settles payment {opened.view.payment_id} now."


@pytest.mark.parametrize("source", SOURCES)
async def test_what_kaspi_told_of_an_operation_counts_at_the_desk(
    environment: ServiceEnvironment, source: str
) -> None:
    opened = await environment.start()
    await came(environment, source, "500.00")
    await no_kaspi(environment)
    request = VerificationRequest(opened.view.payment_id, NUMBER, money=Money.parse("24000", "KZT"))
    with pytest.raises(Refused, match=r"500\.00.KZT was paid"):
        await verify(environment.ctx, request, CLERK)
    assert await environment.status(opened) is S.PENDING
    assert len(await open_rows(environment)) == 1


@pytest.mark.parametrize("source", SOURCES)
async def test_a_receipt_of_money_that_was_given_back_pays_no_fee(
    environment: ServiceEnvironment, source: str
) -> None:
    opened = await environment.start()
    await came(environment, source)
    [row] = await open_rows(environment)
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    await no_kaspi(environment)
    request = VerificationRequest(opened.view.payment_id, NUMBER)
    with pytest.raises(Conflict, match="dana decided about it"):
        await verify(environment.ctx, request, CLERK)
    assert await environment.status(opened) is S.PENDING
    override = replace(request, override=True, reason="it was not: see History")
    assert (await verify(environment.ctx, override, CLERK)).status is S.COMPLETED
    [opened_row] = await open_rows(environment)
    assert (opened_row.kind, opened_row.detail["by"]) == ("STATUS_MISMATCH", "aigerim")


async def test_a_decision_counts_also_when_the_money_was_found_again(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await came(environment, "statement")
    [row] = await open_rows(environment)
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    theirs = row.detail["theirs"] | {"candidates": [opened.view.payment_id]}  # this payment was started since
    kind = DiscrepancyKind.MISSING_LOCALLY
    again = Difference(row.fingerprint, kind, "kaspi", None, row.detail | {"theirs": theirs})
    async with environment.ctx.db.writing() as session:
        outcomes = await keep(session, [again], ids=["d2"], run_id=None, now=environment.now())
    assert outcomes == ["reopened"]
    await no_kaspi(environment)
    with pytest.raises(Conflict, match="dana decided about it"):
        await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)


async def test_a_replayed_bill_that_was_given_back_pays_no_fee(environment: ServiceEnvironment) -> None:
    await came(environment, "bill")
    [row] = await open_rows(environment)
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    await environment.participant(id="nobody")
    with pytest.raises(Conflict, match="dana decided about it") as refused:
        await events.replay_one(environment.ctx, NUMBER, CLERK, dry_run=False)
    assert f"--transaction-id {NUMBER} --override" in str(refused.value.next_step)
    await events.replay_many(
        environment.ctx, events.EventFilter(state=EventState.FOREIGN), CLERK, limit=9, dry_run=False
    )
    assert (await environment.read_participant("nobody")).status is ParticipantStatus.REGISTERED
    assert await environment.rows(Payment) == []
    event, _ = await events.one(environment.ctx, NUMBER)
    assert (event.state, event.payment_id) == (EventState.FOREIGN, None)
    assert "dana decided about it" in event.why
    # it was not given back: an admin says so for a payment of the participant
    opened = await environment.start("nobody")
    await no_kaspi(environment)
    override = VerificationRequest(opened.view.payment_id, NUMBER, override=True, reason="it was not")
    assert (await verify(environment.ctx, override, CLERK)).status is S.COMPLETED
    again = await events.replay_one(environment.ctx, NUMBER, CLERK, dry_run=False)
    assert again.state is EventState.DONE
    assert [payment.id for payment in await environment.rows(Payment)] == [opened.view.payment_id]


async def test_a_bill_that_kaspi_reports_after_its_money_was_given_back_pays_no_fee(
    environment: ServiceEnvironment,
) -> None:
    """Kaspi repeats a ``pay`` until it is answered: the statement may be read, and decided about, before."""
    await came(environment, "statement")
    [row] = await open_rows(environment)
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    participant_id = await environment.participant()
    answers = [await pay(environment.ctx, ask(participant_id, NUMBER)) for _ in range(2)]
    assert [(answer.result, answer.comment) for answer in answers] == [(Result.OK, "OK")] * 2
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.REGISTERED
    [kept] = await open_rows(environment)
    assert (kept.kind, kept.detail["account"]) == ("MISSING_LOCALLY", participant_id)
    assert "dana decided about it" in kept.detail["why"]
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic == Topic.ALERT_UNAPPLIED]
    assert len(alerts) == 1


@pytest.mark.parametrize("source", ["bill", "callback"])
@pytest.mark.parametrize(("amount", "kinds"), [(24000, []), (500, ["MISSING_LOCALLY"])])
async def test_money_that_settled_a_payment_before_it_was_told_is_not_nobodys(
    environment: ServiceEnvironment, source: str, amount: int, kinds: list[str]
) -> None:
    """A gateway's callback of an unknown payment waits half an hour: a clerk may verify its receipt."""
    opened = await environment.start()
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    if source == "bill":
        await pay(environment.ctx, ask("nobody", NUMBER, f"{amount}.00"))
    else:
        await callback(environment, "paid", amount)
    assert [row.kind for row in await open_rows(environment)] == kinds
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic == Topic.ALERT_UNAPPLIED]
    assert len(alerts) == len(kinds)


async def test_another_currency_is_not_the_fee(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    ours = await environment.paid()
    known = line(1, str(ours.view.provider_ref), environment.now(), "24000.00 KZT")
    other = line(2, NUMBER, environment.now() - timedelta(hours=5), "24000.00 KZT")
    yuan = replace(other, money=ForeignMoney(Decimal("24000.00"), "CNY"))
    await compare(environment, [known, yuan], "kaspi")
    await no_kaspi(environment)
    with pytest.raises(Refused, match=r"CNY was paid"):
        await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert len(await open_rows(environment)) == 1


async def test_the_number_of_money_that_went_back_is_another(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await came(environment, "statement", kind=LineKind.REFUND)
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert len(await open_rows(environment)) == 1


@pytest.mark.parametrize("is_of_0_1_0", [False, True])
async def test_what_a_gateway_told_of_a_refund_stays_open(
    environment: ServiceEnvironment, *, is_of_0_1_0: bool
) -> None:
    opened = await environment.start()
    await callback(environment, "refunded", 24000)
    if is_of_0_1_0:
        async with environment.ctx.db.writing() as session:
            row = (await session.exec(select(Discrepancy))).one()
            row.detail = {{"went_back": "paid"}.get(name, name): value for name, value in row.detail.items()}
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    [left] = await open_rows(environment)
    name = "paid" if is_of_0_1_0 else "went_back"
    assert (left.kind, left.detail[name]) == ("MISSING_LOCALLY", "24000.00")


async def test_an_account_that_looks_like_the_number_is_another(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await pay(environment.ctx, ask(NUMBER, "777000111"))
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert len(await open_rows(environment)) == 1


@pytest.mark.parametrize("by", ["fix", "reconcile"])
@pytest.mark.parametrize(("amount", "is_known"), [("24000.00", True), ("500.00", False)])
async def test_what_an_earlier_version_left_open_is_known(
    environment: ServiceEnvironment, amount: str, by: str, *, is_known: bool
) -> None:
    opened = await environment.start()
    await came(environment, "bill", amount)
    [row] = await open_rows(environment)
    event = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
        money=Money.parse("24000", "KZT"), ids=ProviderIds(kaspi_operation=NUMBER),
    )  # fmt: skip
    await apply_event(environment.ctx, event)
    await environment.sql("UPDATE pay_discrepancy SET state = 'open', resolution = NULL, resolved_by = NULL")
    if by == "reconcile":
        assert await closed_by(environment, "stripe") == 0
        assert await closed_by(environment, "kaspi") == int(is_known)
    elif is_known:
        assert not (await resolve(environment.ctx, row.id, How.FIX, "found", CLERK)).is_open
    else:
        with pytest.raises(ManualReviewRequired, match="still belongs to no payment"):
            await resolve(environment.ctx, row.id, How.FIX, "found", CLERK)


async def closed_by(environment: ServiceEnvironment, provider: str) -> int:
    return (await run(environment, provider)).closed


async def test_a_line_whose_money_was_given_back_pays_no_fee_when_it_is_read_again(
    environment: ServiceEnvironment,
) -> None:
    """It fitted two payments, and somebody gave the money back; then it fits one of them alone."""
    opened, other = await environment.start(), await environment.start()
    lines = [line(5, NUMBER, environment.now(), "24000.00 KZT")]
    await compare(environment, lines, "kaspi")
    [row] = await open_rows(environment)
    assert row.kind == "MISSING_LOCALLY"
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    await environment.phone(other)
    environment.later(6)
    await environment.poll_kaspi()
    assert await environment.status(other) is S.COMPLETED
    lines.append(line(6, str(other.view.provider_ref), environment.now(), "24000.00 KZT"))
    for _ in range(2):
        await compare(environment, lines, "kaspi")
        assert await environment.status(opened) is S.PENDING
    assert await open_rows(environment) == []


@pytest.mark.parametrize("names_qr", [False, True])
async def test_a_statement_of_decided_money_alone_is_still_ours(
    environment: ServiceEnvironment, *, names_qr: bool
) -> None:
    for _ in range(2):
        await environment.start()
    name = "77" if names_qr else None
    lines = [line(5, NUMBER, environment.now(), "24000.00 KZT", payment_ref=name)]
    await compare(environment, lines, "kaspi", is_ours=names_qr)
    [row] = await open_rows(environment)
    await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", DANA)
    report = await compare(environment, lines, "kaspi")
    assert kinds(report) == {("MISSING_LOCALLY", "accepted"): 1}
