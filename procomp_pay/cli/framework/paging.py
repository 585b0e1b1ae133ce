"""Lists that come in pages: their options, their document for programs, and the command for the next page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from procomp_pay.cli.framework.common import hint, print_json, say

LimitOption = Annotated[int, typer.Option(metavar="N", help="Lines on a page, 1 to 200.")]
CursorOption = Annotated[str | None, typer.Option(metavar="C", help="Where the page before ended.")]


def print_page(found: Sequence[Any], following: str | None) -> None:
    """A page for a program."""
    print_json({"items": [view.full() for view in found], "next_cursor": following})


def tell_next(command: str, given: Mapping[str, object], following: str | None) -> None:
    """Under a page for a person: the command that was typed, with the next page's cursor.

    :param given: options by name; those that are ``None`` were not given.
    """
    if following is None:
        return
    say("There are more. The next page:", dim=True)
    words = [
        word
        for name, value in {**given, "cursor": following}.items()
        if value is not None
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(getattr(value, "value", value))])
    ]
    hint(shlex.join(["procomp-pay", *command.split(), *words]))
