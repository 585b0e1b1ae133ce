"""Lists in pages: the JSON document of a page, and the command that shows the next one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from procomp_pay.cli.framework import console


def print_page(views: Sequence[Any], next_cursor: str | None) -> None:
    """Print a page as JSON."""
    console.print_json({"items": [view.full() for view in views], "next_cursor": next_cursor})


def print_next_page(command: str, options: Mapping[str, object], next_cursor: str | None) -> None:
    """Print the command that shows the next page, if there is one: the command that was typed, with a cursor.

    :param options: by name; ``None`` where one was not given.
    """
    if next_cursor is None:
        return
    console.say("There are more. For the next page:", dim=True)
    words = [
        word
        for name, value in {**options, "cursor": next_cursor}.items()
        if value is not None
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(getattr(value, "value", value))])
    ]
    console.hint(shlex.join(["procomp-pay", *command.split(), *words]))
