"""``report`` and ``report closing``: what was taken, what stays, and the sheet that somebody signs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework.common import JsonOption, clean, print_json, run_with_context, say, settings
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from procomp_pay.services.reports.closing_result import Closing
    from procomp_pay.services.reports.period_result import Report

_REPORT = """[bold]Examples[/]

  procomp-pay report --since 2026-05-01 --until 2026-05-31
  procomp-pay report --tournament "Almaty Open" --html report.html --xlsx report.xlsx
  procomp-pay report --csv - | column -s, -t
  procomp-pay report closing --tournament "Almaty Open" --html closing.html

Days end at midnight in Asia/Almaty, unless REPORT_TIMEZONE or --timezone says otherwise;
--until counts its own day in. Attempts count on the day on which they were started,
money on the day on which it moved."""
_CLOSING = """[bold]Examples[/]

  procomp-pay report closing --tournament "Almaty Open"
  procomp-pay report closing --tournament "Almaty Open" --html closing.html --xlsx closing.xlsx
  procomp-pay report closing --tournament "Almaty Open" --as-of 2026-05-02T18:00 --json

With --as-of the sheet shows what was known then, whenever it is asked for."""

TournamentOption = Annotated[
    str | None, typer.Option(metavar="T", help="Only this tournament: its id, or its whole name.")
]
HtmlOption = Annotated[
    str | None, typer.Option("--html", metavar="F", help="Write a page to print; - for standard output.")
]
XlsxOption = Annotated[str | None, typer.Option("--xlsx", metavar="F", help="Write a workbook.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over files that are there already.")]
ZoneOption = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Whose days, such as Asia/Almaty. Default: REPORT_TIMEZONE."),
]

reports = typer.Typer(help="Success, time to complete, revenue, refunds, disputes, fees, net.")

#: Of longer tables a terminal shows the newest so many rows; files have them all.
_MOST_ROWS = 40


def register(app: typer.Typer) -> None:
    """Hang the group into the application."""
    app.add_typer(reports, name="report", invoke_without_command=True, epilog=_REPORT)


@reports.callback()
def report(
    context: typer.Context,
    tournament: TournamentOption = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="From this day, as 2026-05-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to and with this day.")] = None,
    timezone: ZoneOption = None,
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", metavar="F", help="Write every figure as CSV; - for standard output."),
    ] = None,
    xlsx: XlsxOption = None,
    html: HtmlOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Success, time to complete, revenue, refunds, disputes, fees, net: by day, method, tournament."""
    given = (tournament, since, until, timezone, csv_file, xlsx, html, force or None, as_json or None)
    if context.invoked_subcommand is not None:
        if any(each is not None for each in given):
            raise typer.BadParameter(f"options come after the word {context.invoked_subcommand}")
        return
    from procomp_pay.cli.payments import wording
    from procomp_pay.cli.reports import output as reporting_output
    from procomp_pay.domain.period import Period
    from procomp_pay.services.reports.period import report as count

    period = Period(_zone(timezone), wording.day(since, "--since"), wording.day(until, "--until"))
    outputs = _outputs(html=html, xlsx=xlsx, csv=csv_file)
    _check(outputs, force=force, as_json=as_json)
    made: Report = run_with_context(lambda ctx: count(ctx, period, tournament))
    if as_json:
        print_json(made.full())
    _write(outputs, partial(reporting_output.fill_report, made), force=force)
    if not (as_json or outputs):
        reporting_output.show_report(made, most_rows=_MOST_ROWS)


@reports.command("closing", epilog=_CLOSING)
def closing(
    tournament: Annotated[
        str, typer.Option(metavar="T", help="Its id, or its whole name.", show_default=False)
    ],
    as_of: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="As it stood at the end of 2026-05-01, or at 2026-05-01T18:00."),
    ] = None,
    timezone: ZoneOption = None,
    xlsx: XlsxOption = None,
    html: HtmlOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """The closing sheet of a tournament: every payment, sums, what does not agree, two signatures."""
    from procomp_pay.cli.reports import output as reporting_output
    from procomp_pay.services.reports.closing import closing as close

    zone = _zone(timezone)
    then = _moment(as_of, zone)
    outputs = _outputs(html=html, xlsx=xlsx)
    _check(outputs, force=force, as_json=as_json)
    sheet: Closing = run_with_context(lambda ctx: close(ctx, tournament, zone, then))
    if as_json:
        print_json(sheet.full())
    _write(outputs, partial(reporting_output.fill_closing, sheet), force=force)
    if not (as_json or outputs):
        reporting_output.show_closing(sheet)


def _outputs(**given: str | None) -> dict[str, str]:
    return {kind: target for kind, target in given.items() if target is not None}


def _check(outputs: dict[str, str], *, force: bool, as_json: bool) -> None:
    import sys

    from procomp_pay.cli.reports import files as reporting_files

    reporting_files.check(list(outputs.values()), force=force, as_json=as_json)
    if outputs.get("xlsx") == reporting_files.STDOUT and sys.stdout.isatty():
        raise Refused("A workbook cannot be shown in a terminal", next_step="give it a file, or a pipe")


def _write(outputs: dict[str, str], fill: Callable[[str, bool, IO[bytes]], None], *, force: bool) -> None:
    from procomp_pay.cli.reports import files as reporting_files

    for kind, target in outputs.items():
        to_file = target != reporting_files.STDOUT
        reporting_files.write(target, partial(fill, kind, to_file), force=force)
        if to_file:
            say(f"\N{CHECK MARK} {clean(target)}", fg="green")


def _zone(name: str | None) -> ZoneInfo:
    """
    :raises Refused: no such zone.
    """
    from zoneinfo import ZoneInfo

    wanted = name if name is not None else settings().report_timezone
    try:
        return ZoneInfo(wanted)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        pass
    except KeyError:
        pass
    raise Refused(f"{clean(wanted)[:64]!r} is no time zone", next_step="write it as Asia/Almaty")


def _moment(text: str | None, zone: ZoneInfo) -> datetime | None:
    """The end of a day, or a time; without an offset it is the zone's.

    :raises Refused: it is neither.
    """
    from datetime import datetime, timedelta

    from procomp_pay.cli.payments import wording
    from procomp_pay.domain.period import midnight

    if text is None:
        return None
    if len(text) <= len("2026-05-01"):
        day = wording.day(text, "--as-of")
        return midnight(day + timedelta(days=1), zone) if day else None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(
            f"--as-of {text[:40]!r} is no time", next_step="write it as 2026-05-01 or 2026-05-01T18:00"
        ) from None
    return read.replace(tzinfo=zone) if read.tzinfo is None else read
