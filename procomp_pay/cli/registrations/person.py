"""``person``: export and erase what is kept about somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context
from procomp_pay.cli.framework.options import AsOption, JsonOption, command_group
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.services.registrations.person import Erasure

_EXPORT = """[bold]Examples[/]

  procomp-pay person export PARTICIPANT_ID > person.json

The id of a user exports all registrations of that user."""
_ERASE = """[bold]Examples[/]

  procomp-pay person erase PARTICIPANT_ID --dry-run
  procomp-pay person erase PARTICIPANT_ID --confirm PARTICIPANT_ID
  procomp-pay person erase USER_ID --with-platform-rows

Names, addresses, phone numbers, letters and the providers' messages go; money, refunds
and the audit trail stay, and still verify. It cannot be undone.

Exit code 3: a payment is still open, or the answer was no."""
_PersonId = Annotated[str, typer.Argument(metavar="ID", help="The id of a participant or of a user.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("Export and erase what is kept about a person.")
    group.command("export", epilog=_EXPORT)(export)
    group.command("erase", epilog=_ERASE)(erase)
    app.add_typer(group, name="person")


def export(person: _PersonId) -> None:
    """Print everything that is kept about a person, as JSON."""

    async def work(ctx: Any) -> dict[str, Any]:
        from procomp_pay.services.registrations import person as service

        return await service.export(ctx, person)

    console.print_json(run_with_context(work))


def erase(
    person: _PersonId,
    with_platform_rows: Annotated[
        bool,
        typer.Option("--with-platform-rows", help="Also name and address in User and Participant."),
    ] = False,
    confirmed: Annotated[
        str | None, typer.Option("--confirm", metavar="ID", help="The same id again, in place of questions.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a person's names, addresses, phone numbers and letters, for good."""
    settings, actor = load_settings(), operator(acting)

    async def show(ctx: Any) -> Erasure:
        from procomp_pay.services.registrations import person as service

        return await service.plan(ctx, person)

    async def work(ctx: Any) -> Erasure:
        from procomp_pay.services.registrations import person as service

        return await service.erase(ctx, person, actor, with_platform_rows=with_platform_rows)

    planned = run_with_context(show, settings=settings)
    if not as_json:
        _show(planned)
    if not dry_run:
        _confirm(person, confirmed, as_json=as_json)
        planned = run_with_context(work, settings=settings)
    if as_json:
        console.print_json({"dry_run": dry_run} | planned.full())
        return
    if not dry_run:
        typer.echo(f"✓ erased; {formats.counted(planned.entries, 'audit entry')} lost names")
    if planned.archives:
        files = ", ".join(planned.archives)
        console.say(f"Archives of the audit trail may have the names, and are not changed: {files}")
    if not with_platform_rows:
        _show_platforms_part(planned)


def _confirm(person: str, confirmed: str | None, *, as_json: bool) -> None:
    """Ask twice: whether, and for the id again.

    :raises Refused: another id was typed.
    """
    if confirmed is None:
        console.check_can_ask(yes=False, as_json=as_json, instead=f"pass --confirm {person}")
        console.confirm("Erase this person for good?", declined="Nothing was erased.")
        confirmed = console.prompt("Type the id again").strip()
    if confirmed != person:
        again = f"procomp-pay person erase {person}"
        raise Refused("The two ids differ: nothing was erased", next_step=again)


def _show(planned: Erasure) -> None:
    typer.echo(f"registrations  {', '.join(planned.participant_ids) or 'none'}")
    typer.echo(f"user           {planned.user_id or 'kept: it has other registrations'}")
    counts = f"{formats.counted(planned.events, 'event')}, {formats.counted(planned.messages, 'message')}"
    typer.echo(f"payments       {len(planned.payment_ids)}, with {counts}")


def _show_platforms_part(planned: Erasure) -> None:
    console.say("The platform's own rows are not changed. There, somebody has to replace:")
    for participant in planned.participant_ids:
        console.say(f"  fullName of Participant {console.clean(participant)}")
    if planned.user_id is not None:
        console.say(f"  name and email of User {console.clean(planned.user_id)}")
    console.say("Where there is no platform: --with-platform-rows")
