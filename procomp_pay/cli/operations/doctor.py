"""``doctor``: what is set up, what is not, and what to do about it."""

from __future__ import annotations

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.options import JsonOption

_EXAMPLES = """[bold]Examples[/]

  procomp-pay doctor
  procomp-pay doctor --json

✓ fine   ! works, but look at it   ✗ does not work
Exit code 7: a setting is missing or wrong. 5: something does not answer."""
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: settings, database, keys, Stripe, Kaspi, clock."""
    from procomp_pay.cli.operations.checks import examine

    found = examine()
    code = max((each.exit_code for each in found), default=0)
    if as_json:
        console.print_json({"checks": [each.full() for each in found], "exit_code": code})
    else:
        for each in found:
            mark, colour = _MARKS[each.state]
            shown = typer.style(mark, fg=colour, bold=True) if console.has_colour() else mark
            text = console.wrap(f"{each.name:<14} {console.clean(each.found)}", indent=" " * 17)
            typer.echo(f"{shown} {text}")
            if each.next_step:
                typer.echo(f"  {'':14} → {console.clean(each.next_step)}")
    if code:
        raise typer.Exit(code)
