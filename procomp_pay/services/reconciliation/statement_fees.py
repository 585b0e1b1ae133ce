"""Store the fees that a statement reports for payments."""

from __future__ import annotations

from procomp_pay.services.context import AppContext
from procomp_pay.storage.reconciliation import provider_movements
from procomp_pay.storage.reconciliation.staging import Staging


async def keep_fees(ctx: AppContext, staging: Staging, provider: str) -> int:
    """Store the fees and nets of payments' lines, unless they are stored already; return their number.

    Each page is a transaction of its own: a run that is killed leaves whole pages, and the next one skips
    them.
    """
    kept = 0
    shared = {"provider": provider, "source": "statement", "recorded_at": ctx.clock()}
    async for page in staging.movements():
        async with ctx.db.writing() as session:
            await provider_movements.record_page(session, page, shared, ctx.new_id)
        kept += page.size
    return kept
