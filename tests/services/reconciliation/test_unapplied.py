"""Money at Kaspi that no payment had, and whose owner is found at the desk: it is given back to nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from procomp_pay.domain.errors import Conflict, ManualReviewRequired, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.context import Actor
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.settlement.side_effects import keep_unapplied
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.services.webhooks.kaspi_gateway import apply_callback
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask
from tests.support.reconciliation import compare, line, open_rows

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


async def test_the_number_of_money_that_went_back_is_another(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await came(environment, "statement", kind=LineKind.REFUND)
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert len(await open_rows(environment)) == 1


async def test_what_a_gateway_told_of_a_refund_stays_open(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    body = {"id": "inv_other", "status": "refunded", "amount": 24000, "transaction_id": NUMBER}
    async with environment.ctx.db.writing() as session:
        row = WebhookEvent(
            id="w1", provider="kaspi", event_id="b" * 64, type="refunded", attempts=10,
            payload_enc=environment.ctx.keyring.encrypt(json.dumps(body)),
        )  # fmt: skip
        await apply_callback(session, environment.ctx, row)
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    [left] = await open_rows(environment)
    assert (left.kind, left.detail["went_back"]) == ("MISSING_LOCALLY", "24000.00")


async def test_an_account_that_looks_like_the_number_is_another(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await pay(environment.ctx, ask(NUMBER, "777000111"))
    await no_kaspi(environment)
    await verify(environment.ctx, VerificationRequest(opened.view.payment_id, NUMBER), CLERK)
    assert len(await open_rows(environment)) == 1


@pytest.mark.parametrize(("amount", "is_known"), [("24000.00", True), ("500.00", False)])
async def test_what_an_earlier_version_left_open_is_known(
    environment: ServiceEnvironment, amount: str, is_known: bool
) -> None:
    opened = await environment.start()
    event = PaymentEvent(
        opened.view.payment_id, EventType.SUCCEEDED, environment.now(), Source.KASPI_STATUS, "kaspi",
        money=Money.parse("24000", "KZT"), ids=ProviderIds(kaspi_operation=NUMBER),
    )  # fmt: skip
    await apply_event(environment.ctx, event)
    await came(environment, "bill", amount)
    [row] = await open_rows(environment)
    if is_known:
        assert not (await resolve(environment.ctx, row.id, How.FIX, "found", CLERK)).is_open
    else:
        with pytest.raises(ManualReviewRequired, match="still belongs to no payment"):
            await resolve(environment.ctx, row.id, How.FIX, "found", CLERK)
