"""Cancel a payment: at the provider if possible, else by polling it until it can no longer be paid."""

from __future__ import annotations

from procomp_pay.domain.errors import Conflict, ErrorCode, ManualReviewRequired, NotFound, OutcomeUnknown
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.operators import Right
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    PAID_STATUSES,
    AnyStatus,
    Channel,
    CreateState,
    PaymentStatus,
)
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import (
    cancel_unsent,
    give_up_lost,
    mark_missing_at_provider,
)
from procomp_pay.services.lifecycle.polling import cancel_at_provider, poll_payment
from procomp_pay.services.operators import authorize
from procomp_pay.services.settlement.apply import apply_event, apply_event_in
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment


async def cancel(ctx: AppContext, payment_id: str, actor: Actor) -> AnyStatus:
    """Cancel an unpaid payment.

    One for which a different amount was received ends here once somebody decided about that money.

    :returns: the status afterwards; COMPLETED if it was paid meanwhile.
    :raises NotFound: no such payment. :raises ManualReviewRequired: a different amount awaits a decision.
    :raises Conflict: it is paid, has already ended, or the customer is confirming it at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: the request is recorded; background work completes it.
    """
    locked = await _record_request(ctx, payment_id, actor)
    if locked.payment.status is PaymentStatus.CANCELLED and not locked.detail.provider_open:
        return locked.payment.status
    if locked.detail.create_state is CreateState.PLANNED:
        await cancel_unsent(ctx, payment_id, actor)
        locked = await _read(ctx, payment_id)
    if locked.detail.channel is Channel.KASPI_REMOTE and locked.detail.create_state is CreateState.SENT:
        raise OutcomeUnknown(
            N_("Kaspi's response to this invoice was lost, and without its number it cannot be cancelled"),
            next_step=N_(
                "ask the customer to reject it in the Kaspi app; it expires by itself after 24 hours"
            ),
        )
    if not locked.detail.channel.recallable:
        return await _cancel_kaspi(ctx, locked, actor)
    if locked.detail.provider_open and locked.detail.create_state is CreateState.SENT:
        await poll_payment(ctx, payment_id, actor)  # its response was lost: find the object, then cancel it
        locked = await _read(ctx, payment_id)
    if locked.detail.provider_open:
        await cancel_at_provider(ctx, locked, actor)
    return _ended(await _read(ctx, payment_id))


async def clear_for_new_payment(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Clear the way for a new payment: poll an expired payment once more, cancel an open one.

    :raises Conflict: it is being paid at this moment.
    :raises ProviderUnavailable, OutcomeUnknown: not possible now; the request is recorded.
    """
    locked = await _read(ctx, payment_id)
    if not locked.detail.channel.recallable:
        if locked.detail.create_state is CreateState.OPEN:
            await _poll_or_expire(ctx, payment_id, actor)
        else:
            await give_up_lost(ctx, payment_id, actor)
        return
    if locked.payment.status in (*OPEN_STATUSES, PaymentStatus.FAILED):
        await cancel(ctx, payment_id, actor)
    else:
        await poll_payment(ctx, payment_id, actor)


async def _poll_or_expire(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    try:
        await poll_payment(ctx, payment_id, actor)
    except NotFound:
        await mark_missing_at_provider(ctx, payment_id)


async def _record_request(ctx: AppContext, payment_id: str, actor: Actor) -> OrmLockedPayment:
    """Record the request before it is executed, so that background work completes it after a crash."""
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
        status = locked.payment.status
        if status in PAID_STATUSES:
            raise Conflict(
                N_(
                    "Payment %(payment)s is %(status)s: it cannot be cancelled",
                    payment=payment_id,
                    status=status,
                ),
                next_step=N_('refund it: procomp-pay refund %(payment)s --reason "…"', payment=payment_id),
                code=ErrorCode.ALREADY_PAID,
            )
        if isinstance(status, UnknownLabel):
            raise Conflict(
                N_(
                    "Payment %(payment)s is %(status)s, which only the platform knows: it is left alone",
                    payment=payment_id,
                    status=status,
                ),
                next_step=N_("cancel it in the platform"),
            )
        if not locked.detail.provider_open and status in OPEN_STATUSES:
            # one that had completed, and that the platform opened again, keeps its money
            was_paid = locked.detail.completed_at is not None
            if was_paid or await numbers.is_amount_in_doubt(session, payment_id):
                raise ManualReviewRequired(
                    N_(
                        "Payment %(payment)s is closed at the provider: a different amount was received",
                        payment=payment_id,
                    ),
                    next_step=N_(
                        "give the money back or accept it, and resolve the discrepancy: procomp-pay "
                        "discrepancies list; what was given back is then cancelled by the same command"
                    ),
                )
            # nothing can be asked, and no more money comes: the decision about what came is all there is
            await apply_event_in(session, ctx, _at_the_desk(ctx, payment_id, actor, final=True), locked)
            return locked
        if not locked.detail.provider_open:
            raise Conflict(
                N_("Payment %(payment)s is already %(status)s", payment=payment_id, status=status),
                next_step=N_("nothing to do"),
                code=ErrorCode.PAYMENT_ENDED,
            )
        if locked.detail.cancel_requested_by is None and locked.detail.channel.recallable:
            locked.detail.cancel_requested_by = actor.name
            locked.detail.cancel_requested_at = ctx.clock()
            locked.detail.next_poll_at = ctx.clock()
            record = actor.record("cancel_requested")
            await audit.append(session, payment_id, record, ctx.clock())
        return locked


async def _cancel_kaspi(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> AnyStatus:
    """Cancel a payment by QR, which Kaspi cannot cancel.

    The payment is CANCELLED at once; the QR is polled until it expires, and money that is still paid through
    it is accepted and flagged as late.
    """
    payment_id = locked.payment.id
    if locked.detail.create_state is CreateState.OPEN:
        await poll_payment(ctx, payment_id, actor)
        locked = await _read(ctx, payment_id)
    if locked.payment.status is PaymentStatus.PROCESSING:
        raise Conflict(
            N_("The customer has scanned the QR and is confirming it now"),
            next_step=N_(
                "wait a minute, then: procomp-pay status --payment %(payment)s --refresh", payment=payment_id
            ),
            code=ErrorCode.PAYMENT_IN_PROGRESS,
        )
    if locked.payment.status is PaymentStatus.PENDING:
        is_final = locked.detail.create_state is CreateState.PLANNED
        return (await apply_event(ctx, _at_the_desk(ctx, payment_id, actor, final=is_final))).status
    return _ended(locked)


def _at_the_desk(ctx: AppContext, payment_id: str, actor: Actor, *, final: bool) -> PaymentEvent:
    """Return the event of a cancellation.

    :param final: no money can come any more.
    """
    return PaymentEvent(
        payment_id=payment_id,
        event_type=EventType.CANCELLED,
        at=ctx.clock(),
        source=actor.source,
        actor=actor.name,
        request_id=actor.request_id,
        reason=N_("Cancelled at the desk"),
        final_at_provider=final,
    )


def _ended(locked: OrmLockedPayment) -> AnyStatus:
    """Return the status of a payment that has ended.

    :raises Conflict: the provider did not cancel it.
    """
    if locked.payment.status in OPEN_STATUSES:
        raise Conflict(
            N_("The payment is being made at this moment and cannot be cancelled"),
            next_step=N_(
                "watch it: procomp-pay status --payment %(payment)s --watch", payment=locked.payment.id
            ),
            code=ErrorCode.PAYMENT_IN_PROGRESS,
        )
    return locked.payment.status


async def _read(ctx: AppContext, payment_id: str) -> OrmLockedPayment:
    async with ctx.db.reading() as session:
        return await load_payment(session, payment_id)
