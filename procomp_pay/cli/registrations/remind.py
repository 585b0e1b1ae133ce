"""``remind``: a letter to everybody whose entry fee is still due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import named_tournament, run_with_context
from procomp_pay.cli.framework.options import JsonOption, TournamentArgument

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.registrations.reminders import Reminders

_EXAMPLES = """[bold]Examples[/]

  procomp-pay remind TOURNAMENT --dry-run
  procomp-pay remind TOURNAMENT"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(remind)


def remind(
    tournament: TournamentArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show who would be reminded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remind by e-mail everybody whose fee is still due, at most once a day each."""

    async def work(ctx: AppContext) -> Reminders:
        from procomp_pay.services.registrations.reminders import remind as remind_all

        named = await named_tournament(ctx, tournament, as_json=as_json)
        return await remind_all(ctx, named, dry_run=dry_run)

    result = run_with_context(work)
    groups = {
        "reminded": result.reminded,
        "without_address": result.without_address,
        "already_reminded_today": result.already,
        "opted_out": result.opted_out,
        "may_have_paid": result.may_have_paid,
    }
    if as_json:
        items = {name: [view.participant_id for view in views] for name, views in groups.items()}
        console.print_json(items | {"dry_run": dry_run})
        return
    if dry_run:
        console.print_lines(f"{view.full_name}  {view.email}" for view in result.reminded)
    done = "would be reminded" if dry_run else "are reminded: serve, or the next maintain, sends the letters"
    console.say(f"{len(result.reminded)} {done}")
    if result.may_have_paid:
        console.say(
            f"{len(result.may_have_paid)} may have paid already and get no letter: our books come from a "
            f"backup, and Kaspi took the fee from somebody (operation {result.number}).\n"
            "  → procomp-pay discrepancies list"
        )
    if result.without_address:
        names = ", ".join(view.full_name for view in result.without_address[:10])
        more = len(result.without_address) - 10
        console.say(console.clean(f"Without an address: {names}" + (f" and {more} more" if more > 0 else "")))
    if result.opted_out:
        console.say(f"{len(result.opted_out)} asked for no reminders")
    if result.already:
        console.say(f"{len(result.already)} were reminded today already")
