"""Write what goes with a status change: audit entries, the participant, messages and discrepancies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.events import PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, ParticipantStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.notifications import outbox as outbox_store
from procomp_pay.storage.payments.locked_payment import LockedPayment
from procomp_pay.storage.reconciliation import discrepancies

#: Settlement opens these kinds only together with a specific alert (:func:`enqueue_message`).
KINDS_WITH_ALERT = frozenset(
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
    """Return the state of a payment for the audit trail: no secrets, and no personal data but ids."""
    payment, detail, participant = locked.payment, locked.detail, locked.participant
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
        "participant_status": participant.status.value if participant else None,
        "participant_payment": participant.payment_id if participant else None,
    }


async def append_audit_entry(
    session: AsyncSession,
    locked: LockedPayment,
    event: PaymentEvent,
    action: str,
    before: dict[str, Any],
    now: datetime,
    *,
    after: dict[str, Any] | None = None,
) -> None:
    """Append the audit entry of an event.

    :param after: ``None`` for :func:`audit_snapshot`.
    """
    after = audit_snapshot(locked) if after is None else after
    if event.approved_by is not None:
        after = after | {"approved_by": event.approved_by}
    record = audit.AuditRecord(
        actor=event.actor,
        source=event.source,
        source_id=event.source_id,
        request_id=event.request_id,
        action=action,
        before=before,
        after=after,
        note=event.reason,
    )
    await locked.append_audit_entry(session, record, now)


def provider_reference(locked: LockedPayment) -> str | None:
    """Return the provider's reference of a payment, for a bill its own number; ``None`` if it has none.

    Settlement and reconciliation use it as the key of discrepancies, so that both find the same row.
    """
    payment, detail = locked.payment, locked.detail
    bill = payment.kaspi_transaction_id if detail.channel is Channel.KASPI_BILL else None
    return payment.stripe_payment_id or payment.kaspi_qr_code or detail.provider_ref or bill


def mark_participant_paid(locked: LockedPayment, now: datetime) -> None:
    """Mark the participant as paid by this payment."""
    participant = locked.participant
    if participant is None:  # excluded by the transition rules
        raise AssertionError("a deleted participant cannot be marked as paid")
    participant.status = ParticipantStatus.PAID
    participant.payment_id = locked.payment.id
    locked.detail.is_duplicate = False
    participant.updated_at = now


def release_participant(locked: LockedPayment, now: datetime) -> None:
    """Mark the participant as unpaid after a refund, unless another payment settles the fee."""
    participant = locked.participant
    if participant is None or participant.payment_id != locked.payment.id:
        return
    if participant.status is ParticipantStatus.PAID:
        participant.status = ParticipantStatus.REGISTERED
    participant.payment_id = None
    participant.updated_at = now


async def open_discrepancy(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    kind: DiscrepancyKind,
    detail: dict[str, Any],
    key: str | None = None,
    *,
    has_alert: bool | None = None,
) -> None:
    """Open a discrepancy for manual review, once.

    :param key: tells two discrepancies of the same kind apart; by default the reference of the payment.
    :param has_alert: True if the caller enqueues a specific alert; by default for :data:`KINDS_WITH_ALERT`.
    """
    await discrepancies.open_discrepancy(
        session,
        kind,
        locked.payment.id,
        detail,
        key=key or _own_key(locked),
        row_id=ctx.new_id(),
        now=ctx.clock(),
        alerts=not (kind in KINDS_WITH_ALERT if has_alert is None else has_alert),
    )


def _own_key(locked: LockedPayment) -> str:
    """Return what tells the discrepancies of a kind apart where nothing else is given."""
    return provider_reference(locked) or "payment"


async def close_duplicate(
    session: AsyncSession, locked: LockedPayment, event: PaymentEvent, now: datetime
) -> None:
    """Close the discrepancy of a duplicate that settles the fee now: its refund would leave nothing paid."""
    await discrepancies.close_if_open(
        session,
        DiscrepancyKind.DUPLICATE_PAYMENT,
        locked.payment.id,
        _own_key(locked),
        note=N_("The other payment was refunded: this one settles the fee now."),
        by=event.actor,
        now=now,
    )


async def close_unapplied(
    session: AsyncSession, locked: LockedPayment, number: str, money: Money, *, by: str, now: datetime
) -> None:
    """Close what is open about this Kaspi operation as money of nobody: given back as such, it would be given
    twice. One of another amount stays open."""
    for row in await discrepancies.unapplied(session, number):
        if discrepancies.unapplied_money(row.detail) in (None, money):
            note = N_("Its money settles payment %(payment)s now.", payment=locked.payment.id)
            discrepancies.close(row, how=discrepancies.GONE, note=note, by=by, now=now)


async def enqueue_message(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    topic: Topic,
    money: Money,
    *,
    once: str,
    **extra: Any,
) -> None:
    """Enqueue a message in the outbox.

    :param once: the deduplication key within the topic and the payment.
    :param extra: further fields of the message.
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
    row = outbox_store.message(
        topic,
        message | extra,
        row_id=ctx.new_id(),
        now=ctx.clock(),
        payment_id=payment.id,
        dedup_key=f"{topic}:{payment.id}:{once}",
    )
    await locked.enqueue_message(session, row)


async def keep_unapplied(
    session: AsyncSession, ctx: AppContext, provider: str, event_id: str, detail: Mapping[str, str | None]
) -> None:
    """Open a discrepancy and enqueue an alert for money that belongs to no known payment, once per event.

    Not if its operation has settled one meanwhile, by a receipt: given back as such, it would be given twice.
    """
    if await discrepancies.is_explained(session, detail):
        return
    await discrepancies.open_discrepancy(
        session,
        DiscrepancyKind.MISSING_LOCALLY,
        None,
        {"provider": provider, **detail},
        key=f"{provider}:{event_id}",
        row_id=ctx.new_id(),
        now=ctx.clock(),
        alerts=False,  # a specific one follows
    )
    await outbox_store.enqueue(
        session,
        Topic.ALERT_UNAPPLIED,
        {"provider": provider, "event_id": event_id, **detail},
        row_id=ctx.new_id(),
        now=ctx.clock(),
        dedup_key=f"{Topic.ALERT_UNAPPLIED}:{provider}:{event_id}",
    )


def as_document(money: Money) -> dict[str, Any]:
    """Return an amount for a JSON document."""
    return {"amount": money.amount, "currency": money.currency.value}
