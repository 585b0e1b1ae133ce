"""``desk``: open the live screen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context, tournament_id
from procomp_pay.cli.framework.options import AsOption, TournamentFilter

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext

_EXAMPLES = """[bold]Examples[/]

  procomp-pay desk
  procomp-pay desk --tournament "Almaty Open" --as aigerim --no-bell

Type a part of a name, Enter, then k (Kaspi), a (Apple Pay) or g (Google Pay).
The last line always shows the keys. They also work in the Russian and Kazakh
keyboard layouts. PROCOMP_LANGUAGE=ru, kk or en chooses the language."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(desk)


def desk(
    tournament: TournamentFilter = None,
    no_bell: Annotated[
        bool, typer.Option("--no-bell", help="Do not ring the bell when a payment is paid.")
    ] = False,
    acting: AsOption = None,
) -> None:
    """Take payments on one live screen: search, QR, PAID, refund."""
    if not console.is_interactive() or os.environ.get("TERM") == "dumb":
        raise typer.BadParameter(
            "the desk needs an interactive terminal; in a script use initiate and status"
        )
    settings = load_settings()
    actor = operator(acting)

    async def work(ctx: AppContext) -> None:
        from procomp_pay.cli.desk.app import DeskApp
        from procomp_pay.cli.desk.search import SearchScreen

        app = DeskApp(
            ctx,
            actor,
            SearchScreen,
            tournament_id=await tournament_id(ctx, tournament),
            is_live=settings.kaspi_mode.value == settings.stripe_mode.value == "live",
            bell=not no_bell,
        )
        await app.start()

    run_with_context(work, settings=settings)
