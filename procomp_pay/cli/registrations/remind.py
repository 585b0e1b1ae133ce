"""``remind``: a letter to everybody whose entry fee is still due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import named_tournament, run_with_context
from procomp_pay.cli.framework.language import _
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
        console.print_lines(console.clean(f"{view.full_name}  {view.email}") for view in result.reminded)
    count = len(result.reminded)
    console.say(
        _("%(n)s would be reminded", n=count)
        if dry_run
        else _("%(n)s are reminded: serve, or the next maintain, sends the letters", n=count)
    )
    if result.may_have_paid:
        console.say(
            _(
                "%(n)s may have paid already and get no letter: our books come from a backup, and Kaspi took "
                "the fee from somebody (operation %(number)s).",
                n=len(result.may_have_paid),
                number=result.number,
            )
            + "\n  → procomp-pay discrepancies list"
        )
    if result.without_address:
        names = ", ".join(view.full_name for view in result.without_address[:10])
        more = len(result.without_address) - 10
        rest = " " + _("and %(n)s more", n=more) if more > 0 else ""
        console.say(console.clean(_("Without an address: %(names)s", names=names) + rest))
    if result.opted_out:
        console.say(_("%(n)s asked for no reminders", n=len(result.opted_out)))
    if result.already:
        console.say(_("%(n)s were reminded today already", n=len(result.already)))
