"""The root of the command line: the one place that turns whatever happens into words and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import settings
from procomp_pay.cli.framework.help import dress, is_dressed
from procomp_pay.cli.framework.parameters import read_plainly
from procomp_pay.domain.errors import PaymentError

#: How the program is called in every hint, however it was started.
NAME = "procomp-pay"
#: What a shell reports for a program ended by Ctrl-C, and by a closed pipe (128 + the signal's number).
INTERRUPTED = 130
CLOSED_PIPE = 141


class DeskGroup(TyperGroup):
    """Every error becomes a sentence with a next step; a traceback is shown with ``--debug`` alone."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - it always is
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and leave with its exit code."""
        _dress(self)
        line = list(sys.argv[1:] if args is None else args)
        as_json, debug = _flags(line)
        for stream in (sys.stdout, sys.stderr):
            _never_fail_to_encode(stream)
        if debug:
            line.remove("--debug")
        try:
            code = super().main(line, prog_name or NAME, complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()
        except Exception as error:
            if debug and not _is_usage(error):
                _show_trace(error)
            code = _tell(error, as_json=as_json)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            console.say("\nStopped. Nothing is lost: what was begun is kept.", fg="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # the reader has seen enough; nothing more may be written, also not at the interpreter's end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(CLOSED_PIPE) from None
        return result


def _dress(command: Any) -> None:
    """Our help page for a command and all below it."""
    if not is_dressed(command):
        dress(command)
        read_plainly(command)
    for below in getattr(command, "commands", {}).values():
        _dress(below)


def _flags(line: list[str]) -> tuple[bool, bool]:
    options = line[: line.index("--")] if "--" in line else line
    return "--json" in options, "--debug" in options


def _never_fail_to_encode(stream: Any) -> None:
    """An old terminal shows ``?`` for a letter that it does not have; a name must not end the command."""
    if (getattr(stream, "encoding", None) or "").lower().replace("-", "") != "utf8" and hasattr(
        stream, "reconfigure"
    ):
        stream.reconfigure(errors="replace")


def _show_trace(error: Exception) -> None:
    """The traceback, without locals and without secrets: people send it to us."""
    import traceback

    from procomp_pay.domain.redact import Redactor, one_line

    known: list[str] = []
    with contextlib.suppress(Exception):  # what is wrong may be the settings
        known = settings().secret_values()
    text = Redactor(known).text("".join(traceback.format_exception(error)))
    typer.echo(one_line(text, keep="\n"), err=True)


def _is_usage(error: Exception) -> bool:
    return hasattr(error, "format_message") or isinstance(error, typer.Abort)


def _tell(error: Exception, *, as_json: bool) -> int:
    if isinstance(error, PaymentError):
        console.show_error(error, as_json=as_json)
        return error.exit_code
    if isinstance(error, typer.Abort):
        console.say("\nStopped. Nothing was changed.", fg="yellow")
        return INTERRUPTED
    if hasattr(error, "format_message"):
        return _tell_usage(error, as_json=as_json)
    detail = f"Something went wrong inside procomp-pay ({type(error).__name__}). This is a bug of ours."
    next_step = "run it again with --debug and send us the output"
    console.show_error(PaymentError(detail, next_step=next_step), as_json=as_json)
    return 1


def _tell_usage(error: Any, *, as_json: bool) -> int:
    """A command line that cannot be understood; or none at all, which shows the help page."""
    context = getattr(error, "ctx", None)
    message = error.format_message().strip().replace("Value error, ", "")
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    path = context.command_path if context is not None else NAME
    next_step = f"{path} --help"
    if as_json:
        console.print_error_json(message, 2, next_step)
    else:
        console.show_error(PaymentError(message, next_step=next_step))
    return 2
