"""Show tournaments, participants and imports at a terminal and as JSON."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from procomp_pay.cli.framework import console
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus

if TYPE_CHECKING:
    from procomp_pay.services.registrations.file import Roster
    from procomp_pay.services.registrations.import_participants import Changed, ImportReport
    from procomp_pay.services.registrations.import_participants import Remark as ImportRemark
    from procomp_pay.services.registrations.participants import ParticipantPage, ParticipantView
    from procomp_pay.services.registrations.tournaments import FeeChange, TournamentView

#: Problems and skipped lines that are shown; ``--json`` has all.
_MOST_PROBLEMS = 50
_MOST_SKIPPED = 10
#: Columns of a table that is written to a pipe, which has no width: no row is wrapped.
_PIPE_WIDTH = 240


def progress(text: str, *, quiet: bool) -> AbstractContextManager[Any]:
    """Show a spinner on stderr if it is a terminal."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    return console.err().status(console.safe(text))


def show_tournament(view: TournamentView, done: str | None = None) -> None:
    mark = f"[green]✓[/] {done} " if done else ""
    terminal = console.out()
    terminal.print(f"{mark}[bold]{console.safe(view.name)}[/], {_when(view.starts_at)}")
    terminal.print(f"  id            {console.safe(view.tournament_id)}")
    terminal.print(f"  entry fee     {_fees(view)}")
    if done is None:
        terminal.print(f"  participants  {view.registered}, of whom {view.paid} have paid")


def show_tournaments(views: list[TournamentView]) -> None:
    if not views:
        console.err().print(
            "There are no tournaments yet.\n[dim]→ procomp-pay tournament add NAME --fee 24000[/]"
        )
        return
    table = _table("Name", "Starts", "Entry fee", ">Paid", "Id")
    for view in views:
        paid = f"{view.paid} of {view.registered}"
        fees = _fees(view, "\n")
        table.add_row(
            console.safe(view.name), _when(view.starts_at), fees, paid, console.safe(view.tournament_id)
        )
    _print(table)


def fee_document(change: FeeChange) -> dict[str, Any]:
    """Return a change of a fee for ``--json``."""

    def money(value: Money | None) -> dict[str, Any] | None:
        return None if value is None else {"amount": value.amount, "currency": value.currency.value}

    return change.tournament.full() | {
        "before": money(change.before),
        "after": money(change.after),
        "open_payments_unchanged": change.open_payments,
    }


def show_fee_change(change: FeeChange) -> None:
    was = f" (was {change.before})" if change.before and change.after != change.before else ""
    change_text = f"{change.after}{was}" if change.after else f"{change.before} removed"
    console.out().print(f"[green]✓[/] entry fee of {console.safe(change.tournament.name)}: {change_text}")
    console.out().print(f"  all fees: {_fees(change.tournament)}")
    if change.open_payments:
        noun = "payment keeps its" if change.open_payments == 1 else "payments keep their"
        console.err().print(
            f"[yellow]![/] {change.open_payments} open {noun} amount; only new payments use the new fee"
        )


def line_of(view: ParticipantView) -> str:
    """Return who a participant is, in one line of plain text."""
    facts = (view.category, view.tournament_name, view.participant_id)
    return f"{console.clean(view.full_name)} ({console.clean(', '.join(fact for fact in facts if fact))})"


def show_participant(view: ParticipantView, done: str = "registered") -> None:
    terminal = console.out()
    kind = f", {console.safe(view.category)}" if view.category else ""
    terminal.print(f"[green]✓[/] {done} [bold]{console.safe(view.full_name)}[/]{kind}")
    terminal.print(f"  id          {console.safe(view.participant_id)}")
    terminal.print(f"  tournament  {console.safe(view.tournament_name)}")
    terminal.print(f"  e-mail      {console.safe(view.email or 'none: no receipt is sent')}")
    born = str(view.birth_year) if view.birth_year else None
    for label, value in (("club", view.club), ("coach", view.coach), ("phone", view.phone), ("born", born)):
        if value:
            terminal.print(f"  {label:<10}  {console.safe(value)}")
    if not view.reminders:
        terminal.print("  reminders   none: they asked for no letters")


def show_participants(page: ParticipantPage) -> None:
    if not page.items:
        console.err().print(
            "No participant matches.\n[dim]→ shorten --search, or: procomp-pay participant list[/]"
        )
        return
    with_tournament = len({view.tournament_id for view in page.items}) > 1
    headers = ["Name", "Category", *(["Tournament"] if with_tournament else []), "Status", "Fee", "Id"]
    table = _table(*headers)
    for view in page.items:
        where = [console.safe(view.tournament_name)] if with_tournament else []
        kind = console.safe(view.category or "")
        table.add_row(
            console.safe(view.full_name),
            kind,
            *where,
            view.status.value,
            _fee(view),
            console.safe(view.participant_id),
        )
    _print(table)
    if page.total > len(page.items):
        console.err().print(
            f"[dim]{len(page.items)} of {page.total}: narrow with --search, or raise --limit[/]"
        )


def import_document(roster: Roster, report: ImportReport) -> dict[str, Any]:
    """Return an import for ``--json``."""
    return report.full() | {
        "read_as": roster.kind,
        "columns": roster.used,
        "ignored_columns": roster.ignored,
        "notes": roster.notes,
    }


def show_import(roster: Roster, report: ImportReport) -> None:
    from procomp_pay.services.registrations.import_participants import Remark

    used = ", ".join(f"{role} ← “{console.safe(header)}”" for role, header in roster.used.items())
    console.err().print(f"[dim]{console.safe(roster.kind)}; {used}[/]")
    if roster.ignored:
        console.err().print(
            f"[dim]ignored columns: {', '.join(f'“{console.safe(header)}”' for header in roster.ignored)}[/]"
        )
    for note in roster.notes:
        console.err().print(f"[dim]{console.safe(note)}[/]")
    _remarks("Bad lines", "red", report.problems, _MOST_PROBLEMS)
    unchanged = {remark.line for remark in report.unchanged}
    skipped = [remark for remark in report.skipped if remark.line not in unchanged]
    _remarks("Skipped: twice, not clear, or not a participant", "yellow", skipped, _MOST_SKIPPED)
    if report.dry_run:
        added = [Remark(one.line, one.full_name, one.category or "") for one in report.added]
        _remarks("New", "green", added, _MOST_PROBLEMS)
    changed = [Remark(one.line, one.full_name, _change_text(one)) for one in report.changed]
    _remarks("Changed", "cyan", changed, _MOST_PROBLEMS)
    _remarks("Left out", "yellow", report.left_out, _MOST_SKIPPED)
    console.out().print(_summary(report))
    if report.gone:
        names = ", ".join(console.safe(row.full_name) for row in report.gone[:_MOST_SKIPPED])
        more = ", …" if len(report.gone) > _MOST_SKIPPED else ""
        console.err().print(
            f"[dim]{len(report.gone)} registered and not in the file, left as they are: {names}{more}[/]"
        )
    for step in _next_steps(report):
        console.err().print(f"[dim]→ {step}[/]", soft_wrap=True)


def _summary(report: ImportReport) -> str:
    where = f"of {report.lines} lines for {console.safe(report.tournament_name)}"
    skipped = len(report.skipped) - len(report.unchanged)
    counts = f"{len(report.changed)} changed, {len(report.unchanged)} unchanged, {skipped} skipped"
    counts += f", {len(report.problems)} bad"
    if report.written:
        return f"[green]✓[/] {len(report.added)} registered {where}, {counts}"
    if report.blocked and not report.dry_run:
        return f"[bold red]✗[/] nobody registered {where}: {len(report.added)} good, {counts}"
    if report.dry_run:
        return f"[cyan]dry run[/] {len(report.added)} would be registered {where}, {counts}; nothing written"
    return f"[green]✓[/] no new participants {where}, {counts}"


def _change_text(one: Changed) -> str:
    texts = [
        f"was {old}" if name == "name" else f"{name.replace('_', ' ')} {old or 'none'} → {new}"
        for name, (old, new) in one.changes.items()
    ]
    return "; ".join(texts)


def _next_steps(report: ImportReport) -> list[str]:
    steps = []
    if report.blocked:
        steps.append("correct these lines and import again, or add --skip-bad to register the good ones only")
    if any("same as line" in remark.what for remark in report.skipped):
        add = f"procomp-pay participant add {report.tournament_id} NAME --namesake"
        steps.append(f"to add another person of the same name: {add}")
    return steps


def _remarks(title: str, colour: str, remarks: list[ImportRemark], most: int) -> None:
    if not remarks:
        return
    table = _table(">Line", "Name", "What", title=f"[{colour}]{title}[/]")
    for remark in remarks[:most]:
        table.add_row(str(remark.line), console.safe(remark.name), console.safe(remark.what))
    _print(table)
    if len(remarks) > most:
        console.out().print(f"  … and {len(remarks) - most} more; --json has them all")


def _table(*headers: str, title: str | None = None) -> Table:
    """Return a table. A header with ``>`` is right-aligned; ids are never wrapped."""
    table = Table(
        title=title, title_justify="left", title_style="", box=None, pad_edge=False, header_style="bold"
    )
    for header in headers:
        whole = header in ("Id", "Status", "Fee", "Starts")
        right = header.startswith(">")
        table.add_column(
            header.lstrip(">"), no_wrap=whole, overflow="fold", justify="right" if right else "left"
        )
    return table


def _print(table: Table) -> None:
    if not sys.stdout.isatty():
        Console(width=_PIPE_WIDTH, highlight=False).print(table)
        return
    terminal = console.out()
    with terminal.capture() as printed:
        terminal.print(table)
    console.print_long(printed.get().rstrip("\n").split("\n"))


def _fee(view: ParticipantView) -> str:
    if view.is_paid:
        return f"[yellow]paid, dispute {view.dispute}[/]" if view.dispute else "[green]paid[/]"
    return "[dim]-[/]" if view.status is ParticipantStatus.CANCELLED else "[yellow]unpaid[/]"


def _fees(view: TournamentView, between: str = ", ") -> str:
    others = [m for c, m in view.fees.others.items() if c is not view.fees.main.currency]
    return between.join(str(fee) for fee in [view.fees.main, *others])


def _when(at: datetime | None) -> str:
    if at is None:
        return "day unknown"
    return at.astimezone(ZoneInfo("Asia/Almaty")).strftime("%Y-%m-%d %H:%M")
