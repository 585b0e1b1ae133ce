"""Options and arguments that several commands share, and the groups that hold the commands."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Who acts, for the audit. Default: PROCOMP_OPERATOR, else you."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

PaymentArgument = Annotated[str, typer.Argument(help="The payment's id or code.", metavar="PAYMENT")]
OptionalPaymentArgument = Annotated[
    str | None, typer.Argument(help="The payment's id or code.", metavar="PAYMENT")
]
TournamentFilter = Annotated[str | None, typer.Option(metavar="ID", help="Only of this tournament.")]

SinceOption = Annotated[str | None, typer.Option(metavar="DAY", help="From this day, as 2026-05-01.")]
UntilOption = Annotated[str | None, typer.Option(metavar="DAY", help="Up to and with this day.")]
LimitOption = Annotated[int, typer.Option(metavar="N", help="Lines on a page, 1 to 200.")]
CursorOption = Annotated[str | None, typer.Option(metavar="C", help="Where the page before ended.")]


def command_group(about: str, *, epilog: str | None = None) -> typer.Typer:
    """Return an empty group of commands that shows its help page when it is called alone."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=about, epilog=epilog)
