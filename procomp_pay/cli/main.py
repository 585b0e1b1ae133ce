"""The entry point: all commands, and the one place that turns errors into words and exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from procomp_pay.cli import people
from procomp_pay.cli.common import show_error
from procomp_pay.domain.errors import PaymentError


class DeskGroup(TyperGroup):
    """Turns every error into a sentence and an exit code; a traceback only with ``--debug``."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PaymentError as error:
            if ctx.params.get("debug"):
                raise
            show_error(error, as_json="--json" in sys.argv)
            raise typer.Exit(error.exit_code) from None
        except (KeyboardInterrupt, typer.Exit, typer.Abort):
            raise


app = typer.Typer(
    name="procomp-pay",
    cls=DeskGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The payment desk of ProComp: take entry fees, follow them, prove that the books agree.",
)


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Runs before every command."""


people.register(app)


def run() -> None:
    """The console script."""
    app()
