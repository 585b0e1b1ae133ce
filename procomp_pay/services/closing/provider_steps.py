"""Run the steps that ask somebody else: background work, the providers, the bank's file."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from procomp_pay.domain.closing import Step
from procomp_pay.domain.errors import (
    ConfigurationError,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
    Unavailable,
)
from procomp_pay.domain.payouts import WITHIN_DAYS
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.domain.text import N_
from procomp_pay.services.closing.closing import (
    STATEMENT,
    BankStatement,
    CloseRequest,
    Closing,
    Progress,
    Statement,
)
from procomp_pay.services.closing.figures import are_payouts_followed, unfinished
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.payouts.fetch import fetch_stripe, keep_kaspi_report
from procomp_pay.services.payouts.match import match_payouts
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.closing import day as queries
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.reports.attempts import Scope

#: What `reconcile` reads without a day.
_DEFAULT_DAYS = 7
#: How long before the day Stripe's payouts are read: one may fail weeks after it was made.
PAYOUTS_BEFORE = timedelta(days=35)


async def run_step(
    ctx: AppContext, closing: Closing, step: Step, request: CloseRequest, actor: Actor, on_progress: Progress
) -> tuple[list[str], dict[str, Any]]:
    """Run a step that asks or changes something; return what stays open, and what it found."""
    if step is Step.PENDING:
        return await _pending(ctx, closing)
    if step is Step.PAYOUTS:
        return await _payouts(ctx, closing, request.bank, actor)
    statement = request.statements.get(step.value)
    if statement is None:
        try:
            ctx.providers.of(Channel.STRIPE_INTENT if step is Step.STRIPE else Channel.KASPI_QR)
        except ConfigurationError as error:
            return [], {"not_configured": error.message}
    try:
        report = await _reconcile(ctx, closing, step.value, statement, actor, on_progress)
    except (ConfigurationError, ProviderUnavailable) as error:
        if statement is not None and isinstance(error, ConfigurationError):
            raise
        # also where a key has not the right to read something
        return [f"{step}: {error.message}"], {"not_available": error.message}
    items, facts = await _read(ctx, closing, report, statement)
    if step is Step.KASPI and statement is not None:
        facts["notes"] += await _keep_movements(ctx, closing, statement)
    return items, facts


async def _keep_movements(ctx: AppContext, closing: Closing, statement: Statement) -> list[str]:
    """Store what Kaspi settles for the days of its statement, up to that of the closing; return why not. The
    day itself may not be over: the statement of the next one adds what came after this one was made."""
    lines = list(statement.lines)
    if statement.lines.summary.needs_person:
        return [N_("what Kaspi pays out is not known: not all of the file could be read")]
    try:
        kept = await keep_kaspi_report(ctx, lines, closing.period.zone, through=closing.day)
    except Refused as error:
        return [error.message]
    return kept.notes


async def _pending(ctx: AppContext, closing: Closing) -> tuple[list[str], dict[str, Any]]:
    """Do what `maintain` does, then list what has no known outcome."""
    failures: list[str] = []
    async with only_process(ctx.db, "maintain") as ours:
        if ours:
            failures = (await one_pass(ctx)).failures
    _, ends = closing.span
    async with ctx.db.reading() as session:
        listed = await unfinished(session, closing.tournament_id, ends)
    # names stay out of the record: it has to hold when a person is erased
    return [each["id"] for each in listed], {"failures": failures}


async def _payouts(
    ctx: AppContext, closing: Closing, bank: BankStatement | None, actor: Actor
) -> tuple[list[str], dict[str, Any]]:
    """Read Stripe's payouts and match all with the bank's lines; what is open among them is counted later."""
    facts: dict[str, Any] = {"asked": []}
    now = ctx.clock()
    begins, _ = closing.span
    try:
        ctx.providers.of(Channel.STRIPE_INTENT)
    except ConfigurationError as error:
        facts["not_configured"] = error.message
    else:
        try:
            await fetch_stripe(ctx, min(begins, now) - PAYOUTS_BEFORE, now + timedelta(days=1))
        except (
            ConfigurationError,
            ProviderUnavailable,
            OutcomeUnknown,
        ) as error:  # also a key without the right
            facts["asked"].append(f"stripe: {error.message}")
    zone = closing.period.zone
    file = None if bank is None else bank.file
    result = await match_payouts(ctx, file, actor, zone, is_ours=bank is not None and bank.is_ours)
    before = closing.steps[Step.PAYOUTS].facts.get("bank_file")
    facts["bank_file"] = before if bank is None else {"file": bank.name, "sha256": bank.sha256}
    async with ctx.db.reading() as session:
        facts["followed"] = bank is not None or await are_payouts_followed(session)
    first = closing.day - timedelta(days=WITHIN_DAYS)
    facts["asked"] += [
        N_("no payout is known for the bank's line %(line)s", line=line.id)
        for line in result.unexplained
        if first <= line.booked_on <= closing.day
    ]
    return facts["asked"], facts


async def _reconcile(
    ctx: AppContext,
    closing: Closing,
    provider: str,
    statement: Statement | None,
    actor: Actor,
    on_progress: Progress,
) -> Report:
    begins, ends = closing.span
    now = ctx.clock()
    if statement is not None:
        _check_period(statement, begins, min(ends, now), closing)
        request = ReconcileRequest(
            provider, lines=statement.lines, source_name=statement.name, is_ours=statement.is_ours
        )
    else:  # without a day it reads the last week, and further back where something was not read
        request = ReconcileRequest(provider, since=begins if (now - begins).days >= _DEFAULT_DAYS else None)
    async with only_process(ctx.db, "reconcile") as ours:
        if not ours:
            raise Unavailable(
                N_("Another reconcile is running"), next_step=N_("let it finish, then: procomp-pay close")
            )
        return await reconcile(ctx, request, actor, on_progress=on_progress)


async def _read(
    ctx: AppContext, closing: Closing, report: Report, statement: Statement | None
) -> tuple[list[str], dict[str, Any]]:
    """Return what a reconciliation leaves open, and what it found."""
    begins, ends = closing.span
    facts: dict[str, Any] = {
        "run_id": report.run_id,
        "source": report.source,
        "since": instant(report.since),
        "until": instant(report.until),
        "found": report.found,
        "repaired": report.became["repaired"],
        "settlements": report.settlements,
        "statement": None if statement is None else {"file": statement.name, "sha256": statement.sha256},
        "notes": [*report.notes, *(N_("not compared: %(what)s", what=text) for text in report.not_compared)],
        "told": {key: [str(paid), str(back)] for key, (paid, back) in report.told.items()},
    }
    items = (
        [N_("%(provider)s was not read to the end: %(why)s", provider=report.provider, why=report.cut)]
        if report.cut
        else []
    )
    items += [N_("lines that could not be read: %(n)s", n=report.skipped)] if report.skipped else []
    if statement is not None and report.since > begins:
        facts["notes"].append(N_("the file does not say that it covers the beginning of the day"))
    if report.provider == "kaspi":
        async with ctx.db.reading() as session:
            rows = await queries.not_seen(session, Scope(closing.tournament_id, begins, ends))
        kaspi = [row.payment_id for row in rows if row.method in (None, PaymentMethod.KASPI_QR)]
        missing = [payment_id for payment_id in kaspi if payment_id not in report.told]
        if missing:  # without a file: the scheme reports neither amounts nor refunds
            absent = STATEMENT
            if statement is not None:
                absent = N_("payments that are not in %(file)s: %(n)s", file=statement.name, n=len(missing))
            items.append(absent)
    return items, facts


def _check_period(statement: Statement, begins: datetime, ends: datetime, closing: Closing) -> None:
    """Check that a file covers the day, before anything is compared with it.

    :raises Refused: its own period does not.
    """
    stated, zone = statement.lines.period, closing.period.zone
    if stated is not None and not (stated.since <= begins and stated.until >= ends):
        last = stated.until - timedelta(seconds=1)
        raise Refused(
            N_(
                "%(file)s is of %(since)s to %(until)s, not of all of %(day)s: nothing was compared",
                file=statement.name,
                since=f"{stated.since.astimezone(zone):%Y-%m-%d}",
                until=f"{last.astimezone(zone):%Y-%m-%d}",
                day=closing.day,
            ),
            next_step=N_("export the statement of %(day)s again", day=closing.day),
        )
