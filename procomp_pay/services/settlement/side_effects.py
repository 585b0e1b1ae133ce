"""What the door writes beside a status: the audit's picture, who holds the place, what is told to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, ParticipantStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.locked_payment import LockedPayment
from procomp_pay.storage.webhooks import inbox as queues

#: Kinds that the door never opens without an alert (:func:`tell`) that says more.
TOLD = frozenset(
    {
        DiscrepancyKind.AMOUNT_MISMATCH,
        DiscrepancyKind.CURRENCY_MISMATCH,
        DiscrepancyKind.DUPLICATE_PAYMENT,
        DiscrepancyKind.LATE_PAYMENT,
        DiscrepancyKind.PARTICIPANT_MISMATCH,
        DiscrepancyKind.REFUND_MISMATCH,
        DiscrepancyKind.STATUS_MISMATCH,
        DiscrepancyKind.STUCK,
    }
)


def audit_snapshot(locked: LockedPayment) -> dict[str, Any]:
    """What the audit keeps of a payment: nothing secret, nothing personal beyond ids."""
    payment, detail, who = locked.payment, locked.detail, locked.participant
    return {
        "status": payment.status.value,
        "failure_reason": payment.failure_reason,
        "provider_open": detail.provider_open,
        "create_state": detail.create_state.value,
        "payment_intent": payment.stripe_payment_id,
        "checkout_session": payment.stripe_session_id,
        "kaspi_payment": payment.kaspi_qr_code,
        "kaspi_operation": payment.kaspi_transaction_id,
        "charge": detail.charge_id,
        "refunded": detail.refunded_amount,
        "dispute": detail.dispute_state.value if detail.dispute_state else None,
        "late": detail.is_late,
        "duplicate": detail.is_duplicate,
        "participant_status": who.status.value if who else None,
        "participant_payment": who.payment_id if who else None,
    }


async def append_audit_entry(
    session: AsyncSession,
    locked: LockedPayment,
    event: PaymentEvent,
    action: str,
    before: dict[str, Any],
    now: datetime,
) -> None:
    """Add the audit entry of a fact."""
    record = audit.AuditRecord(
        actor=event.actor,
        source=event.source,
        source_id=event.source_id,
        request_id=event.request_id,
        action=action,
        before=before,
        after=audit_snapshot(locked),
        note=event.reason,
    )
    await locked.append_audit_entry(session, record, now)


def provider_reference(locked: LockedPayment) -> str | None:
    """The provider's id of a payment, a bill's own number; ``None`` where nothing of it is known there.

    The door and reconcile name by it what they find of the payment itself, so that both find the same row.
    """
    payment, detail = locked.payment, locked.detail
    bill = payment.kaspi_transaction_id if detail.channel is Channel.KASPI_BILL else None
    return payment.stripe_payment_id or payment.kaspi_qr_code or detail.provider_ref or bill


def mark_participant_paid(locked: LockedPayment, now: datetime) -> None:
    """The payment settles its participant's fee."""
    who = locked.participant
    if who is None:  # the rules activate nobody who is gone
        raise AssertionError("a participant who is gone cannot be activated")
    who.status = ParticipantStatus.PAID
    who.payment_id = locked.payment.id
    locked.detail.is_duplicate = False
    who.updated_at = now


def release_participant(locked: LockedPayment, now: datetime) -> None:
    """The payment went back: its participant has not paid any more. Another payment's place is left alone."""
    who = locked.participant
    if who is None or who.payment_id != locked.payment.id:
        return
    if who.status is ParticipantStatus.PAID:
        who.status = ParticipantStatus.REGISTERED
    who.payment_id = None
    who.updated_at = now


async def open_discrepancy(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    kind: DiscrepancyKind,
    detail: dict[str, Any],
    key: str | None = None,
    *,
    told: bool | None = None,
) -> None:
    """Open a discrepancy for a person, once.

    :param key: what it is about, where that is not the payment's own money: it tells two of a kind apart.
    :param told: whether an alert that says more goes with it; by default for the kinds of :data:`TOLD`.
    """
    await queues.open_discrepancy(
        session,
        kind,
        locked.payment.id,
        detail,
        key=key or provider_reference(locked) or "payment",
        row_id=ctx.new_id(),
        now=ctx.clock(),
        alerts=not (kind in TOLD if told is None else told),
    )


async def enqueue_message(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    topic: Topic,
    money: Money,
    *,
    once: str,
    **more: Any,
) -> None:
    """Leave a message in the outbox.

    :param once: what makes it the same message, beside its topic and payment.
    """
    payment = locked.payment
    message = {
        "payment_id": payment.id,
        "participant_id": locked.detail.participant_id,
        "status": payment.status.value,
        "amount": money.amount,
        "currency": money.currency.value,
        "reason": payment.failure_reason,
    }
    row = queues.message(
        topic,
        message | more,
        row_id=ctx.new_id(),
        now=ctx.clock(),
        payment_id=payment.id,
        dedup_key=f"{topic}:{payment.id}:{once}",
    )
    await locked.enqueue_message(session, row)


def as_document(money: Money) -> dict[str, Any]:
    """An amount in a JSON document."""
    return {"amount": money.amount, "currency": money.currency.value}
