"""Options and arguments that several commands share, and the groups that hold the commands."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Your name in the audit trail. Default: PROCOMP_OPERATOR, else your user.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

_PARTICIPANT = "A name or a part of it, the participant's id, or a payment's code."
_PAYMENT = "The payment's code or id, or the participant's name."
_TOURNAMENT = "The tournament's name or a part of it, or its id."
ParticipantArgument = Annotated[str, typer.Argument(help=_PARTICIPANT, metavar="PARTICIPANT")]
OptionalParticipantArgument = Annotated[str | None, typer.Argument(help=_PARTICIPANT, metavar="PARTICIPANT")]
PaymentArgument = Annotated[str, typer.Argument(help=_PAYMENT, metavar="PAYMENT")]
OptionalPaymentArgument = Annotated[str | None, typer.Argument(help=_PAYMENT, metavar="PAYMENT")]
TournamentArgument = Annotated[
    str, typer.Argument(help=_TOURNAMENT, metavar="TOURNAMENT", show_default=False)
]
OptionalTournamentArgument = Annotated[
    str | None, typer.Argument(help=f"{_TOURNAMENT} Default: all.", metavar="TOURNAMENT", show_default=False)
]
TournamentFilter = Annotated[
    str | None, typer.Option(metavar="T", help="Only this tournament: its name or id.")
]

SinceOption = Annotated[str | None, typer.Option(metavar="DAY", help="From this day, such as 2026-05-01.")]
UntilOption = Annotated[str | None, typer.Option(metavar="DAY", help="Up to and including this day.")]
LimitOption = Annotated[int, typer.Option(metavar="N", help="Lines on a page, 1 to 200.")]
CursorOption = Annotated[str | None, typer.Option(metavar="C", help="Cursor from the previous page.")]


def command_group(description: str, *, epilog: str | None = None) -> typer.Typer:
    """Return an empty group of commands; called without one, it shows its help page."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=description, epilog=epilog)
