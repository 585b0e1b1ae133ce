"""Record what a step or a signature changed, with its entry in the closing's own chain of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from procomp_pay.domain.closing import Step, after_run
from procomp_pay.domain.errors import Unavailable
from procomp_pay.domain.text import N_
from procomp_pay.services.closing.closing import Closing
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.closing import repository
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.closing import ClosingDay


async def keep_step(
    ctx: AppContext, closing: Closing, step: Step, items: list[str], facts: dict[str, Any], actor: Actor
) -> None:
    """Record a step's result; nothing is written if it is what is recorded."""
    now = ctx.clock()
    record = after_run(closing.steps[step], items, facts, now, actor.name)
    if record is closing.steps[step]:
        return
    async with ctx.db.writing() as session:
        row = await locked_row(session, closing)
        if row.closed_at is not None:
            return  # another process closed it meanwhile
        row.steps = {**row.steps, step.value: record.full()}
        row.updated_at = now
        after: dict[str, Any] = {
            "step": step.value, "state": record.state.value, "open": len(record.items),
        }  # fmt: skip
        if step is Step.EXPORTS:
            after["files"] = {each["what"]: each["sha256"] for each in facts.get("files", ())}
        await append_entry(session, closing.closing_id, actor, "closing_step", now, after)
    closing.steps[step] = record


async def locked_row(session: AsyncSession, closing: Closing) -> ClosingDay:
    """Lock and return a closing's row.

    :raises Unavailable: it was deleted.
    """
    row = await repository.find(session, closing.tournament_id or "", closing.day.isoformat(), lock=True)
    if row is None:
        raise Unavailable(N_("The closing is gone"), next_step="procomp-pay audit verify")
    return row


async def append_entry(
    session: AsyncSession,
    closing_id: str,
    actor: Actor,
    action: str,
    at: datetime,
    after: dict[str, Any],
    *,
    note: str | None = None,
) -> None:
    """Append to the closing's own chain of the audit trail. The caller has locked its row."""
    record = actor.record(action, after=after, note=note)
    await audit.append(session, f"{audit.CLOSING_CHAIN}{closing_id}", record, at)
