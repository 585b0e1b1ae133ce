"""The help pages: plain text with a little bold, without rich, which would double the time they take.

A help text or epilog may contain ``[bold]…[/]``. A paragraph with indented lines is printed as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer._click.core import Context
from typer._click.formatting import HelpFormatter

from procomp_pay.cli.framework import console
from procomp_pay.domain.text import N_

_TAG = re.compile(r"\[(bold|dim|cyan|/)\]")
_BRACES = re.compile(r"\{(\w+)\}")
_CODES = {"bold": "\x1b[1m", "dim": "\x1b[2m", "cyan": "\x1b[36m", "/": "\x1b[0m"}
_WIDEST = 100


class DeskFormatter(HelpFormatter):
    """Formats a help page: bold headings, coloured names, examples as they are written."""

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(width=width, max_width=max_width or _WIDEST)
        self._colour = console.has_colour()

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        # Typer puts braces around some metavars
        super().write_usage(prog, _BRACES.sub(r"\1", args), prefix or self._styled("Usage: ", bold=True))

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{self._styled(heading, bold=True)}\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        named = [(self._styled(first.removesuffix(" <str>"), fg="cyan"), second) for first, second in rows]
        super().write_dl(named, min(col_max, self.width // 2 - 2), col_spacing)

    def write_text(self, text: str) -> None:
        for number, part in enumerate(self._tags(text).split("\n\n")):
            if number:
                self.write("\n")
            if any(line.startswith("  ") for line in part.splitlines()):
                indent = " " * self.current_indent
                self.write("".join(f"{indent}{line}\n" for line in part.splitlines()))
            else:
                super().write_text(part)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        return typer.style(text, fg=fg, bold=bold) if self._colour else text

    def _tags(self, text: str) -> str:
        return _TAG.sub(lambda tag: _CODES[tag[1]] if self._colour else "", text)


class DeskContext(Context):
    """A context whose help page is formatted by :class:`DeskFormatter`."""

    formatter_class = DeskFormatter


def has_help(command: Any) -> bool:
    """Return whether a command has our help page already."""
    return command.context_class is DeskContext


def install_help(command: Any) -> None:
    """Give a command our help page: whole first sentences in lists, and its epilog as it is written."""
    command.context_class = DeskContext
    command.short_help = (
        command.short_help or (command.help or "").split("\n\n")[0].replace("\n", " ").strip()
    )
    epilog: str | None = command.epilog

    def format_epilog(_context: Context, formatter: HelpFormatter) -> None:
        if epilog:
            formatter.write_paragraph()
            formatter.write_text(epilog)

    command.format_epilog = format_epilog


def page(context: Any, names: Sequence[str]) -> list[str]:
    """Return the lines of the help page of a command of the root command.

    :param context: of a command of the root. :param names: of the command, with the group's before it.
    :raises typer.BadParameter: there is no such command.
    """
    current = context.find_root()
    for number, name in enumerate(names):
        group = current.command
        command = group.get_command(current, name) if hasattr(group, "get_command") else None
        if command is None:
            known = " ".join(["procomp-pay", *names[:number]])
            raise typer.BadParameter(
                N_("%(known)s has no command %(name)s", known=known, name=repr(name[:40])), ctx=current
            )
        current = command.context_class(command, info_name=name, parent=current)
    return str(current.get_help()).rstrip("\n").split("\n")
