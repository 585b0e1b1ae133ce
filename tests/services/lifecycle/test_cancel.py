"""Cancel a payment: at Stripe if possible, by polling a QR until it expires, never after it was paid."""

import pytest

from procomp_pay.domain.errors import Conflict, NotFound, Unavailable
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.storage.models.notifications import OutboxMessage
from tests.support.environment import CLERK, ServiceEnvironment

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
