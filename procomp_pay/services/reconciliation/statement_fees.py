"""What a statement tells beside the payments themselves: fees."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.services.context import AppContext
from procomp_pay.storage.models import settlements as settlement
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.reconciliation.staging import StagedRow, Staging

#: Lines of one transaction.
PAGE = 500
_OUT = frozenset({LineKind.REFUND, LineKind.DISPUTE})


async def keep_fees(ctx: AppContext, staging: Staging, provider: str) -> int:
    """Keep the fees and nets of the payments' lines, and leave those alone that are known. How many."""
    kept = 0
    async for page in staging.settlements(PAGE):
        async with ctx.db.writing() as session:
            ours = await _payments(session, provider, {each.match for each in page})
            rows = [_row(ctx, each, provider, ours[each.match]) for each in page if each.match in ours]
            await settlement.record(session, rows)
        kept += len(rows)
    return kept


async def _payments(session: AsyncSession, provider: str, names: set[str]) -> dict[str, str]:
    """Our payment for each name that the provider's lines give it."""
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


def _row(ctx: AppContext, line: StagedRow, provider: str, payment_id: str) -> dict[str, Any]:
    gross = line.amount or 0
    amount = -gross if LineKind(line.kind) in _OUT else gross
    return {
        "id": ctx.new_id(),
        "provider": provider,
        "payment_id": payment_id,
        "kind": LineKind(line.kind),
        "ref": line.ref,
        "balance_transaction_id": line.ref if line.ref.startswith("txn_") else None,
        "amount": amount,
        "fee": line.fee,
        "net": line.net if line.net is not None else amount - (line.fee or 0),
        "currency": line.currency,
        "at": line.at,
        "source": "statement",
        "recorded_at": ctx.clock(),
    }
