"""Reconcile our books with a provider's, in both directions, to the cent.

A run is for one provider: read its records, stage them beside ours, compare the candidates, repair through
settlement what needs no manual review, and store the rest as discrepancies. A run may be killed at any step:
repairs are kept, an incomplete side is never taken for the whole, and the next run begins where this one did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from aiolimiter import AsyncLimiter

from procomp_pay.domain.almaty import almaty_time
from procomp_pay.domain.errors import Refused, Unavailable
from procomp_pay.domain.reconciliation.records import Mismatch
from procomp_pay.domain.reconciliation.statement_line import LineKind, NotPlain
from procomp_pay.domain.reconciliation.statement_summary import StatementLines, StatementPeriod
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.reconciliation.compare import compare_page
from procomp_pay.services.reconciliation.context import PageWriter, ReconciliationContext, stop_asking
from procomp_pay.services.reconciliation.kaspi import ask_each
from procomp_pay.services.reconciliation.our_records import CoverageWindow
from procomp_pay.services.reconciliation.recheck import recheck_open_discrepancies
from procomp_pay.services.reconciliation.recover import RecoveredPayment, recover
from procomp_pay.services.reconciliation.repair import reconciler, repair_from_line
from procomp_pay.services.reconciliation.report import Report, Sums, side_by_side
from procomp_pay.services.reconciliation.statement_fees import keep_fees
from procomp_pay.services.reconciliation.stripe import (
    books_of,
    default_since,
    keep_movements,
    movements_ahead,
    read_window,
)
from procomp_pay.storage.models.reconciliation import ReconciliationRun
from procomp_pay.storage.reconciliation import discrepancies as store
from procomp_pay.storage.reconciliation.local_records import (
    count_started_in,
    first_started_at,
    ids_moved_in,
    open_ids,
    sums_moved_in,
)
from procomp_pay.storage.reconciliation.staging import Staging, open_staging
from procomp_pay.storage.reconciliation.staging_rows import Scope

PROVIDERS = ("stripe", "kaspi")
#: Questions to a provider in a second: far below Stripe's limit of 25 in test mode, which others share.
PER_SECOND = 15
#: Candidates that are compared at a time.
PAGE = 1000

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class ReconcileRequest:
    """A request for one reconciliation.

    :param since, until: ``None``: a week back, further where something was not read yet; up to now.
    :param lines: a statement in place of the API; read once, in whatever order it has.
    :param source_name: what the statement is called, for the audit.
    :param is_ours: the operator confirms that the statement is ours, although none of its lines is.
    :param recover: the books come from a backup. Rebuild also lost payments that are not paid yet (paid ones
        always are), and let nobody pay again while money of unknown owner may be theirs.
    """

    provider: str
    since: datetime | None = None
    until: datetime | None = None
    lines: StatementLines | None = None
    source_name: str | None = None
    dry_run: bool = False
    is_ours: bool = False
    recover: bool = False


def check_window(since: datetime | None, until: datetime | None, now: datetime) -> None:
    """Check that a window is possible.

    :raises Refused: it ends before it begins, or begins in the future.
    """
    if since is not None and since >= now:
        raise Refused(N_("The window begins in the future: nothing can have been paid in it yet"))
    if since is not None and until is not None and until <= since:
        raise Refused(N_("The window ends before it begins"), next_step=N_("swap --since and --until"))


async def reconcile(
    ctx: AppContext, request: ReconcileRequest, actor: Actor, *, on_progress: Progress = lambda *_: None
) -> Report:
    """Compare one provider's books with ours. The caller holds ``only_process(…, "reconcile")``.

    :param on_progress: called with progress: a word and a count.
    :returns: what was found and done; ``report.cut`` is set where the provider stopped answering.
    :raises Refused: a window that makes no sense. :raises ConfigurationError: the provider is not configured.
    :raises PaymentError: a statement's line cannot be read; nothing was compared with half a file.
    """
    check_window(request.since, request.until, ctx.clock())
    report = await _begun(ctx, request, actor)
    state = "failed"
    try:
        await _compare(ctx, request, report, reconciler(actor), on_progress)
        state = "incomplete" if report.cut else "done"
    finally:
        await _ended(ctx, report, state)
    async with ctx.db.reading() as session:
        report.still_open = await store.count_open(session, request.provider)
    return report


async def _begun(ctx: AppContext, request: ReconcileRequest, actor: Actor) -> Report:
    now = ctx.clock()
    async with ctx.db.reading() as session:
        killed = await store.interrupted(session, request.provider)
        last_end = await store.last_window_end(session, request.provider)
        first = await first_started_at(session, request.provider)
    since = request.since or min(
        [default_since(first, last_end, now), *(run.window_from for run in killed if run.window_from)]
    )
    source = "api" if request.lines is None else f"statement {request.source_name or ''}".strip()
    report = Report(request.provider, source, since, min(request.until or now, now), request.dry_run)
    report.after_restore = request.recover
    report.interrupted = [run.started_at for run in killed]
    if request.dry_run:
        return report
    report.run_id = ctx.new_id()
    async with ctx.db.writing() as session:
        for run in await store.interrupted(session, request.provider):
            run.state, run.finished_at = "interrupted", now
        session.add(
            ReconciliationRun(
                id=report.run_id,
                provider=request.provider,
                window_from=report.since,
                window_until=report.until,
                source=source,
                state="running",
                started_at=now,
                started_by=actor.name,
                counts={},
            )
        )
    return report


async def _ended(ctx: AppContext, report: Report, state: str) -> None:
    if report.run_id is None:
        return
    async with ctx.db.writing() as session:
        run = await session.get(ReconciliationRun, report.run_id)
        if run is not None:
            run.state, run.finished_at, run.counts = state, ctx.clock(), report.counts()
            run.window_from, run.window_until = report.since, report.until


async def _compare(
    ctx: AppContext, request: ReconcileRequest, report: Report, actor: Actor, on_progress: Progress
) -> None:
    limiter = AsyncLimiter(PER_SECOND, 1)
    coverage = CoverageWindow(report.since, report.until, by_payment_time=False, read_at=ctx.clock())
    context = ReconciliationContext(ctx, actor, coverage, report, pace=limiter.acquire)
    if request.lines is not None:
        await _statement(context, request, request.lines, on_progress)
    elif request.provider == "kaspi":
        await ask_each(context, on_progress)
    else:
        await _stripe(context, on_progress, open_too=request.recover)
    if report.cut is None and not report.dry_run and request.lines is None:
        await recheck_open_discrepancies(context)


async def _stripe(context: ReconciliationContext, on_progress: Progress, *, open_too: bool) -> None:
    ctx, report = context.ctx, context.report
    async with movements_ahead(ctx, report) as moved:
        async with open_staging(ctx.db, "stripe") as staging:
            lost = await read_window(ctx, staging, report, on_progress, open_too=open_too)
            recovered = await _recover(context, lost, open_too=open_too)
            is_compared = report.dry_run or not recovered
            if is_compared:
                await _compare_window(context, staging, on_progress)
        if is_compared and report.cut is None:
            await keep_movements(ctx, moved, report, on_progress)
    if not is_compared:
        # their rows are younger than what was read: they are compared with what Stripe says now
        report.read.clear()
        coverage = replace(context.coverage, read_at=ctx.clock())
        await _stripe(replace(context, coverage=coverage), on_progress, open_too=False)


async def _recover(
    context: ReconciliationContext, lost: list[str], *, open_too: bool
) -> list[RecoveredPayment]:
    ctx, report = context.ctx, context.report
    if report.cut is not None or not (lost or open_too):
        return []
    try:
        recovered = await recover(
            ctx, books_of(ctx), lost, context.actor, open_too=open_too, dry_run=report.dry_run
        )
    except Unavailable as error:
        stop_asking(report, error)
        return []
    report.recovered += recovered
    return recovered


async def _compare_window(context: ReconciliationContext, staging: Staging, on_progress: Progress) -> None:
    ctx, report = context.ctx, context.report
    coverage = CoverageWindow(
        report.since,
        report.until,
        by_payment_time=False,
        whole=report.cut is None,
        read_at=context.coverage.read_at,
    )
    context = ReconciliationContext(ctx, context.actor, coverage, report, pace=context.pace)
    await _lay_beside(context, staging)
    await _judge_all(context, staging, on_progress)


async def _lay_beside(context: ReconciliationContext, staging: Staging) -> Sums:
    """Find the candidates; return the sums of our payments and refunds, where a statement's are known."""
    ctx, report = context.ctx, context.report
    after = ""
    while context.asks:
        async with ctx.db.reading() as session:
            ids = await open_ids(session, report.provider, after=after, limit=PAGE)
        if not ids:
            break
        await staging.add_candidates(ids)
        after = ids[-1]
    if not context.asks:
        async with ctx.db.reading() as session:
            ids = await ids_moved_in(session, report.provider, report.since, report.until)
        await staging.add_candidates(ids)
    scope = Scope(report.provider, context.coverage.since, context.coverage.until)
    counting = asyncio.create_task(_count(context))  # by a connection of its own, while the other one joins
    try:
        # a run by API also checks our own books; a statement only shows movements of money
        await staging.find_candidates(scope, check_books=context.asks)
    except BaseException:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        raise
    return await counting


async def _judge_all(context: ReconciliationContext, staging: Staging, on_progress: Progress) -> None:
    judged = 0
    async with PageWriter(context) as writer:
        async for candidates, theirs in staging.pages(PAGE):
            await writer.keep(await compare_page(context, candidates, theirs))
            judged += len(candidates)
            on_progress(N_("differences looked into"), judged)


async def _check_ours(
    request: ReconcileRequest, report: Report, staging: Staging, *, has_payments: bool
) -> None:
    """Check that a statement is ours.

    :param has_payments: there are payments on one side at least.
    :raises Refused: no line belongs to our payments, and the operator has not confirmed that it is ours:
        each line, and each of our payments, would become a difference.
    """
    report.is_foreign = has_payments and not await staging.knows_any()
    if report.is_foreign and not request.is_ours:
        ours = N_(", and none of our %(n)s payments of its days stands in it", n=report.compared)
        raise Refused(
            N_(
                "Not one of the %(n)s lines of %(file)s is of a payment of ours%(ours)s: another merchant's "
                "statement, or another account's? Nothing was judged",
                n=staging.loaded,
                file=request.source_name or N_("the statement"),
                ours=ours if report.compared else "",
            ),
            next_step=N_("if it is ours all the same, add --yes: every line becomes a discrepancy"),
        )


async def _count(context: ReconciliationContext) -> Sums:
    report = context.report
    async with context.ctx.db.reading() as session:
        report.compared = await count_started_in(session, report.provider, report.since, report.until)
    return {} if context.asks else await _our_sums(context)


def _statement_window(
    request: ReconcileRequest, lines: StatementLines, report: Report, now: datetime
) -> StatementPeriod | None:
    """Return the window to compare; ``None`` if the statement has no line and names no period.

    It is the period that the statement itself names, else the whole days of its first and last line. The
    request may narrow the one, and replace the other.

    :raises Refused: the request is about other days than the statement.
    """
    stated, summary = lines.period, lines.summary
    first, last = summary.first_at, summary.last_at
    days = StatementPeriod.of_days(first, last, lines.day_zone) if first and last else None
    window = stated or days
    if window is None:
        return None
    report.window_is = (
        N_("the statement's own period") if stated else N_("the days of its first and last line")
    )
    if stated and days and first and last and not (stated.covers(first) and stated.covers(last)):
        window = StatementPeriod(min(stated.since, days.since), max(stated.until, days.until))
        note = N_("The statement has lines outside of the period that it names.")
        report.notes += [note] if note not in report.notes else []
    since, until = request.since or window.since, request.until or window.until
    if request.since or request.until:
        report.window_is = N_("--since and --until")
    if stated:
        since, until = max(since, window.since), min(until, window.until)
        if since >= until:
            raise Refused(
                N_(
                    "The statement covers %(since)s to %(until)s, which is outside of --since and --until",
                    since=almaty_time(window.since),
                    until=almaty_time(window.until),
                ),
                next_step=N_("leave both out, or give the statement of those days"),
            )
    if request.until is None:  # nothing can be missing in the rest of today
        until = max(min(until, now), last + timedelta(seconds=1) if last else since + timedelta(seconds=1))
    return StatementPeriod(since, until)


async def _our_sums(context: ReconciliationContext) -> Sums:
    report = context.report
    async with context.ctx.db.reading() as session:
        return await sums_moved_in(session, report.provider, report.since, report.until)


async def _their_sums(context: ReconciliationContext, lines: StatementLines, staging: Staging) -> Sums:
    """Return a statement's sums of payments and refunds in the window; name in the report what is outside."""
    report, summary = context.report, lines.summary
    since, until, outside = report.since, report.until, 0
    sums = {(each.kind, str(each.currency)): (each.count, each.amount) for each in summary.sums.values()}
    ends = [at for at in (summary.first_at, summary.last_at) if at is not None]
    if not all(since <= at < until for at in ends):
        sums = await staging.sums(since, until)
        outside = staging.loaded - sum(count for count, _ in sums.values())
    others = summary.counts[LineKind.OTHER]
    named = {
        N_(
            "what was paid or refunded before %(since)s or after %(until)s",
            since=almaty_time(since),
            until=almaty_time(until),
        ): 1,
        N_("%(n)s lines of other days", n=outside): outside,
        N_("%(n)s lines of other kinds, such as payouts, fees and cash", n=others): others,
        N_("%(n)s lines that could not be read", n=summary.skipped_count): summary.skipped_count,
    }
    report.not_compared = [text for text, count in named.items() if count]
    report.notes += [
        N_(
            "“%(text)s” on line %(line)s is %(amount)s, which its lines do not add up to.",
            text=total.text,
            line=total.line,
            amount=total.amount,
        )
        for total in summary.totals
        if not total.agrees
    ]
    return {name: sums[name] for name in sums if name[0] in (LineKind.PAYMENT, LineKind.REFUND)}


async def _statement(
    context: ReconciliationContext, request: ReconcileRequest, lines: StatementLines, on_progress: Progress
) -> None:
    try:
        await _compare_lines(context, request, lines, on_progress, in_blocks=True)
    except NotPlain:  # reported before anything was compared
        await _compare_lines(context, request, lines, on_progress, in_blocks=False)


async def _compare_lines(
    context: ReconciliationContext,
    request: ReconcileRequest,
    lines: StatementLines,
    on_progress: Progress,
    *,
    in_blocks: bool,
) -> None:
    ctx, report = context.ctx, context.report
    name = request.source_name or "statement"
    async with open_staging(ctx.db, request.provider) as staging:
        load = staging.load_statement if in_blocks else staging.load_lines
        await load(lines, partial(on_progress, "lines"))
        report.read["lines"] = staging.loaded
        report.skipped = lines.summary.skipped_count
        window = _statement_window(request, lines, report, ctx.clock())
        if window is None:
            report.notes.append(N_("The statement has no line about a payment"))
            return
        report.since, report.until = window.since, window.until
        coverage = CoverageWindow(
            window.since,
            window.until,
            by_payment_time=True,
            whole=not report.skipped,  # a line that could not be read may be the missing one
            read_at=context.coverage.read_at,
        )

        async def repair(of: AppContext, finding: Mismatch, by: Actor) -> None:
            line = finding.theirs.number if finding.theirs else 0
            await repair_from_line(of, finding, by, f"{name}:{line}")

        judging = ReconciliationContext(ctx, context.actor, coverage, report, repair=repair, asks=False)
        ours = await _lay_beside(judging, staging)
        theirs = await _their_sums(judging, lines, staging)
        await _check_ours(request, report, staging, has_payments=bool(ours or theirs))
        await _judge_all(judging, staging, on_progress)
        if report.became["repaired"]:
            ours = await _our_sums(judging)
        report.sums = side_by_side(ours, theirs)
        if not report.dry_run:
            report.settlements = await keep_fees(ctx, staging, request.provider)
