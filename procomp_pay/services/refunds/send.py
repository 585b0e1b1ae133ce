"""Send a refund to its provider, and sync refunds from the provider.

Works on a committed PENDING row: called at once by the use case, later by background work.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import (
    ConfigurationError,
    Conflict,
    ManualReviewRequired,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundEvent, RefundState, id_of_refunded_total, total_refunded
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.protocol import ProviderRefunds, RefundRequest
from procomp_pay.services.context import SYSTEM, Actor, AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.provider_ref import RESEND_WITHIN, provider_ref_of
from procomp_pay.services.settlement.refunds_and_disputes import PENDING_LOOK_S
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment

#: Seconds after a lost or rejected request until the next attempt; longer than one call with its retries.
LOOK_AGAIN_S = 45
#: Seconds after its row was marked within which a refund may be sent; other processes wait longer.
_LEAVES_WITHIN_S = 15
#: Seconds for which a claimed refund is left to its process: longer than two calls with their retries.
REFUND_LEASE_S = 120


async def send(
    ctx: AppContext,
    refund_id: str,
    actor: Actor = SYSTEM,
    *,
    first: bool = False,
    customer_scan: int | None = None,
) -> None:
    """Make a PENDING refund at its provider, or find out its outcome.

    :param first: the row was just inserted: a rejection means that nothing was refunded. Later, a rejection
        may be about our settings, and says nothing about what an earlier request did.
    :param customer_scan: the refund QR that the customer scanned; valid for this one attempt.
    :raises ConfigurationError, ProviderUnavailable, OutcomeUnknown, ManualReviewRequired: the refund is not
        final and stays due.
    :raises Refused: the provider rejected it; the refund is FAILED.
    """
    request = await _request(ctx, refund_id)
    if request is None:
        return
    request = replace(request, customer_scan=customer_scan)
    try:
        provider = ctx.providers.of(request.ref.channel)
        refund_event = await provider.refund(request)
    except (ProviderUnavailable, OutcomeUnknown) as error:
        await _record_not_sent(ctx, request, error, actor)
        raise type(error)(
            N_(
                "%(error)s. Refund %(refund)s is kept and followed up; do not request it again",
                error=error.message,
                refund=refund_id,
            ),
            next_step=N_(
                "see how it ends: procomp-pay status --payment %(payment)s", payment=request.payment_id
            ),
            retry_after=error.retry_after,
        ) from error
    except ManualReviewRequired as error:
        await _flag_mismatch(ctx, request, error)
        raise
    except (Refused, NotFound, ConfigurationError) as error:
        if first:
            await _fail(ctx, request, error, actor)
        if first or isinstance(error, ConfigurationError):
            raise
        await _find_or_fail(ctx, refund_id, error.message)
        await _adopt_external_refund(ctx, request.payment_id, actor)
        return
    await _apply(ctx, request, replace(refund_event, refund_id=refund_id), actor)
    if request.again:  # its share of the refunded total is known now; the rest was refunded elsewhere
        await _adopt_external_refund(ctx, request.payment_id, actor)


async def _fail(ctx: AppContext, request: RefundRequest, error: PaymentError, actor: Actor) -> None:
    """Mark the refund FAILED: nothing was refunded, and nothing will be."""
    refund_event = RefundEvent(
        RefundState.FAILED, request.money, refund_id=request.refund_id, failure_reason=error.message
    )
    await _apply(ctx, request, refund_event, actor)
    if isinstance(error, Conflict):  # more was refunded than our books say
        await _adopt_external_refund(ctx, request.payment_id, actor)


async def _record_not_sent(
    ctx: AppContext, request: RefundRequest, error: PaymentError, actor: Actor
) -> None:
    """Record that the request was not sent, unless another process may have taken the refund over.

    :raises ProviderUnavailable: it needed the customer's scan, so it is FAILED instead of retried: the
        customer will have left by then.
    """
    if not isinstance(error, ProviderUnavailable) or request.again or not request.may_leave():
        return
    if request.customer_scan is None:
        await _clear_sent_at(ctx, request.refund_id)
        return
    await _fail(ctx, request, error, actor)
    raise ProviderUnavailable(
        N_("%(error)s. Nothing was refunded", error=error.message),
        next_step=N_("start the refund again: the customer scans a new QR"),
        retry_after=error.retry_after,
    ) from error


async def follow_up(ctx: AppContext, refund_id: str) -> None:
    """Send or check one refund that is due, for the background work.

    :raises PaymentError: it failed now and remains due.
    """
    async with ctx.db.reading() as session:
        row = await refund_repository.one(session, refund_id)
        locked = await load_payment(session, row.payment_id)
    if row.state is not RefundState.PENDING:
        return
    if row.provider_refund_id is not None:
        await sync_refunds(ctx, locked)
        await _schedule_next_check(ctx, refund_id)
    elif not locked.detail.channel.is_kaspi and ctx.clock() - row.created_at > RESEND_WITHIN:
        await _find_or_fail(ctx, refund_id, "The provider never received it")
    else:
        await send(ctx, refund_id)


async def _find_or_fail(ctx: AppContext, refund_id: str, why: str) -> None:
    """Find the refund that an earlier request made, since it cannot be sent again; mark it FAILED if there is
    none.
    """
    async with ctx.db.reading() as session:
        row = await refund_repository.one(session, refund_id)
        locked = await load_payment(session, row.payment_id)
    refunds = await ctx.providers.of(locked.detail.channel).list_refunds(provider_ref_of(locked))
    if not any(refund_repository.match([row], refund) for refund in refunds.refunds):
        # before the others are recorded: one that went back in its place waits for its end
        await _fail_pending(ctx, refund_id, why)
    await _record_all(ctx, locked, refunds, SYSTEM)


async def _fail_pending(ctx: AppContext, refund_id: str, why: str) -> None:
    """Mark a refund FAILED, unless another process has meanwhile learned what became of it."""
    async with ctx.db.writing() as session:
        row, locked = await _lock(session, refund_id)
        if row.state is not RefundState.PENDING or row.provider_refund_id is not None:
            return
        money = Money(row.amount, row.currency)
        refund_event = RefundEvent(RefundState.FAILED, money, refund_id=row.id, failure_reason=why)
        event = _payment_event(ctx, row.payment_id, locked, refund_event, SYSTEM)
        await apply_event_in(session, ctx, event, locked)


async def _schedule_next_check(ctx: AppContext, refund_id: str) -> None:
    async with ctx.db.writing() as session:
        row = await refund_repository.one(session, refund_id)
        if row.state is RefundState.PENDING:
            row.next_look_at = ctx.clock() + timedelta(seconds=PENDING_LOOK_S)


async def sync_refunds(ctx: AppContext, locked: OrmLockedPayment, actor: Actor = SYSTEM) -> None:
    """Read the refunds of a payment from its provider, and apply them through settlement.

    :raises ProviderUnavailable, OutcomeUnknown: the provider cannot be asked now.
    """
    refunds = await ctx.providers.of(locked.detail.channel).list_refunds(provider_ref_of(locked))
    await _record_all(ctx, locked, refunds, actor)


async def _record_all(
    ctx: AppContext, locked: OrmLockedPayment, refunds: ProviderRefunds, actor: Actor
) -> None:
    """Apply a provider's refunds: ours first, since one made elsewhere may have to wait for their end."""
    for refund_event in sorted(refunds.refunds, key=lambda refund: refund.refund_id is None):
        async with ctx.db.writing() as session:
            await apply_event_in(
                session, ctx, _payment_event(ctx, locked.payment.id, locked, refund_event, actor)
            )
    if refunds.total is not None:
        await _sync_by_total(ctx, locked.payment.id, refunds.total, actor)


async def _sync_by_total(ctx: AppContext, payment_id: str, total: Money, actor: Actor) -> None:
    """Record what a provider's refunded total exceeds our books by: it was refunded in the provider's app.

    Holds the payment's lock, since an operator may be recording the same refund.
    """
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, payment_id)
        rows = await refund_repository.of_payment(session, payment_id)
        if any(row.state is RefundState.PENDING for row in rows):
            return  # one of our own refunds may be part of the total: its outcome comes first
        known = Money(total_refunded(refund_repository.amounts(rows)), total.currency)
        if total.amount <= known.amount:
            return
        total_id = id_of_refunded_total(str(locked.detail.provider_ref), total)
        why = N_("made in the Kaspi Pay app")
        refund_event = RefundEvent(
            RefundState.SUCCEEDED, total - known, provider_refund_id=total_id, reason=why
        )
        await apply_event_in(
            session, ctx, _payment_event(ctx, payment_id, locked, refund_event, actor), locked
        )


async def _adopt_external_refund(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    """Record a refund that a cashier made in the provider's app; if this fails, reconciliation finds it."""
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    with suppress(PaymentError):
        await sync_refunds(ctx, locked, actor)


async def _request(ctx: AppContext, refund_id: str) -> RefundRequest | None:
    """Mark the row as sent, and commit before the call; return ``None`` if the outcome is known already."""
    async with ctx.db.writing() as session:
        row, locked = await _lock(session, refund_id)
        if row.state is not RefundState.PENDING or row.provider_refund_id is not None:
            return None
        again, now = row.sent_at is not None, ctx.clock()
        leaves_by = now + timedelta(seconds=_LEAVES_WITHIN_S)
        row.sent_at = row.sent_at or now
        row.next_look_at = now + timedelta(seconds=LOOK_AGAIN_S)
        rows = await refund_repository.of_payment(session, row.payment_id)
        return RefundRequest(
            refund_id=row.id,
            payment_id=row.payment_id,
            ref=provider_ref_of(locked),
            money=Money(row.amount, row.currency),
            idempotency_key=f"procomp-pay:refund:{row.id}",
            refunded=Money(total_refunded(refund_repository.amounts(rows)), locked.charged.currency),
            again=again,
            may_leave=lambda: ctx.clock() <= leaves_by,
        )


async def _flag_mismatch(ctx: AppContext, request: RefundRequest, error: ManualReviewRequired) -> None:
    """Open a discrepancy: the provider's total matches neither before nor after the refund, so nothing is
    sent.
    """
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, request.payment_id)
        details = {"refund": request.refund_id, "why": error.message}
        await side_effects.open_discrepancy(
            session, ctx, locked, DiscrepancyKind.REFUND_MISMATCH, details, request.refund_id
        )
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.ALERT_REFUND, request.money, once=request.refund_id
        )
    await _schedule_next_check(ctx, request.refund_id)


async def _clear_sent_at(ctx: AppContext, refund_id: str) -> None:
    async with ctx.db.writing() as session:
        row, _ = await _lock(session, refund_id)
        if row.provider_refund_id is None:
            row.sent_at = None


async def _lock(session: AsyncSession, refund_id: str) -> tuple[Refund, OrmLockedPayment]:
    """Return a refund as it is under the lock of its payment."""
    row = await refund_repository.one(session, refund_id)
    locked = await lock_payment(session, row.payment_id)
    return await refund_repository.one(session, refund_id), locked


async def _apply(ctx: AppContext, request: RefundRequest, refund_event: RefundEvent, actor: Actor) -> None:
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, request.payment_id)
        event = _payment_event(ctx, request.payment_id, locked, refund_event, actor)
        await apply_event_in(session, ctx, event, locked)


def _payment_event(
    ctx: AppContext, payment_id: str, locked: OrmLockedPayment, refund_event: RefundEvent, actor: Actor
) -> PaymentEvent:
    source = Source.KASPI_API if locked.detail.channel.is_kaspi else Source.STRIPE_API
    return PaymentEvent(
        payment_id=payment_id,
        event_type=EventType.REFUND,
        at=ctx.clock(),
        source=Source.RECONCILE if actor.source is Source.RECONCILE else source,
        actor=actor.name,
        request_id=actor.request_id,
        refund=refund_event,
        reason=refund_event.failure_reason,
    )
