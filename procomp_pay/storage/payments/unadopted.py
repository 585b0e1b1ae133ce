"""Find payments that the platform wrote without this desk, and adopt them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, literal, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.storage.audit.chain import AuditRecord, Chains
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.insert_once import insert_all_once, insert_returning
from procomp_pay.storage.models.payments import AuditEntry, KaspiOperation, PaymentDetail, Refund
from procomp_pay.storage.models.platform import Participant, Payment, is_paid

#: Payments in one transaction.
PAGE = 500
#: The time and id of the payment after which a page begins.
PageKey = tuple[datetime, str]


async def count(session: AsyncSession) -> int:
    """Return the number of payments that are not adopted."""
    return int((await session.exec(select(func.count()).select_from(Payment).where(_has_no_detail()))).one())


async def page(
    session: AsyncSession, after: PageKey | None, *, lock: bool
) -> list[tuple[Payment, str | None]]:
    """Return the next unadopted payments, oldest first, each with the participant whose fee it settled.

    :param lock: lock them, so that the platform cannot change them meanwhile.
    """
    keys: tuple[Any, Any] = col(Payment.created_at), col(Payment.id)
    query = (
        select(Payment, Participant.id)
        .join(Participant, col(Participant.payment_id) == col(Payment.id), isouter=True)
        .where(_has_no_detail())
        .order_by(*keys)
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(literal(after[0], keys[0].type), literal(after[1])))
    if lock:
        query = query.with_for_update(of=Payment)
    return [(payment, settles) for payment, settles in (await session.exec(query)).all()]


def _has_no_detail() -> Any:
    return ~select(PaymentDetail.payment_id).where(PaymentDetail.payment_id == Payment.id).exists()


@dataclass(frozen=True, slots=True)
class UnpaidLink:
    """A participant whom the platform linked to a payment that is not paid."""

    participant_id: str
    payment_id: str
    status: PaymentStatus
    marked_paid: bool


async def unpaid_links(session: AsyncSession, limit: int) -> list[UnpaidLink]:
    """Return the first links to unpaid payments, with those of participants marked as PAID first."""
    marked = col(Participant.status) == ParticipantStatus.PAID
    query: Any = (
        select(Participant.id, Payment.id, Payment.status, marked)
        .join(Payment, col(Payment.id) == col(Participant.payment_id))
        .where(~is_paid())
        .order_by(marked.desc(), col(Participant.id))
        .limit(limit)
    )
    return [UnpaidLink(*row) for row in (await session.exec(query)).all()]


async def refs_in_use(session: AsyncSession, refs: Collection[str]) -> dict[str, str]:
    """Return our payment's id for each of these provider objects that is known."""
    result = await session.exec(
        select(PaymentDetail.provider_ref, PaymentDetail.payment_id).where(
            col(PaymentDetail.provider_ref).in_(refs)
        )
    )
    return {ref: payment_id for ref, payment_id in result.all() if ref is not None}


async def numbers_in_use(session: AsyncSession, numbers: Collection[str]) -> dict[str, str]:
    """Return our payment's id for each of these Kaspi operation numbers that settled one."""
    result = await session.exec(
        select(KaspiOperation.operation_number, KaspiOperation.payment_id).where(
            col(KaspiOperation.operation_number).in_(numbers)
        )
    )
    return dict(result.all())


async def write(
    session: AsyncSession,
    details: list[dict[str, Any]],
    operations: list[dict[str, Any]],
    refunds: list[dict[str, Any]],
    records: Sequence[tuple[str, AuditRecord]],
    now: datetime,
) -> None:
    """Insert our rows for adopted payments, with an audit entry for each.

    :param records: payment and audit entry, in the order of ``details``.
    :raises DatabaseBusy: another process adopts them at the same time, or settles a payment with one of their
        numbers; nothing is written.
    """
    new_details = await insert_returning(session, PaymentDetail, details, "payment_id")
    new_operations = await insert_returning(session, KaspiOperation, operations, "operation_number")
    if len(new_details) != len(details) or len(new_operations) != len(operations):
        raise DatabaseBusy(
            "Another process is adopting these payments at this moment, or uses one of their numbers",
            next_step="procomp-pay db adopt",
        )
    await insert_all_once(session, Refund, refunds)
    chains = await Chains.read(session, [payment_id for payment_id, _ in records])
    for payment_id, record in records:
        chains.add(payment_id, record, now)
    if chains.added:
        await (await session.connection()).execute(insert(AuditEntry), chains.added)
