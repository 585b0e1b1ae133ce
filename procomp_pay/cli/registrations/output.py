"""Show tournaments, participants and imports at a terminal and as JSON."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.almaty import almaty_time
from procomp_pay.domain.entry_fees import KIND_NAMES
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.registrations.file import Roster
    from procomp_pay.services.registrations.import_report import Changed, ImportReport
    from procomp_pay.services.registrations.import_report import Remark as ImportRemark
    from procomp_pay.services.registrations.participants import ParticipantPage, ParticipantView
    from procomp_pay.services.registrations.terms import Terms
    from procomp_pay.services.registrations.tournaments import FeeChange, TournamentView

#: Problems and skipped lines that are shown; ``--json`` has all.
_MOST_PROBLEMS = 50
_MOST_SKIPPED = 10
_STATES = {"REGISTERED": N_("REGISTERED"), "PAID": N_("PAID"), "CANCELLED": N_("CANCELLED")}
#: Columns of a table that is written to a pipe, which has no width: no row is wrapped.
_PIPE_WIDTH = 240


def progress(text: str, *, quiet: bool) -> AbstractContextManager[Any]:
    """Show a spinner on stderr if it is a terminal."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    return console.err().status(console.safe(text))


def show_tournament(view: TournamentView, done: str | None = None) -> None:
    mark = f"[green]✓[/] {translated(done)} " if done else ""
    terminal = console.out()
    terminal.print(f"{mark}[bold]{console.safe(view.name)}[/], {_when(view.starts_at)}")
    rows = [("id", console.safe(view.tournament_id)), (_("entry fee"), _fees(view))]
    if done is None:
        paid = _("%(n)s, of whom %(paid)s have paid", n=view.registered, paid=view.paid)
        rows.append((_("participants"), paid))
    _print_rows(rows, 12)


def _print_rows(rows: list[tuple[str, str]], width: int) -> None:
    width = max([width, *(console.width_of(label) for label, _text in rows)])
    for label, text in rows:
        console.out().print(f"  {label:<{width}}  {text}")


def show_tournaments(views: list[TournamentView]) -> None:
    if not views:
        console.err().print(
            f"{_('There are no tournaments yet.')}\n[dim]→ procomp-pay tournament add NAME --fee 24000[/]"
        )
        return
    table = _table(_("Name"), _("Starts"), _("Entry fee"), ">" + _("Paid"), "Id")
    for view in views:
        paid = _("%(paid)s of %(all)s", paid=view.paid, all=view.registered)
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
    is_other = change.before and change.after != change.before
    was = " " + _("(was %(fee)s)", fee=change.before) if is_other else ""
    now = formats.money(change.after) + was if change.after else _("%(fee)s removed", fee=change.before)
    text = _("entry fee of %(name)s: %(fee)s", name=console.safe(change.tournament.name), fee=now)
    console.out().print(f"[green]✓[/] {text}")
    console.out().print("  " + _("all fees: %(fees)s", fees=_fees(change.tournament)))
    if change.open_payments:
        kept = (
            _("1 open payment keeps its amount; only new payments use the new fee")
            if change.open_payments == 1
            else _(
                "%(n)s open payments keep their amount; only new payments use the new fee",
                n=change.open_payments,
            )
        )
        console.err().print(f"[yellow]![/] {kept}")


def show_fees(terms: Terms) -> None:
    """Print the fees of a tournament by day, with a mark at those that hold now."""
    console.out().print(f"[bold]{console.safe(terms.name)}[/], {_when(terms.starts_at)}")
    base = terms.schedule.base
    fees = [fee for c in base.currencies if (fee := base.in_currency(c)) is not None]
    rows = [(_("entry fee"), ", ".join(map(formats.money, fees)) + " " + _("(on other days)"))]
    _print_rows(rows, 12)
    if not terms.schedule.periods:
        console.err().print(f"  [dim]{_('no fees of some days only')}[/]")
        return
    table = _table("", _("Fee"), ">" + _("Amount"), _("From"), _("Until"))
    for one in terms.schedule.periods:
        mark = "[green]●[/]" if one.holds(terms.at) else ""
        days = [str(day) if day else "–" for day in (one.days.since, one.days.until)]
        table.add_row(mark, translated(KIND_NAMES[one.kind]), formats.money(one.fee), *days)
    _print(table)
    zone = terms.schedule.periods[0].days.zone.key
    console.out().print(f"[dim]{_('● holds now; whole days of %(zone)s', zone=zone)}[/]")


def show_refund_policy(terms: Terms) -> None:
    """Print the refund policy of a tournament."""
    console.out().print(f"[bold]{console.safe(terms.name)}[/], {_when(terms.starts_at)}")
    if terms.policy is None:
        console.err().print(f"  [dim]{_('no refund policy: refund proposes all that is left')}[/]")
        return
    table = _table(_("Until"), ">" + _("Goes back"), ">" + _("Kept back"), _("Before the start"))
    for step in terms.policy.steps:
        before = _("%(n)s days", n=step.days_before) if step.days_before is not None else ""
        kept = formats.money(step.kept) if step.kept else ""
        table.add_row(str(terms.last_day(step) or "?"), f"{step.percent}%", kept, before)
    _print(table)
    zone = terms.policy.zone.key
    console.out().print(f"[dim]{_('later nothing goes back; whole days of %(zone)s', zone=zone)}[/]")


def line_of(view: ParticipantView) -> str:
    """Return who a participant is, in one line of plain text."""
    facts = (view.category, view.tournament_name, view.participant_id)
    return f"{console.clean(view.full_name)} ({console.clean(', '.join(fact for fact in facts if fact))})"


def show_participant(view: ParticipantView, done: str = N_("registered")) -> None:
    terminal = console.out()
    kind = f", {console.safe(view.category)}" if view.category else ""
    terminal.print(f"[green]✓[/] {translated(done)} [bold]{console.safe(view.full_name)}[/]{kind}")
    born = str(view.birth_year) if view.birth_year else None
    details = ((_("club"), view.club), (_("coach"), view.coach), (_("phone"), view.phone), (_("born"), born))
    _print_rows(
        [
            ("id", console.safe(view.participant_id)),
            (_("tournament"), console.safe(view.tournament_name)),
            ("e-mail", console.safe(view.email or _("none: no receipt is sent"))),
            *((label, console.safe(value)) for label, value in details if value),
            *([] if view.reminders else [(_("reminders"), _("none: they asked for no letters"))]),
        ],
        10,
    )


def show_participants(page: ParticipantPage) -> None:
    if not page.items:
        console.err().print(
            f"{_('No participant matches.')}\n"
            f"[dim]→ {_('shorten --search, or: procomp-pay participant list')}[/]"
        )
        return
    table = _participants(page, with_ids=True)
    if sys.stdout.isatty() and Console(width=_PIPE_WIDTH).measure(table).maximum > console.columns():
        table = _participants(page, with_ids=False)  # a name does where an id does
    _print(table)
    if page.total > len(page.items):
        console.err().print(
            "[dim]"
            + _("%(n)s of %(all)s: narrow with --search, or raise --limit", n=len(page.items), all=page.total)
            + "[/]"
        )


def _participants(page: ParticipantPage, *, with_ids: bool) -> Table:
    with_tournament = len({view.tournament_id for view in page.items}) > 1
    where = [_("Tournament")] if with_tournament else []
    ids = ["Id"] if with_ids else []
    table = _table(_("Name"), _("Category"), *where, _("Status"), _("Fee"), *ids)
    for view in page.items:
        where = [console.safe(view.tournament_name)] if with_tournament else []
        ids = [console.safe(view.participant_id)] if with_ids else []
        kind = console.safe(view.category or "")
        state = view.status.value
        state = _(_STATES[state]) if state in _STATES else state
        table.add_row(console.safe(view.full_name), kind, *where, state, _fee(view), *ids)
    return table


def import_document(roster: Roster, report: ImportReport) -> dict[str, Any]:
    """Return an import for ``--json``."""
    return report.full() | {
        "read_as": roster.kind,
        "columns": roster.used,
        "ignored_columns": roster.ignored,
        "notes": roster.notes,
    }


def show_import(roster: Roster, report: ImportReport) -> None:
    from procomp_pay.services.registrations.import_report import Remark

    used = ", ".join(f"{role} ← “{console.safe(header)}”" for role, header in roster.used.items())
    console.err().print(f"[dim]{console.safe(roster.kind)}; {used}[/]")
    if roster.ignored:
        ignored = ", ".join(f"“{console.safe(header)}”" for header in roster.ignored)
        console.err().print(f"[dim]{_('ignored columns: %(names)s', names=ignored)}[/]")
    for note in roster.notes:
        console.err().print(f"[dim]{console.safe(translated(note))}[/]")
    _remarks(_("Bad lines"), "red", report.problems, _MOST_PROBLEMS)
    unchanged = {remark.line for remark in report.unchanged}
    skipped = [remark for remark in report.skipped if remark.line not in unchanged]
    _remarks(_("Skipped: twice, not clear, or not a participant"), "yellow", skipped, _MOST_SKIPPED)
    if report.dry_run:
        added = [Remark(one.line, one.full_name, one.category or "") for one in report.added]
        _remarks(_("New"), "green", added, _MOST_PROBLEMS, _("Category"))
    changed = [Remark(one.line, one.full_name, _change_text(one)) for one in report.changed]
    _remarks(_("Changed"), "cyan", changed, _MOST_PROBLEMS, "")
    _remarks(_("Left out"), "yellow", report.left_out, _MOST_SKIPPED)
    console.out().print(_summary(report))
    if report.gone:
        names = ", ".join(console.safe(row.full_name) for row in report.gone[:_MOST_SKIPPED])
        more = ", …" if len(report.gone) > _MOST_SKIPPED else ""
        console.err().print(
            "[dim]"
            + _(
                "%(n)s registered and not in the file, left as they are: %(names)s",
                n=len(report.gone),
                names=names + more,
            )
            + "[/]"
        )
    for step in _next_steps(report):
        console.err().print(f"[dim]→ {step}[/]", soft_wrap=True)


def _summary(report: ImportReport) -> str:
    where = _("of %(n)s lines for %(name)s", n=report.lines, name=console.safe(report.tournament_name))
    counts = _(
        "%(changed)s changed, %(unchanged)s unchanged, %(skipped)s skipped, %(bad)s bad",
        changed=len(report.changed),
        unchanged=len(report.unchanged),
        skipped=len(report.skipped) - len(report.unchanged),
        bad=len(report.problems),
    )
    values = {"n": len(report.added), "where": where, "counts": counts}
    if report.written:
        return "[green]✓[/] " + _("%(n)s registered %(where)s, %(counts)s", **values)
    if report.blocked and not report.dry_run:
        return "[bold red]✗[/] " + _("nobody registered %(where)s: %(n)s good, %(counts)s", **values)
    if report.dry_run:
        would = _("%(n)s would be registered %(where)s, %(counts)s; nothing written", **values)
        return f"[cyan]{_('dry run')}:[/] {would}"
    return "[green]✓[/] " + _("no new participants %(where)s, %(counts)s", where=where, counts=counts)


#: What an import changes, for the catalogue.
_CHANGES = (N_("category"), N_("club"), N_("coach"), N_("phone"), N_("birth year"))


def _change_text(one: Changed) -> str:
    texts = [
        _("was %(before)s", before=old)
        if name == "name"
        else f"{_(name.replace('_', ' '))} {old or _('none')} → {new}"
        for name, (old, new) in one.changes.items()
    ]
    return "; ".join(texts)


def _next_steps(report: ImportReport) -> list[str]:
    steps = []
    if report.blocked:
        steps.append(
            _("correct these lines and import again, or add --skip-bad to register the good ones only")
        )
    if any("same as line" in remark.what for remark in report.skipped):
        add = f"procomp-pay participant add {report.tournament_id} NAME --namesake"
        steps.append(_("to add another person of the same name: %(command)s", command=add))
    return steps


def _remarks(
    title: str, colour: str, remarks: list[ImportRemark], most: int, head: str | None = None
) -> None:
    """Print remarks under a title.

    :param head: of what is said about a line; by default "What", which Russian and Kazakh call a fault.
    """
    if not remarks:
        return
    table = _table(
        ">" + _("Line"), _("Name"), _("What") if head is None else head, title=f"[{colour}]{title}[/]"
    )
    for remark in remarks[:most]:
        table.add_row(str(remark.line), console.safe(remark.name), console.safe(translated(remark.what)))
    _print(table)
    if len(remarks) > most:
        console.out().print("  " + _("… and %(n)s more; --json has them all", n=len(remarks) - most))


def _table(*headers: str, title: str | None = None) -> Table:
    """Return a table. A header with ``>`` is right-aligned; ids are never wrapped."""
    table = Table(
        title=title, title_justify="left", title_style="", box=None, pad_edge=False, header_style="bold"
    )
    for header in headers:
        whole = header in ("Id", _("Status"), _("Fee"), _("Starts"))
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
        console.print_table(terminal, [table])
    console.print_long(printed.get().rstrip("\n").split("\n"))


def _fee(view: ParticipantView) -> str:
    if view.is_paid:
        if view.dispute:
            return f"[yellow]{_('paid, dispute %(state)s', state=view.dispute)}[/]"
        return f"[green]{_('paid')}[/]"
    return "[dim]-[/]" if view.status is ParticipantStatus.CANCELLED else f"[yellow]{_('unpaid')}[/]"


def _fees(view: TournamentView, between: str = ", ") -> str:
    others = [m for c, m in view.fees.others.items() if c is not view.fees.main.currency]
    return between.join(formats.money(fee) for fee in [view.fees.main, *others])


def _when(at: datetime | None) -> str:
    if at is None:
        return _("day unknown")
    return almaty_time(at)
