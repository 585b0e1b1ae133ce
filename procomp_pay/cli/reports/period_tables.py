"""The report of a period as tables."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from procomp_pay.cli.reports.cells import Cell, Column, Missing, Percent, Seconds, Section, columns, known
from procomp_pay.domain.states import method_name
from procomp_pay.services.reports.figures import Attempts, Flow

if TYPE_CHECKING:
    from procomp_pay.domain.period import Period
    from procomp_pay.services.reports.period import Report

#: The definitions of the figures, printed with them.
DEFINITIONS = (
    (
        "Success: the share of paid payments among those started in the period that have ended (paid, "
        "failed, expired or cancelled). Refunded ones count as paid; open ones are not counted."
    ),
    (
        "Time to complete: from the start of a paid payment to its completion; median and 95th percentile "
        "by nearest rank, in whole seconds."
    ),
    (
        "Money counts on the day it moved: a payment when it was completed, a refund when it succeeded, a "
        "dispute when its status last changed. Days are those of the time zone named above."
    ),
    (
        "Before fees: revenue minus refunds minus lost disputes. Net: minus provider fees as well; it is "
        "known once the fee of every payment is, which reconcile reads from the providers."
    ),
    "Open discrepancies and participants are counted as of now.",
)


def period_text(period: Period) -> str:
    """Format a period: ``2026-05-01 to 2026-05-03, Asia/Almaty``."""
    zone = period.zone.key
    match period.since, period.until:
        case None, None:
            return f"all days, {zone}"
        case since, None:
            return f"since {since}, {zone}"
        case None, until:
            return f"until {until}, {zone}"
        case since, until if since == until:
            return f"{since}, {zone}"
    return f"{period.since} to {period.until}, {zone}"


def sections(report: Report, *, days_as_months: bool = False, for_paper: bool = True) -> list[Section]:
    """Return all tables.

    :param for_paper: show a tournament's name once; otherwise in every row, to sort and filter by.
    """
    return [
        _money(report.money),
        _methods(report),
        _method_money(report),
        _days(report, as_months=days_as_months),
        _tournaments(report, for_paper),
        _reasons(report),
        _discrepancies(report),
    ]


def _money(flows: list[Flow]) -> Section:
    figures: list[tuple[str, list[Cell]]] = [
        ("revenue", [flow.paid.amount for flow in flows]),
        ("refunds", [-flow.refunds.amount for flow in flows]),
        ("disputes lost", [-flow.lost.amount for flow in flows]),
        ("before fees", [flow.before_fees for flow in flows]),
        ("provider fees", [Missing.NOT_KNOWN if flow.fees is None else -flow.fees for flow in flows]),
        ("net", [known(flow.net) for flow in flows]),
        ("payments", [flow.paid.count for flow in flows]),
        ("  fee not known yet", [flow.without_fee for flow in flows]),
        ("  late", [flow.late for flow in flows]),
        ("  duplicates", [flow.duplicates for flow in flows]),
        ("refunds, number", [flow.refunds.count for flow in flows]),
        ("refunds pending", [flow.on_their_way.amount for flow in flows]),
        ("disputes open, number", [flow.open_disputes.count for flow in flows]),
        ("disputes open", [flow.open_disputes.amount for flow in flows]),
        ("disputes won", [_won(flow) for flow in flows]),
    ]
    headings = [Column(""), *(Column(flow.currency) for flow in flows)]
    return Section("Money", headings, [[name, *cells] for name, cells in figures] if flows else [])


def _won(flow: Flow) -> Cell:
    from procomp_pay.domain.refunds import DisputeState

    return flow.dispute(DisputeState.WON).amount


def _methods(report: Report) -> Section:
    rows = [_attempts(method_name(method), attempts) for method, attempts in report.methods.items()]
    rows = [*rows, _attempts("all", report.attempts)] if report.attempts.started else []
    headings = "Method|Started|Paid|-Open|-Failed|-Expired|-Cancelled|=Success|Median|p95"
    return Section("Attempts", columns(headings), rows, totals=1)


def _attempts(name: str, attempts: Attempts) -> list[Cell]:
    full = attempts.full()
    return [
        name,
        *(full[key] for key in ("started", "paid", "open", "failed", "expired", "cancelled")),
        Missing.NONE if attempts.success_percent is None else Percent(attempts.success_percent),
        Missing.NONE if attempts.median_s is None else Seconds(attempts.median_s),
        Missing.NONE if attempts.p95_s is None else Seconds(attempts.p95_s),
    ]


_MOVED = "Currency|Payments|=Revenue|Refunds|-Disputes lost|-Before fees|-Fees|-Net"


def _moved(flow: Flow) -> list[Cell]:
    return [
        flow.currency,
        flow.paid.count,
        flow.paid.amount,
        flow.refunds.amount,
        flow.lost.amount,
        flow.before_fees,
        known(flow.fees),
        known(flow.net),
    ]


def _method_money(report: Report) -> Section:
    rows = [[method_name(method), *_moved(flow)] for method, flow in report.by_method.sorted()]
    return Section("Money by method", columns(f"Method|{_MOVED}"), rows)


def _days(report: Report, *, as_months: bool) -> Section:
    flows = report.days.sorted()
    if not as_months:
        rows: list[list[Cell]] = [[day, *_moved(flow)] for day, flow in flows]
        return Section("Money by day", columns(f"Day|{_MOVED}"), [*rows, *_sums(report)], len(report.money))
    months: dict[tuple[date, str], Flow] = {}
    for day, flow in flows:
        month = months.setdefault((day.replace(day=1), flow.currency), Flow(flow.currency))
        _add(month, flow)
    rows = [[f"{day:%Y-%m}", *_moved(flow)] for (day, _), flow in months.items()]
    return Section("Money by month", columns(f"Month|{_MOVED}"), [*rows, *_sums(report)], len(report.money))


def _add(month: Flow, day: Flow) -> None:
    month.paid.add(day.paid.count, day.paid.amount)
    month.refunds.add(day.refunds.count, day.refunds.amount)
    for state, total in day.disputes.items():
        month.disputes.setdefault(state, type(total)()).add(total.count, total.amount)
    month.with_fee += day.with_fee
    if day.fees is not None:
        month.fees = day.fees if month.fees is None else month.fees + day.fees


def _sums(report: Report) -> list[list[Cell]]:
    return [["all", *_moved(flow)] for flow in report.money]


def _tournaments(report: Report, for_paper: bool) -> Section:
    rows: list[list[Cell]] = []
    for line in report.tournaments:
        headcount = line.headcount
        percent = line.attempts.success_percent
        names: list[Cell] = [
            line.name,
            headcount.registered,
            headcount.paid,
            headcount.registered - headcount.paid,
            Missing.NONE if percent is None else Percent(percent),
        ]
        nothing: list[Cell] = ["", 0, Missing.NONE, Missing.NONE, Missing.NONE, Missing.NONE]
        amounts = [_moved(flow)[:6] for flow in line.flows] or [nothing]
        rows.append([*names, *amounts[0]])
        again: list[Cell] = ["" if for_paper else line.name, "", "", "", ""]
        rows += [[*again, *more] for more in amounts[1:]]
    columns_ = (
        "Tournament|Participants|-Paid|Not paid|-Success|Currency|-Payments|Revenue|Refunds|-Disputes lost"
        "|-Before fees"
    )
    return Section("Tournaments", columns(columns_), rows)


def _reasons(report: Report) -> Section:
    rows: list[list[Cell]] = [
        [status.value.lower(), reason or "no reason given", count] for status, reason, count in report.reasons
    ]
    if report.reasons_not_named:
        rows.append(["", "other reasons", report.reasons_not_named])
    return Section("Reasons for unpaid attempts", columns("Ended|Reason|=Payments"), rows)


def _discrepancies(report: Report) -> Section:
    rows: list[list[Cell]] = [
        [kind.lower().replace("_", " "), "" if ours else "no payment of ours", count]
        for kind, ours, count in report.disagreements
    ]
    note = "To resolve them: procomp-pay discrepancies list" if rows else ""
    return Section("Open discrepancies", columns("Kind|Of|Number"), rows, note=note)
