"""Store fees and net amounts from providers' statements, once for each movement."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.models.payments import PaymentDetail, Settlement
from procomp_pay.storage.models.platform import Payment


async def record(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Keep movements, leaving out those that are known."""
    await insert_all_once(session, Settlement, rows)


async def payments_by_reference(session: AsyncSession, provider: str, names: set[str]) -> dict[str, str]:
    """Return our payment's id for each name that the provider's lines give a payment."""
    column = col(Payment.stripe_payment_id if provider == "stripe" else Payment.kaspi_transaction_id)
    query = select(column, Payment.id).join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
    ours = dict((await session.exec(query.where(column.in_(names)))).all())
    # a line that names its charge alone: looked for apart, since no index has it
    if charges := [name for name in names - set(ours) if name.startswith(("ch_", "py_"))]:
        by_charge = select(PaymentDetail.charge_id, PaymentDetail.payment_id).where(
            col(PaymentDetail.charge_id).in_(charges)
        )
        ours |= dict((await session.exec(by_charge)).all())
    return {name: payment_id for name, payment_id in ours.items() if name is not None}
