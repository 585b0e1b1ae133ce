"""The root command: runs a command line and turns every error into a message and an exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer._coercion import RuntimeParam
from typer.core import TyperGroup

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings
from procomp_pay.cli.framework.help import has_help, install_help
from procomp_pay.cli.framework.language import _, language
from procomp_pay.cli.framework.paging import with_next_page
from procomp_pay.domain.errors import NotFound, PaymentError
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_

_FLAGS = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True)
_FLAGS |= dict.fromkeys(("0", "false", "f", "no", "n", "off", ""), False)


@dataclass(frozen=True)
class PlainParam(RuntimeParam):
    """A parameter of a plain type."""

    def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
        kind: Any = self.annotation
        if isinstance(value, kind):
            return value
        if issubclass(kind, Enum):
            return _member(kind, str(value), self.parameter_info.case_sensitive, param=param, ctx=ctx)
        why: str | None
        try:
            result = _FLAGS[str(value).lower()] if kind is bool else kind(value)
        except KeyError:
            why = N_("%(value)s is neither yes nor no", value=repr(value))
        except ValueError:
            why = N_("%(value)s is not a whole number", value=repr(value))
            if kind is float:
                why = N_("%(value)s is not a number", value=repr(value))
        else:
            if (why := _outside(self.parameter_info, result)) is None:
                return result
        raise typer.BadParameter(why, ctx=ctx, param=param)


def _outside(info: Any, number: Any) -> str | None:
    """Return why a number is outside an option's limits; ``None`` if it is inside, or the option has none."""
    least, most = info.min, info.max
    if least is None or (least <= number and (most is None or number <= most)):  # nan never is
        return None
    if most is None:
        return N_("%(value)s is less than %(least)s", value=number, least=least)
    return N_("%(value)s is not from %(least)s to %(most)s", value=number, least=least, most=most)


def _member(kind: type[Enum], word: str, case_sensitive: bool, *, param: Any, ctx: Any) -> Enum:
    for member in kind:
        if member.value == word or (not case_sensitive and str(member.value).lower() == word.lower()):
            return member
    known = ", ".join(str(member.value) if case_sensitive else str(member.value).lower() for member in kind)
    raise typer.BadParameter(
        N_("%(word)s is not one of %(known)s", word=repr(word), known=known), ctx=ctx, param=param
    )


def coerce_plain(command: Any) -> None:
    """Replace Typer's parsing of a command's plain parameters; leave the others as they are."""
    original = command.get_params

    def get_params(context: Any) -> list[Any]:
        params: list[Any] = original(context)  # includes --help, which is created on demand
        for param in params:
            _replace(param)
        return params

    command.get_params = get_params


def _replace(param: Any) -> None:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or param.multiple or param.nargs != 1:
        return
    kind, info = descriptor.annotation, descriptor.parameter_info
    is_plain = kind in (str, int, float, bool, Path) or (isinstance(kind, type) and issubclass(kind, Enum))
    if is_plain and not (info.parser or _needs_typer(info)):
        param._runtime_param = PlainParam(parameter_info=info, annotation=kind)


def _needs_typer(info: Any) -> bool:
    """Return whether a path must exist, be resolved and the like, or a number has limits of another kind
    than :func:`_outside` knows."""
    return (
        any((info.exists, info.writable, info.resolve_path, info.allow_dash, info.path_type, info.clamp))
        or not (info.file_okay and info.dir_okay)
        or (info.min is None and info.max is not None)
    )


#: The program's name in hints and usage lines, however it was started.
NAME = "procomp-pay"
#: Exit codes after Ctrl-C and after a closed pipe: 128 + the signal's number.
INTERRUPTED = 130
CLOSED_PIPE = 141
#: The sections of the help page.
_SECTIONS = {
    "At the desk": (
        "desk", "initiate", "status", "history", "list", "cancel", "refund", "payment", "receipt",
        "verify-kaspi",
    ),
    "Tournaments and participants": ("tournament", "participant", "person", "remind"),
    "Finance": ("reconcile", "discrepancies", "statement", "report", "export", "payouts", "close"),
    "Running it": (
        "init", "doctor", "serve", "maintain", "outbox", "events", "audit", "operator", "db", "keys", "token",
        "kaspi",
    ),
    "Trying it out": ("demo", "sandbox"),
    "About procomp-pay": ("help", "version"),
}  # fmt: skip


class DeskGroup(TyperGroup):
    """The root group. An error becomes a message with a next step; only ``--debug`` shows a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - it always is
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit with its exit code."""
        _install(self)
        _complete_without_rich()
        line = with_next_page(sys.argv[1:] if args is None else args)
        as_json, debug = _flags(line)
        console.open_standard_streams()
        if debug:
            line.remove("--debug")
        try:
            code = super().main(line, prog_name or NAME, complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()
        except Exception as error:
            if debug and not _is_usage(error):
                _show_trace(error)
            code = _report(error, line, as_json=as_json)
        try:
            sys.stderr.flush()
        except OSError:
            console.discard(sys.stderr)  # else the exit code would be Python's
        sys.exit(code if isinstance(code, int) else 0)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by section."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        for title, section in _sections(names).items():
            commands = [(name, self.get_command(ctx, name)) for name in section]
            rows = [(name, command.get_short_help_str(limit)) for name, command in commands if command]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=20)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            console.say(_("\nStopped. Nothing is lost: work in progress is kept."), fg="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            console.discard(sys.stdout)  # the reader is gone
            raise typer.Exit(CLOSED_PIPE) from None
        return result


def _sections(known: Sequence[str]) -> dict[str, list[str]]:
    """Return the known commands by section of the help page; what no section names comes last."""
    sections = {title: [name for name in names if name in known] for title, names in _SECTIONS.items()}
    named = {name for names in sections.values() for name in names}
    return sections | {"Other": [name for name in known if name not in named]}


def _install(command: Any) -> None:
    """Install our help page and parameter parsing in a command and all its subcommands."""
    if not has_help(command):
        install_help(command)
        coerce_plain(command)
    for subcommand in getattr(command, "commands", {}).values():
        _install(subcommand)


def _complete_without_rich() -> None:
    """Take the help texts of completions as they are: Typer would import rich for each of them."""
    from typer import _completion_classes

    _completion_classes._sanitize_help_text = lambda text: text


def _flags(line: list[str]) -> tuple[bool, bool]:
    options = line[: line.index("--")] if "--" in line else line
    return "--json" in options, "--debug" in options


def _show_trace(error: Exception) -> None:
    """Print the traceback, without locals and without secrets: people send it to us."""
    import traceback

    from procomp_pay.domain.redact import Redactor, one_line

    known: list[str] = []
    with contextlib.suppress(Exception):  # the settings may be the error
        known = load_settings().secret_values()
    text = Redactor(known).text("".join(traceback.format_exception(error)))
    typer.echo(one_line(text, keep="\n"), err=True)


def _is_text(word: str) -> bool:
    """Return False for an argument in another encoding than the terminal's: it has lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in word)


def _is_usage(error: Exception) -> bool:
    return hasattr(error, "format_message") or isinstance(error, typer.Abort)


def _report(error: Exception, line: Sequence[str], *, as_json: bool) -> int:
    """Report an error, and return the exit code.

    What cannot be written to stdout is told on stderr instead; an error in writing carries no file's name.
    """
    try:
        code = _show(error, line, as_json=as_json and not _is_output(error))
        sys.stdout.flush()
    except OSError as full:
        code = _show(full, line, as_json=False)
    return code


def _is_output(error: Exception) -> bool:
    return isinstance(error, OSError) and error.filename is None and error.strerror is not None


def _show(error: Exception, line: Sequence[str], *, as_json: bool) -> int:
    if isinstance(error, BrokenPipeError):
        console.discard(sys.stdout)
        return CLOSED_PIPE
    if isinstance(error, OSError) and _is_output(error):
        console.discard(sys.stdout)
        error = PaymentError(
            N_("The output could not be written: %(why)s. What the command did is kept", why=error.strerror),
            next_step=N_("free some space or choose another file, and look at the result again"),
        )
    if isinstance(error, UnicodeEncodeError) and not all(map(_is_text, line)):
        word = next(word for word in line if not _is_text(word))
        error = NotFound(N_("Nothing has the name or id %(word)s: it is not UTF-8", word=repr(word[:64])))
    if isinstance(error, PaymentError):
        console.show_error(error, as_json=as_json)
        return error.exit_code
    if isinstance(error, typer.Abort):
        console.say(_("\nStopped. Nothing was changed."), fg="yellow")
        return INTERRUPTED
    if hasattr(error, "format_message"):
        return _report_usage(error, as_json=as_json)
    detail = N_(
        "Something went wrong inside procomp-pay (%(kind)s). This is a bug.", kind=type(error).__name__
    )
    next_step = N_("run it again with --debug and send us the output")
    console.show_error(PaymentError(detail, next_step=next_step), as_json=as_json)
    return 1


def _report_usage(error: Any, *, as_json: bool) -> int:
    """Report a wrong command line; for an empty one show the help page."""
    context = getattr(error, "ctx", None)
    # Typer lists choices on lines of their own
    message = " ".join(error.format_message().replace("Value error, ", "").split()).replace(" ,", ",")
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    path = context.command_path if context is not None else NAME
    next_step = f"{path} --help"
    if as_json:
        console.print_error_json(message, 2, next_step)
        return 2
    if language() is not Language.ENGLISH:
        from procomp_pay.cli.framework.usage import usage_message

        message = usage_message(error, message)
    console.show_error(PaymentError(message, next_step=next_step))
    return 2
