"""``audit``: who did what to which payment, whether the trail is whole, and its seal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    wrap,
)
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.services.audit.seals import Sealed
    from procomp_pay.services.audit.trail import Step, Trail
    from procomp_pay.services.audit.verify import AuditReport, Finding
    from procomp_pay.services.context import AppContext

_SHOW = """[bold]Examples[/]

  procomp-pay audit show PAYMENT
  procomp-pay audit show PAYMENT --json

Exit code 6: its chain was tampered with."""
_VERIFY = """[bold]Examples[/]

  procomp-pay audit verify
  procomp-pay audit verify PAYMENT
  procomp-pay audit verify --root 5f1c…   a root that was sent away

Without PAYMENT the seals are computed again as well: the newest 30 and some of
the older, with --all-seals each. Exit code 6: the first broken link is named."""
_SEAL = """[bold]Examples[/]

  procomp-pay audit seal
  procomp-pay audit seal --print | mail -s "audit seal" finance@example.com

What is sealed and sent away cannot be changed unseen, not even by who owns the
database: compare it later with audit verify --root. Exit code 6: the trail does
not agree with the last seal."""
_SHOWN = 20

PaymentArgument = Annotated[str, typer.Argument(help="The payment's id.", metavar="PAYMENT")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who did what, and proof of it.")
    group.command(epilog=_SHOW)(show)
    group.command(epilog=_VERIFY)(verify)
    group.command(epilog=_SEAL)(seal)
    app.add_typer(group, name="audit")


def show(payment: PaymentArgument, as_json: JsonOption = False) -> None:
    """Everything that happened to a payment: who, what, when, why, before and after."""

    async def work(ctx: AppContext) -> Trail:
        from procomp_pay.services.audit.trail import trail

        return await trail(ctx, payment)

    found = run_with_context(work)
    if as_json:
        entries = [step.full() for step in found.steps]
        print_json({"payment_id": found.payment_id, "entries": entries} | _report(found.report))
    else:
        for line in _trail_lines(found):
            typer.echo(line)
        _show_findings(found.report)
    if not found.report.is_sound:
        raise typer.Exit(6)


def _trail_lines(found: Trail) -> list[str]:
    from procomp_pay.cli.payments import tables

    if found.view is None:
        lines = [tables.bold("The payment itself is gone; its trail is not")]
    else:
        head = f"{found.view.participant_name} · {found.view.tournament_name}"
        lines = [f"{tables.bold(clean(head))}  {found.view.charged}  {found.view.status.value}"]
    lines.append(tables.dim(clean(found.payment_id)))
    day = ""
    for step in found.steps:
        lines += _step_lines(step, found, day)
        day = _day(step) or day
    return lines


def _day(step: Step) -> str:
    from procomp_pay.cli.payments import wording

    return wording.day_of(step.entry.at) if step.entry else ""


def _step_lines(step: Step, found: Trail, day: str) -> list[str]:
    import sys

    from procomp_pay.cli.operations import audit_wording as audit_words
    from procomp_pay.cli.payments import tables, wording

    entry, lines = step.entry, []
    if _day(step) not in ("", day):
        lines.append(tables.dim(_day(step)))
    said = audit_words.what(step, found.view)
    if entry is None:
        return [*lines, f"  {'':8}  {step.link.seq:>2}  {said}"]
    note = f" \N{EN DASH} {entry.note}" if entry.note else ""
    head = f"{audit_words.who(entry)}: {said}{note}"
    prefix = f"  {wording.exact_time(entry.at)}  {step.link.seq:>2}  "
    lines.append(wrap(prefix + clean(head), sys.stdout, indent=" " * len(prefix)))
    rest = [audit_words.change(each) for each in step.changes]
    rest += [f"{name} {value}" for name, value in _marks(entry.source_id, entry.request_id)]
    for line in rest:
        shown = wrap(" " * len(prefix) + clean(line), sys.stdout, indent=" " * (len(prefix) + 2))
        lines.append(tables.dim(shown))
    return lines


def _marks(event: str | None, request: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (("event", event), ("request", request)) if value]


def verify(
    payment: Annotated[
        str | None, typer.Argument(help="Only this payment's chain.", metavar="PAYMENT")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="HEX", help="A root from a seal that you kept elsewhere.")
    ] = None,
    all_seals: Annotated[bool, typer.Option("--all-seals", help="Compute every seal again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that nobody changed, removed, added or swapped audit entries."""
    if payment is not None and (root is not None or all_seals):
        raise typer.BadParameter("seals speak for all payments: leave PAYMENT out")
    if root is not None and not _is_root(root):
        raise Refused("A root is 64 hexadecimal digits", next_step="compare it with what audit seal printed")

    async def work(ctx: AppContext) -> AuditReport:
        from procomp_pay.cli.framework.progress import bar
        from procomp_pay.services.audit import verify as audit_verify

        total = await _entries(ctx)
        with bar("verifying", lambda: total, quiet=as_json or payment is not None) as seen:
            return await audit_verify.verify(ctx, payment, root=root, all_seals=all_seals, seen=seen)

    report = run_with_context(work)
    if as_json:
        print_json(_report(report))
    else:
        _show_findings(report)
        if payment is None and not report.seals:
            say("There is no seal yet: it would show where the end of a chain was cut off.", fg="yellow")
            hint("procomp-pay audit seal")
    if not report.is_sound:
        raise typer.Exit(6)


def _is_root(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdefABCDEF" for c in text)


async def _entries(ctx: AppContext) -> int:
    from procomp_pay.storage.audit import seals as audit_seals

    async with ctx.db.reading() as session:
        return await audit_seals.newest_entry(session)


def _report(report: AuditReport) -> dict[str, Any]:
    return {
        "sound": report.is_sound,
        "chains": report.chains,
        "checked_entries": report.entries,
        "seals": report.seals,
        "newest_root": report.root,
        "findings": [asdict(finding) | {"flaw": finding.flaw.value} for finding in report.findings],
        "more": report.more,
    }


def _show_findings(report: AuditReport) -> None:
    if report.is_sound:
        from procomp_pay.cli.operations.audit_wording import counted

        seals = f", {counted(report.seals, 'seal')} computed again" if report.seals else ""
        covered = f"{counted(report.entries, 'entry')} in {counted(report.chains, 'chain')}"
        typer.echo(f"✓ whole: {covered}{seals}")
        return
    first, *others = report.findings
    say(f"✗ the first broken link: {_finding(first)}", fg="red", bold=True)
    for finding in others[:_SHOWN]:
        say(f"✗ {_finding(finding)}", fg="red")
    rest = len(others) - len(others[:_SHOWN]) + report.more
    if rest:
        say(f"  … and {rest} more")
    if first.payment_id is not None:
        hint(f"procomp-pay audit show {first.payment_id}")


def _finding(finding: Finding) -> str:
    if finding.payment_id is None:
        return clean(finding.detail)
    place = f", entry {finding.seq}" if finding.seq is not None else ""
    return clean(f"payment {finding.payment_id}{place}: {finding.flaw.replace('_', ' ')}: {finding.detail}")


def seal(
    only_root: Annotated[bool, typer.Option("--print", help="Only the root, to send away.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where the trail does not agree with the last seal.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal the audit trail as it stands: one root for the ends of all chains."""
    using, actor = settings(), operator(acting)

    async def work(ctx: AppContext) -> Sealed:
        from procomp_pay.cli.framework.progress import bar
        from procomp_pay.services.audit import seals as audit_seals

        total = await _entries(ctx)
        with bar("sealing", lambda: total, quiet=as_json) as seen:
            return await audit_seals.seal(ctx, actor.name, force=force, seen=seen)

    made = run_with_context(work, using=using)
    if as_json:
        print_json(made.full())
    elif only_root:
        typer.echo(made.root)
    else:
        from procomp_pay.cli.operations.audit_wording import counted

        covered = f"{counted(made.entries, 'entry')} in {counted(made.chains, 'chain')}"
        typer.echo(f"✓ seal {made.number}: {covered}")
        typer.echo(f"  root {made.root}")
        say("Keep the root where this database's owner cannot change it.")
        hint(f"procomp-pay audit verify --root {made.root}")
