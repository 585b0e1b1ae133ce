"""The door's part for money of another amount that a person accepts: our books say what was received.

What was asked for stays in the audit (the entry of the start, and the one made here) and in the discrepancy
that stays open until a second look. Everything that counts money (reports, the closing sheet, the bound of a
refund, the comparison with the provider) counts what came.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.facts import Fact
from procomp_pay.domain.money import Money
from procomp_pay.storage import audit
from procomp_pay.storage import discrepancies as store
from procomp_pay.storage.payments import Held

#: How a difference ended that a person's override decided.
OVERRIDDEN = "overridden"


async def book_received(session: AsyncSession, held: Held, fact: Fact, now: datetime) -> None:
    """Write down what came in place of what was asked for, where a person accepted another amount; with it
    the differences about that very sum, which were left for a person, are decided."""
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
    await _decide(session, held, paid, fact, now)


async def _decide(session: AsyncSession, held: Held, paid: Money, fact: Fact, now: datetime) -> None:
    for row in await store.open_about_amount(session, held.payment.id):
        told = row.detail.get("paid") or row.detail.get("theirs") or {}
        if (told.get("amount"), told.get("currency")) == (paid.amount, paid.currency.value):
            store.close(row, how=OVERRIDDEN, note=str(fact.reason), by=fact.actor, now=now)
