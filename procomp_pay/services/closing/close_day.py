"""Close a day, step by step. Killed at any moment, it goes on where it was.

Each step is recorded when it ends, with its audit entry, in one transaction. What a step does itself can be
repeated without harm: a pass of background work, a reconciliation, a sheet that is written again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.closing import LIVE, Signature, Step, StepRecord, StepState, may_begin, skipped
from procomp_pay.domain.errors import Conflict, Forbidden, Refused, Unavailable
from procomp_pay.domain.operators import Right, require
from procomp_pay.domain.period import Period
from procomp_pay.domain.text import N_
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.closing.closing import FOLDER, CloseRequest, Closing, Progress
from procomp_pay.services.closing.figures import DayFigures, count
from procomp_pay.services.closing.provider_steps import run_step
from procomp_pay.services.closing.record import append_entry, keep_step, locked_row
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.tournaments import tournament_view
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.closing import day as queries
from procomp_pay.storage.closing import repository
from procomp_pay.storage.closing.repository import digest
from procomp_pay.storage.models.closing import ClosingDay


async def begin(ctx: AppContext, request: CloseRequest, actor: Actor) -> Closing:
    """Return the closing of a day, and begin it if nobody has.

    :raises NotFound: no such tournament. :raises Refused: the day has not begun.
    :raises Forbidden: the operator has not the role, or not all tournaments: both providers are read, and the
        audit trail is sealed, for all of them.
    """
    require(ctx.operator, Right.CLOSE)
    if ctx.operator is not None and ctx.operator.tournaments is not None:
        raise Forbidden(
            N_("%(name)s has only some tournaments, and close reads all payments", name=ctx.operator.name),
            next_step=N_("ask an operator of all tournaments to close the day"),
        )
    tournament = await tournament_view(ctx, request.tournament_id) if request.tournament_id else None
    key, day = request.tournament_id or "", str(request.period.since)
    async with ctx.db.reading() as session:
        row = await repository.find(session, key, day)
    if row is None:
        begins = request.period.begins
        if begins is None or begins > ctx.clock():
            raise Refused(
                N_("%(day)s has not begun yet", day=request.period.since),
                next_step=N_("leave out --date for today"),
            )
        now, closing_id = ctx.clock(), ctx.new_id()
        async with ctx.db.writing() as session:
            values = {
                "id": closing_id, "tournament_id": key, "day": day, "zone": request.period.zone.key,
                "steps": {}, "signatures": [], "begun_by": actor.name, "begun_at": now, "updated_at": now,
            }  # fmt: skip
            if await repository.begin(session, values):
                after = {"day": day, "tournament_id": key or None, "zone": request.period.zone.key}
                await append_entry(session, closing_id, actor, "closing_begun", now, after)
        async with ctx.db.reading() as session:
            row = await repository.find(session, key, day)
    if row is None:
        raise Unavailable(N_("The closing could not be read"), next_step=N_("try again"))
    name = (tournament.tournament_id, tournament.name) if tournament else None
    # in the zone in which the day was begun: in another one its steps and signatures would be of other hours
    return _closing(row, replace(request.period, zone=ZoneInfo(row.zone)), name)


def _closing(row: ClosingDay, period: Period, tournament: tuple[str, str] | None) -> Closing:
    stored = {Step(name): StepRecord.of(document) for name, document in row.steps.items()}
    return Closing(
        closing_id=row.id,
        period=period,
        tournament=tournament,
        steps={step: stored.get(step, StepRecord(step)) for step in Step},
        signatures=tuple(Signature(**each) for each in row.signatures),
        signed=row.sums,
        begun_by=row.begun_by,
        begun_at=row.begun_at,
        closed_at=row.closed_at,
    )


async def advance(
    ctx: AppContext,
    closing: Closing,
    request: CloseRequest,
    actor: Actor,
    *,
    on_progress: Progress = lambda *_: None,
) -> Closing:
    """Run every step that is to run, in order; a closed day is only counted again."""
    if not closing.is_closed:
        async with ctx.db.reading() as session:
            await authorize.check(ctx, session, Right.CLOSE)  # questions were asked between two rounds
        for step in (Step.PENDING, Step.STRIPE, Step.KASPI, Step.PAYOUTS):
            if _is_due(closing, step, request):
                items, facts = await run_step(ctx, closing, step, request, actor, on_progress)
                await keep_step(ctx, closing, step, items, facts, actor)
    told = closing.steps[Step.KASPI].facts.get("told") or {}
    closing.figures = figures = await count(ctx, closing.period, closing.tournament_id, told)
    if closing.is_closed:
        return closing
    # what is unfinished may be another than when the step ran, or was skipped
    items = _with_rest([each["id"] for each in figures.unfinished], len(figures.unfinished), figures)
    await keep_step(ctx, closing, Step.PENDING, items, dict(closing.steps[Step.PENDING].facts), actor)
    facts = dict(closing.steps[Step.PAYOUTS].facts) | {"followed": figures.payouts_followed}
    items = [*facts.get("asked", ()), *(each.key for each in figures.payouts if each.is_open)]
    await keep_step(ctx, closing, Step.PAYOUTS, items, facts, actor)
    for step in sorted(LIVE, key=list(Step).index):
        items, facts = _live(figures, step)
        await keep_step(ctx, closing, step, items, facts, actor)
    if may_begin(Step.EXPORTS, closing.steps.values()):
        await _exports(ctx, closing, request, actor)
    if may_begin(Step.SHEET, closing.steps.values()):
        await _sheet(ctx, closing, request, actor)
    if (
        may_begin(Step.SEAL, closing.steps.values())
        and closing.steps[Step.SEAL].state is not StepState.SKIPPED
    ):
        await _seal(ctx, closing, request, actor)
    return closing


def _is_due(closing: Closing, step: Step, request: CloseRequest) -> bool:
    record = closing.steps[step]
    if step in request.again or step.value in request.statements:
        return True
    if step is Step.PAYOUTS and (request.bank or Step.KASPI in request.statements):
        return True
    if record.state is StepState.SKIPPED:
        return False
    # something is open, or the day was not over when it was done
    over = closing.period.ends
    return record.state is not StepState.DONE or (
        record.at is not None
        and over is not None
        and datetime.fromisoformat(record.at) < over
        and not record.facts.get("statement")
    )


def _live(figures: DayFigures, step: Step) -> tuple[list[str], dict[str, Any]]:
    if step is Step.DISCREPANCIES:
        items = [view.discrepancy_id for view in figures.open]
        return _with_rest(items, len(items), figures), {"count": len(items)}
    if step is Step.REFUNDS:
        items = [refund.key for refund in figures.by_hand]
        # refunds are also made from the discrepancies that are listed
        return _with_rest(items, max(len(items), len(figures.open)), figures), {"count": len(items)}
    if step is Step.SUMS:
        items = [
            f"{line.method} {line.currency} {line.difference} {line.not_seen}"
            for line in figures.both
            if not line.agrees
        ]
        return items, {}
    return [], {"clerks": len(figures.clerks)}


def _with_rest(items: list[str], listed: int, figures: DayFigures) -> list[str]:
    """Add an item if a list ended at the most rows that are listed: what else is open is not known. It names
    the time, so that a skipped step does not stay so."""
    if listed < queries.MOST:
        return items
    return [*items, f"not all is listed: more than {queries.MOST - 1} ({instant(figures.as_of)})"]


async def _sheet(ctx: AppContext, closing: Closing, request: CloseRequest, actor: Actor) -> None:
    """Write the sheet, unless it was written for these figures."""
    if (
        closing.steps[Step.SHEET].state is StepState.SKIPPED
        or closing.figures is None
        or request.sheet is None
    ):
        return
    figures = digest(closing.figures.sums())
    if _is_made(closing, Step.SHEET, figures, request):
        return
    files = request.sheet(closing)
    await keep_step(ctx, closing, Step.SHEET, [], {"files": files, "digest": figures}, actor)


async def _exports(ctx: AppContext, closing: Closing, request: CloseRequest, actor: Actor) -> None:
    """Write the exports where they are not what the books say."""
    record = closing.steps[Step.EXPORTS]
    if request.exporter is None or (record.state is StepState.SKIPPED and request.exports is None):
        return
    folder = request.exports or record.facts.get("folder")
    if folder is None:
        await keep_step(ctx, closing, Step.EXPORTS, [FOLDER], {}, actor)
        return
    try:
        files = await request.exporter(ctx, closing, folder)
    except Refused as error:
        if request.exports is not None:
            raise
        # of an earlier evening: a disk that is gone, perhaps
        await keep_step(ctx, closing, Step.EXPORTS, [FOLDER], {"folder": folder, "why": error.message}, actor)
        return
    await keep_step(ctx, closing, Step.EXPORTS, [], {"folder": folder, "files": files}, actor)


async def _seal(ctx: AppContext, closing: Closing, request: CloseRequest, actor: Actor) -> None:
    """Seal the audit trail, unless that was done for these figures."""
    figures = digest(closing.figures.sums()) if closing.figures else ""
    if _is_made(closing, Step.SEAL, figures, request):
        return
    made = await seal(ctx, actor.name)
    facts = {"number": made.number, "root": made.root, "digest": figures}
    await keep_step(ctx, closing, Step.SEAL, [], facts, actor)


def _is_made(closing: Closing, step: Step, figures: str, request: CloseRequest) -> bool:
    """Return whether a step was done for these figures, and is not to be repeated."""
    record = closing.steps[step]
    is_done = record.state is StepState.DONE and record.facts.get("digest") == figures
    return is_done and step not in request.again


async def skip(ctx: AppContext, closing: Closing, step: Step, reason: str, actor: Actor) -> None:
    """Skip a step, with a reason.

    :raises Refused: no reason, the step is done, or cannot be skipped, or the day is closed.
    """
    if closing.is_closed:
        raise Refused(N_("%(day)s is closed: nothing is skipped any more", day=closing.day))
    before = closing.steps[step]
    if before.state is StepState.DONE:
        raise Refused(N_("The step %(step)s is done: there is nothing to skip", step=step.value))
    now = ctx.clock()
    record = skipped(before, reason, now, actor.name)
    if replace(record, at=before.at, by=before.by) == before:
        return
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.CLOSE)  # the reason was asked for meanwhile
        row = await locked_row(session, closing)
        stored = row.steps.get(step.value)
        if row.closed_at is not None or (stored and stored["state"] == StepState.DONE):
            raise Conflict(
                N_("The step %(step)s has changed meanwhile: it is not skipped", step=step.value),
                next_step="procomp-pay close",
            )
        row.steps = {**row.steps, step.value: record.full()}
        row.updated_at = now
        after = {"step": step.value, "open": list(record.items)}
        await append_entry(
            session, closing.closing_id, actor, "closing_skipped", now, after, note=record.reason
        )
    closing.steps[step] = record
