"""The report of a period as tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports import payout_table
from procomp_pay.cli.reports.cells import (
    Cell,
    Column,
    Missing,
    Percent,
    Seconds,
    Section,
    as_text,
    columns,
    known,
)
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.reports.figures import Attempts, Flow

if TYPE_CHECKING:
    from procomp_pay.domain.period import Period
    from procomp_pay.services.reports.period import Report

#: The definitions of the figures, printed with them.
DEFINITIONS = (
    N_(
        "Success: the share of paid payments among those started in the period that have ended (paid, "
        "failed, expired or cancelled). Refunded ones count as paid; open ones are not counted."
    ),
    N_(
        "Time to complete: from the start of a paid payment to its completion; median and 95th "
        "percentile by nearest rank, in whole seconds."
    ),
    N_(
        "Money counts on the day it moved: a payment when it was completed, a refund when it "
        "succeeded, a dispute when its status last changed. Days are those of the time zone named "
        "above."
    ),
    N_(
        "Before fees: revenue minus refunds minus lost disputes. Net: minus provider fees as well; it "
        "is known once the fee of every payment is, which reconcile reads from the providers."
    ),
    N_("Open discrepancies and participants are counted as of now."),
)


def period_text(period: Period) -> str:
    """Format a period: ``2026-05-01 to 2026-05-03, Asia/Almaty``."""
    zone = period.zone.key
    since, until = ("" if day is None else as_text(day) for day in (period.since, period.until))
    match period.since, period.until:
        case None, None:
            return _("all days, %(zone)s", zone=zone)
        case _first, None:
            return _("since %(day)s, %(zone)s", day=since, zone=zone)
        case None, _last:
            return _("until %(day)s, %(zone)s", day=until, zone=zone)
        case first, last if first == last:
            return f"{since}, {zone}"
    return _("%(first)s to %(last)s, %(zone)s", first=since, last=until, zone=zone)


def sections(report: Report, *, days_as_months: bool = False, for_paper: bool = True) -> list[Section]:
    """Return all tables.

    :param for_paper: show a tournament's name once; otherwise in every row, to sort and filter by.
    """
    return [
        _glance(report),
        _money(report),
        *payout_table.sections(report.payouts),
        _methods(report),
        _method_money(report),
        _days(report, as_months=days_as_months),
        _tournaments(report, for_paper),
        _reasons(report),
        _discrepancies(report),
    ]


def _money(report: Report) -> Section:
    flows, costs = report.money, report.costs
    figures: list[tuple[str, list[Cell]]] = [
        (_("revenue"), [flow.paid.amount for flow in flows]),
        (_("refunds"), [-flow.refunds.amount for flow in flows]),
        (_("disputes lost"), [-flow.lost.amount for flow in flows]),
        (_("before fees"), [flow.before_fees for flow in flows]),
        (_("provider fees"), [Missing.NOT_KNOWN if flow.fees is None else -flow.fees for flow in flows]),
        (_("net"), [known(flow.net) for flow in flows]),
        *_with_costs(flows, costs),
        (_("payments"), [flow.paid.count for flow in flows]),
        ("  " + _("fee not known yet"), [flow.without_fee for flow in flows]),
        ("  " + _("late"), [flow.late for flow in flows]),
        ("  " + _("duplicates"), [flow.duplicates for flow in flows]),
        (_("refunds, number"), [flow.refunds.count for flow in flows]),
        (_("refunds pending"), [flow.on_their_way.amount for flow in flows]),
        (_("disputes open, number"), [flow.open_disputes.count for flow in flows]),
        (_("disputes open"), [flow.open_disputes.amount for flow in flows]),
        (_("disputes won"), [_won(flow) for flow in flows]),
    ]
    headings = [Column(""), *(Column(flow.currency) for flow in flows)]
    return Section(_("Money"), headings, [[name, *cells] for name, cells in figures] if flows else [])


def _with_costs(flows: list[Flow], costs: dict[str, Decimal]) -> list[tuple[str, list[Cell]]]:
    """Return the rows about costs that belong to no payment, where there are any."""
    if not costs:
        return []
    none = Decimal("0.00")
    own = [costs.get(flow.currency, none) for flow in flows]
    nets = [flow.net for flow in flows]
    return [
        (_("costs of the accounts"), [-cost for cost in own]),
        (
            _("net after costs"),
            [known(None if net is None else net - cost) for net, cost in zip(nets, own, strict=True)],
        ),
    ]


def _won(flow: Flow) -> Cell:
    from procomp_pay.domain.refunds import DisputeState

    return flow.dispute(DisputeState.WON).amount


def _methods(report: Report) -> Section:
    rows = [_attempts(method_name(method), attempts) for method, attempts in report.methods.items()]
    rows = [*rows, _attempts(_("all"), report.attempts)] if report.attempts.started else []
    headings = "Method|Started|Paid|-Open|-Failed|-Expired|-Cancelled|=Success|Median|p95"
    return Section(_("Attempts"), columns(headings), rows, totals=1)


def _attempts(name: str, attempts: Attempts) -> list[Cell]:
    full = attempts.full()
    return [
        name,
        *(full[key] for key in ("started", "paid", "open", "failed", "expired", "cancelled")),
        Missing.NONE if attempts.success_percent is None else Percent(attempts.success_percent),
        Missing.NONE if attempts.median_s is None else Seconds(attempts.median_s),
        Missing.NONE if attempts.p95_s is None else Seconds(attempts.p95_s),
    ]


def _glance(report: Report) -> Section:
    """Return what is looked for first: money in and back, fees and net, against the days before."""
    one_day = report.period.since == report.period.until
    before = _("the day before") if one_day else _("as many days before")
    rows = [[_("this period"), *_short(flow)] for flow in report.money]
    rows += [[before, *_short(flow)] for flow in report.before or ()]
    note = _(
        "Open payments: %(open)s. Participants who have not paid: %(n)s.",
        open=report.attempts.waiting,
        n=report.headcount.registered - report.headcount.paid,
    )
    return Section(
        _("At a glance"), columns("|Currency|Money in|Money back|-Fees|Net"), rows, note=note if rows else ""
    )


def _short(flow: Flow) -> list[Cell]:
    back = flow.refunds.amount + flow.lost.amount
    return [flow.currency, flow.paid.amount, back, known(flow.fees), known(flow.net)]


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
    return Section(_("Money by method"), columns(f"Method|{_MOVED}"), rows)


def _days(report: Report, *, as_months: bool) -> Section:
    flows = report.days.sorted()
    if not as_months:
        rows: list[list[Cell]] = [[day, *_moved(flow)] for day, flow in flows]
        return Section(
            _("Money by day"), columns(f"Day|{_MOVED}"), [*rows, *_sums(report)], len(report.money)
        )
    months: dict[tuple[date, str], Flow] = {}
    for day, flow in flows:
        month = months.setdefault((day.replace(day=1), flow.currency), Flow(flow.currency))
        month.add(flow)
    rows = [[f"{day:%Y-%m}", *_moved(flow)] for (day, _currency), flow in months.items()]
    return Section(
        _("Money by month"), columns(f"Month|{_MOVED}"), [*rows, *_sums(report)], len(report.money)
    )


def _sums(report: Report) -> list[list[Cell]]:
    return [[_("all"), *_moved(flow)] for flow in report.money]


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
    return Section(_("Tournaments"), columns(columns_), rows)


#: Reasons that we store ourselves, for the catalogue.
_OUR_REASONS = (
    N_("Cancelled at the desk"), N_("Nobody paid in time"), N_("The payment page expired"),
    N_("Kaspi's answer was lost, and nobody has seen the QR"),
)  # fmt: skip


def _reasons(report: Report) -> Section:
    rows: list[list[Cell]] = [
        [wording.status(status).lower(), wording.reason(reason) if reason else _("no reason given"), count]
        for status, reason, count in report.reasons
    ]
    if report.reasons_not_named:
        rows.append(["", _("other reasons"), report.reasons_not_named])
    return Section(_("Reasons for unpaid attempts"), columns("Ended|Reason|=Payments"), rows)


def _discrepancies(report: Report) -> Section:
    rows: list[list[Cell]] = [
        [_(kind.lower().replace("_", " ")), "" if ours else _("no payment of ours"), count]
        for kind, ours, count in report.disagreements
    ]
    note = _("To resolve them: procomp-pay discrepancies list") if rows else ""
    return Section(_("Open discrepancies"), columns("Kind|Of|Number"), rows, note=note)
