"""The door's part for money of another amount that a person accepts: our books say what was received.

What was asked for stays in the audit (the entry of the start, and the one made here) and in the discrepancy
that stays open until a second look. Everything that counts money (reports, the closing sheet, the bound of a
refund, the comparison with the provider) counts what came.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import PaymentEvent
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.repository import OrmLockedPayment


async def record_accepted_amount(
    session: AsyncSession, locked: OrmLockedPayment, event: PaymentEvent, now: datetime
) -> None:
    """Write down what came in place of what was asked for, where a person accepted another amount."""
    paid, asked = event.money, locked.charged
    if paid is None or paid == asked or not event.amount_accepted:
        return
    locked.payment.amount = locked.detail.charged_amount = paid.amount
    record = audit.AuditRecord(
        actor=event.actor,
        source=event.source,
        source_id=event.source_id,
        request_id=event.request_id,
        action="amount_accepted",
        before={"charged": asked.amount},
        after={"charged": paid.amount},
        note=event.reason,
    )
    await audit.append(session, locked.payment.id, record, now)
