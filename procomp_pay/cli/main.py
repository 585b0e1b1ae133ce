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

#: The modules with their commands, in the order of the help page: the desk's daily work first. Each has its
#: line of that page, which is therefore shown without importing and building any of them.
COMMANDS = {
    "desk.command": {"desk": "Take payments on one live screen: search, QR, PAID, refund."},
    "payments.initiate": {"initiate": "Start a payment and show the QR to pay it with."},
    "payments.status": {
        "status": "Show the status of a participant's latest payment.",
        "history": "Show all payments of a participant, with their history.",
        "list": "List payments, newest first.",
    },
    "payments.cancel": {"cancel": "Cancel an unpaid payment."},
    "refunds.refund": {"refund": "Refund a payment, a part of it, or a whole tournament."},
    "payments.move": {"payment": "Correct a payment."},
    "receipts.receipt": {"receipt": "Show the receipt of a paid payment. It is no fiscal receipt."},
    "kaspi.verify": {"verify-kaspi": "Verify a Kaspi payment by its receipt, or show the queue."},
    "reports.report": {"report": "Report success rates, revenue, refunds, disputes and fees."},
    "exports.export": {"export": "Write one row for each payment, refund or payout, for accounting."},
    "payouts.commands": {"payouts": "Follow the money from the providers to the bank account."},
    "reconciliation.reconcile": {"reconcile": "Compare our books with the providers, to the cent."},
    "reconciliation.discrepancies": {"discrepancies": "List and resolve reconciliation discrepancies."},
    "closing.command": {
        "close": "Close a day: what is unfinished, both sides, refunds by hand, exports, sheet, seal, "
        "signatures.",
    },
    "operations.maintain": {"maintain": "Run all background work once, for cron."},
    "operations.outbox": {"outbox": "List, replay and test outgoing e-mails, webhooks and alerts."},
    "operations.database": {"db": "Set up the database, show its state."},
    "operations.events": {"events": "List, show and replay events from the providers."},
    "operations.init": {
        "init": "Write an environment file with new keys, systemd units and a proxy's example.",
    },
    "operations.doctor": {"doctor": "Check the installation: settings, database, keys, providers."},
    "kaspi.devices": {"kaspi": "Set up Kaspi: trade points and devices."},
    "operations.keys": {"keys": "Create and rotate encryption keys."},
    "operations.token": {"token": "Issue tokens for the HTTP API."},
    "operations.audit": {"audit": "Show, verify, seal and archive the audit trail."},
    "registrations.tournament": {"tournament": "Tournaments and their entry fees."},
    "registrations.participant": {"participant": "Add, import and find participants."},
    "registrations.remind": {
        "remind": "Remind by e-mail everybody whose fee is still due, at most once a day each.",
    },
    "registrations.person": {"person": "Export and erase what is kept about a person."},
    "reconciliation.statement": {"statement": "Check how a provider's statement file is read."},
    "operators.commands": {"operator": "Add operators, log in, and approve what needs two people."},
    "operations.serve": {
        "serve": "Run the HTTP API, the webhooks and all background work.",
        "sandbox": "Run a local Stripe and a local Kaspi. No real money.",
    },
    "demo.demo": {"demo": "Take three payments in a sandbox, without any setup."},
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
        _register_own()


def _register_names() -> None:
    """Add what the help page has of the commands: their names, each with its line."""
    for commands in COMMANDS.values():
        for name, line in commands.items():
            _app.command(name, help=line)(lambda: None)
    _register_own()


def _register_own() -> None:
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
    words = sys.argv[1:]
    if {"-h", "--help"}.issuperset(words) and "_PROCOMP_PAY_COMPLETE" not in os.environ:
        _register_names()
    else:
        register(_typed_command(words))
    try:
        _app()
    finally:
        gc.freeze()
