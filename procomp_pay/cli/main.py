"""The entry point: the root command and the modules with its commands."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.completion import command_being_completed
from procomp_pay.cli.framework.group import DeskGroup

#: The modules with their commands, in the order of the help page: the desk's daily work first.
COMMANDS = {
    "desk.command": ("desk",),
    "payments.initiate": ("initiate",),
    "payments.status": ("status", "history", "list"),
    "payments.cancel": ("cancel",),
    "refunds.refund": ("refund",),
    "payments.move": ("payment",),
    "receipts.receipt": ("receipt",),
    "kaspi.verify": ("verify-kaspi",),
    "reports.report": ("report",),
    "exports.export": ("export",),
    "payouts.commands": ("payouts",),
    "reconciliation.reconcile": ("reconcile",),
    "reconciliation.discrepancies": ("discrepancies",),
    "closing.command": ("close",),
    "operations.maintain": ("maintain",),
    "operations.outbox": ("outbox",),
    "operations.database": ("db",),
    "operations.events": ("events",),
    "operations.init": ("init",),
    "operations.doctor": ("doctor",),
    "kaspi.devices": ("kaspi",),
    "operations.keys": ("keys",),
    "operations.token": ("token",),
    "operations.audit": ("audit",),
    "registrations.commands": ("tournament", "participant"),
    "registrations.remind": ("remind",),
    "registrations.person": ("person",),
    "reconciliation.statement": ("statement",),
    "operators.commands": ("operator",),
    "operations.serve": ("serve", "sandbox"),
    "demo.demo": ("demo",),
}

_app = typer.Typer(
    name="procomp-pay",
    cls=DeskGroup,
    no_args_is_help=True,
    # Typer's rich help takes longer than all the rest of `--help`: framework/help.py replaces it.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The payment desk of ProComp: take entry fees, track them, reconcile them with the providers.",
    epilog="""[bold]First steps[/]

  procomp-pay doctor
  procomp-pay initiate NAME --method kaspi_qr --watch
  procomp-pay status NAME
  procomp-pay verify-kaspi      check a Kaspi receipt that a parent shows

COMMAND --help, or help COMMAND, shows a command's options and examples.

Exit codes: 0 done, 1 bug, 2 wrong usage, 3 refused, 4 not found, 5 unavailable,
6 needs manual review, 7 wrong configuration.""",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@_app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks. Can be given anywhere on the command line.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run before every command."""


def register(command: str | None = None) -> None:
    """Add the commands; only those of one module where it is known which command is typed.

    All of them take longer than all the rest of a help page.
    """
    for module, names in COMMANDS.items():
        if command is None or command in names:
            import_module(f"procomp_pay.cli.{module}").register(_app)
    if command is None:
        _app.command("help")(show_help)
        _app.command()(version)


def __getattr__(name: str) -> typer.Typer:
    """Return ``app``: the program with all its commands, for whoever imports it. :func:`run` makes one."""
    if name != "app":
        raise AttributeError(name)
    register()
    globals()[name] = _app
    return _app


def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]", show_default=False)] = None,
) -> None:
    """Show the help page of a command, such as: help refund, help participant add."""
    from procomp_pay.cli.framework.help import page

    console.print_long(page(context, command or []))


def version() -> None:
    """Show the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        typer.echo(f"procomp-pay {installed('procomp-pay')}")
    except PackageNotFoundError:
        typer.echo("procomp-pay (not installed)")


def _typed_command(words: Sequence[str]) -> str | None:
    """Return the command that the line begins with, or whose words the shell completes; ``None`` where it is
    not known.
    """
    known = {name for names in COMMANDS.values() for name in names}
    completed = command_being_completed(os.environ, known)
    return completed or (words[0] if words and words[0] in known else None)


def run() -> None:
    """Run the console script."""
    # Imports allocate much and free nothing: collecting garbage meanwhile, and once more at exit, would take
    # a fifth of a short command's time.
    gc.set_threshold(200_000, 20, 20)
    # pydantic would read the metadata of every installed package, and run code of any that offers a plugin
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    register(_typed_command(sys.argv[1:]))
    try:
        _app()
    finally:
        gc.freeze()
