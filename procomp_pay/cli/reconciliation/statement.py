"""``statement check``: show how a provider's statement is read, before ``reconcile`` uses it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _, counted, translated
from procomp_pay.cli.framework.options import JsonOption
from procomp_pay.cli.framework.progress import reading_bar
from procomp_pay.domain.text import N_, joined

if TYPE_CHECKING:
    from datetime import datetime

    from procomp_pay.providers.statements.reader import Statement

_EXAMPLES = """[bold]Examples[/]

  procomp-pay statement check kaspi-october.xlsx
  procomp-pay statement check export.csv --mapping ours.toml
  procomp-pay statement check balance.csv --json

Nothing is changed.

Exit codes: 6 some lines could not be read reliably (they are
listed), 3 the file cannot be used at all."""
#: Lines shown of total problem; --json has up to a thousand.
_MOST_SHOWN = 20
_WORDS = {
    "payment": N_("payments"),
    "refund": N_("refunds"),
    "refund_failed": N_("failed refunds"),
    "dispute": N_("disputes"),
    "dispute_reversed": N_("disputes won"),
    "other": N_("other lines"),
}

statements = typer.Typer(no_args_is_help=True, help="Check how a provider's statement file is read.")


class Provider(StrEnum):
    """The values of ``--provider``."""

    KASPI = "kaspi"
    STRIPE = "stripe"


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(statements, name="statement")


@statements.callback()
def group() -> None:
    """Keep ``check`` a subcommand: Typer would merge a single command into the group."""


@statements.command("check", epilog=_EXAMPLES)
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The exported CSV or XLSX file.", show_default=False)
    ],
    provider: Annotated[
        Provider | None,
        typer.Option(
            metavar="NAME", help="kaspi or stripe. Default: detected from the content.", show_default=False
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file that names the columns of an unknown layout."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a statement is read: columns, counts, sums, period, skipped lines.

    `reconcile --statement` reads a file in exactly the same way.
    """
    from procomp_pay.providers.statements.reader import open_statement

    with reading_bar(file.name, quiet=as_json) as progress:
        name = provider.value if provider else None
        statement = open_statement(file, provider=name, mapping=mapping, progress=progress)
        with statement:
            for _ in statement:
                pass
            document = _document(file, statement) if as_json else None
    if document is not None:
        console.print_json(document)
    else:
        _show(file, statement)
    if statement.summary.needs_person:
        raise typer.Exit(6)


def _document(file: Path, statement: Statement) -> dict[str, Any]:
    summary, layout = statement.summary, statement.layout
    return {
        "file": file.name,
        "sha256": statement.sha256,
        "provider": statement.provider,
        "layout": layout.name,
        "read_as": statement.kind,
        "head_line": layout.row,
        "columns": layout.used,
        "ignored_columns": layout.ignored,
        "lines": summary.lines,
        "counts": {kind.value: count for kind, count in sorted(summary.counts.items())},
        "sums": [
            {
                "kind": total.kind.value,
                "currency": str(total.currency),
                "count": total.count,
                "sum": total.amount,
            }
            for total in summary.sums.values()
        ],
        "first_at": _iso(summary.first_at),
        "last_at": _iso(summary.last_at),
        "totals": [
            {"line": total.line, "text": total.text, "amount": total.amount, "agrees": total.agrees}
            for total in summary.totals
        ],
        "skipped_count": summary.skipped_count,
        "skipped": [
            {"line": line.line, "column": line.column, "reason": line.reason} for line in summary.skipped
        ],
        "repeated_count": summary.repeated_count,
        "repeated": [
            {"line": line.line, "first_line": line.first_line, "ref": line.ref} for line in summary.repeated
        ],
        "notes": summary.notes,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _show(file: Path, statement: Statement) -> None:
    summary, layout = statement.summary, statement.layout
    mark = "!" if summary.needs_person else "✓"
    typer.echo(console.clean(f"{mark} {file.name}: {translated(layout.name)}, {statement.kind}"))
    rows = [(meaning, f"“{console.clean(head)}”") for meaning, head in layout.used.items()]
    rows += (
        [(_("not used"), ", ".join(console.clean(head) for head in layout.ignored))] if layout.ignored else []
    )
    rows += [(_("period"), _period(statement))]
    for total in summary.sums.values():
        figures = f"{formats.count(total.count)}  {formats.amount(total.amount)} {total.currency}"
        rows.append((translated(_WORDS[total.kind]), figures))
    rows += [(_("lines"), formats.count(summary.lines))]
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(console.wrap(f"  {name:<{wide}}  {value}", indent=" " * (wide + 4)))
    _show_problems(file, statement)


def _period(statement: Statement) -> str:
    first, last = statement.summary.first_at, statement.summary.last_at
    if first is None or last is None:
        return _("no lines")
    zone = statement.layout.zone
    form = "%Y-%m-%d %H:%M"
    since, until = (f"{at.astimezone(zone):{form}}" for at in (first, last))
    return _("%(since)s to %(until)s (%(zone)s)", since=since, until=until, zone=zone.key)


def _show_problems(file: Path, statement: Statement) -> None:
    summary = statement.summary
    for total in summary.totals:
        values = {"line": total.line, "amount": formats.amount(total.amount)}
        if total.agrees:
            text = _("the total on line %(line)s, %(amount)s, agrees with the lines", **values)
            console.say(f"✓ {text}")
        else:
            text = _("the total on line %(line)s, %(amount)s, does not agree with the lines", **values)
            console.say(f"✗ {text}", fg="red")
    for note in summary.notes:
        console.say(f"  {console.clean(translated(note))}", dim=True)
    if summary.remarks:
        text = counted(
            "%(n)d line with text only, such as a signature",
            "%(n)d lines with text only, such as a signature",
            summary.remarks,
        )
        console.say(f"  {text}", dim=True)
    if summary.repeated_count:
        shown = ", ".join(f"{line.line} (= {line.first_line})" for line in summary.repeated[:_MOST_SHOWN])
        text = counted(
            "%(n)d line more than once, counted once",
            "%(n)d lines more than once, counted once",
            summary.repeated_count,
        )
        console.say(f"  {text}: {shown}", fg="yellow")
    if summary.skipped_count:
        text = counted(
            "%(n)d line skipped: for manual review",
            "%(n)d lines skipped: for manual review",
            summary.skipped_count,
        )
        console.say(f"✗ {text}", fg="red")
        for line in summary.skipped[:_MOST_SHOWN]:
            what = joined([f"“{line.column}”", line.reason], ": ") if line.column else line.reason
            console.say(f"    {console.clean(_('Line %(line)s: %(what)s', line=line.line, what=what))}")
        if summary.skipped_count > _MOST_SHOWN:
            console.say(f"    {_('… and %(n)s more', n=summary.skipped_count - _MOST_SHOWN)}")
    elif not any(not total.agrees for total in summary.totals):
        console.hint(
            f"procomp-pay reconcile --provider {statement.provider} --statement {shlex.quote(str(file))}"
        )
