"""Keep money that was nobody's when somebody decided about it: it may have been given back."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from procomp_pay.domain.kaspi_verification import was_decided
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement.side_effects import keep_unapplied
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.reconciliation import discrepancies

log = logging.getLogger(__name__)


async def was_decided_before(
    session: AsyncSession,
    ctx: AppContext,
    row: WebhookEvent,
    number: str | None,
    detail: Mapping[str, str | None],
) -> bool:
    """Return whether somebody decided about an event's money while it belonged to no payment.

    The reason is then kept in the event's row, and where it was a statement that told of the money, the event
    is a discrepancy of its own, with an alert.

    :param number: of its Kaspi operation, if known.
    :param detail: what the event says, for the discrepancy.
    """
    by = await discrepancies.unapplied_decided_by(session, f"{row.provider}:{row.event_id}", number)
    if by is None:
        return False
    row.last_error = why = was_decided(by)
    log.warning("event %s settles no payment: %s", row.event_id, why)
    await keep_unapplied(session, ctx, row.provider, row.event_id, {**detail, "why": why})
    return True
