"""What every command shares: the desk, the operator's name, output for people and for programs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from procomp_pay.domain.errors import PaymentError, Refused
from procomp_pay.domain.facts import Source

if TYPE_CHECKING:
    from rich.console import Console

    from procomp_pay.config import Settings
    from procomp_pay.payments.desk import Actor, Desk

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
    """The settings, with a banner on stderr while no real money moves.

    :raises ConfigurationError: a setting has a wrong form.
    """
    from procomp_pay.config import load_settings

    return load_settings()


def with_desk(work: Callable[[Desk], Awaitable[T]], *, using: Settings | None = None) -> T:
    """Run ``work`` on a desk: the one ``asyncio.run`` of a command. The embedded database makes itself."""
    from procomp_pay.payments.wiring import open_desk
    from procomp_pay.storage.migrate import ensure_sqlite

    configured = using or settings()
    ensure_sqlite(configured.url)

    async def run() -> T:
        async with open_desk(configured) as desk:
            return await work(desk)

    return asyncio.run(run())


def operator(name: str | None) -> Actor:
    """Who acts: ``--as``, ``PROCOMP_OPERATOR``, or the system user."""
    import getpass

    from procomp_pay.payments.desk import Actor

    chosen = name or os.environ.get("PROCOMP_OPERATOR") or getpass.getuser()
    if not chosen.strip() or len(chosen) > 80 or not chosen.isprintable():
        raise Refused("An operator's name is 1 to 80 printable characters", next_step="--as NAME")
    return Actor(chosen.strip(), Source.PERSON)


def out() -> Console:
    """For results. No colour where stdout is no terminal or ``NO_COLOR`` is set."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """For progress, hints and errors: a pipe on stdout stays clean."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout; amounts are exact numbers (``50.00``)."""
    import simplejson

    typer.echo(simplejson.dumps(document, use_decimal=True, ensure_ascii=not _is_utf8(), indent=2))


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def safe(text: object) -> str:
    """Text from outside for a terminal: control characters and rich's markup made harmless."""
    from rich.markup import escape

    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return escape(shown)


def show_error(error: PaymentError, *, as_json: bool = False) -> None:
    """Say what happened, why, and what to type next."""
    if as_json:
        body: dict[str, Any] = {"detail": error.message, "exit_code": error.exit_code}
        print_json(body | ({"next_step": error.next_step} if error.next_step else {}))
        return
    console = err()
    console.print(f"[bold red]✗[/] {safe(error.message)}")
    if error.next_step:
        console.print(f"  [dim]→[/] {safe(error.next_step)}")
