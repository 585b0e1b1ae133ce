"""Close a day, step by step. Killed at any moment, it goes on where it was.

Each step is recorded when it ends, with its audit entry, in one transaction. What a step does itself can be
repeated without harm: a pass of background work, a reconciliation, a sheet that is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from procomp_pay.domain.closing import (
    LIVE,
    OPERATOR,
    SIGNATURES,
    Signature,
    Signer,
    Step,
    StepRecord,
    StepState,
    after_run,
    already_signed,
    may_begin,
    of_operators,
    open_steps,
    signed_by,
    skipped,
)
from procomp_pay.domain.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
    Unavailable,
)
from procomp_pay.domain.events import Source
from procomp_pay.domain.operators import Right, require
from procomp_pay.domain.payouts import WITHIN_DAYS
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_summary import StatementLines
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import BankFile
from procomp_pay.services.audit.seals import seal
from procomp_pay.services.closing.figures import DayFigures, are_payouts_followed, count, unfinished
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.operators import authorize
from procomp_pay.services.operators.approvals import check_two
from procomp_pay.services.payouts.fetch import fetch_stripe, keep_kaspi_report
from procomp_pay.services.payouts.match import match_payouts
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.services.reconciliation.run import ReconcileRequest, reconcile
from procomp_pay.services.registrations.tournaments import tournament_view
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.closing import day as queries
from procomp_pay.storage.closing import repository
from procomp_pay.storage.closing.repository import digest
from procomp_pay.storage.database.locks import only_process
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.closing import ClosingDay
from procomp_pay.storage.reports.attempts import Scope

Progress = Callable[[str, int], None]
#: What `reconcile` reads without a day.
_DEFAULT_DAYS = 7
#: What is open where a provider's statement file, or the folder of the exports, is needed.
STATEMENT = "statement"
FOLDER = "folder"
#: How long before the day Stripe's payouts are read: one may fail weeks after it was made.
PAYOUTS_BEFORE = timedelta(days=35)


@dataclass(frozen=True, slots=True)
class Statement:
    """A provider's file, in place of its API."""

    name: str
    lines: StatementLines
    sha256: str
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class BankStatement:
    """The bank's file.

    :param is_ours: its account was named, so that another one than before is accepted.
    """

    name: str
    file: BankFile
    sha256: str
    is_ours: bool = False


class SheetWriter(Protocol):
    """Write the closing sheet; return the names of its files."""

    def __call__(self, closing: Closing) -> list[str]: ...


class Exporter(Protocol):
    """Write the day's exports into a folder; return what, file, rows and SHA-256 of each. A file that has the
    same content already stays as it is."""

    async def __call__(self, ctx: AppContext, closing: Closing, folder: str) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Closing:
    """The closing of a day, as it stands.

    :param tournament: id and name; ``None`` for all.
    :param signed: the figures under the newest signature.
    """

    closing_id: str
    period: Period
    tournament: tuple[str, str] | None
    steps: dict[Step, StepRecord]
    signatures: tuple[Signature, ...]
    signed: dict[str, Any] | None
    begun_by: str
    begun_at: datetime
    closed_at: datetime | None
    figures: DayFigures | None = None

    @property
    def day(self) -> date:
        assert self.period.since is not None  # noqa: S101 - a closing is of one day
        return self.period.since

    @property
    def is_closed(self) -> bool:
        return self.closed_at is not None

    @property
    def known_steps(self) -> list[StepRecord]:
        """Return the steps in order; of a closed day those that it had when it was signed."""
        records = [self.steps[step] for step in Step]
        return [record for record in records if not (self.is_closed and record.state is StepState.WAITING)]

    @property
    def open(self) -> list[Step]:
        """Return the steps that are neither done nor skipped, the signatures last."""
        if self.is_closed:
            return []
        return [*open_steps(self.steps.values()), Step.SIGNATURES]

    @property
    def second_is_missing(self) -> bool:
        """Return whether it was closed by one signature, since there are no operator accounts."""
        return self.is_closed and of_operators(self.signatures) < SIGNATURES

    def to_sign(self) -> tuple[str, list[tuple[StepState, tuple[str, ...]]]]:
        """Return what a signature vouches for: the digest of the figures, and what is open in each step."""
        figures = digest(self.figures.sums()) if self.figures is not None else ""
        return figures, [(self.steps[step].state, self.steps[step].items) for step in Step]

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "closing_id": self.closing_id,
            "day": self.day.isoformat(),
            "timezone": self.period.zone.key,
            "tournament": dict(zip(("tournament_id", "name"), self.tournament, strict=True))
            if self.tournament
            else None,
            "state": "closed" if self.is_closed else "open",
            "begun_by": self.begun_by,
            "begun_at": instant(self.begun_at),
            "closed_at": instant(self.closed_at),
            "open": [step.value for step in self.open],
            "steps": [_without_answers(record) for record in self.known_steps],
            "figures": None if self.figures is None else self.figures.full(),
            "signed": self.signed,
            "signatures": [signature.full() for signature in self.signatures],
            "second_signature_missing": self.second_is_missing,
            "since_closing": [change.full() for change in since_closing(self)],
        }


def _without_answers(record: StepRecord) -> dict[str, Any]:
    document = record.full()
    document["facts"] = {name: value for name, value in record.facts.items() if name != "told"}
    return document


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that is not what was signed."""

    what: str
    method: str
    currency: str
    signed: Decimal
    now: Decimal

    def full(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "method": self.method,
            "currency": self.currency,
            "signed": self.signed,
            "now": self.now,
            "difference": self.now - self.signed,
        }


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """A request to close a day.

    :param statements: by provider. :param again: steps to repeat although they are done.
    :param sheet: writes the sheet; ``None`` leaves the step open.
    :param exporter: writes the exports; ``None`` leaves the step open.
    :param exports: the folder for them; ``None`` for the one that is recorded.
    """

    period: Period
    tournament_id: str | None = None
    statements: Mapping[str, Statement] = field(default_factory=dict)
    again: frozenset[Step] = frozenset()
    sheet: SheetWriter | None = None
    exporter: Exporter | None = None
    exports: str | None = None
    bank: BankStatement | None = None


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
                await _record(session, closing_id, actor, "closing_begun", now, after)
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
    on_step: Callable[[Step], None] = lambda _: None,
) -> Closing:
    """Run every step that is to run, in order; a closed day is only counted again.

    :param on_step: called when a step begins.
    """
    if not closing.is_closed:
        async with ctx.db.reading() as session:
            await authorize.check(ctx, session, Right.CLOSE)  # questions were asked between two rounds
        for step in (Step.PENDING, Step.STRIPE, Step.KASPI, Step.PAYOUTS):
            if _is_due(closing, step, request):
                on_step(step)
                items, facts = await _run_step(ctx, closing, step, request, actor, on_progress)
                await _keep(ctx, closing, step, items, facts, actor)
    told = closing.steps[Step.KASPI].facts.get("told") or {}
    closing.figures = figures = await count(ctx, closing.period, _tournament_id(closing), told)
    if closing.is_closed:
        return closing
    # what is unfinished may be another than when the step ran, or was skipped
    items = _with_rest([each["id"] for each in figures.unfinished], len(figures.unfinished), figures)
    await _keep(ctx, closing, Step.PENDING, items, dict(closing.steps[Step.PENDING].facts), actor)
    facts = dict(closing.steps[Step.PAYOUTS].facts) | {"followed": figures.payouts_followed}
    items = [*facts.get("asked", ()), *(each.key for each in figures.payouts if each.is_open)]
    await _keep(ctx, closing, Step.PAYOUTS, items, facts, actor)
    for step in sorted(LIVE, key=list(Step).index):
        items, facts = _live(figures, step)
        await _keep(ctx, closing, step, items, facts, actor)
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


def _tournament_id(closing: Closing) -> str | None:
    return closing.tournament[0] if closing.tournament else None


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


async def _run_step(
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
    _, ends = day_of(closing)
    async with ctx.db.reading() as session:
        listed = await unfinished(session, _tournament_id(closing), ends)
    # names stay out of the record: it has to hold when a person is erased
    return [each["id"] for each in listed], {"failures": failures}


async def _payouts(
    ctx: AppContext, closing: Closing, bank: BankStatement | None, actor: Actor
) -> tuple[list[str], dict[str, Any]]:
    """Read Stripe's payouts and match all with the bank's lines; what is open among them is counted later."""
    facts: dict[str, Any] = {"asked": []}
    now = ctx.clock()
    begins, _ = day_of(closing)
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
    begins, ends = day_of(closing)
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
    begins, ends = day_of(closing)
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
            rows = await queries.not_seen(session, Scope(_tournament_id(closing), begins, ends))
        kaspi = [row.payment_id for row in rows if row.method in (None, PaymentMethod.KASPI_QR)]
        missing = [payment_id for payment_id in kaspi if payment_id not in report.told]
        if missing:  # without a file: the scheme reports neither amounts nor refunds
            absent = STATEMENT
            if statement is not None:
                absent = N_("payments that are not in %(file)s: %(n)s", file=statement.name, n=len(missing))
            items.append(absent)
    return items, facts


def day_of(closing: Closing) -> tuple[datetime, datetime]:
    """Return the first instants of a closing's day and of the next one."""
    begins, ends = closing.period.begins, closing.period.ends
    assert begins is not None and ends is not None  # noqa: S101, PT018 - a closing is of one day
    return begins, ends


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
    await _keep(ctx, closing, Step.SHEET, [], {"files": files, "digest": figures}, actor)


async def _exports(ctx: AppContext, closing: Closing, request: CloseRequest, actor: Actor) -> None:
    """Write the exports where they are not what the books say."""
    record = closing.steps[Step.EXPORTS]
    if request.exporter is None or (record.state is StepState.SKIPPED and request.exports is None):
        return
    folder = request.exports or record.facts.get("folder")
    if folder is None:
        await _keep(ctx, closing, Step.EXPORTS, [FOLDER], {}, actor)
        return
    try:
        files = await request.exporter(ctx, closing, folder)
    except Refused as error:
        if request.exports is not None:
            raise
        # of an earlier evening: a disk that is gone, perhaps
        await _keep(ctx, closing, Step.EXPORTS, [FOLDER], {"folder": folder, "why": error.message}, actor)
        return
    await _keep(ctx, closing, Step.EXPORTS, [], {"folder": folder, "files": files}, actor)


async def _seal(ctx: AppContext, closing: Closing, request: CloseRequest, actor: Actor) -> None:
    """Seal the audit trail, unless that was done for these figures."""
    figures = digest(closing.figures.sums()) if closing.figures else ""
    if _is_made(closing, Step.SEAL, figures, request):
        return
    made = await seal(ctx, actor.name)
    facts = {"number": made.number, "root": made.root, "digest": figures}
    await _keep(ctx, closing, Step.SEAL, [], facts, actor)


def _is_made(closing: Closing, step: Step, figures: str, request: CloseRequest) -> bool:
    """Return whether a step was done for these figures, and is not to be repeated."""
    record = closing.steps[step]
    is_done = record.state is StepState.DONE and record.facts.get("digest") == figures
    return is_done and step not in request.again


async def _keep(
    ctx: AppContext, closing: Closing, step: Step, items: list[str], facts: dict[str, Any], actor: Actor
) -> None:
    """Record a step's result; nothing is written if it is what is recorded."""
    now = ctx.clock()
    record = after_run(closing.steps[step], items, facts, now, actor.name)
    if record is closing.steps[step]:
        return
    async with ctx.db.writing() as session:
        row = await _locked(session, closing)
        if row.closed_at is not None:
            return  # another process closed it meanwhile
        row.steps = {**row.steps, step.value: record.full()}
        row.updated_at = now
        after: dict[str, Any] = {
            "step": step.value, "state": record.state.value, "open": len(record.items),
        }  # fmt: skip
        if step is Step.EXPORTS:
            after["files"] = {each["what"]: each["sha256"] for each in facts.get("files", ())}
        await _record(session, closing.closing_id, actor, "closing_step", now, after)
    closing.steps[step] = record


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
        row = await _locked(session, closing)
        stored = row.steps.get(step.value)
        if row.closed_at is not None or (stored and stored["state"] == StepState.DONE):
            raise Conflict(
                N_("The step %(step)s has changed meanwhile: it is not skipped", step=step.value),
                next_step="procomp-pay close",
            )
        row.steps = {**row.steps, step.value: record.full()}
        row.updated_at = now
        after = {"step": step.value, "open": list(record.items)}
        await _record(session, closing.closing_id, actor, "closing_skipped", now, after, note=record.reason)
    closing.steps[step] = record


async def sign(ctx: AppContext, closing: Closing, signer: Signer, *, alone: bool) -> None:
    """Sign the figures as they are now. The second signature closes the day.

    :param alone: there are no operator accounts: one signature closes it, and the record says so.
    :raises ManualReviewRequired: a step is open. :raises Conflict: it is closed, or the same person signed.
    """
    if closing.figures is None:
        raise Refused(N_("Nothing was counted yet"), next_step="procomp-pay close")
    sums = closing.figures.sums()
    figures, now = digest(sums), ctx.clock()
    actor = Actor(signer.name, Source.PERSON)
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.CLOSE)
        row = await _locked(session, closing)
        before = tuple(Signature(**each) for each in row.signatures)
        is_closed = row.closed_at is not None
        records = None if is_closed else [StepRecord.of(each) for each in row.steps.values()]
        if is_closed and of_operators(before) < SIGNATURES and not alone:
            figures, sums = before[-1].digest, row.sums  # closed by one: the second signs what was signed
        elif is_closed:
            raise already_signed(before)
        signatures = signed_by(signer, before, figures, now, records)
        if not alone:
            await _check_two(session, signer, signatures[:-1])
        row.signatures = [signature.full() for signature in signatures]
        row.sums, row.updated_at = sums, now
        dropped = [each.account for each in before if each not in signatures]
        after = {"account": signer.account, "digest": figures, "no_longer_valid": dropped}
        await _record(session, closing.closing_id, actor, "closing_signed", now, after)
        if row.closed_at is None and (alone or of_operators(signatures) >= SIGNATURES):
            row.closed_at = now
            after = {"digest": figures, "signatures": [each.account for each in signatures]}
            await _record(session, closing.closing_id, actor, "closing_closed", now, after)
        record = StepRecord(Step.SIGNATURES, StepState.DONE if row.closed_at else StepState.OPEN,
                            now.isoformat(), signer.name)  # fmt: skip
        row.steps = {**row.steps, Step.SIGNATURES.value: record.full()}
        closed_at = row.closed_at
    closing.signatures, closing.signed, closing.closed_at = signatures, sums, closed_at
    closing.steps[Step.SIGNATURES] = record


async def _check_two(session: AsyncSession, signer: Signer, signatures: Iterable[Signature]) -> None:
    """Check that who signs is nobody who may know the PIN of who has signed, or the other way round.

    :raises Forbidden: one of them gave it to the other.
    """
    for signature in signatures:
        if signature.account.startswith(OPERATOR):
            ids = [each.account.removeprefix(OPERATOR) for each in (signature, signer)]
            await check_two(session, *ids)


async def _locked(session: AsyncSession, closing: Closing) -> ClosingDay:
    row = await repository.find(session, _tournament_id(closing) or "", closing.day.isoformat(), lock=True)
    if row is None:
        raise Unavailable(N_("The closing is gone"), next_step="procomp-pay audit verify")
    return row


async def _record(
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


_COMPARED = (
    ("paid", "ours", "paid"),
    ("refunded", "ours", "refunded"),
    ("disputes lost", "ours", "disputes_lost"),
    ("paid at the provider", "provider", "paid"),
    ("refunded at the provider", "provider", "refunded"),
    ("provider fees", None, "provider_fees"),
)


def _figure(line: Mapping[str, Any] | None, side: str | None, name: str) -> Decimal:
    if line is None:
        return Decimal("0.00")
    return Decimal(line[side][name] if side else line[name])


def since_closing(closing: Closing) -> list[Change]:
    """Return how the figures differ from those that were signed: a late payment, a fee that is known now."""
    if not closing.is_closed or closing.figures is None or closing.signed is None:
        return []
    now = {(line.method, line.currency): line.full() for line in closing.figures.both}
    then = {(line["method"], line["currency"]): line for line in closing.signed["sums"]}
    changes = []
    for key in sorted({*now, *then}):
        for what, side, name in _COMPARED:
            before, after = _figure(then.get(key), side, name), _figure(now.get(key), side, name)
            if before != after:
                changes.append(Change(what, *key, before, after))
    return changes
