"""``doctor``: check the installation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.options import JsonOption
from procomp_pay.domain.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from procomp_pay.cli.operations.checks import Check

_EXAMPLES = """[bold]Examples[/]

  procomp-pay doctor
  procomp-pay doctor --json
  procomp-pay doctor --explain KASPI_SCHEME

✓ works   ! works, but look at it   ✗ does not work

Exit code 7: a setting is missing or wrong. 5: a service does not answer."""
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(doctor)


def doctor(
    explain: Annotated[
        str | None, typer.Option(metavar="SETTING", help="Explain one setting and its values; check nothing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the installation: settings, database, keys, providers."""
    from procomp_pay.cli.operations.checks import examine

    if explain is not None:
        _explain(explain, as_json=as_json)
        return
    checks = examine()
    code = max((check.exit_code for check in checks), default=0)
    if as_json:
        console.print_json({"checks": [check.full() for check in checks], "exit_code": code})
    else:
        show_checks(checks)
    if code:
        raise typer.Exit(code)


def show_checks(checks: list[Check]) -> None:
    """Print the results, each with its next step."""
    for check in checks:
        mark, colour = _MARKS[check.state]
        shown = typer.style(mark, fg=colour, bold=True) if console.has_colour() else mark
        text = console.wrap(f"{check.name:<14} {console.clean(check.found)}", indent=" " * 17)
        typer.echo(f"{shown} {text}")
        if check.next_step:
            typer.echo(f"  {'':14} → {console.clean(check.next_step)}")


def _explain(name: str, *, as_json: bool) -> None:
    """Print what the documentation says of a setting.

    :raises NotFound: there is no such setting.
    """
    from difflib import get_close_matches

    from procomp_pay.config import Settings

    setting, known = name.strip().upper(), [field.upper() for field in Settings.model_fields]
    if setting not in known:
        alike = get_close_matches(setting, known, n=3, cutoff=0.5)
        raise NotFound(
            f"There is no setting {console.clean(name)[:64]!r}",
            next_step=f"did you mean {' or '.join(alike)}?" if alike else "see docs/configuration.md",
        )
    row = next(row for row in _documented() if f"`{setting}`" in row[0])
    names, default, values = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell).replace("`", "") for cell in row)
    is_set = bool(os.environ.get(setting))
    if as_json:
        console.print_json(
            {"setting": setting, "default": default, "values": values, "is_in_environment": is_set}
        )
        return
    state = "set in the environment" if is_set else "not set in the environment"
    for title, text in (("setting", names), ("default", default), ("values", values), ("now", state)):
        typer.echo(f"{title:<9}{console.wrap(text, indent=' ' * 9)}")


def _documented() -> list[list[str]]:
    """Return the cells of each row about a setting in docs/configuration.md, which the package contains.

    :raises ConfigurationError: the page is missing.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_docs", package.parent / "docs"):
        if (folder / "configuration.md").is_file():
            page = (folder / "configuration.md").read_text("utf-8")
            rows = re.findall(r"^\| `[A-Z]+_[A-Z_]+`.*\|$", page, re.M)
            return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    raise ConfigurationError("The page about the settings is missing", next_step="install procomp-pay again")
