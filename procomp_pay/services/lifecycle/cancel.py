"""Cancel a payment: at the provider where it can be recalled, watched until it is dead where it cannot."""

from __future__ import annotations

from procomp_pay.domain.errors import Conflict, ManualReviewRequired, NotFound, OutcomeUnknown
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, Channel, CreateState, PaymentStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import (
    cancel_unsent,
    expire_unopened,
    mark_missing_at_provider,
)
from procomp_pay.services.lifecycle.polling import close, poll_payment
from procomp_pay.services.settlement.apply import AppliedEvent, apply_event
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment


async def cancel(ctx: AppContext, payment_id: str, actor: Actor) -> PaymentStatus:
    """Cancel a payment that was not paid.

    :returns: how it stands afterwards; COMPLETED if it was paid meanwhile.
    :raises NotFound: no such payment.
    :raises Conflict: it is paid, over already, or the customer is confirming it at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: asked for and kept; background work finishes it.
    """
    locked = await _request(ctx, payment_id, actor)
    if locked.detail.create_state is CreateState.PLANNED:
        await cancel_unsent(ctx, payment_id, actor)
        locked = await _read(ctx, payment_id)
    if locked.detail.channel is Channel.KASPI_REMOTE and locked.detail.create_state is CreateState.SENT:
        raise OutcomeUnknown(
            "Kaspi's answer to this invoice was lost: without its number it cannot be recalled",
            next_step="ask the customer to refuse it in the Kaspi app; it ends by itself after 24 hours",
        )
    if not locked.detail.channel.recallable:
        return await _cancel_kaspi(ctx, locked, actor)
    if locked.detail.provider_open and locked.detail.create_state is CreateState.SENT:
        await poll_payment(ctx, payment_id, actor)  # its answer was lost: find it first, then take it back
        locked = await _read(ctx, payment_id)
    if locked.detail.provider_open:
        await close(ctx, locked, actor)
    return _ended(await _read(ctx, payment_id))


async def clear_away(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Make room for a new payment: look once more at one whose time is over, take back one that is open.

    :raises Conflict: it is being paid at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: not now; what was asked for is kept.
    """
    locked = await _read(ctx, payment_id)
    if not locked.detail.channel.recallable:
        if locked.detail.create_state is CreateState.OPEN:
            await _look_or_end(ctx, payment_id, actor)
        else:
            await expire_unopened(ctx, payment_id)
        return
    if locked.payment.status in (*OPEN_STATUSES, PaymentStatus.FAILED):
        await cancel(ctx, payment_id, actor)
    else:
        await poll_payment(ctx, payment_id, actor)


async def _look_or_end(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    try:
        await poll_payment(ctx, payment_id, actor)
    except NotFound:
        await mark_missing_at_provider(ctx, payment_id)


async def _request(ctx: AppContext, payment_id: str, actor: Actor) -> OrmLockedPayment:
    """Write ahead that the end was asked for: a crash after this is finished by background work."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        status = locked.payment.status
        if status in PAID_STATUSES:
            raise Conflict(
                f"Payment {payment_id} is {status}: it cannot be cancelled",
                next_step=f'give the money back: procomp-pay refund {payment_id} --reason "…"',
            )
        if not locked.detail.provider_open and status in OPEN_STATUSES:
            raise ManualReviewRequired(
                f"Payment {payment_id} is closed at the provider: money of another amount came through it",
                next_step="compare it with the provider's dashboard; it is kept as a discrepancy",
            )
        if not locked.detail.provider_open:
            raise Conflict(f"Payment {payment_id} is {status} already", next_step="nothing needs to be done")
        if locked.detail.cancel_requested_by is None and locked.detail.channel.recallable:
            locked.detail.cancel_requested_by = actor.name
            locked.detail.cancel_requested_at = ctx.clock()
            locked.detail.next_poll_at = ctx.clock()
            record = audit.AuditRecord(
                actor.name, actor.source, "cancel_requested", request_id=actor.request_id
            )
            await audit.append(session, payment_id, record, ctx.clock())
        return locked


async def _cancel_kaspi(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> PaymentStatus:
    """A QR cannot be recalled. Ours ends; the QR is watched until Kaspi's own end, and money that comes
    through it all the same is taken and flagged late."""
    payment_id = locked.payment.id
    if locked.detail.create_state is CreateState.OPEN:
        await poll_payment(ctx, payment_id, actor)
        locked = await _read(ctx, payment_id)
    if locked.payment.status is PaymentStatus.PROCESSING:
        raise Conflict(
            "The customer has scanned the QR and is confirming it now",
            next_step=f"wait a minute, then: procomp-pay status --payment {payment_id} --refresh",
        )
    if locked.payment.status is PaymentStatus.PENDING:
        event = PaymentEvent(
            payment_id=payment_id,
            event_type=EventType.CANCELLED,
            at=ctx.clock(),
            source=actor.source,
            actor=actor.name,
            request_id=actor.request_id,
            reason="Cancelled at the desk",
            final_at_provider=locked.detail.create_state is CreateState.PLANNED,
        )
        settled: AppliedEvent = await apply_event(ctx, event)
        return settled.status
    return _ended(locked)


def _ended(locked: OrmLockedPayment) -> PaymentStatus:
    """
    :raises Conflict: the provider did not let go of it.
    """
    if locked.payment.status in OPEN_STATUSES:
        raise Conflict(
            "The payment is being made at this moment and cannot be taken back",
            next_step=f"see how it ends: procomp-pay status --payment {locked.payment.id} --watch",
        )
    return locked.payment.status


async def _read(ctx: AppContext, payment_id: str) -> OrmLockedPayment:
    async with ctx.db.reading() as session:
        return await load_payment(session, payment_id)
