"""``statement check``: what a provider's statement is, before ``reconcile`` uses it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import JsonOption, clean, hint, print_json, say, wrap

if TYPE_CHECKING:
    from datetime import datetime

    from procomp_pay.providers.statements.reader import Statement

_EXAMPLES = """[bold]Examples[/]

  procomp-pay statement check kaspi-october.xlsx
  procomp-pay statement check export.csv --mapping ours.toml
  procomp-pay statement check balance.csv --json

Nothing is written and no payment is touched. Exit code 6: some lines could not be
read for certain and are named. 3: the file as a whole cannot be used."""
#: So many of a sort are shown; --json has up to a thousand.
_MOST_SHOWN = 20
_WORDS = {
    "payment": "payments",
    "refund": "refunds",
    "refund_failed": "refunds that came back",
    "dispute": "disputes",
    "dispute_reversed": "disputes won",
    "other": "other lines",
}

statements = typer.Typer(
    no_args_is_help=True, help="Statements of the providers: Stripe's balance report, Kaspi Pay's exports."
)


class Whose(StrEnum):
    """Whose statement it is."""

    KASPI = "kaspi"
    STRIPE = "stripe"


def register(app: typer.Typer) -> None:
    """Hang the group into the application."""
    app.add_typer(statements, name="statement")


@statements.callback()
def group() -> None:
    """Keeps `check` a command of its own beside those to come."""


@statements.command("check", epilog=_EXAMPLES)
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV or XLSX, as it was exported.", show_default=False)
    ],
    provider: Annotated[
        Whose | None, typer.Option(help="Whose it is. Default: told by its content.", show_default=False)
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file that names the columns of an unknown layout."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read a statement and say what it is: columns, counts, sums, period, lines passed over.

    `reconcile --statement` reads a file just so: what is right here is right there.
    """
    from procomp_pay.providers.statements.reader import open_statement

    with _bar(file.name, quiet=as_json) as progress:
        whose = provider.value if provider else None
        statement = open_statement(file, provider=whose, mapping=mapping, progress=progress)
        with statement:
            for _ in statement:
                pass
            document = _document(file, statement) if as_json else None
    if document is not None:
        print_json(document)
    else:
        _show(file, statement)
    if statement.tally.needs_person:
        raise typer.Exit(6)


def _bar(name: str, *, quiet: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from procomp_pay.cli.statement_bar import reading_bar

    return reading_bar(name)


def _document(file: Path, statement: Statement) -> dict[str, Any]:
    tally, layout = statement.tally, statement.layout
    return {
        "file": file.name,
        "sha256": statement.sha256,
        "provider": statement.provider,
        "layout": layout.name,
        "read_as": statement.kind,
        "head_line": layout.row,
        "columns": layout.used,
        "ignored_columns": layout.ignored,
        "lines": tally.lines,
        "counts": {kind.value: count for kind, count in sorted(tally.counts.items())},
        "sums": [
            {
                "kind": each.kind.value,
                "currency": each.currency.value,
                "count": each.count,
                "sum": each.amount,
            }
            for each in tally.sums.values()
        ],
        "first_at": _iso(tally.first_at),
        "last_at": _iso(tally.last_at),
        "totals": [
            {"line": each.line, "text": each.text, "amount": each.amount, "agrees": each.agrees}
            for each in tally.totals
        ],
        "skipped_count": tally.skipped_count,
        "skipped": [
            {"line": each.line, "column": each.column, "reason": each.reason} for each in tally.skipped
        ],
        "repeated_count": tally.repeated_count,
        "repeated": [
            {"line": each.line, "first_line": each.first_line, "ref": each.ref} for each in tally.repeated
        ],
        "notes": tally.notes,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _show(file: Path, statement: Statement) -> None:
    tally, layout = statement.tally, statement.layout
    mark = "!" if tally.needs_person else "✓"
    typer.echo(f"{mark} {clean(file.name)}: {clean(layout.name)}, {clean(statement.kind)}")
    rows = [(meaning, f"“{clean(head)}”") for meaning, head in layout.used.items()]
    rows += [("not used", ", ".join(clean(head) for head in layout.ignored))] if layout.ignored else []
    rows += [("period", _period(statement))]
    for each in tally.sums.values():
        rows.append(
            (_WORDS[each.kind], f"{each.count:,}  {each.amount:,.2f} {each.currency}".replace(",", " "))
        )
    rows += [("lines", f"{tally.lines:,}".replace(",", " "))]
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(wrap(f"  {name:<{wide}}  {value}", sys.stdout, indent=" " * (wide + 4)))
    _show_doubts(statement)


def _period(statement: Statement) -> str:
    first, last = statement.tally.first_at, statement.tally.last_at
    if first is None or last is None:
        return "no lines"
    zone = statement.layout.zone
    form = "%Y-%m-%d %H:%M"
    return f"{first.astimezone(zone):{form}} to {last.astimezone(zone):{form}} ({zone.key})"


def _show_doubts(statement: Statement) -> None:
    tally = statement.tally
    for total in tally.totals:
        agrees = "agrees with the lines" if total.agrees else "does not agree with the lines"
        said = f"the total on line {total.line}, {total.amount}, {agrees}"
        say(f"{'✓' if total.agrees else '✗'} {said}", fg=None if total.agrees else "red")
    for note in tally.notes:
        say(f"  {clean(note)}", dim=True)
    if tally.remarks:
        say(f"  {_lines(tally.remarks)} of words alone, such as a signature", dim=True)
    if tally.repeated_count:
        shown = ", ".join(f"{each.line} (as {each.first_line})" for each in tally.repeated[:_MOST_SHOWN])
        say(f"  {_lines(tally.repeated_count)} more than once, counted once: {shown}", fg="yellow")
    if tally.skipped_count:
        say(f"✗ {_lines(tally.skipped_count)} skipped: somebody has to look at them", fg="red")
        for each in tally.skipped[:_MOST_SHOWN]:
            say(f"    {clean(each)}")
        if tally.skipped_count > _MOST_SHOWN:
            say(f"    … and {tally.skipped_count - _MOST_SHOWN} more")
    elif not any(not total.agrees for total in tally.totals):
        hint(f"procomp-pay reconcile --provider {statement.provider} --statement FILE")


def _lines(count: int) -> str:
    return f"{count} line" if count == 1 else f"{count} lines"
