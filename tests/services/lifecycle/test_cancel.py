"""Cancel a payment: at Stripe if possible, by polling a QR until it expires, never after it was paid."""

import pytest

from procomp_pay.domain.errors import Conflict, NotFound, Unavailable
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.storage.models.queues import OutboxMessage
from tests.support.environment import CLERK, World

S = PaymentStatus


async def test_a_page_is_expired_at_stripe(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    [session] = await world.stripe_objects("checkout/sessions")
    assert session["status"] == "expired"
    await world.deliver()  # the event that says so changes nothing
    assert await world.status(opened) is S.CANCELLED


async def test_an_intent_without_a_page_is_cancelled_at_stripe(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    [intent] = await world.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_a_payment_paid_meanwhile_is_completed(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who, "apple_pay")
    await world.pay_page(opened)
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.COMPLETED
    assert (await world.who(who)).status is ParticipantStatus.PAID


async def test_a_declined_page_can_be_cancelled(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    await world.pay_page(opened, "declined")
    await world.deliver()
    assert await world.status(opened) is S.FAILED
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.CANCELLED


async def test_a_cancelled_qr_is_still_polled(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    assert (await world.view(opened)).provider_open
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.is_late) == (S.COMPLETED, True)
    assert (await world.who(who)).status is ParticipantStatus.PAID
    assert "alert.late_payment" in {m.topic for m in await world.rows(OutboxMessage)}


async def test_no_cancellation_while_the_customer_confirms(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.phone(opened, "scan")
    with pytest.raises(Conflict, match="confirming"):
        await cancel(world.ctx, opened.view.payment_id, CLERK)


async def test_a_paid_payment_cannot_be_cancelled(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    with pytest.raises(Conflict) as caught:
        await cancel(world.ctx, opened.view.payment_id, CLERK)
    assert "refund" in (caught.value.next_step or "")
    with pytest.raises(NotFound):
        await cancel(world.ctx, "nothing", CLERK)


async def test_a_cancellation_during_a_stripe_outage_is_completed_later(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await cancel(world.ctx, opened.view.payment_id, CLERK)
    assert await world.status(opened) is S.PENDING
    await world.no_faults()
    world.later(60)
    await world.maintain()
    assert await world.status(opened) is S.CANCELLED


async def test_a_second_cancellation_is_rejected(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    await cancel(world.ctx, opened.view.payment_id, CLERK)
    with pytest.raises(Conflict, match="already CANCELLED"):
        await cancel(world.ctx, opened.view.payment_id, CLERK)
