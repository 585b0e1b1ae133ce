"""Store fees and net amounts from providers' statements, once for each movement."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.models.payments import PaymentDetail, Settlement
from procomp_pay.storage.models.platform import Payment


async def record(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Store movements, skipping those that are stored already."""
    await insert_all_once(session, Settlement, rows)


async def payment_ids_by_reference(
    session: AsyncSession, provider: str, references: set[str]
) -> dict[str, str]:
    """Return our payment's id for each provider reference."""
    column = col(Payment.stripe_payment_id if provider == "stripe" else Payment.kaspi_transaction_id)
    query = select(column, Payment.id).join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
    ids = dict((await session.exec(query.where(column.in_(references)))).all())
    # lines that name only their charge are looked up separately, because no index has it
    if charges := [reference for reference in references - set(ids) if reference.startswith(("ch_", "py_"))]:
        by_charge = select(PaymentDetail.charge_id, PaymentDetail.payment_id).where(
            col(PaymentDetail.charge_id).in_(charges)
        )
        ids |= dict((await session.exec(by_charge)).all())
    return {reference: payment_id for reference, payment_id in ids.items() if reference is not None}
