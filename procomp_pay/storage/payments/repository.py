"""Read and lock payments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import ErrorCode, NotFound
from procomp_pay.domain.states import OPEN_STATUSES, Channel, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.by_key import by_key
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.paid import is_paid
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments.locked_payment import LockedPayment


@dataclass(slots=True)
class OrmLockedPayment(LockedPayment):
    """One payment whose rows belong to the ORM session, which flushes changes."""

    payment: Payment
    detail: PaymentDetail
    participant: Participant | None

    async def append_audit_entry(
        self, session: AsyncSession, record: audit.AuditRecord, at: datetime
    ) -> None:
        await audit.append(session, self.payment.id, record, at)

    async def enqueue_message(self, session: AsyncSession, message: dict[str, Any]) -> None:
        await insert_once(session, OutboxMessage, message)

    async def poll_other_payments_now(self, session: AsyncSession, now: datetime) -> None:
        others = await session.exec(
            select(PaymentDetail).where(
                PaymentDetail.participant_id == self.detail.participant_id,
                col(PaymentDetail.provider_open),
                PaymentDetail.payment_id != self.payment.id,
            )
        )
        for detail in others.all():
            detail.next_poll_at = now


async def lock_payment(session: AsyncSession, payment_id: str) -> OrmLockedPayment:
    """Lock a payment, then its participant, until the transaction ends; return it with its rows.

    :raises NotFound: no such payment, or one that was created elsewhere and is not adopted.
    """
    return await _with_rows(session, payment_id, lock=True)


async def load_payment(session: AsyncSession, payment_id: str) -> OrmLockedPayment:
    """Return a payment as :func:`lock_payment` does, read without a lock.

    :raises NotFound: as :func:`lock_payment`.
    """
    return await _with_rows(session, payment_id, lock=False)


async def _with_rows(session: AsyncSession, payment_id: str, *, lock: bool) -> OrmLockedPayment:
    payment = await by_key(session, Payment, payment_id, lock=lock)
    detail = await by_key(session, PaymentDetail, payment_id, lock=False)
    if payment is None or detail is None:
        raise NotFound(
            N_("There is no payment %(payment)s", payment=repr(payment_id[:64])),
            next_step="procomp-pay list",
            code=ErrorCode.PAYMENT_NOT_FOUND,
        )
    participant = await by_key(session, Participant, detail.participant_id, lock=lock)
    locked = OrmLockedPayment(payment, detail, participant)
    await mark_unpaid_links(session, [locked])
    return locked


async def lock_for_move(session: AsyncSession, payment_id: str, participant_id: str) -> OrmLockedPayment:
    """Lock a payment, its participant, and the one to whom it is to be moved.

    Participants are locked in the order of their ids, so that two moves crosswise do not deadlock.

    :raises NotFound: as :func:`lock_payment`.
    """
    await session.get(Payment, payment_id, with_for_update=True, populate_existing=True)
    detail = await session.get(PaymentDetail, payment_id, populate_existing=True)
    for key in sorted({participant_id, detail.participant_id}) if detail else ():
        await session.get(Participant, key, with_for_update=True, populate_existing=True)
    return await lock_payment(session, payment_id)


async def lock_rows(session: AsyncSession, payment_ids: Collection[str]) -> None:
    """Lock payments without their participants, in the order of their ids."""
    query = select(Payment.id).where(col(Payment.id).in_(payment_ids)).order_by(col(Payment.id))
    await session.exec(query.with_for_update())


async def open_or_paid(session: AsyncSession, participant_id: str) -> str | None:
    """Return a participant's payment through which money can still arrive, or that has money; ``None`` if
    there is none."""
    query = (
        select(PaymentDetail.payment_id)
        .join(Payment, col(Payment.id) == col(PaymentDetail.payment_id))
        .where(
            PaymentDetail.participant_id == participant_id,
            or_(col(PaymentDetail.provider_open), is_paid(), col(Payment.status).in_(OPEN_STATUSES)),
        )
        .order_by(col(PaymentDetail.created_at).desc())
        .limit(1)
    )
    return (await session.exec(query)).first()


async def mark_unpaid_links(session: AsyncSession, payments: Collection[OrmLockedPayment]) -> None:
    """Set ``unpaid_link`` where the participant is linked to another payment that is not paid."""
    linked = [locked for locked in payments if locked.settled_by not in (None, locked.payment.id)]
    if not linked:
        return
    links = {locked.settled_by for locked in linked}
    paid = set((await session.exec(select(Payment.id).where(col(Payment.id).in_(links), is_paid()))).all())
    for locked in linked:
        if locked.settled_by not in paid:
            locked.unpaid_link = locked.settled_by


async def find_replacement_payment(
    session: AsyncSession, locked: OrmLockedPayment
) -> OrmLockedPayment | None:
    """Find and lock the participant's oldest unrefunded COMPLETED payment, which can replace a refunded one.

    Return ``None`` also if another transaction has it locked: waiting here could deadlock.
    """
    participant = locked.participant
    if participant is None or locked.settled_by is not None:
        return None
    result = await session.exec(
        select(Payment, PaymentDetail)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(
            PaymentDetail.participant_id == participant.id,
            PaymentDetail.refunded_amount == 0,
            Payment.id != locked.payment.id,
            Payment.tournament_id == participant.tournament_id,
            Payment.status == PaymentStatus.COMPLETED,
        )
        .order_by(col(PaymentDetail.completed_at), col(Payment.id))
        .limit(1)
        .with_for_update(skip_locked=True, of=Payment)
    )
    row = result.first()
    if row is None:
        return None
    return OrmLockedPayment(row[0], row[1], participant, unpaid_link=locked.unpaid_link)


async def claim_due(
    session: AsyncSession,
    now: datetime,
    channels: Collection[Channel],
    *,
    lease_s: int,
    limit: int,
) -> list[str]:
    """Claim payments of these channels that are due for polling, each for ``lease_s`` seconds.

    First come those that expire soonest; a third of the places is for those that have waited longest.
    Otherwise, with more payments than the provider's rate limit allows, some would never be polled.

    Any number of processes may claim: a row that another one has locked is skipped, and a process that dies
    leaves its rows to the others when the lease is over.
    """
    soonest_count = limit - max(1, limit // 3)
    rows: list[PaymentDetail] = []
    for count, by_deadline in ((soonest_count, True), (limit, False)):
        if count > len(rows):
            more = await _due(session, now, channels, count - len(rows), by_deadline=by_deadline)
            for row in more:
                row.next_poll_at = now + timedelta(seconds=lease_s)
            rows += more
        if len(rows) < count:
            break  # no more are due
    return [row.payment_id for row in rows]


async def _due(
    session: AsyncSession, now: datetime, channels: Collection[Channel], limit: int, *, by_deadline: bool
) -> Sequence[PaymentDetail]:
    """Lock due payments, found by the index on ``next_poll_at``."""
    deadline, waited = col(PaymentDetail.expires_at), col(PaymentDetail.next_poll_at)
    order_by = (deadline.is_(None), deadline, waited) if by_deadline else (waited,)
    result = await session.exec(
        select(PaymentDetail)
        .where(waited <= now, col(PaymentDetail.channel).in_(channels))
        .order_by(*order_by)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return result.all()


async def next_due_at(
    session: AsyncSession, channels: Collection[Channel], until: datetime
) -> datetime | None:
    """Return when the next poll of these channels is due; ``None`` if none is until then. Without an end,
    where all open payments are of other channels, each would be read.
    """
    result = await session.exec(
        select(PaymentDetail.next_poll_at)
        .where(col(PaymentDetail.next_poll_at) <= until, col(PaymentDetail.channel).in_(channels))
        .order_by(col(PaymentDetail.next_poll_at))
        .limit(1)
    )
    return result.first()
