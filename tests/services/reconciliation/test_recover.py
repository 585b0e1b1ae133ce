"""Payments that an older backup lost are rebuilt from Stripe's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest

from procomp_pay.domain.errors import AlreadyPaid
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.providers.protocol import CreateRequest
from procomp_pay.services.audit.verify import verify
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import ServiceEnvironment, usd
from tests.support.reconciliation import kinds, missed_webhook, open_rows, run


@dataclass
class Lost:
    """A payment at Stripe that a backup from before it does not have.

    :param ref: its Checkout Session or PaymentIntent. :param intent: its PaymentIntent, once there is one.
    """

    payment_id: str
    participant: str
    ref: str
    intent: str = ""


async def started_and_lost(
    environment: ServiceEnvironment, participant: str, channel: Channel = Channel.STRIPE_CHECKOUT
) -> Lost:
    ctx, now = environment.ctx, environment.now().replace(microsecond=0)
    payment_id = ctx.new_id()
    created = await ctx.providers.of(channel).create(
        CreateRequest(
            payment_id=payment_id,
            participant_id=participant,
            channel=channel,
            money=usd("50.00"),
            description="Almaty Open",
            idempotency_key=f"procomp-pay:create:{payment_id}",
            created_at=now,
            return_url="https://app.example.com/paid",
            expires_at=now + timedelta(hours=1),
        )
    )
    return Lost(payment_id, participant, created.provider_ref)


async def paid_and_lost(
    environment: ServiceEnvironment, participant: str, channel: Channel = Channel.STRIPE_CHECKOUT
) -> Lost:
    lost = await started_and_lost(environment, participant, channel)
    if channel is Channel.STRIPE_INTENT:
        lost.intent = lost.ref
        await environment.confirm(lost.ref, "pm_card_visa")
    else:
        answer = await environment.http.get(
            f"/v1/checkout/sessions/{lost.ref}", headers=environment._stripe_auth()
        )
        body = {"wallet": "google_pay"}
        await environment.http.post(answer.json()["url"], json=body, headers={"Accept": "application/json"})
        [lost.intent] = [
            intent["id"]
            for intent in await environment.stripe_objects("payment_intents")
            if intent["metadata"].get("payment_id") == lost.payment_id
        ]
    return lost


async def rows_of(
    environment: ServiceEnvironment, lost: Lost
) -> tuple[Payment | None, PaymentDetail | None, Participant | None]:
    async with environment.ctx.db.reading() as session:
        return (
            await session.get(Payment, lost.payment_id),
            await session.get(PaymentDetail, lost.payment_id),
            await session.get(Participant, lost.participant),
        )


async def assert_paid(environment: ServiceEnvironment, lost: Lost) -> PaymentDetail:
    """Check that the payment is COMPLETED and its participant PAID by it."""
    payment, detail, participant = await rows_of(environment, lost)
    assert payment is not None
    assert detail is not None
    assert participant is not None
    assert (payment.status, payment.stripe_payment_id) == (PaymentStatus.COMPLETED, lost.intent)
    assert (participant.status, participant.payment_id) == (ParticipantStatus.PAID, lost.payment_id)
    return detail


@pytest.mark.parametrize("channel", [Channel.STRIPE_CHECKOUT, Channel.STRIPE_INTENT])
async def test_a_lost_payment_is_restored_to_its_participant(
    environment: ServiceEnvironment, channel: Channel
) -> None:
    lost = await paid_and_lost(environment, await environment.participant(), channel)
    report = await run(environment)
    [recovered] = report.recovered
    assert recovered.full() == {
        "payment_id": lost.payment_id,
        "participant_id": lost.participant,
        "full_name": f"Әсел {lost.participant}",
        "amount": Decimal("50.00"),
        "currency": "USD",
        "ref": lost.intent,
    }
    detail = await assert_paid(environment, lost)
    assert (detail.channel, detail.provider_ref, detail.charge_id is not None) == (channel, lost.ref, True)
    assert await open_rows(environment) == []
    assert (await verify(environment.ctx)).is_sound
    again = await run(environment)
    assert (again.recovered, again.found) == ([], 0)


async def test_a_partial_refund_and_a_dispute_since_the_backup_are_restored(
    environment: ServiceEnvironment,
) -> None:
    lost = await paid_and_lost(environment, await environment.participant())
    answer = await environment.http.post(
        "/v1/refunds",
        data={"payment_intent": lost.intent, "amount": "2000"},
        headers=environment._stripe_auth(),
    )
    assert answer.status_code == 200
    disputed = await paid_and_lost(environment, await environment.participant())
    answer = await environment.http.post(
        f"/_sandbox/stripe/payment_intents/{disputed.intent}/dispute", json={}
    )
    assert answer.status_code == 200
    report = await run(environment)
    assert {payment.payment_id for payment in report.recovered} == {lost.payment_id, disputed.payment_id}
    _, detail, _ = await rows_of(environment, lost)
    assert detail is not None
    assert detail.refunded_amount == Decimal("20.00")
    _, detail, _ = await rows_of(environment, disputed)
    assert detail is not None
    assert detail.dispute_state is DisputeState.OPEN
    assert (await verify(environment.ctx)).is_sound


async def test_a_dry_run_names_the_payment_and_writes_nothing(environment: ServiceEnvironment) -> None:
    lost = await paid_and_lost(environment, await environment.participant())
    report = await run(environment, dry_run=True)
    assert [payment.payment_id for payment in report.recovered] == [lost.payment_id]
    assert report.needs_person
    payment, detail, _ = await rows_of(environment, lost)
    assert (payment, detail) == (None, None)


async def test_an_open_page_is_restored_and_returned_by_initiate(environment: ServiceEnvironment) -> None:
    lost = await started_and_lost(environment, await environment.participant())
    assert (await run(environment)).recovered == []
    report = await run(environment, recover=True)
    assert [payment.payment_id for payment in report.recovered] == [lost.payment_id]
    opened = await environment.start(lost.participant, "apple_pay")
    assert opened.view.payment_id == lost.payment_id, "no second page for a customer who has one open"


async def test_a_payment_whose_participant_is_gone_stays_a_discrepancy(
    environment: ServiceEnvironment,
) -> None:
    lost = await paid_and_lost(environment, "not-in-the-backup")
    report = await run(environment)
    assert (report.recovered, list(kinds(report))) == ([], [("MISSING_LOCALLY", "opened")])
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    assert not [line for line in lines if line["path"] == f"/v1/payment_intents/{lost.intent}"], (
        "not asked for"
    )
    payment, _, _ = await rows_of(environment, lost)
    assert payment is None


async def test_a_participant_charged_again_after_the_restore_has_a_duplicate(
    environment: ServiceEnvironment,
) -> None:
    participant = await environment.participant()
    lost = await paid_and_lost(environment, participant)
    opened = await environment.start(participant, "apple_pay")
    await environment.pay_page(opened)
    for event in await environment.events():
        if (event["data"]["object"].get("metadata") or {}).get("payment_id") == opened.view.payment_id:
            await environment.receive(event)
    await environment.maintain()
    report = await run(environment)
    assert [payment.payment_id for payment in report.recovered] == [lost.payment_id]
    [duplicate] = await open_rows(environment)
    assert (duplicate.kind, duplicate.payment_id) == ("DUPLICATE_PAYMENT", lost.payment_id)


async def test_a_stripe_outage_while_payments_are_restored(environment: ServiceEnvironment) -> None:
    first = await paid_and_lost(environment, await environment.participant())
    second = await paid_and_lost(environment, await environment.participant())
    seen = await missed_webhook(environment)
    await environment.fault(f"/v1/payment_intents/{first.intent}", "status", status=503, times=None)
    report = await run(environment)
    assert report.cut is not None
    await environment.no_faults()
    environment.later(60)
    await run(environment)
    for lost in (first, second):
        payment, _, participant = await rows_of(environment, lost)
        assert payment is not None
        assert participant is not None
        assert (payment.status, participant.status) == (PaymentStatus.COMPLETED, ParticipantStatus.PAID)
    assert await environment.status(seen) is PaymentStatus.COMPLETED


@pytest.mark.parametrize("channel", [Channel.STRIPE_CHECKOUT, Channel.STRIPE_INTENT])
async def test_a_lost_payment_is_restored_by_its_event_alone(
    environment: ServiceEnvironment, channel: Channel
) -> None:
    lost = await paid_and_lost(environment, await environment.participant(), channel)
    answer = await environment.http.post(
        "/v1/refunds",
        data={"payment_intent": lost.intent, "amount": "2000"},
        headers=environment._stripe_auth(),
    )
    assert answer.status_code == 200
    await environment.deliver()
    environment.later(3600)  # the refund's event may have come first, and is tried again
    await environment.maintain()
    detail = await assert_paid(environment, lost)
    assert detail.refunded_amount == Decimal("20.00")
    assert (await verify(environment.ctx)).is_sound
    report = await run(environment)
    assert (report.recovered, report.found) == ([], 0)
    refused = environment.start(lost.participant, "apple_pay")
    with pytest.raises(AlreadyPaid):
        await refused


async def test_an_event_of_an_unknown_participant_stays_foreign(
    environment: ServiceEnvironment,
) -> None:
    lost = await paid_and_lost(environment, "of-another-installation")
    await environment.deliver()
    assert {event.state.value for event in await environment.rows(WebhookEvent)} <= {"foreign", "ignored"}
    assert await rows_of(environment, lost) == (None, None, None)
