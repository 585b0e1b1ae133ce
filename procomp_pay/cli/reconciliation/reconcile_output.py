"""A reconciliation in words: a line for cron's log, a page for finance."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from procomp_pay.cli.framework.common import clean, wrap
from procomp_pay.cli.payments import wording
from procomp_pay.cli.payments.tables import bold, dim

if TYPE_CHECKING:
    from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord
    from procomp_pay.services.reconciliation.report import MismatchOutcome, Report

#: Differences of one run that a terminal shows; ``discrepancies list`` has them all.
_MOST = 20
NAMES = {"stripe": "Stripe", "kaspi": "Kaspi"}
_BECAME = {
    "repaired": "mended",
    "opened": "new, for a person",
    "again": "open before, still there",
    "reopened": "closed before, there again",
    "accepted": "decided before",
    "would repair": "would be mended",
    "would open": "would be opened",
}


def summary(report: Report) -> str:
    """One line, whatever happened."""
    did = [f"{count} {_BECAME[name].split(',')[0]}" for name, count in report.became.items()]
    if report.closed:
        did.append(f"{report.closed} closed by themselves")
    read = ", ".join(f"{count} {word}" for word, count in report.read.items()) or "nothing"
    state = "INCOMPLETE, " if report.cut else ""
    dry = "dry run: " if report.dry_run else ""
    found = f"{report.found} differences" + (f" ({', '.join(did)})" if did else "")
    left = f"{report.skipped} lines unreadable, " if report.skipped else ""
    foreign = "NOT ONE LINE IS OF A PAYMENT OF OURS, " if report.is_foreign else ""
    return (
        f"{dry}{NAMES[report.provider]} {window(report)}: {state}{foreign}{report.compared} payments "
        f"against {read}: {found}, {left}{report.still_open} open"
    )


def window(report: Report) -> str:
    """The days, in Almaty."""
    first = report.since.astimezone(wording.ALMATY).date()
    last = (report.until - timedelta(microseconds=1)).astimezone(wording.ALMATY).date()
    return str(first) if first == last else f"{first} to {last}"


def page(report: Report) -> list[str]:
    """For a terminal."""
    lines = [*_head(report), ""]
    if not report.found and not report.closed:
        lines.append("  Nothing was compared to the end." if report.cut else "  ✓ Everything agrees.")
    for name, heading in _BECAME.items():
        told = [each for each in report.told if each.became == name]
        if told:
            lines.append(f"  {bold(str(report.became[name]))} {heading}")
            lines += [line for each in told[:_MOST] for line in _told(each)]
            if report.became[name] > _MOST:
                lines.append(dim(f"      … and {report.became[name] - _MOST} more"))
    if report.closed:
        lines.append(f"  {bold(str(report.closed))} closed by themselves: both sides agree now")
    if report.still_open:
        lines.append(f"  {bold(str(report.still_open))} open in all, waiting for a person")
    return lines


def _head(report: Report) -> list[str]:
    title = f"{NAMES[report.provider]} · {window(report)}"
    lines = [bold(title) + (dim("  dry run: nothing is changed") if report.dry_run else "")]
    lines += [f"  {dim('source')}    {clean(report.source)}"] if report.source != "api" else []
    lines.append(f"  {dim('ours')}      {_number(report.compared)} payments")
    for number, (word, count) in enumerate(report.read.items()):
        lines.append(f"  {dim('theirs') if not number else '      '}    {_number(count)} {word}")
    if report.settlements:
        lines.append(f"  {dim('fees')}      {_number(report.settlements)} movements kept")
    for note in _notes(report):
        lines += [f"  {each}" for each in wrap(note, sys.stdout).splitlines()]
    return lines


def _notes(report: Report) -> list[str]:
    found = [
        f"A run of {wording.clock_time(each)} was killed half way: its window is in this one."
        for each in report.interrupted
    ]
    if report.changed_since_read:
        found.append(f"{report.changed_since_read} payments changed meanwhile: left for the next run.")
    if report.skipped:
        found.append(f"{report.skipped} lines could not be read: nothing is called missing at the provider.")
    if report.is_foreign:
        found.insert(0, "NOT ONE LINE IS OF A PAYMENT OF OURS: is it the right file?")
    return found + report.notes


def cut(report: Report) -> str:
    """How far it got."""
    return (
        f"{NAMES[report.provider]} was not read to the end: {clean(report.cut)}. What was done is kept; "
        "nothing is called missing by a half-read window"
    )


def _told(told: MismatchOutcome) -> list[str]:
    finding = told.finding
    who = finding.ours.payment_id if finding.ours else clean(finding.reference)
    text = f"{finding.kind}  {who}  {difference(finding)}"
    return [f"      {each}" for each in wrap(text, sys.stdout).splitlines()]


def difference(finding: Mismatch) -> str:
    """What differs, in one sentence."""
    ours, theirs = finding.ours, finding.theirs
    mine = f"{ours.money} {ours.status}" if ours else "not in our books"
    said = f"; there: {_said(theirs)}" if theirs else ""
    return f"{finding.what} (here: {mine}{said})"


def _said(theirs: ProviderRecord) -> str:
    amount = f"{theirs.amount:,.2f}".replace(",", "\N{NO-BREAK SPACE}") if theirs.amount is not None else ""
    line = f", line {theirs.number}" if theirs.number else ""
    money = f"{amount}\N{NO-BREAK SPACE}{clean(theirs.currency)}" if amount else ""
    return f"{theirs.kind.value} {money} {theirs.stand.value}{line}".replace("  ", " ")


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\N{NO-BREAK SPACE}")


def moment(text: str) -> str:
    """A time that a document holds."""
    return wording.clock_time(datetime.fromisoformat(text))
