"""Completed Stripe payments and their refunds."""

from __future__ import annotations

from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.create import RefundCommand, Refunded
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.platform import Payment
from tests.support.environment import CLERK, ServiceEnvironment, usd


async def paid(
    environment: ServiceEnvironment, method: str = "pm_card_visa", participant_id: str | None = None
) -> views.Opening:
    """Make a COMPLETED Stripe payment of 50 USD."""
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), method)
    for event in await environment.events():
        await environment.receive(event)
    await environment.process_inbox()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def back(
    environment: ServiceEnvironment, opened: views.Opening, amount: str | None = None, **more: object
) -> Refunded:
    request = RefundCommand(opened.view.payment_id, "injured", usd(amount) if amount else None, **more)  # type: ignore[arg-type]
    return await use.refund(environment.ctx, request, CLERK)


async def at_stripe(environment: ServiceEnvironment) -> int:
    """Return the total of succeeded refunds at the sandbox, in cents."""
    return sum(r["amount"] for r in await environment.stripe_objects("refunds") if r["status"] == "succeeded")


async def disputed(
    environment: ServiceEnvironment, number: int, status: str, dispute: str = "du_1", *, at: int | None = None
) -> None:
    """Deliver an event of a dispute over the only payment.

    :param at: seconds from now; by default in the order of the numbers.
    """
    [row] = await environment.rows(Payment)
    event = {
        "id": f"evt_dispute_{number}",
        "type": "charge.dispute.updated",
        "created": int(environment.now().timestamp()) + (number if at is None else at),
        "data": {
            "object": {
                "id": dispute, "amount": 5000, "currency": "usd", "status": status,
                "payment_intent": row.stripe_payment_id, "reason": "general",
            }
        },
    }  # fmt: skip
    assert await environment.receive(event)
    await environment.maintain()
