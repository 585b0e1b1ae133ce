"""The door: the one place where news about money becomes a payment's state.

Webhooks, polling, a person and the clock hand a fact to :func:`settle` (or to :func:`apply_event_in`, inside
their own transaction). It locks the payment, asks the pure rules what follows, and writes payment,
participant, audit entry, outbox rows and discrepancies together. No other code changes a status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.domain.transitions import Outcome, Topic, Transition, decide_transition
from procomp_pay.services.context import AppContext
from procomp_pay.services.settle_amount import record_accepted_amount
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.operation_numbers import (
    claim_operation_number,
    flag_contradicted_verification,
)
from procomp_pay.services.settlement.refunds_and_disputes import apply_refund_event
from procomp_pay.storage.payments.locked_payment import LockedPayment
from procomp_pay.storage.payments.repository import OrmLockedPayment, find_replacement_payment, lock_payment


@dataclass(frozen=True, slots=True)
class AppliedEvent:
    """What the door did with a fact."""

    payment_id: str
    outcome: Outcome
    before: PaymentStatus
    status: PaymentStatus
    late: bool = False
    duplicate: bool = False


async def apply_event(ctx: AppContext, event: PaymentEvent) -> AppliedEvent:
    """Apply a fact in a transaction of its own.

    :raises NotFound: no such payment. :raises DatabaseUnavailable: nothing was written.
    """
    async with ctx.db.writing() as session:
        return await apply_event_in(session, ctx, event)


async def apply_event_in(
    session: AsyncSession, ctx: AppContext, event: PaymentEvent, locked: LockedPayment | None = None
) -> AppliedEvent:
    """Apply a fact within the caller's transaction, which must be a writing one.

    :param held: the payment, where the caller has locked it in this transaction already; one of many takes no
        refunds and no disputes, which have rows of their own.
    """
    locked = locked or await lock_payment(session, event.payment_id)
    before = locked.payment.status
    if event.event_type in (EventType.REFUND, EventType.DISPUTE):
        locked = _one(locked)
        outcome = await apply_refund_event(session, ctx, locked, event)
        if locked.payment.status is not before and locked.payment.status is PaymentStatus.REFUNDED:
            await _hand_the_place_on(session, ctx, locked, event)
        return _settled(locked, outcome, before)
    transition = decide_transition(locked.snapshot(), event)
    if transition.outcome not in (Outcome.ALREADY, Outcome.STALE):
        await _write(session, ctx, locked, event, transition)
    elif transition.outcome is Outcome.ALREADY:
        await _learn_more(session, ctx, locked, event)
    return _settled(locked, transition.outcome, before)


def _one(locked: LockedPayment) -> OrmLockedPayment:
    """What goes back, and what a person decides, is settled one by one."""
    if not isinstance(locked, OrmLockedPayment):
        raise AssertionError(f"payment {locked.payment.id} is one of many")  # noqa: TRY004 - a bug, no bad input
    return locked


async def _hand_the_place_on(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent
) -> None:
    """Of two payments for one fee the first may be the one that goes back: then the other one settles it."""
    heir = await find_replacement_payment(session, locked)
    if heir is not None:
        found = PaymentEvent(
            heir.payment.id, EventType.UNPLACED, ctx.clock(), event.source, event.actor, event.source_id
        )
        await apply_event_in(session, ctx, replace(found, request_id=event.request_id), heir)


async def _learn_more(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> None:
    """Known before, but perhaps without the charge, the wallet or the operation number."""
    before = side_effects.audit_snapshot(locked)
    _learn_ids(locked, event.ids)
    if _names_its_number(locked, event) and await claim_operation_number(session, ctx, locked, event):
        await side_effects.append_audit_entry(session, locked, event, "number:noted", before, ctx.clock())


def _names_its_number(locked: LockedPayment, event: PaymentEvent) -> bool:
    paid = locked.payment.status is PaymentStatus.COMPLETED and event.event_type is EventType.SUCCEEDED
    return paid and bool(event.ids.kaspi_operation)


def _settled(locked: LockedPayment, outcome: Outcome, before: PaymentStatus) -> AppliedEvent:
    detail = locked.detail
    return AppliedEvent(
        locked.payment.id, outcome, before, locked.payment.status, detail.is_late, detail.is_duplicate
    )


async def _write(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent, transition: Transition
) -> None:
    now = ctx.clock()
    before = side_effects.audit_snapshot(locked)
    if transition.outcome is not Outcome.MISMATCH:
        _learn_ids(locked, event.ids)
    _move(locked, event, transition, now)
    if transition.status is PaymentStatus.COMPLETED and event.amount_accepted:
        await record_accepted_amount(session, _one(locked), event, now)
    if transition.outcome is not Outcome.MISMATCH and _names_its_number(locked, event):
        await claim_operation_number(session, ctx, locked, event)
    await flag_contradicted_verification(session, ctx, locked, event)
    if transition.activates:
        side_effects.mark_participant_paid(locked, now)
        # the other ways to pay are closed now, not at their next look
        await locked.poll_other_payments_now(session, now)
    await side_effects.append_audit_entry(
        session, locked, event, f"{event.event_type}:{transition.outcome}", before, now
    )
    await _tell(session, ctx, locked, event, transition)


def _move(locked: LockedPayment, event: PaymentEvent, transition: Transition, now: datetime) -> None:
    payment, detail = locked.payment, locked.detail
    if transition.status is not None:
        payment.status = transition.status
        # a retry that works out leaves no old reason behind
        payment.failure_reason = transition.failure_reason
    elif transition.failure_reason is not None:
        payment.failure_reason = transition.failure_reason
    if transition.status is PaymentStatus.COMPLETED:
        detail.completed_at = now
    if transition.status is PaymentStatus.PROCESSING and detail.scanned_at is None:
        detail.scanned_at = now
    if transition.provider_open is not None:
        detail.provider_open = transition.provider_open
    if not detail.provider_open:
        detail.next_poll_at = None
    if (
        event.event_type not in (EventType.OPENED, EventType.UNPLACED)
        and transition.outcome is not Outcome.MISMATCH
    ):
        detail.news_at = max(event.at, detail.news_at) if detail.news_at else event.at
    detail.is_late = detail.is_late or transition.late
    detail.is_duplicate = detail.is_duplicate or transition.duplicate
    payment.updated_at = now
    detail.updated_at = now


def _learn_ids(locked: LockedPayment, ids: ProviderIds) -> None:
    """Keep what the source knows; an id that it does not name stays as it is."""
    payment, detail = locked.payment, locked.detail
    payment.stripe_payment_id = ids.payment_intent or payment.stripe_payment_id
    payment.stripe_session_id = ids.checkout_session or payment.stripe_session_id
    payment.kaspi_qr_code = ids.kaspi_payment or payment.kaspi_qr_code
    if ids.kaspi_operation is not None:
        payment.kaspi_transaction_id = canonical(ids.kaspi_operation)
    detail.charge_id = ids.charge or detail.charge_id
    detail.wallet = ids.wallet or detail.wallet
    if payment.method is PaymentMethod.APPLE_PAY:
        payment.apple_pay_id = ids.charge or payment.apple_pay_id
    elif payment.method is PaymentMethod.GOOGLE_PAY:
        payment.google_pay_id = ids.charge or payment.google_pay_id


async def _tell(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent, transition: Transition
) -> None:
    paid = event.money or locked.charged
    ids = event.ids
    key = ids.payment_intent or ids.kaspi_payment or ids.kaspi_operation or "payment"
    about = _about(event, transition)
    for kind in transition.discrepancies:
        found = {
            "charged": side_effects.as_document(locked.charged),
            "paid": side_effects.as_document(paid),
            "source": event.source.value,
            "provider": key,
        } | ({"said": event.money_unreadable} if event.money_unreadable else {})
        await side_effects.open_discrepancy(session, ctx, locked, kind, found, about)
    for topic in transition.topics:
        # what is asked for now: it may be another amount when the message is read
        more = {"asked": str(locked.charged)} if topic is Topic.ALERT_AMOUNT else {}
        await side_effects.enqueue_message(
            session, ctx, locked, topic, paid, once=_once(topic, event, key), **more
        )


def _about(event: PaymentEvent, transition: Transition) -> str | None:
    """What a difference is about: the provider's object that brought the news. A number that only settles a
    payment names nothing of its own; that of money which settles nothing does."""
    ids = event.ids
    apart = ids.kaspi_operation if transition.outcome is Outcome.MISMATCH else None
    return ids.payment_intent or ids.kaspi_payment or apart


def _once(topic: Topic, event: PaymentEvent, key: str) -> str:
    """One message for one happening: a declined card may fail again, money is received once."""
    if topic is Topic.PAYMENT_FAILED:
        return event.at.isoformat()
    return key if topic is Topic.ALERT_AMOUNT else ""
