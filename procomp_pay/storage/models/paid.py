"""Decide in SQL when an entry fee counts as paid."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import and_, col, or_, select

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment


def is_paid(payment: Any = Payment) -> ColumnElement[bool]:
    """Return the condition that a payment settles the fee of a participant who is linked to it.

    It is COMPLETED; or it has a status that only the platform knows, or none, and is not one of ours that
    never completed. The condition is never NULL.
    """
    status, detail = col(payment.status), aliased(PaymentDetail)
    never_completed = (
        select(detail.payment_id)
        .where(detail.payment_id == payment.id, col(detail.completed_at).is_(None))
        .exists()
    )
    is_foreign = or_(status.is_(None), status.not_in(list(PaymentStatus)))
    is_completed = and_(status.is_not(None), status == PaymentStatus.COMPLETED)
    return or_(is_completed, and_(is_foreign, ~never_completed))


def is_settled() -> ColumnElement[bool]:
    """Return the condition that the payment which a participant is linked to settles the fee."""
    linked = aliased(Payment)
    return select(linked.id).where(linked.id == Participant.payment_id, is_paid(linked)).exists()
