"""Show a report or closing sheet in the terminal, or write it to a file."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import IO, TYPE_CHECKING

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports import html_page, period_tables, spreadsheet, tournament_closing_tables
from procomp_pay.cli.reports.cells import as_text, to_the_second
from procomp_pay.cli.reports.html_page import Bar, Page

if TYPE_CHECKING:
    from procomp_pay.services.reports.period import Report
    from procomp_pay.services.reports.tournament_closing_result import TournamentClosing

#: The longest period that is shown by day; a longer one is shown by month.
_MOST_DAYS = 62


def show_report(report: Report, *, most_rows: int) -> None:
    """Show it in the terminal."""
    from procomp_pay.cli.reports import terminal

    terminal.show(
        _title(report),
        period_tables.period_text(report.period),
        period_tables.sections(report, days_as_months=_is_long(report)),
        most_rows=most_rows,
    )
    if not report.attempts.started and not report.money:
        console.say(_("There were no payments in this period"), dim=True)


def fill_report(report: Report, kind: str, to_file: bool, stream: IO[bytes]) -> None:
    """Write a report as ``html``, ``xlsx`` or ``csv``."""
    if kind == "csv":
        rows = spreadsheet.csv_rows(report.full())
        spreadsheet.write_csv(stream, rows, for_excel=to_file)
    elif kind == "xlsx":
        properties = [
            (_("Report"), _title(report)),
            (_("Period"), period_tables.period_text(report.period)),
            (_("Made at"), _stamp(report)),
            *(
                (_("Definitions") if n == 0 else "", _(definition))
                for n, definition in enumerate(period_tables.DEFINITIONS)
            ),
        ]
        sections = period_tables.sections(report, for_paper=False)
        spreadsheet.write_workbook(stream, properties, sections, report.made_at)
    else:
        long = _is_long(report)
        title = _("Money by month") if long else _("Money by day")
        html_page.write(
            stream,
            Page(
                title=_title(report),
                subtitle=period_tables.period_text(report.period),
                lines=[_("Made at %(time)s", time=_stamp(report))],
                sections=period_tables.sections(report, days_as_months=long),
                footer=_("%(name)s, made at %(time)s", name=_title(report), time=_stamp(report)),
                definitions=[_(each) for each in period_tables.DEFINITIONS],
                charts={title: _charts(report, months=long)},
            ),
        )


def letter(report: Report) -> tuple[str, str, str]:
    """Return a report as a letter: its subject, its figures as text, and the page."""
    import io

    subject = f"{_title(report)}: {period_tables.period_text(report.period)}"
    lines = [subject]
    for section in period_tables.sections(report, days_as_months=_is_long(report)):
        if section.is_empty:
            continue
        lines += ["", section.title]
        heads = " | ".join(column.head for column in section.columns)
        lines += [heads, *(" | ".join(as_text(cell) for cell in row) for row in section.rows)]
    page = io.BytesIO()
    fill_report(report, "html", True, page)
    return subject, "\n".join(lines) + "\n", page.getvalue().decode()


def show_closing(sheet: TournamentClosing) -> None:
    """Show it in the terminal."""
    from procomp_pay.cli.reports import terminal

    subtitle = _("closing sheet as of %(time)s", time=_moment(sheet))
    terminal.show(sheet.tournament_name, subtitle, tournament_closing_tables.sections(sheet))
    console.say("\n" + _("Audit seal: %(seal)s", seal=_seal(sheet)), dim=True)
    console.say(_conclusion(sheet), fg="green" if sheet.agrees else "yellow", bold=True)


def fill_closing(sheet: TournamentClosing, kind: str, _to_file: bool, stream: IO[bytes]) -> None:
    """Write a closing sheet as ``html`` or ``xlsx``."""
    sections = tournament_closing_tables.sections(sheet, for_paper=kind == "html")
    if kind == "xlsx":
        properties = [
            (_("Closing sheet"), sheet.tournament_name),
            (_("Tournament"), sheet.tournament_id),
            (_("As of"), _moment(sheet)),
            ("", _conclusion(sheet)),
            (_("Audit seal"), _seal(sheet)),
            ("", ""),
            (_("Closed by"), "." * 60),
            ("", ""),
            (_("Checked by"), "." * 60),
        ]
        spreadsheet.write_workbook(stream, properties, sections, sheet.as_of)
        return
    html_page.write(
        stream,
        Page(
            title=_("Closing sheet: %(name)s", name=sheet.tournament_name),
            subtitle=_("As of %(time)s", time=_moment(sheet)),
            lines=[_("Tournament %(id)s, payments: %(n)s", id=sheet.tournament_id, n=len(sheet.lines))],
            sections=sections,
            footer=_(
                "Closing sheet, %(name)s, as of %(time)s", name=sheet.tournament_name, time=_moment(sheet)
            ),
            sheet=True,
            conclusion=_conclusion(sheet),
            seal=_seal(sheet),
        ),
    )


def _title(report: Report) -> str:
    return report.tournament[1] if report.tournament else _("All tournaments")


def _stamp(report: Report) -> str:
    return f"{to_the_second(report.made_at, report.period.zone)} {report.period.zone.key}"


def _moment(sheet: TournamentClosing) -> str:
    return f"{to_the_second(sheet.as_of, sheet.zone)} {sheet.zone.key}"


def _conclusion(sheet: TournamentClosing) -> str:
    if sheet.agrees:
        return _("Nothing is open")
    disputed = sum(1 for line in sheet.lines if line.dispute is not None and line.dispute.is_open)
    counts = {
        _("discrepancies"): len(sheet.disagreements),
        _("discrepancies without a payment of ours"): sheet.strange,
        _("disputes"): disputed,
        _("open payments"): sum(total.waiting for total in sheet.totals),
        _("payments with pending refunds"): sum(1 for line in sheet.lines if line.under_way),
    }
    return _("Still open:") + " " + ", ".join(f"{name} ({count})" for name, count in counts.items() if count)


def _seal(sheet: TournamentClosing) -> str:
    if sheet.seal is None:
        return _("not sealed (procomp-pay audit seal)")
    root, at, operator = sheet.seal
    return _("%(root)s, %(time)s by %(name)s", root=root, time=to_the_second(at, sheet.zone), name=operator)


def _is_long(report: Report) -> bool:
    days = report.days.keys()
    return bool(days) and (max(days) - min(days)).days >= _MOST_DAYS


def _charts(report: Report, *, months: bool) -> dict[str, list[Bar]]:
    """Return bars by currency; a day without payments has a bar of height 0."""
    sums: dict[str, dict[date, list[Decimal]]] = {}
    for day, flow in report.days.sorted():
        key = day.replace(day=1) if months else day
        entry = sums.setdefault(flow.currency, {}).setdefault(key, [Decimal(0), Decimal(0)])
        entry[0] += flow.paid.amount
        entry[1] += flow.refunds.amount + flow.lost.amount
    nothing = [Decimal(0), Decimal(0)]
    return {
        currency: [
            Bar(f"{day:%Y-%m}" if months else f"{day.day}.{day.month:02}.", *total.get(day, nothing))
            for day in (sorted(total) if months else _every_day(min(total), max(total)))
        ]
        for currency, total in sums.items()
    }


def _every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
