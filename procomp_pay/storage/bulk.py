"""Many payments in one transaction: read and locked by one statement for each table, written by one for each.

The door works on a :class:`~procomp_pay.storage.payments.Held` payment and does not know of this. What it
would write by a statement of its own for each payment (audit entries, messages), it hands to the payment's
:class:`Pen` instead, which writes all of it at the end, in the same transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from sqlalchemy import insert
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit import Chains
from procomp_pay.storage.bulk_write import insert_all, write_changes
from procomp_pay.storage.module import AuditEntry, PaymentDetail
from procomp_pay.storage.once import insert_all_once
from procomp_pay.storage.payments import Held
from procomp_pay.storage.platform import Participant, Payment
from procomp_pay.storage.tables import Row
from procomp_pay.storage.work import OutboxMessage


class Pen:
    """What a batch writes at its end."""

    def __init__(self, chains: Chains) -> None:
        self.chains = chains
        self.messages: list[dict[str, Any]] = []
        self.rows: list[Row] = []

    async def write(self, session: AsyncSession) -> None:
        """Everything that was handed over, and the rows that were changed in place."""
        if session.get_bind().dialect.name == "postgresql":
            await write_changes(session, self.rows)
            await insert_all(session, OutboxMessage, self.messages, once=True)
            await insert_all(session, AuditEntry, self.chains.added)
            return
        await session.flush()
        await insert_all_once(session, OutboxMessage, self.messages)
        if self.chains.added:
            await (await session.connection()).execute(insert(AuditEntry), self.chains.added)


async def hold_many(session: AsyncSession, payment_ids: Collection[str]) -> tuple[dict[str, Held], Pen]:
    """The payments that can be had at once, locked as :func:`~procomp_pay.storage.payments.hold` locks one,
    and the pen that they share.

    Left out, to be handled alone: a payment or participant whom somebody else holds at this moment (nothing
    here waits, so that no two batches can wait for each other), a payment whose participant is gone, and one
    whose participant has another payment that is open or is in the batch as well.
    """
    locked = await session.exec(
        select(Payment)
        .where(col(Payment.id).in_(payment_ids))
        .order_by(col(Payment.id))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    payments = {each.id: each for each in locked.all()}
    people = await session.exec(
        select(Participant)
        .where(col(Participant.id).in_(_participants_of(list(payments))))
        .order_by(col(Participant.id))
        .with_for_update(skip_locked=True, of=Participant)
        .execution_options(populate_existing=True)
    )
    here = {who.id: who for who in people.all()}
    details, rivals = await _details(session, list(payments))
    pen = Pen(await Chains.read(session, list(payments)))
    held = {}
    for payment_id, detail in details.items():
        who = here.get(detail.participant_id)
        if who is not None and who.id not in rivals:
            held[payment_id] = Held(payments[payment_id], detail, who, pen)
            pen.rows += (payments[payment_id], detail, who)
    return held, pen


async def _details(
    session: AsyncSession, payment_ids: list[str]
) -> tuple[dict[str, PaymentDetail], set[str]]:
    """The payments' details, and the participants with a payment besides that is open or is held as well.

    Their participants are locked: nobody adds a payment of theirs meanwhile.
    """
    found = await session.exec(
        select(PaymentDetail)
        .where(
            col(PaymentDetail.participant_id).in_(_participants_of(payment_ids)),
            or_(col(PaymentDetail.provider_open), col(PaymentDetail.payment_id).in_(payment_ids)),
        )
        .execution_options(populate_existing=True)
    )
    rows = list(found.all())
    held = {each.payment_id: each for each in rows if each.payment_id in set(payment_ids)}
    several = Counter(each.participant_id for each in rows)
    return held, {participant for participant, count in several.items() if count > 1}


def _participants_of(payment_ids: list[str]) -> Any:
    return select(PaymentDetail.participant_id).where(col(PaymentDetail.payment_id).in_(payment_ids))
