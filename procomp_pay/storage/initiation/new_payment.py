"""Write a new payment with everything that belongs to it, by one statement on PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit.chain import AuditRecord, first_entry
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.idempotency import IdempotencyKey
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.payments.idempotency import Claim
from procomp_pay.storage.payments.locked_payment import PaymentRows


@dataclass(slots=True)
class NewPayment(PaymentRows):
    """The rows of a payment that is not stored yet, with the first entry of its audit chain."""

    payment: Payment
    detail: PaymentDetail
    started: AuditRecord


async def write(session: AsyncSession, new: NewPayment, claim: Claim | None = None) -> None:
    """Insert a new payment, with the idempotency key of its request.

    The rows do not belong to the session: later changes of them are not written.

    :raises Conflict: another transaction took the key meanwhile; this one must be rolled back.
    """
    payment_id, at = new.payment.id, new.detail.created_at
    keys = [idempotency.row_of(claim, payment_id, at)] if claim else []
    written = await write_all(
        session,
        [
            Write(Action.INSERT, Payment, [_values(new.payment)]),
            Write(Action.INSERT, PaymentDetail, [_values(new.detail)]),
            Write(Action.INSERT, AuditEntry, [first_entry(payment_id, new.started, at)]),
            Write(Action.INSERT_ONCE, IdempotencyKey, keys),
        ],
    )
    if len(keys) != written.get(IdempotencyKey, 0):
        raise idempotency.used()


def _values(row: Row) -> dict[str, Any]:
    """Return what is set; the others are NULL."""
    return {
        name: value for name, value in vars(row).items() if value is not None and not name.startswith("_")
    }
