"""Store fees and net amounts from providers' statements, once for each movement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import Mapped
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.settlements import Settlement


async def record(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Store movements, skipping those that are stored already."""
    await insert_all_once(session, Settlement, rows)


async def payment_ids_by_reference(
    session: AsyncSession, provider: str, references: set[str]
) -> dict[str, str]:
    """Return our payment's id for each provider reference: for Stripe an intent or a charge, for Kaspi the
    number of an operation or of a QR."""
    detail_id = col(PaymentDetail.payment_id)
    if provider == "stripe":
        ids = await _ids(session, col(Payment.stripe_payment_id), detail_id == col(Payment.id), references)
        # lines that name only their charge are looked up separately, because no index has it
        charges = {name for name in references - set(ids) if name.startswith(("ch_", "py_"))}
        return ids | (await _ids(session, col(PaymentDetail.charge_id), true(), charges) if charges else {})
    number, is_operations = col(KaspiOperation.operation_number), col(KaspiOperation.payment_id) == detail_id
    return (
        await _ids(session, col(PaymentDetail.provider_ref), true(), references)
        | await _ids(session, number, is_operations, references)
        | await _ids(session, col(Payment.kaspi_transaction_id), detail_id == col(Payment.id), references)
    )


async def _ids(
    session: AsyncSession, column: Mapped[Any], joined: ColumnElement[bool], references: set[str]
) -> dict[str, str]:
    query = select(column, col(PaymentDetail.payment_id)).where(joined, column.in_(references))
    return dict((await session.exec(query)).all())


async def ours_of(session: AsyncSession, payment_ids: set[str]) -> set[str]:
    """Return those of the payments that are ours, and not the platform's alone."""
    query = select(PaymentDetail.payment_id).where(col(PaymentDetail.payment_id).in_(payment_ids))
    return set((await session.exec(query)).all())
