"""Record changes of a tournament's fees and refund policy in the audit trail."""

from __future__ import annotations

from typing import Any

from procomp_pay.services.context import Actor, AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession


async def record_change(
    session: AsyncSession,
    ctx: AppContext,
    tournament_id: str,
    actor: Actor,
    action: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Append a change of a tournament to its chain. The caller has locked its row."""
    record = actor.record(action, before=before, after=after)
    await audit.append(session, f"{audit.TOURNAMENT_CHAIN}{tournament_id}", record, ctx.clock())
