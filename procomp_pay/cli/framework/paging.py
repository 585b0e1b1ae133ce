"""The next page of a list: the command with its cursor, kept for ``--next`` in the same terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.completion import home
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.text import N_

_FLAG = "--next"
#: The number of terminals whose last lists are kept.
_MOST_TERMINALS = 20


def print_next_page(command: str, options: Mapping[str, object], next_cursor: str | None) -> None:
    """Print the command that shows the next page, if there is one: ``--next`` at a terminal, elsewhere the
    command that was typed, with a cursor.

    :param options: by name; ``None`` where one was not given.
    """
    if next_cursor is None:
        return
    words = command.split() + [
        word
        for name, value in {**options, "cursor": next_cursor}.items()
        if value is not None
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(getattr(value, "value", value))])
    ]
    is_kept = console.is_interactive() and _keep(command, words)
    console.say(_("There are more. For the next page:"), dim=True)
    console.hint(shlex.join(["procomp-pay", *([*command.split(), _FLAG] if is_kept else words)]))


def with_next_page(line: Sequence[str]) -> list[str]:
    """Return a command line with ``--next`` replaced by what the last page left; else as it is."""
    words = [word for word in line if word not in (_FLAG, "--json", "--debug")]
    if _FLAG not in line or any(word.startswith("-") for word in words):
        return list(line)
    kept = _read().get(_terminal(), {}).get(" ".join(words))
    return list(line) if kept is None else [*kept, *(["--json"] if "--json" in line else [])]


def refuse_unknown(next_page: bool) -> None:
    """Refuse ``--next`` where :func:`with_next_page` had nothing to put in its place.

    :raises NotFound: no list in this terminal has a next page, or other options were given.
    """
    if next_page:
        raise NotFound(
            N_(
                "There is no next page: --next continues the last list of this terminal, "
                "without other options"
            ),
            next_step=N_("leave out --next"),
        )


def _keep(command: str, words: list[str]) -> bool:
    """Keep the words for this terminal; return whether they could be written."""
    lists = _read()
    mine = lists.pop(_terminal(), {}) | {command: words}
    latest = dict(list({**lists, _terminal(): mine}.items())[-_MOST_TERMINALS:])
    with contextlib.suppress(OSError):
        path = _path()
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(latest, file)
        return True
    return False


def _read() -> dict[str, dict[str, list[str]]]:
    try:
        kept = json.loads(_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _terminal() -> str:
    """Return the terminal and its shell: another window has another list."""
    try:
        name = os.ttyname(0)
    except (OSError, AttributeError):  # Windows has no such names
        name = "-"
    return f"{name} {os.getppid()}"


def _path() -> Path:
    return home() / "next-page.json"
