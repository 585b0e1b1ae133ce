"""Find payments that the platform wrote without this desk, and adopt them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import AnyStatus, ParticipantStatus
from procomp_pay.storage.audit.chain import AuditRecord, Chains
from procomp_pay.storage.database.bulk_write import Action, Write, insert_returning, write_all
from procomp_pay.storage.database.errors import DatabaseBusy
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.paid import is_paid
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.refunds import Refund

#: Payments in one transaction.
PAGE = 500


async def count(session: AsyncSession) -> int:
    """Return the number of payments that are neither adopted nor accepted as the platform's own."""
    return int((await session.exec(select(func.count()).select_from(Payment).where(is_unadopted()))).one())


async def page(session: AsyncSession, after: str, *, lock: bool) -> list[tuple[Payment, str | None]]:
    """Return the next unadopted payments, each with the participant whose fee it settled.

    They are in the order of their ids, for which every platform has an index.

    :param after: the id of the last payment of the page before.
    :param lock: lock them, so that the platform cannot change them meanwhile.
    """
    query = (
        _with_settled().where(is_unadopted(), col(Payment.id) > after).order_by(col(Payment.id)).limit(PAGE)
    )
    return await _rows(session, query, lock=lock)


async def some(
    session: AsyncSession, payment_ids: Collection[str], *, lock: bool
) -> list[tuple[Payment, str | None]]:
    """Return these payments as :func:`page` does, also those that are accepted as the platform's own."""
    query = (
        _with_settled().where(col(Payment.id).in_(payment_ids), _has_no_detail()).order_by(col(Payment.id))
    )
    return await _rows(session, query, lock=lock)


def _with_settled() -> Any:
    return select(Payment, Participant.id).join(
        Participant, col(Participant.payment_id) == col(Payment.id), isouter=True
    )


async def _rows(session: AsyncSession, query: Any, *, lock: bool) -> list[tuple[Payment, str | None]]:
    if lock:
        query = query.with_for_update(of=Payment)
    return [(payment, settles) for payment, settles in (await session.exec(query)).all()]


def is_unadopted() -> Any:
    """Return the condition that a payment is neither adopted nor accepted as the platform's own, of which it
    has an audit entry."""
    entry = select(AuditEntry.id).where(AuditEntry.payment_id == Payment.id).exists()
    return and_(_has_no_detail(), ~entry)


def _has_no_detail() -> Any:
    return ~select(PaymentDetail.payment_id).where(PaymentDetail.payment_id == Payment.id).exists()


async def only_registrations(
    session: AsyncSession, pairs: Collection[tuple[str | None, str]]
) -> dict[tuple[str | None, str], str]:
    """Return the participant of each user and tournament that have only one."""
    user_ids = {user_id for user_id, _ in pairs if user_id is not None}
    if not user_ids:
        return {}
    keys = col(Participant.user_id), col(Participant.tournament_id)
    query: Any = (
        select(*keys, func.min(col(Participant.id)))
        .where(keys[0].in_(user_ids))
        .group_by(*keys)
        .having(func.count() == 1)
    )
    rows = (await session.exec(query)).all()
    return {(user_id, tournament_id): participant for user_id, tournament_id, participant in rows}


@dataclass(frozen=True, slots=True)
class UnpaidLink:
    """A participant whom the platform linked to a payment that is not paid."""

    participant_id: str
    payment_id: str
    status: AnyStatus
    marked_paid: bool


async def unpaid_links(session: AsyncSession, limit: int) -> list[UnpaidLink]:
    """Return the first links to unpaid payments, with those of participants marked as PAID first."""
    marked = col(Participant.status) == ParticipantStatus.PAID
    query: Any = (
        select(Participant.id, Payment.id, Payment.status, marked)
        .join(Payment, col(Payment.id) == col(Participant.payment_id))
        .where(~is_paid())
        .order_by(marked.desc().nulls_last(), col(Participant.id))
        .limit(limit)
    )
    rows = (await session.exec(query)).all()
    return [
        UnpaidLink(participant, payment, status, bool(is_marked))
        for participant, payment, status, is_marked in rows
    ]


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
    kept: Sequence[tuple[str, AuditRecord]],
    now: datetime,
) -> None:
    """Insert our rows for adopted payments, with an audit entry for each.

    :param records: payment and audit entry, in the order of ``details``.
    :param kept: payment and audit entry of those that are accepted as the platform's own.
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
    await write_all(session, [Write(Action.INSERT_ONCE, Refund, refunds)])
    chains = await Chains.read(session, [payment_id for payment_id, _ in (*records, *kept)])
    for payment_id, record in records:
        chains.add(payment_id, record, now)
    for payment_id, record in kept:
        if payment_id not in chains:  # another process has accepted it meanwhile
            chains.add(payment_id, record, now)
    if chains.added:
        await (await session.connection()).execute(insert(AuditEntry), chains.added)
