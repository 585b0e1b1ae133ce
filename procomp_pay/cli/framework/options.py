"""Options and arguments that several commands share, and the groups that hold the commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from procomp_pay.cli.framework.completion import complete_participant, complete_payment, complete_tournament

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Your name in the audit trail. Default: PROCOMP_OPERATOR, your login, or your user.",
    ),
]
ApproveOption = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="NAME",
        help="The second operator, who types their PIN. Without it, a request waits for one.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

_PARTICIPANT: Any = {
    "metavar": "PARTICIPANT",
    "help": "A name or a part of it, the participant's id, or a payment's code.",
    "autocompletion": complete_participant,
}
_PAYMENT: Any = {
    "metavar": "PAYMENT",
    "help": "The payment's code or id, or the participant's name.",
    "autocompletion": complete_payment,
}
_TOURNAMENT: Any = {
    "metavar": "TOURNAMENT",
    "help": "The tournament's name or a part of it, or its id.",
    "autocompletion": complete_tournament,
    "show_default": False,
}
ParticipantArgument = Annotated[str, typer.Argument(**_PARTICIPANT)]
OptionalParticipantArgument = Annotated[str | None, typer.Argument(**_PARTICIPANT)]
PaymentArgument = Annotated[str, typer.Argument(**_PAYMENT)]
OptionalPaymentArgument = Annotated[str | None, typer.Argument(**_PAYMENT)]
TournamentArgument = Annotated[str, typer.Argument(**_TOURNAMENT)]
OptionalTournamentArgument = Annotated[str | None, typer.Argument(**_TOURNAMENT)]
TournamentFilter = Annotated[
    str | None,
    typer.Option(
        metavar="T", help="Only this tournament: its name or id.", autocompletion=complete_tournament
    ),
]
PaymentFilter = Annotated[
    str | None,
    typer.Option(
        metavar="P",
        help="Only this payment: its code or id, or the participant's name.",
        autocompletion=complete_payment,
    ),
]

SinceOption = Annotated[
    str | None, typer.Option(metavar="DAY", help="From this day: 2026-05-01, today, yesterday or monday.")
]
UntilOption = Annotated[str | None, typer.Option(metavar="DAY", help="Up to and including this day.")]
LimitOption = Annotated[int, typer.Option(metavar="N", help="Lines on a page.", min=1, max=200)]
CursorOption = Annotated[str | None, typer.Option(metavar="C", help="Cursor from the previous page.")]
NextOption = Annotated[
    bool, typer.Option("--next", help="The next page of the last list in this terminal; no other options.")
]


def command_group(description: str, *, epilog: str | None = None) -> typer.Typer:
    """Return an empty group of commands; called without one, it shows its help page."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=description, epilog=epilog)
