"""Cancel a payment: at Stripe if possible, by polling a QR until it expires, never after it was paid."""

from datetime import timedelta

import pytest

from procomp_pay.domain.errors import Conflict, ManualReviewRequired, NotFound, Unavailable
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.closing.figures import unfinished
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.kaspi_bill import ask, of
from tests.support.reconciliation import compare, kinds, line, open_rows

S = PaymentStatus


async def test_a_page_is_expired_at_stripe(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    [session] = await environment.stripe_objects("checkout/sessions")
    assert session["status"] == "expired"
    await environment.deliver()  # the event that says so changes nothing
    assert await environment.status(opened) is S.CANCELLED


async def test_an_intent_without_a_page_is_cancelled_at_stripe(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    [intent] = await environment.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_a_payment_paid_meanwhile_is_completed(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id, "apple_pay")
    await environment.pay_page(opened)
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.COMPLETED
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


async def test_a_declined_page_can_be_cancelled(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened, "declined")
    await environment.deliver()
    assert await environment.status(opened) is S.FAILED
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.CANCELLED


async def test_a_cancelled_qr_is_still_polled(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    assert (await environment.view(opened)).provider_open
    await environment.phone(opened)
    await environment.maintain(after=6)
    view = await environment.view(opened)
    assert (view.status, view.is_late) == (S.COMPLETED, True)
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    assert "alert.late_payment" in {m.topic for m in await environment.rows(OutboxMessage)}


async def test_no_cancellation_while_the_customer_confirms(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened, "scan")
    with pytest.raises(Conflict, match="confirming"):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)


async def test_a_paid_payment_cannot_be_cancelled(environment: ServiceEnvironment) -> None:
    opened = await environment.paid()
    with pytest.raises(Conflict) as caught:
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    assert "refund" in (caught.value.next_step or "")
    with pytest.raises(NotFound):
        await cancel(environment.ctx, "nothing", CLERK)


async def test_a_cancellation_during_a_stripe_outage_is_completed_later(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start(method="apple_pay")
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is S.PENDING
    await environment.no_faults()
    await environment.maintain(after=60)
    assert await environment.status(opened) is S.CANCELLED


async def test_a_second_cancellation_is_rejected(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    await cancel(environment.ctx, opened.view.payment_id, CLERK)
    with pytest.raises(Conflict, match="already CANCELLED"):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)


@pytest.mark.parametrize("channel", [Channel.KASPI_BILL, Channel.KASPI_QR, Channel.STRIPE_INTENT])
async def test_a_payment_of_another_amount_ends_after_the_decision(
    environment: ServiceEnvironment, channel: Channel
) -> None:
    """A bill, a QR or an intent of another amount, which is given back by hand: the evening's list ends."""
    participant_id = await environment.participant()
    at = environment.now()
    if channel is Channel.KASPI_BILL:
        await pay(environment.ctx, ask(participant_id, text="23000.00"))
        [(payment, _)] = await of(environment, participant_id)
        payment_id = payment.id
    else:
        method = "kaspi_qr" if channel.is_kaspi else "apple_pay"
        payment_id = (await environment.start(participant_id, method, channel=channel)).view.payment_id
        money = Money.parse("23000", "KZT") if channel.is_kaspi else Money.parse("49", "USD")
        source = Source.KASPI_STATUS if channel.is_kaspi else Source.STRIPE_WEBHOOK
        await apply_event(
            environment.ctx,
            PaymentEvent(
                payment_id, EventType.SUCCEEDED, at, source, "provider", money=money, final_at_provider=True
            ),
        )
    with pytest.raises(ManualReviewRequired, match="different amount was received"):
        await cancel(environment.ctx, payment_id, CLERK)
    [discrepancy] = await environment.rows(Discrepancy)
    await resolve(environment.ctx, discrepancy.id, How.ACCEPT, "given back in the app", CLERK)
    assert await cancel(environment.ctx, payment_id, CLERK) is S.CANCELLED
    async with environment.ctx.db.reading() as session:
        assert await unfinished(session, None, environment.now() + timedelta(days=1)) == []
    if channel is Channel.KASPI_BILL:  # its statement names the money, which is decided about
        [(payment, _)] = await of(environment, participant_id)
        number = str(payment.kaspi_transaction_id)
        report = await compare(environment, [line(1, number, at, "23000 KZT")], "kaspi")
        assert kinds(report) == {("AMOUNT_MISMATCH", "accepted"): 1}
    assert await open_rows(environment) == []
    assert (await environment.start(participant_id)).view.payment_id != payment_id
    with pytest.raises(Conflict, match="already CANCELLED"):
        await cancel(environment.ctx, payment_id, CLERK)
