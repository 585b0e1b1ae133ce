"""Apply payment events. The only module that changes the status of a payment.

Webhooks, polling, operators and the clock pass a :class:`PaymentEvent` to :func:`apply_event`, or to
:func:`apply_event_in` within a transaction of their own. It locks the payment, asks the pure rules for the
transition, and writes payment, participant, audit entry, outbox messages and discrepancies together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.config import ProviderMode
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PAID_STATUSES, AnyStatus, PaymentMethod, PaymentStatus
from procomp_pay.domain.topics import Topic
from procomp_pay.domain.transitions import Outcome, Transition, decide_transition
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.operation_numbers import (
    claim_operation_number,
    flag_contradicted_verification,
)
from procomp_pay.services.settlement.refunds_and_disputes import apply_refund_event, finish
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.locked_payment import LockedPayment
from procomp_pay.storage.payments.repository import OrmLockedPayment, find_replacement_payment, lock_payment

#: When the wallet of a paid payment is asked for: after the events that arrive together with its own.
_WALLET_AFTER = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class AppliedEvent:
    """The result of applying an event."""

    outcome: Outcome
    before: AnyStatus
    status: AnyStatus


async def apply_event(ctx: AppContext, event: PaymentEvent) -> AppliedEvent:
    """Apply an event in its own transaction.

    :raises NotFound: no such payment. :raises DatabaseUnavailable: nothing was written.
    """
    async with ctx.db.writing() as session:
        return await apply_event_in(session, ctx, event)


async def apply_event_in(
    session: AsyncSession, ctx: AppContext, event: PaymentEvent, locked: LockedPayment | None = None
) -> AppliedEvent:
    """Apply an event in the caller's transaction, which must be a writing one.

    :param locked: the payment, if the caller has already locked it in this transaction. A payment of a batch
        accepts no refunds and disputes, which have rows of their own.
    """
    locked = locked or await lock_payment(session, event.payment_id)
    before = locked.payment.status
    if event.event_type in (EventType.REFUND, EventType.DISPUTE):
        outcome = await _apply_refund_or_dispute(session, ctx, _single(locked), event)
        return AppliedEvent(outcome, before, locked.payment.status)
    transition = decide_transition(locked.snapshot(), event)
    if transition.outcome is Outcome.MISMATCH and await _is_known_operation(session, locked, event):
        transition = Transition(Outcome.STALE)
    if transition.outcome not in (Outcome.ALREADY, Outcome.STALE):
        await _write(session, ctx, locked, event, transition)
    elif transition.outcome is Outcome.ALREADY:
        await _add_details(session, ctx, locked, event)
    return AppliedEvent(transition.outcome, before, locked.payment.status)


async def _is_known_operation(session: AsyncSession, locked: LockedPayment, event: PaymentEvent) -> bool:
    """Return True if the money of another object is what settled the payment: an operator entered the number
    of its operation before the object was reported. It is no second payment."""
    if locked.payment.status not in PAID_STATUSES or not event.ids.kaspi_operation:
        return False
    used = await numbers.used_by(session, canonical(event.ids.kaspi_operation))
    is_own = used is not None and used.payment_id == locked.payment.id
    return is_own and event.money_unreadable is None and event.money in (None, locked.charged)


async def _apply_refund_or_dispute(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent
) -> Outcome:
    recorded = await apply_refund_event(session, ctx, locked, event)
    if recorded.status is not None:
        locked.payment.status = recorded.status
    await finish(session, ctx, locked, event, recorded)
    if recorded.status is PaymentStatus.REFUNDED:
        await apply_replacement_payment(session, ctx, locked, event)
    return recorded.outcome


def _single(locked: LockedPayment) -> OrmLockedPayment:
    """Return the payment if it is not part of a batch: refunds and manual decisions are never batched."""
    if not isinstance(locked, OrmLockedPayment):
        raise AssertionError(f"payment {locked.payment.id} is part of a batch")  # noqa: TRY004 - a bug
    return locked


async def apply_replacement_payment(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent
) -> None:
    """Let another COMPLETED payment of the participant settle the fee instead of one that was refunded or
    moved to somebody else."""
    replacement = await find_replacement_payment(session, locked)
    if replacement is not None:
        unplaced = PaymentEvent(
            payment_id=replacement.payment.id,
            event_type=EventType.UNPLACED,
            at=ctx.clock(),
            source=event.source,
            actor=event.actor,
            source_id=event.source_id,
            request_id=event.request_id,
        )
        await apply_event_in(session, ctx, unplaced, replacement)


async def _add_details(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> None:
    """Store ids that an already known event adds: the charge, the wallet or the operation number."""
    before = side_effects.audit_snapshot(locked)
    _store_ids(locked, event.ids)
    if _has_operation_number(locked, event) and await claim_operation_number(session, ctx, locked, event):
        await side_effects.append_audit_entry(session, locked, event, "number:noted", before, ctx.clock())


def _has_operation_number(locked: LockedPayment, event: PaymentEvent) -> bool:
    """Return True if the event names the operation number that settles the payment."""
    paid = locked.payment.status is PaymentStatus.COMPLETED and event.event_type is EventType.SUCCEEDED
    return paid and bool(event.ids.kaspi_operation)


async def _write(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent, transition: Transition
) -> None:
    now = ctx.clock()
    before = side_effects.audit_snapshot(locked)
    if transition.outcome is not Outcome.MISMATCH:
        _store_ids(locked, event.ids)
    elif event.ids.kaspi_operation and locked.payment.status not in PAID_STATUSES:
        # its money came for this payment: the number must not be accepted for another one; the number of more
        # money is found by its discrepancy
        number = canonical(event.ids.kaspi_operation)
        locked.payment.kaspi_transaction_id = locked.payment.kaspi_transaction_id or number
    _update_payment(ctx, locked, event, transition, now)
    if transition.status is PaymentStatus.COMPLETED and event.amount_accepted:
        await record_accepted_amount(session, _single(locked), event, now)
    if transition.outcome is not Outcome.MISMATCH and _has_operation_number(locked, event):
        await claim_operation_number(session, ctx, locked, event)
    await flag_contradicted_verification(session, ctx, locked, event)
    if transition.activates:
        side_effects.mark_participant_paid(locked, now)
        if before["duplicate"]:
            await side_effects.close_duplicate(session, locked, event, now)
        # close the other open payments now, not at their next scheduled poll
        await locked.poll_other_payments_now(session, now)
    await side_effects.append_audit_entry(
        session, locked, event, f"{event.event_type}:{transition.outcome}", before, now
    )
    await _announce(session, ctx, locked, event, transition)


async def record_accepted_amount(
    session: AsyncSession, locked: OrmLockedPayment, event: PaymentEvent, now: datetime
) -> None:
    """Store the received amount as the charged amount, if an operator accepted a different one.

    The original amount stays in the audit trail and in the open discrepancy. Reports, the closing sheet, the
    limit of refunds and the comparison with the provider use the received amount.
    """
    paid, charged = event.money, locked.charged
    if paid is None or paid == charged or not event.amount_accepted:
        return
    locked.payment.amount = locked.detail.charged_amount = paid.amount
    before, after = {"charged": charged.amount}, {"charged": paid.amount}
    await side_effects.append_audit_entry(session, locked, event, "amount_accepted", before, now, after=after)


def _update_payment(
    ctx: AppContext, locked: LockedPayment, event: PaymentEvent, transition: Transition, now: datetime
) -> None:
    payment, detail = locked.payment, locked.detail
    if transition.status is not None:
        payment.status = transition.status
        # a successful retry removes the old reason
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
        is_paid = transition.status is PaymentStatus.COMPLETED
        detail.next_poll_at = now + _WALLET_AFTER if is_paid and _has_wallet_to_learn(ctx, locked) else None
    if (
        event.event_type not in (EventType.OPENED, EventType.UNPLACED)
        and transition.outcome is not Outcome.MISMATCH
    ):
        detail.news_at = max(event.at, detail.news_at) if detail.news_at else event.at
    detail.is_late = detail.is_late or transition.late
    detail.is_duplicate = detail.is_duplicate or transition.duplicate
    payment.updated_at = now
    detail.updated_at = now


def _has_wallet_to_learn(ctx: AppContext, locked: LockedPayment) -> bool:
    """Return whether a paid payment's wallet is not known, and Stripe can be asked for it: without a key the
    poll of each payment would only find out that there is none."""
    detail = locked.detail
    is_unknown = detail.wallet is None and not detail.channel.is_kaspi
    return is_unknown and ctx.providers.stripe_mode is not ProviderMode.OFF


def _store_ids(locked: LockedPayment, ids: ProviderIds) -> None:
    """Store the ids that the source knows; leave the others unchanged."""
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


async def _announce(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent, transition: Transition
) -> None:
    """Open the discrepancies of a transition and enqueue its messages."""
    paid = event.money or locked.charged
    ids = event.ids
    key = ids.payment_intent or ids.kaspi_payment or ids.kaspi_operation or "payment"
    discrepancy_key = _discrepancy_key(event, transition)
    operation = await _unsettled_operation(session, locked, event, transition)
    if operation and locked.payment.status not in PAID_STATUSES:
        number = operation["operation"]
        if number != locked.payment.kaspi_transaction_id:  # more money, beside that which came first
            key = discrepancy_key = number
    for kind in transition.discrepancies:
        detail = {
            "charged": side_effects.as_document(locked.charged),
            "paid": side_effects.as_document(paid),
            "source": event.source.value,
            "provider": key,
            **operation,
        } | ({"said": event.money_unreadable} if event.money_unreadable else {})
        has_alert = None if transition.topics else False
        await side_effects.open_discrepancy(
            session, ctx, locked, kind, detail, discrepancy_key, has_alert=has_alert
        )
    for topic in transition.topics:
        # the amount that is charged now: it may have changed when the message is delivered
        extra = operation | ({"asked": str(locked.charged)} if topic is Topic.ALERT_AMOUNT else {})
        await side_effects.enqueue_message(
            session, ctx, locked, topic, paid, once=_message_key(topic, event, key), **extra
        )


async def _unsettled_operation(
    session: AsyncSession, locked: LockedPayment, event: PaymentEvent, transition: Transition
) -> dict[str, str]:
    """Return the details of a Kaspi operation whose money does not settle the payment: its number, and under
    ``settled`` another payment for which it was verified. Nothing for any other event."""
    if transition.outcome is not Outcome.MISMATCH or not event.ids.kaspi_operation:
        return {}
    number = canonical(event.ids.kaspi_operation)
    used = await numbers.used_by(session, number)
    is_elsewhere = used is not None and used.payment_id != locked.payment.id
    return {"operation": number} | ({"settled": used.payment_id} if used and is_elsewhere else {})


def _discrepancy_key(event: PaymentEvent, transition: Transition) -> str | None:
    """Return the key of a discrepancy: the provider's object that the event is about.

    An operation number is the key only if its money did not settle the payment.
    """
    ids = event.ids
    number = ids.kaspi_operation if transition.outcome is Outcome.MISMATCH else None
    return ids.payment_intent or ids.kaspi_payment or number


def _message_key(topic: Topic, event: PaymentEvent, key: str) -> str:
    """Return the part of the deduplication key that tells two messages of a topic and a payment apart.

    A card may be declined several times, but money is received once.
    """
    if topic is Topic.PAYMENT_FAILED:
        return event.at.isoformat()
    return key if topic is Topic.ALERT_AMOUNT else ""
