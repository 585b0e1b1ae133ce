"""Lists that come in pages: their document for programs, and the command for the next page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from procomp_pay.cli.framework import console


def print_page(found: Sequence[Any], following: str | None) -> None:
    """A page for a program."""
    console.print_json({"items": [view.full() for view in found], "next_cursor": following})


def tell_next(command: str, given: Mapping[str, object], following: str | None) -> None:
    """Under a page for a person: the command that was typed, with the next page's cursor.

    :param given: options by name; those that are ``None`` were not given.
    """
    if following is None:
        return
    console.say("There are more. The next page:", dim=True)
    words = [
        word
        for name, value in {**given, "cursor": following}.items()
        if value is not None
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(getattr(value, "value", value))])
    ]
    console.hint(shlex.join(["procomp-pay", *command.split(), *words]))
