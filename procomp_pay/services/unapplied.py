"""Money that came and belongs to nobody we know: kept open for a person, with an alert."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import AppContext
from procomp_pay.storage.webhooks import inbox as queues


async def keep_unapplied(
    session: AsyncSession, ctx: AppContext, provider: str, event_id: str, found: Mapping[str, str | None]
) -> None:
    """Open a discrepancy without a payment, once for each event, and tell a person."""
    await queues.open_discrepancy(
        session,
        DiscrepancyKind.MISSING_LOCALLY,
        None,
        {"provider": provider, **found},
        key=f"{provider}:{event_id}",
        row_id=ctx.new_id(),
        now=ctx.clock(),
        alerts=False,  # one of its own follows
    )
    await queues.enqueue(
        session,
        Topic.ALERT_UNAPPLIED,
        {"provider": provider, "event_id": event_id, **found},
        row_id=ctx.new_id(),
        now=ctx.clock(),
        dedup_key=f"{Topic.ALERT_UNAPPLIED}:{provider}:{event_id}",
    )
