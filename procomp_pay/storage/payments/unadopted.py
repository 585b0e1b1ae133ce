"""Payments that the platform wrote without this desk: found, and taken over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, literal, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit.chain import AuditRecord, Chains
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.database.insert_once import insert_all_once, insert_returning
from procomp_pay.storage.models.payments import AuditEntry, KaspiOperation, PaymentDetail, Refund
from procomp_pay.storage.models.platform import Participant, Payment

#: Payments of one transaction.
PAGE = 500
#: Where a page begins: after the payment with this time and id.
Place = tuple[datetime, str]


async def count(session: AsyncSession) -> int:
    """How many there are."""
    return int((await session.exec(select(func.count()).select_from(Payment).where(_alone()))).one())


async def page(session: AsyncSession, after: Place | None, *, lock: bool) -> list[tuple[Payment, str | None]]:
    """The next of them, oldest first, each with the participant whose fee it settled.

    :param lock: hold them, so that the platform changes none of them meanwhile.
    """
    place: tuple[Any, Any] = col(Payment.created_at), col(Payment.id)
    query = (
        select(Payment, Participant.id)
        .join(Participant, col(Participant.payment_id) == col(Payment.id), isouter=True)
        .where(_alone())
        .order_by(*place)
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(tuple_(*place) > tuple_(literal(after[0], place[0].type), literal(after[1])))
    if lock:
        query = query.with_for_update(of=Payment)
    return [(payment, settles) for payment, settles in (await session.exec(query)).all()]


def _alone() -> Any:
    return ~select(PaymentDetail.payment_id).where(PaymentDetail.payment_id == Payment.id).exists()


async def refs_in_use(session: AsyncSession, refs: Collection[str]) -> dict[str, str]:
    """Which of these objects of a provider belong to which payment of the desk."""
    found = await session.exec(
        select(PaymentDetail.provider_ref, PaymentDetail.payment_id).where(
            col(PaymentDetail.provider_ref).in_(refs)
        )
    )
    return {ref: payment_id for ref, payment_id in found.all() if ref is not None}


async def numbers_in_use(session: AsyncSession, numbers: Collection[str]) -> dict[str, str]:
    """Which of these operation numbers of Kaspi settled which payment."""
    found = await session.exec(
        select(KaspiOperation.operation_number, KaspiOperation.payment_id).where(
            col(KaspiOperation.operation_number).in_(numbers)
        )
    )
    return dict(found.all())


async def write(
    session: AsyncSession,
    details: list[dict[str, Any]],
    operations: list[dict[str, Any]],
    refunds: list[dict[str, Any]],
    records: Sequence[tuple[str, AuditRecord]],
    now: datetime,
) -> None:
    """Write what the desk keeps of them, with an audit entry for each.

    :param deeds: payment and entry, in the order of ``details``.
    :raises DatabaseBusy: another process takes them over at the same time, or settles a payment with one of
        their numbers; nothing is written.
    """
    new = await insert_returning(session, PaymentDetail, details, "payment_id")
    used_up = await insert_returning(session, KaspiOperation, operations, "operation_number")
    if len(new) != len(details) or len(used_up) != len(operations):
        raise DatabaseBusy(
            "Another process takes the same payments over at this moment, or a number of theirs",
            next_step="procomp-pay db adopt",
        )
    await insert_all_once(session, Refund, refunds)
    chains = await Chains.read(session, [payment_id for payment_id, _ in records])
    for payment_id, record in records:
        chains.add(payment_id, record, now)
    if chains.added:
        await (await session.connection()).execute(insert(AuditEntry), chains.added)
