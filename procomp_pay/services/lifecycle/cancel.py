"""Cancel a payment: at the provider where it can be recalled, watched until it is dead where it cannot."""

from __future__ import annotations

from procomp_pay.domain.errors import Conflict, NeedsPerson, NotFound, OutcomeUnknown
from procomp_pay.domain.events import Fact, News
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.services.context import Actor, Desk
from procomp_pay.services.lifecycle.create_at_provider import drop, give_up, missing
from procomp_pay.services.lifecycle.polling import close, look_after
from procomp_pay.services.settlement.apply import Settled, settle
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.repository import Held, hold


async def cancel(desk: Desk, payment_id: str, actor: Actor) -> PaymentStatus:
    """Cancel a payment that was not paid.

    :returns: how it stands afterwards; COMPLETED if it was paid meanwhile.
    :raises NotFound: no such payment.
    :raises Conflict: it is paid, over already, or the customer is confirming it at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: asked for and kept; background work finishes it.
    """
    held = await _request(desk, payment_id, actor)
    if held.detail.create_state is CreateState.PLANNED:
        await drop(desk, payment_id, actor)
        held = await _read(desk, payment_id)
    if held.detail.channel is Channel.KASPI_REMOTE and held.detail.create_state is CreateState.SENT:
        raise OutcomeUnknown(
            "Kaspi's answer to this invoice was lost: without its number it cannot be recalled",
            next_step="ask the customer to refuse it in the Kaspi app; it ends by itself after 24 hours",
        )
    if not held.detail.channel.recallable:
        return await _cancel_kaspi(desk, held, actor)
    if held.detail.provider_open and held.detail.create_state is CreateState.SENT:
        await look_after(desk, payment_id, actor)  # its answer was lost: find it first, then take it back
        held = await _read(desk, payment_id)
    if held.detail.provider_open:
        await close(desk, held, actor)
    return _ended(await _read(desk, payment_id))


async def clear_away(desk: Desk, payment_id: str, actor: Actor) -> None:
    """Make room for a new payment: look once more at one whose time is over, take back one that is open.

    :raises Conflict: it is being paid at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: not now; what was asked for is kept.
    """
    held = await _read(desk, payment_id)
    if not held.detail.channel.recallable:
        if held.detail.create_state is CreateState.OPEN:
            await _look_or_end(desk, payment_id, actor)
        else:
            await give_up(desk, payment_id)
        return
    if held.payment.status in (*OPEN_STATUSES, PaymentStatus.FAILED):
        await cancel(desk, payment_id, actor)
    else:
        await look_after(desk, payment_id, actor)


async def _look_or_end(desk: Desk, payment_id: str, actor: Actor) -> None:
    try:
        await look_after(desk, payment_id, actor)
    except NotFound:
        await missing(desk, payment_id)


async def _request(desk: Desk, payment_id: str, actor: Actor) -> Held:
    """Write ahead that the end was asked for: a crash after this is finished by background work."""
    async with desk.db.writing() as session:
        held = await hold(session, payment_id)
        status = held.payment.status
        if status in PAID_STATUSES:
            raise Conflict(
                f"Payment {payment_id} is {status}: it cannot be cancelled",
                next_step=f'give the money back: procomp-pay refund {payment_id} --reason "…"',
            )
        if not held.detail.provider_open and status in OPEN_STATUSES:
            raise NeedsPerson(
                f"Payment {payment_id} is closed at the provider: money of another amount came through it",
                next_step="compare it with the provider's dashboard; it is kept as a discrepancy",
            )
        if not held.detail.provider_open:
            raise Conflict(f"Payment {payment_id} is {status} already", next_step="nothing needs to be done")
        if held.detail.cancel_requested_by is None and held.detail.channel.recallable:
            held.detail.cancel_requested_by = actor.name
            held.detail.cancel_requested_at = desk.clock()
            held.detail.next_poll_at = desk.clock()
            deed = audit.Deed(actor.name, actor.source, "cancel_requested", request_id=actor.request_id)
            await audit.append(session, payment_id, deed, desk.clock())
        return held


async def _cancel_kaspi(desk: Desk, held: Held, actor: Actor) -> PaymentStatus:
    """A QR cannot be recalled. Ours ends; the QR is watched until Kaspi's own end, and money that comes
    through it all the same is taken and flagged late."""
    payment_id = held.payment.id
    if held.detail.create_state is CreateState.OPEN:
        await look_after(desk, payment_id, actor)
        held = await _read(desk, payment_id)
    if held.payment.status is PaymentStatus.PROCESSING:
        raise Conflict(
            "The customer has scanned the QR and is confirming it now",
            next_step=f"wait a minute, then: procomp-pay status --payment {payment_id} --refresh",
        )
    if held.payment.status is PaymentStatus.PENDING:
        fact = Fact(
            payment_id=payment_id,
            news=News.CANCELLED,
            at=desk.clock(),
            source=actor.source,
            actor=actor.name,
            request_id=actor.request_id,
            reason="Cancelled at the desk",
            final_at_provider=held.detail.create_state is CreateState.PLANNED,
        )
        settled: Settled = await settle(desk, fact)
        return settled.status
    return _ended(held)


def _ended(held: Held) -> PaymentStatus:
    """
    :raises Conflict: the provider did not let go of it.
    """
    if held.payment.status in OPEN_STATUSES:
        raise Conflict(
            "The payment is being made at this moment and cannot be taken back",
            next_step=f"see how it ends: procomp-pay status --payment {held.payment.id} --watch",
        )
    return held.payment.status


async def _read(desk: Desk, payment_id: str) -> Held:
    async with desk.db.reading() as session:
        return await hold(session, payment_id, lock=False)
