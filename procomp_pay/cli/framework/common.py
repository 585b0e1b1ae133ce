"""What every command shares: the desk, the operator's name, output for people and for programs."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from procomp_pay.domain.errors import ConfigurationError, PaymentError, Refused

if TYPE_CHECKING:
    from rich.console import Console

    from procomp_pay.config import Settings
    from procomp_pay.services.context import Actor, AppContext

T = TypeVar("T")

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Who acts, for the audit. Default: PROCOMP_OPERATOR, else you."
    ),
]


def settings() -> Settings:
    """The settings of this command.

    :raises ConfigurationError: a setting has a wrong form.
    """
    from procomp_pay.config import load_settings

    return load_settings()


def warn_of_play_money(using: Settings, *, kaspi: bool | None = None, as_json: bool = False) -> None:
    """One line on stderr while no real money moves.

    :param kaspi: which provider the command uses; ``None`` for both.
    """
    mark = play_money(using, kaspi=kaspi)
    if mark is not None and not as_json:
        say(mark, fg="yellow", bold=True)


def play_money(using: Settings, *, kaspi: bool | None = None) -> str | None:
    """What is said while no real money moves."""
    modes = [] if kaspi is False else [using.kaspi_mode.value]
    modes += [] if kaspi is True else [using.stripe_mode.value]
    if "sandbox" in modes:
        return "SANDBOX \N{EN DASH} no real money moves"
    return "TEST KEYS \N{EN DASH} no real money moves" if "test" in modes else None


def run_with_context(work: Callable[[AppContext], Awaitable[T]], *, using: Settings | None = None) -> T:
    """Run ``work`` on a desk: the one ``asyncio.run`` of a command. The embedded database makes itself."""
    import asyncio
    import logging

    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.storage.database.migrate import ensure_sqlite

    configured = using or settings()
    # what is logged is for a server; here it would say an error twice, or write into a live screen
    logging.getLogger("procomp_pay").addHandler(logging.NullHandler())
    ensure_sqlite(configured.url)

    async def run() -> T:
        async with open_context(configured) as ctx:
            return await work(ctx)

    return asyncio.run(run())


def operator(name: str | None) -> Actor:
    """Who acts: ``--as``, ``PROCOMP_OPERATOR``, or the system user.

    :raises Refused: a name that the audit cannot show.
    """
    from procomp_pay.domain.events import Source
    from procomp_pay.services.context import Actor

    chosen = name if name is not None else os.environ.get("PROCOMP_OPERATOR") or _system_user()
    if not chosen.strip() or len(chosen) > 80 or not chosen.isprintable():
        raise Refused("An operator's name is 1 to 80 printable characters", next_step="add: --as NAME")
    return Actor(chosen.strip(), Source.PERSON)


def _system_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        raise ConfigurationError(
            "This computer's user has no name, and the audit needs one",
            next_step="add --as NAME, or set PROCOMP_OPERATOR",
        ) from None


def out() -> Console:
    """For results. No colour where stdout is no terminal or ``NO_COLOR`` is set."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """For progress, hints and errors: a pipe on stdout stays clean."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def has_colour(*, err: bool = False) -> bool:
    """Whether a stream may be coloured."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_interactive() -> bool:
    """Whether a person sits at this command: questions and live screens are for people alone."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def say(text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> None:
    """A line for a person, on stderr. ``text`` is shown as it is: make it :func:`clean` first."""
    wrapped = wrap(text, sys.stderr)
    shown = typer.style(wrapped, fg=fg, bold=bold, dim=dim) if has_colour(err=True) else wrapped
    typer.echo(shown, err=True)


def hint(command: str) -> None:
    """What to type next; never broken into lines, since it is there to be copied."""
    line = f"  \N{RIGHTWARDS ARROW} {clean(command)}"
    typer.echo(typer.style(line, fg="cyan") if has_colour(err=True) else line, err=True)


def wrap(text: str, stream: TextIO, indent: str = "  ") -> str:
    """Broken between words at a terminal's width; as one line for a pipe."""
    if not stream.isatty():
        return text
    width = max(30, min(shutil.get_terminal_size().columns, 100) - 2)
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, **options) for line in text.split("\n")
    )


def print_json(document: Any) -> None:
    """One JSON document on stdout; amounts as exact numbers (``50.00``)."""
    import simplejson

    typer.echo(simplejson.dumps(document, use_decimal=True, ensure_ascii=not _is_utf8(), indent=2))


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


_KEPT = {"\N{NO-BREAK SPACE}": "\N{NO-BREAK SPACE}"}  # an amount's; Python does not call it printable


def clean(text: object) -> str:
    """Text from outside with its control characters made visible and harmless."""
    return "".join(c if c.isprintable() else _KEPT.get(c, "\N{REPLACEMENT CHARACTER}") for c in str(text))


def safe(text: object) -> str:
    """Text from outside for rich: :func:`clean`, and its markup made harmless."""
    from rich.markup import escape

    return escape(clean(text))


def show_error(error: PaymentError, *, as_json: bool = False) -> None:
    """Say what happened, why, and what to type next."""
    from procomp_pay.domain.redact import redact

    message = redact(error.message, cards=False)
    if as_json:
        print_error_json(message, error.exit_code, error.next_step)
        return
    text = wrap(f"\N{BALLOT X} {clean(message)}", sys.stderr)
    mark = typer.style(text[0], fg="red", bold=True) if has_colour(err=True) else text[0]
    typer.echo(mark + text[1:], err=True)
    if error.next_step:
        hint(error.next_step)


def print_error_json(detail: str, exit_code: int, next_step: str | None = None) -> None:
    """An error as the one JSON document of a command."""
    print_json({"detail": clean(detail), "exit_code": exit_code, "next_step": next_step})
