"""The closing sheet of a tournament as tables, for the terminal, the page and the workbook."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework.language import _, language, translated
from procomp_pay.cli.reports import payout_table
from procomp_pay.cli.reports.cells import (
    Cell,
    Id,
    Missing,
    Section,
    columns,
    known,
    local_time,
    method_or_word,
)
from procomp_pay.domain.language import Language
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from procomp_pay.services.reports.tournament_closing_result import (
        Check,
        ClosingLine,
        Sum,
        TournamentClosing,
    )

_SUMS = "Currency|Payments|Paid|-Open|Taken|Refunded|-Pending|-Disputes lost|Kept"


def sections(sheet: TournamentClosing, *, for_paper: bool = True) -> list[Section]:
    """Return all tables, sums first, payments last.

    :param for_paper: keep a payment within two lines: one id of Stripe's, and only the time of payment if it
        was paid on the day it was started.
    """
    return [
        Section(_("Totals"), columns(_SUMS), [_sum(total)[1:] for total in sheet.totals]),
        Section(_("By method"), columns(f"Method|{_SUMS}"), [_sum(total) for total in sheet.by_method]),
        Section(_("By clerk"), columns(f"Clerk|{_SUMS}"), [_sum(total) for total in sheet.by_clerk]),
        _fees(sheet),
        *payout_table.sections(sheet.payouts),
        _disagreements(sheet),
        _checks(sheet),
        _payments(sheet, for_paper),
    ]


def _sum(line: Sum) -> list[Cell]:
    return [
        method_or_word(line.name),
        line.currency,
        line.started,
        line.paid,
        line.waiting,
        line.taken,
        line.refunded,
        line.under_way,
        line.lost,
        line.kept,
    ]


#: Flags of payments, kinds of differences, results of runs and what they counted, for the catalogue.
MARKED = (
    N_("late"), N_("paid twice"), N_("dispute open"), N_("dispute withdrawn"), N_("dispute won"),
    N_("dispute lost"), N_("missing locally"), N_("missing at provider"), N_("status mismatch"),
    N_("amount mismatch"), N_("currency mismatch"), N_("refund mismatch"), N_("duplicate payment"),
    N_("late payment"), N_("stuck"), N_("participant mismatch"), N_("never"), N_("done"), N_("incomplete"),
    N_("failed"), N_("running"), N_("read"), N_("compared"), N_("found"), N_("became"), N_("kinds"),
    N_("closed"), N_("skipped"), N_("(the app)"), N_("moving"), N_("settlements"),
    N_("not one line of ours"), N_("cut"), N_("repaired"), N_("opened"), N_("again"), N_("reopened"),
    N_("accepted"), N_("lines"), N_("payment intents"), N_("refunds"), N_("disputes"),
    N_("balance transactions"), N_("payments asked for"),
)  # fmt: skip


def _flags(line: ClosingLine) -> str:
    return ", ".join(map(_, line.flags))


def _disagreements(sheet: TournamentClosing) -> Section:
    rows: list[list[Cell]] = [
        [_flags(line), line.participant_name, line.charged.amount, line.charged.currency.value,
         Id(line.payment_id)]
        for line in sheet.odd
    ]  # fmt: skip
    note = ""
    if sheet.strange:
        note = _("Open discrepancies without a payment of ours: %(n)s.", n=sheet.strange)
    headings = "What|Participant|Amount|Currency|Payment"
    return Section(_("Needs review"), columns(headings), rows, note=note)


def _checks(sheet: TournamentClosing) -> Section:
    rows = [_check(run, sheet.zone) for run in sheet.checks]
    headings = "Provider|Last run|Result|-From|-Until|-Found"
    return Section(_("Reconciliation"), columns(headings), rows)


def _check(check: Check, zone: ZoneInfo) -> list[Cell]:
    at = check.finished_at or check.started_at
    return [
        check.provider,
        local_time(at, zone),
        _(check.state),
        local_time(check.window_from, zone),
        local_time(check.window_until, zone),
        _counts(check.counts) or Missing.NONE,
    ]


def _counts(counts: dict[str, Any]) -> str:
    """Return what a run counted, without zeros: ``compared 51, found 2 (opened 1, repaired 1)``."""
    parts = []
    for name, value in counts.items():
        if isinstance(value, dict):
            inner = _counts(value)
            parts += [f"{_counted(name)} ({inner})"] if inner else []
        elif value is True:
            parts.append(_counted(name))
        elif value:
            parts.append(f"{_counted(name)} {translated(str(value))}")
    return ", ".join(parts)


def _counted(name: str) -> str:
    """Return what was counted in words: a part of the run, or the kind of a difference."""
    return wording.kind(name) if name.isupper() else _(name.replace("_", " "))


def _payments(sheet: TournamentClosing, for_paper: bool) -> Section:
    headings = (
        "Started|-Paid|Participant|-Category|Method|Amount|Currency|-Clerk|Status|Refunded|-Flags"
        "|-At the provider|-Payment"
    )
    rows = [_payment(line, sheet.zone, for_paper) for line in sheet.lines]
    totals: list[list[Cell]] = [_payments_total(total) for total in sheet.totals]
    return Section(_("Payments"), columns(headings), [*rows, *totals], totals=len(totals))


def _payment(line: ClosingLine, zone: ZoneInfo, for_paper: bool) -> list[Cell]:
    started, paid = local_time(line.started_at, zone), local_time(line.paid_at, zone)
    numbers = line.numbers if line.is_kaspi or not for_paper else line.numbers[:1]
    if for_paper and isinstance(paid, datetime) and isinstance(started, datetime):
        paid = (
            f"{paid:%H:%M}"
            if paid.date() == started.date()
            else (f"{paid:%m-%d %H:%M}" if language() is Language.ENGLISH else f"{paid:%d.%m %H:%M}")
        )
    return [
        started,
        paid,
        line.participant_name,
        line.category or "",
        method_name(line.method),
        line.charged.amount,
        line.charged.currency.value,
        _(line.clerk),
        wording.status(line.status).lower(),
        line.refunded,
        _flags(line),
        Id(" ".join(numbers)),
        Id(line.payment_id),
    ]


def _payments_total(line: Sum) -> list[Cell]:
    paid = _("%(n)s paid", n=line.paid)
    return [paid, "", "", "", _("taken"), line.taken, line.currency, "", "", line.refunded, "", "", ""]


def _fees(sheet: TournamentClosing) -> Section:
    rows: list[list[Cell]] = [
        [
            line.currency,
            line.kept,
            Missing.NOT_KNOWN if line.without_fee and line.fees is None else line.fees or Decimal("0.00"),
            known(line.net),
            line.without_fee,
        ]
        for line in sheet.after_fees
    ]
    headings = "Currency|Kept|Fees|Net|Fee not known yet"
    return Section(_("After provider fees"), columns(headings), rows)
