"""The door's part for money of another amount that a person accepts: our books say what was received.

What was asked for stays in the audit (the entry of the start, and the one made here) and in the discrepancy
that stays open until a second look. Everything that counts money (reports, the closing sheet, the bound of a
refund, the comparison with the provider) counts what came.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import Fact
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.repository import Held


async def book_received(session: AsyncSession, held: Held, fact: Fact, now: datetime) -> None:
    """Write down what came in place of what was asked for, where a person accepted another amount."""
    paid, asked = fact.money, held.charged
    if paid is None or paid == asked or not fact.amount_accepted:
        return
    held.payment.amount = held.detail.charged_amount = paid.amount
    deed = audit.Deed(
        actor=fact.actor,
        source=fact.source,
        source_id=fact.source_id,
        request_id=fact.request_id,
        action="amount_accepted",
        before={"charged": asked.amount},
        after={"charged": paid.amount},
        note=fact.reason,
    )
    await audit.append(session, held.payment.id, deed, now)
