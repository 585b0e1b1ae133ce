"""Store the fees that a statement reports for payments."""

from __future__ import annotations

from typing import Any

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.services.context import AppContext
from procomp_pay.storage.reconciliation import settlements
from procomp_pay.storage.reconciliation.staging import Staging
from procomp_pay.storage.reconciliation.staging_rows import StagedRow

#: Lines of one transaction.
PAGE = 500
_OUT = frozenset({LineKind.REFUND, LineKind.DISPUTE})


async def keep_fees(ctx: AppContext, staging: Staging, provider: str) -> int:
    """Store the fees and nets of payments' lines, unless they are stored already; return their number."""
    kept = 0
    async for page in staging.settlements(PAGE):
        async with ctx.db.writing() as session:
            references = {name for line, _ in page for name in (line.match, line.ref)}
            ids = await settlements.payment_ids_by_reference(session, provider, references)
            ours = await settlements.ours_of(session, {found for _, found in page if found is not None})
            payments = [
                (line, found if found in ours else ids.get(line.match) or ids.get(line.ref))
                for line, found in page
            ]
            rows = [_row(ctx, line, provider, payment_id) for line, payment_id in payments if payment_id]
            await settlements.record(session, rows)
        kept += len(rows)
    return kept


def _row(ctx: AppContext, line: StagedRow, provider: str, payment_id: str) -> dict[str, Any]:
    gross = line.amount or 0
    amount = -gross if LineKind(line.kind) in _OUT else gross
    currency = line.settlement_currency or line.currency
    if currency != line.currency and line.net is not None:
        amount = line.net + (line.fee or 0)
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
        "currency": currency,
        "at": line.at,
        "source": "statement",
        "recorded_at": ctx.clock(),
    }
