"""``doctor``: check the installation."""

from __future__ import annotations

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.options import JsonOption

_EXAMPLES = """[bold]Examples[/]

  procomp-pay doctor
  procomp-pay doctor --json

✓ works   ! works, but look at it   ✗ does not work

Exit code 7: a setting is missing or wrong. 5: a service does not answer."""
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation: settings, database, keys, providers."""
    from procomp_pay.cli.operations.checks import examine

    checks = examine()
    code = max((check.exit_code for check in checks), default=0)
    if as_json:
        console.print_json({"checks": [check.full() for check in checks], "exit_code": code})
    else:
        for check in checks:
            mark, colour = _MARKS[check.state]
            shown = typer.style(mark, fg=colour, bold=True) if console.has_colour() else mark
            text = console.wrap(f"{check.name:<14} {console.clean(check.found)}", indent=" " * 17)
            typer.echo(f"{shown} {text}")
            if check.next_step:
                typer.echo(f"  {'':14} → {console.clean(check.next_step)}")
    if code:
        raise typer.Exit(code)
