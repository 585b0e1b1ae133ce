"""``report`` and ``report closing``: figures of a period, and a tournament's closing sheet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.completion import complete_tournament
from procomp_pay.cli.framework.context import (
    named_tournament,
    run_with_context,
    tournament_id,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import JsonOption, SinceOption, TournamentFilter, UntilOption
from procomp_pay.cli.framework.time_zone import time_zone
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from procomp_pay.services.context import AppContext
    from procomp_pay.services.reports.period import Report
    from procomp_pay.services.reports.tournament_closing_result import TournamentClosing

_REPORT = """[bold]Examples[/]

  procomp-pay report --since 2026-05-01 --until 2026-05-31
  procomp-pay report --tournament "Almaty Open" --html report.html --xlsx report.xlsx
  procomp-pay report --csv - | column -s, -t
  procomp-pay report --since yesterday --until yesterday --mail finance@example.com
  procomp-pay report closing --tournament "Almaty Open" --html closing.html

Days are days in Asia/Almaty, unless REPORT_TIMEZONE or --timezone says otherwise;
--until is inclusive. Attempts count on the day they were started, money on the day
it moved."""
_CLOSING = """[bold]Examples[/]

  procomp-pay report closing --tournament "Almaty Open"
  procomp-pay report closing --tournament "Almaty Open" --html closing.html --xlsx closing.xlsx
  procomp-pay report closing --tournament "Almaty Open" --as-of 2026-05-02T18:00 --json

With --as-of, the sheet shows what was known at that time."""

HtmlOption = Annotated[
    str | None, typer.Option("--html", metavar="F", help="Write a printable page; - for stdout.")
]
XlsxOption = Annotated[
    str | None, typer.Option("--xlsx", metavar="F", help="Write an Excel workbook; - for stdout.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
ZoneOption = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE", help="Time zone of the days, such as Asia/Almaty. Default: REPORT_TIMEZONE."
    ),
]

reports = typer.Typer(help="Report success rates, revenue, refunds, disputes and fees.")

#: The newest rows that the terminal shows of a long table; files have all.
_MOST_ROWS = 40


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(reports, name="report", invoke_without_command=True, epilog=_REPORT)


@reports.callback()
def report(
    context: typer.Context,
    tournament: TournamentFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    timezone: ZoneOption = None,
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", metavar="F", help="Write all figures as CSV; - for stdout."),
    ] = None,
    xlsx: XlsxOption = None,
    html: HtmlOption = None,
    mail: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Send it by mail, once for each period.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report success rates, times, revenue, refunds, disputes, fees and net.

    Figures are grouped by day, method and tournament.
    """
    options = (tournament, since, until, timezone, csv_file, xlsx, html, mail, force or None, as_json or None)
    if context.invoked_subcommand is not None:
        if any(option is not None for option in options):
            raise typer.BadParameter(
                N_(
                    "put the options after %(command)s",
                    command=context.invoked_subcommand,
                )
            )
        return
    from procomp_pay.cli.reports import output
    from procomp_pay.domain.period import Period
    from procomp_pay.services.reports import letter as letters
    from procomp_pay.services.reports.period import report as create_report

    zone = time_zone(timezone)
    period = Period(zone, formats.day(since, "--since", zone), formats.day(until, "--until", zone))
    outputs = _outputs(html=html, xlsx=xlsx, csv=csv_file)
    _check(outputs, force=force, as_json=as_json)

    async def work(ctx: AppContext) -> Report:
        if mail is not None:
            letters.check_address(ctx, mail)
        made = await create_report(ctx, period, await tournament_id(ctx, tournament, as_json=as_json))
        if mail is not None:
            subject, text, page = output.letter(made)
            is_new = await letters.send(ctx, made, mail, subject=subject, text=text, html=page)
            to = console.clean(mail)
            if is_new:
                console.say(_("the report goes to %(to)s", to=to), fg="green")
            else:
                console.say(_("%(to)s has this report already", to=to))
        return made

    result = run_with_context(work, replica=mail is None)  # a letter waits in the database itself
    if as_json:
        console.print_json(result.full())
    _write(outputs, partial(output.fill_report, result), force=force)
    if not (as_json or outputs or mail):
        output.show_report(result, most_rows=_MOST_ROWS)


@reports.command("closing", epilog=_CLOSING)
def closing(
    tournament: Annotated[
        str,
        typer.Option(
            metavar="T",
            help="The tournament's name or id.",
            autocompletion=complete_tournament,
            show_default=False,
        ),
    ],
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="State at the end of a day (2026-05-01) or at a time (2026-05-01T18:00)."
        ),
    ] = None,
    timezone: ZoneOption = None,
    xlsx: XlsxOption = None,
    html: HtmlOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create a tournament's closing sheet, to be signed."""
    from procomp_pay.cli.reports import output
    from procomp_pay.services.reports.tournament_closing import tournament_closing

    zone = time_zone(timezone)
    as_of_time = _moment(as_of, zone)
    outputs = _outputs(html=html, xlsx=xlsx)
    _check(outputs, force=force, as_json=as_json)

    async def work(ctx: AppContext) -> TournamentClosing:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        return await tournament_closing(ctx, named, zone, as_of_time)

    sheet = run_with_context(work)
    if as_json:
        console.print_json(sheet.full())
    _write(outputs, partial(output.fill_closing, sheet), force=force)
    if not (as_json or outputs):
        output.show_closing(sheet)


def _outputs(**given: str | None) -> dict[str, str]:
    return {kind: target for kind, target in given.items() if target is not None}


def _check(outputs: dict[str, str], *, force: bool, as_json: bool) -> None:
    import sys

    from procomp_pay.cli.reports import files

    files.check(list(outputs.values()), force=force, as_json=as_json)
    if outputs.get("xlsx") == files.STDOUT and sys.stdout.isatty():
        raise Refused(
            N_("A workbook cannot be shown in a terminal"),
            next_step=N_("write it to a file: --xlsx report.xlsx"),
        )


def _write(outputs: dict[str, str], fill: Callable[[str, bool, IO[bytes]], None], *, force: bool) -> None:
    from procomp_pay.cli.reports import files

    for kind, target in outputs.items():
        to_file = target != files.STDOUT
        files.write(target, partial(fill, kind, to_file), force=force)
        if to_file:
            console.say(f"\N{CHECK MARK} {console.clean(target)}", fg="green")


def _moment(text: str | None, zone: ZoneInfo) -> datetime | None:
    """Parse a time, or a day, which means its end. Without an offset it is in ``zone``.

    :raises Refused: it is neither.
    """
    from datetime import datetime, timedelta

    from procomp_pay.domain.period import midnight

    if text is None:
        return None
    if len(text) <= len("2026-05-01"):
        day = formats.day(text, "--as-of", zone)
        return midnight(day + timedelta(days=1), zone) if day else None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(
            N_("--as-of %(text)s is not a time", text=repr(text[:40])),
            next_step=N_("write it as 2026-05-01 or 2026-05-01T18:00"),
        ) from None
    return read.replace(tzinfo=zone) if read.tzinfo is None else read
