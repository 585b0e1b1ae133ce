"""A reconciliation report as text: one line for cron's log, a page for the terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console, formats

if TYPE_CHECKING:
    from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord
    from procomp_pay.services.reconciliation.recover import RecoveredPayment
    from procomp_pay.services.reconciliation.report import MismatchOutcome, Report, SumsOfKind

#: Differences shown of each outcome; ``discrepancies list`` has all.
_MOST = 20
NAMES = {"stripe": "Stripe", "kaspi": "Kaspi"}
_OUTCOMES = {
    "repaired": "repaired",
    "opened": "new, for manual review",
    "again": "open before, still found",
    "reopened": "closed before, found again",
    "accepted": "resolved before",
    "would repair": "would be repaired",
    "would open": "would be opened",
}


def summary(report: Report) -> str:
    """Return the report in one line."""
    outcomes = [f"{count} {_OUTCOMES[name].split(',')[0]}" for name, count in report.became.items()]
    if report.recovered:
        outcomes.append(f"{len(report.recovered)} lost payments {'would be ' * report.dry_run}rebuilt")
    if report.closed:
        outcomes.append(f"{report.closed} closed automatically")
    read = ", ".join(f"{count} {word}" for word, count in report.read.items()) or "nothing"
    state = "INCOMPLETE, " if report.cut else ""
    dry = "dry run: " if report.dry_run else ""
    differences = f"{report.found} differences" + (f" ({', '.join(outcomes)})" if outcomes else "")
    unreadable = f"{report.skipped} lines unreadable, " if report.skipped else ""
    foreign = "NO LINE BELONGS TO A PAYMENT OF OURS, " if report.is_foreign else ""
    sums = "".join(f", {_sums(sums)}" for sums in report.sums)
    if report.not_compared:
        sums += f"; not compared: {'; '.join(report.not_compared)}"
    return (
        f"{dry}{NAMES[report.provider]} {window(report)}: {state}{foreign}{report.compared} payments "
        f"against {read}: {differences}, {unreadable}{report.still_open} open{sums}"
    )


def _counted(number: int, things: str) -> str:
    """Return ``1 payment``, ``24 000 payments``; of ``payments asked for`` the first word is the thing."""
    if number == 1:
        noun, about, more = things.partition(" asked")
        things = noun.removesuffix("s") + about + more
    return f"{formats.count(number)} {things}"


def _sums(sums: SumsOfKind) -> str:
    """Return the sums of both sides and their difference."""
    ours, theirs, difference = (
        f"{formats.amount(amount)}\N{NO-BREAK SPACE}{console.clean(sums.currency)}"
        for amount in (sums.our_sum, sums.their_sum, sums.difference)
    )
    here, there = formats.count(sums.our_count), formats.count(sums.their_count)
    return f"{sums.kind.value}s {ours} ({here}) here, {theirs} ({there}) there, difference {difference}"


def window(report: Report) -> str:
    """Return the compared days, in Almaty."""
    first = report.since.astimezone(formats.almaty()).date()
    last = (report.until - timedelta(microseconds=1)).astimezone(formats.almaty()).date()
    return str(first) if first == last else f"{first} to {last}"


def page(report: Report) -> list[str]:
    """Return the report as lines for the terminal."""
    lines = [*_head(report), ""]
    if not report.found and not report.closed and not report.recovered:
        lines.append("  The comparison was not completed." if report.cut else "  ✓ Everything matches.")
    if report.recovered:
        done = "would be rebuilt" if report.dry_run else "rebuilt"
        lines.append(
            f"  {console.bold(str(len(report.recovered)))} lost payments {done} from Stripe's metadata"
        )
        lines += [line for payment in report.recovered[:_MOST] for line in _recovered_lines(payment)]
        if len(report.recovered) > _MOST:
            lines.append(console.dim(f"      … and {len(report.recovered) - _MOST} more"))
    for name, heading in _OUTCOMES.items():
        mismatches = [mismatch for mismatch in report.listed if mismatch.became == name]
        if mismatches:
            lines.append(f"  {console.bold(str(report.became[name]))} {heading}")
            lines += [line for mismatch in mismatches[:_MOST] for line in _mismatch_lines(mismatch)]
            if report.became[name] > _MOST:
                lines.append(console.dim(f"      … and {report.became[name] - _MOST} more"))
    if report.closed:
        lines.append(f"  {console.bold(str(report.closed))} closed automatically: both sides match now")
    if report.still_open:
        lines.append(f"  {console.bold(str(report.still_open))} open in total, for manual review")
    return lines


def _head(report: Report) -> list[str]:
    title = f"{NAMES[report.provider]} · {window(report)}"
    lines = [console.bold(title) + (console.dim("  dry run: nothing is changed") if report.dry_run else "")]
    lines += (
        [f"  {console.dim('source')}    {console.clean(report.source)}"] if report.source != "api" else []
    )
    lines.append(f"  {console.dim('ours')}      {_counted(report.compared, 'payments')}")
    for number, (word, count) in enumerate(report.read.items()):
        label = " " * 6 if number else console.dim("theirs")
        lines.append(f"  {label}    {_counted(count, word)}")
    for number, sums in enumerate(report.sums):
        lines.append(f"  {' ' * 4 if number else console.dim('sums')}      {_sums(sums)}")
    if report.window_is:
        since, until = (
            f"{at.astimezone(formats.almaty()):%Y-%m-%d %H:%M}" for at in (report.since, report.until)
        )
        lines.append(f"  {console.dim('window')}    {since} to {until}: {report.window_is}")
    if report.settlements:
        lines.append(f"  {console.dim('fees')}      {_counted(report.settlements, 'movements')} recorded")
    for note in _notes(report):
        lines += [f"  {line}" for line in console.wrap(note).splitlines()]
    return lines


def _notes(report: Report) -> list[str]:
    notes = [
        f"The run of {formats.clock_time(at)} was killed: this run covers its window."
        for at in report.interrupted
    ]
    if report.changed_since_read:
        notes.append(f"{report.changed_since_read} payments changed meanwhile: the next run compares them.")
    if report.skipped:
        notes.append(
            f"{report.skipped} lines could not be read: no payment is reported as missing at the provider."
        )
    if report.is_foreign:
        notes.insert(0, "NO LINE BELONGS TO A PAYMENT OF OURS: is it the right file?")
    if report.not_compared:
        notes.append(f"Not compared: {'; '.join(report.not_compared)}.")
    return notes + report.notes


def cut(report: Report) -> str:
    """Return how far an interrupted run got."""
    return (
        f"{NAMES[report.provider]} was not read to the end: {console.clean(report.cut)}. "
        "What was done is kept; no payment is reported as missing from an incomplete window"
    )


def _recovered_lines(payment: RecoveredPayment) -> list[str]:
    text = f"{payment.payment_id}  {console.clean(payment.full_name)}  {payment.money}  {payment.reference}"
    return [f"      {line}" for line in console.wrap(text).splitlines()]


def _mismatch_lines(outcome: MismatchOutcome) -> list[str]:
    finding = outcome.finding
    key = finding.ours.payment_id if finding.ours else console.clean(finding.reference)
    text = f"{finding.kind}  {key}  {difference(finding)}"
    return [f"      {line}" for line in console.wrap(text).splitlines()]


def difference(finding: Mismatch) -> str:
    """Return the difference in a sentence."""
    ours, theirs = finding.ours, finding.theirs
    local = f"{ours.money} {ours.status}" if ours else "not in our books"
    other = f"; there: {_provider_side(theirs)}" if theirs else ""
    return f"{finding.what} (here: {local}{other})"


def _provider_side(theirs: ProviderRecord) -> str:
    amount = formats.amount(theirs.amount) if theirs.amount is not None else ""
    line = f", line {theirs.number}" if theirs.number else ""
    money = f"{amount}\N{NO-BREAK SPACE}{console.clean(theirs.currency)}" if amount else ""
    return f"{theirs.kind.value} {money} {theirs.stand.value}{line}".replace("  ", " ")
