"""The commands ``participant``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import (
    named_participant,
    named_tournament,
    operator,
    run_with_context,
    tournament_id,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import (
    AsOption,
    JsonOption,
    OptionalTournamentArgument,
    ParticipantArgument,
    TournamentArgument,
    YesOption,
)
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.registrations.import_report import ImportReport

participants = typer.Typer(no_args_is_help=True, help="Add, import and find participants.")

ClubOption = Annotated[str | None, typer.Option(help="The club or the team.")]
CoachOption = Annotated[str | None, typer.Option(help="The coach.")]
PhoneOption = Annotated[str | None, typer.Option(help="A phone number, stored encrypted.")]
BirthYearOption = Annotated[str | None, typer.Option(metavar="YEAR", help="The year of birth.")]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(participants, name="participant")


@participants.command("add")
def add_participant(
    tournament: TournamentArgument,
    name: Annotated[str, typer.Argument(help="The full name.", show_default=False)],
    category: Annotated[str | None, typer.Option(help="For example “-60 кг”.")] = None,
    email: Annotated[str | None, typer.Option(help="The address for the receipt.")] = None,
    club: ClubOption = None,
    coach: CoachOption = None,
    phone: PhoneOption = None,
    birth_year: BirthYearOption = None,
    namesake: Annotated[
        bool, typer.Option("--namesake", help="Another person of the same name: register them too.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register one participant.

    procomp-pay participant add TOURNAMENT "Қайрат Асанов" --category "-60 кг" --email kairat@example.kz
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import participants as roster

    actor, details = operator(acting), roster.Details.read(club, coach, phone, birth_year)

    async def work(ctx: AppContext) -> roster.ParticipantView:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        return await roster.add_participant(
            ctx, named, name, actor, category=category, email=email, details=details, namesake=namesake
        )

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
        return
    output.show_participant(view)
    console.err().print(
        f"[dim]→ procomp-pay initiate {view.participant_id} --method kaspi_qr[/]", soft_wrap=True
    )


@participants.command("edit")
def edit_participant(
    participant: ParticipantArgument,
    name: Annotated[str | None, typer.Option(help="The new full name.")] = None,
    category: Annotated[str | None, typer.Option(help="The new category; “-” for none.")] = None,
    email: Annotated[str | None, typer.Option(help="The new address for the receipt.")] = None,
    club: ClubOption = None,
    coach: CoachOption = None,
    phone: PhoneOption = None,
    birth_year: BirthYearOption = None,
    reminders: Annotated[
        bool | None,
        typer.Option("--reminders/--no-reminders", help="Whether letters remind them of the fee."),
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Correct what is known about a participant; “-” removes a detail.

    procomp-pay participant edit "кайрат асанов" --name "Қайрат Асанов" --category "-66 кг" --club Барыс
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import changes
    from procomp_pay.services.registrations.participants import Details, ParticipantView

    if all(given is None for given in (name, category, email, club, coach, phone, birth_year, reminders)):
        raise typer.BadParameter(N_("give what to change, such as --name, --category or --email"))
    actor = operator(acting)
    details = replace(Details.read(club, coach, phone, birth_year), reminders=reminders)

    async def work(ctx: AppContext) -> ParticipantView:
        named = await named_participant(ctx, participant, as_json=as_json, whole_name=True)
        return await changes.edit_participant(
            ctx, named, actor, name=name, category=category, email=email, details=details
        )

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
    else:
        output.show_participant(view, N_("changed"))


@participants.command("remove")
def remove_participant(
    participant: ParticipantArgument,
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove somebody who was registered by mistake and never had a payment.

    procomp-pay participant remove PARTICIPANT
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import changes
    from procomp_pay.services.registrations.participants import ParticipantView, participant_view

    console.check_can_ask(yes=yes, as_json=as_json)
    actor = operator(acting)

    async def work(ctx: AppContext) -> ParticipantView:
        named = await named_participant(ctx, participant, as_json=as_json, whole_name=yes)
        if not yes:
            console.confirm(_("Remove %(name)s?", name=output.line_of(await participant_view(ctx, named))))
        return await changes.remove_participant(ctx, named, actor)

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
    else:
        output.show_participant(view, N_("removed"))


@participants.command("merge")
def merge_participants(
    participant: ParticipantArgument,
    double: Annotated[str, typer.Argument(help="The same person, registered twice.", metavar="DOUBLE")],
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge two registrations of one person: keep PARTICIPANT and remove DOUBLE, which has no payments.

    What DOUBLE has and PARTICIPANT lacks is kept: category, club, coach, phone, birth year; the e-mail only
    if PARTICIPANT has no payments.

    procomp-pay participant merge PARTICIPANT DOUBLE
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import changes
    from procomp_pay.services.registrations.participants import ParticipantView, participant_view

    console.check_can_ask(yes=yes, as_json=as_json)
    actor = operator(acting)

    async def work(ctx: AppContext) -> tuple[ParticipantView, ParticipantView]:
        kept = await named_participant(ctx, participant, as_json=as_json, whole_name=yes)
        gone = await named_participant(ctx, double, as_json=as_json, whole_name=yes)
        if not yes:
            lines = [output.line_of(await participant_view(ctx, key)) for key in (kept, gone)]
            console.confirm(_("Keep %(kept)s and remove %(gone)s?", kept=lines[0], gone=lines[1]))
        return await changes.merge_participants(ctx, kept, gone, actor)

    view, removed = run_with_context(work)
    if as_json:
        console.print_json(view.full() | {"removed": removed.full()})
    else:
        output.show_participant(view, N_("kept (%(id)s removed)", id=removed.participant_id))


@participants.command("list")
def list_participants(
    tournament: OptionalTournamentArgument = None,
    search: Annotated[
        str | None,
        typer.Option("--search", "-s", help="Part of the name, in any case: “қайрат” or “кайрат ас”."),
    ] = None,
    paid: Annotated[bool, typer.Option("--paid", help="Only participants who have paid.")] = False,
    unpaid: Annotated[bool, typer.Option("--unpaid", help="Only those whose fee is still due.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="The most to show.", min=1, max=10000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List participants by name, with their ids.

    procomp-pay participant list --search қайрат --unpaid
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import participants as roster

    if paid and unpaid:
        raise typer.BadParameter(N_("--paid and --unpaid cannot be combined"), param_hint="--paid")

    async def work(ctx: AppContext) -> roster.ParticipantPage:
        key = await tournament_id(ctx, tournament, as_json=as_json)
        wanted = True if paid else False if unpaid else None
        return await roster.list_participants(ctx, key, search=search, paid=wanted, limit=limit)

    page = run_with_context(work)
    if as_json:
        console.print_json({"items": [view.full() for view in page.items], "total": page.total})
        return
    output.show_participants(page)


@participants.command("import")
def import_participants(
    tournament: TournamentArgument,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or XLSX.", show_default=False),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show the result.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Register the good lines even if others are bad.")
    ] = False,
    sheet: Annotated[
        str | None, typer.Option(help="The workbook's sheet. Default: the first visible one.")
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register all participants of a CSV or XLSX file with a column of names.

    Columns are found by their headers in English, Russian or Kazakh: name / ФИО / Аты-жөні, category /
    категория / санат, email / почта, club / клуб, coach / тренер / бапкер, phone / телефон, birth year / дата
    рождения / туған жылы. If any line is bad, nobody is registered (exit code 3). Totals and signatures below
    the table are skipped. A file that is sent again adds nobody twice: who has the same name, category and
    club is corrected. An empty cell erases nothing; who is not in it any more is told and stays registered.

    procomp-pay participant import TOURNAMENT roster.xlsx --dry-run

    procomp-pay participant import TOURNAMENT roster.csv --skip-bad
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import import_participants as roster_import
    from procomp_pay.services.registrations.file import read_roster

    actor = operator(acting)

    async def work(ctx: AppContext) -> ImportReport:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        return await roster_import.import_participants(
            ctx, named, roster.rows, actor, dry_run=dry_run, skip_bad=skip_bad
        )

    with output.progress(_("Reading %(file)s …", file=file.name), quiet=as_json):
        roster = read_roster(file, sheet)
        report = run_with_context(work)
    if as_json:
        console.print_json(output.import_document(roster, report))
    else:
        output.show_import(roster, report)
    if report.blocked:
        raise typer.Exit(3)
