"""A reconciliation report as text: one line for cron's log, a page for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _, in_words, language, translated
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord
    from procomp_pay.services.reconciliation.recover import RecoveredPayment
    from procomp_pay.services.reconciliation.report import MismatchOutcome, Report, SumsOfKind

#: Differences shown of each outcome; ``discrepancies list`` has all.
_MOST = 20
NAMES = {"stripe": "Stripe", "kaspi": "Kaspi"}
_OUTCOMES = {
    "repaired": N_("repaired"),
    "opened": N_("new, for manual review"),
    "again": N_("open before, still found"),
    "reopened": N_("closed before, found again"),
    "accepted": N_("resolved before"),
    "would repair": N_("would be repaired"),
    "would open": N_("would be opened"),
}
#: The same in the line for a log: each with its number.
_IN_SHORT = {
    "repaired": N_("%(n)s repaired"),
    "opened": N_("%(n)s new"),
    "again": N_("%(n)s open before"),
    "reopened": N_("%(n)s closed before"),
    "accepted": N_("%(n)s resolved before"),
    "would repair": N_("%(n)s would be repaired"),
    "would open": N_("%(n)s would be opened"),
}
#: What is read and counted, for the catalogue.
_THINGS = (
    N_("%(n)s payments"), N_("%(n)s movements"), N_("%(n)s lines"), N_("%(n)s payment intents"),
    N_("%(n)s refunds"), N_("%(n)s disputes"), N_("%(n)s balance transactions"),
    N_("%(n)s payments asked for"),
)  # fmt: skip


def summary(report: Report) -> str:
    """Return the report in one line."""
    outcomes = [_(_IN_SHORT[name], n=count) for name, count in report.became.items()]
    if report.recovered:
        text = (
            N_("%(n)s lost payments would be rebuilt")
            if report.dry_run
            else N_("%(n)s lost payments rebuilt")
        )
        outcomes.append(_(text, n=len(report.recovered)))
    if report.closed:
        outcomes.append(_("%(n)s closed automatically", n=report.closed))
    read = ", ".join(_(f"%(n)s {word}", n=count) for word, count in report.read.items()) or _("nothing")
    found = _("%(n)s differences", n=report.found) + (f" ({', '.join(outcomes)})" if outcomes else "")
    parts = [_("%(n)s lines unreadable", n=report.skipped)] if report.skipped else []
    parts += [_("%(n)s open", n=report.still_open), *map(_sums, report.sums)]
    if report.not_compared:
        parts[-1] += "; " + _("not compared: %(what)s", what=_joined(report.not_compared))
    head = _("dry run:") + " " if report.dry_run else ""
    cut = _("INCOMPLETE") + ", " if report.cut else ""
    foreign = _("NO LINE BELONGS TO A PAYMENT OF OURS") + ", " if report.is_foreign else ""
    compared = _("%(n)s payments against %(read)s", n=report.compared, read=read)
    return (
        f"{head}{NAMES[report.provider]} {window(report)}: {cut}{foreign}{compared}: "
        f"{', '.join([found, *parts])}"
    )


def _joined(texts: Sequence[str]) -> str:
    return "; ".join(map(translated, texts))


def _counted(number: int, things: str) -> str:
    """Return ``1 payment``, ``24 000 payments``; of ``payments asked for`` the first word is the thing."""
    if language() is not Language.ENGLISH:
        return _(f"%(n)s {things}", n=formats.count(number))
    if number == 1:
        noun, about, more = things.partition(" asked")
        things = noun.removesuffix("s") + about + more
    return f"{formats.count(number)} {things}"


def _sums(sums: SumsOfKind) -> str:
    """Return the sums of both sides and their difference."""
    ours, theirs, difference = (
        formats.total(amount, console.clean(sums.currency))
        for amount in (sums.our_sum, sums.their_sum, sums.difference)
    )
    here, there = formats.count(sums.our_count), formats.count(sums.their_count)
    return _(
        "%(what)s %(ours)s (%(here)s) here, %(theirs)s (%(there)s) there, difference %(difference)s",
        what=_(f"{sums.kind.value}s"),
        ours=ours,
        here=here,
        theirs=theirs,
        there=there,
        difference=difference,
    )


def window(report: Report) -> str:
    """Return the compared days, in Almaty."""
    first = report.since.astimezone(formats.almaty()).date()
    last = (report.until - timedelta(microseconds=1)).astimezone(formats.almaty()).date()
    return _day(first) if first == last else _("%(first)s to %(last)s", first=_day(first), last=_day(last))


def _day(day: date) -> str:
    return str(day) if language() is Language.ENGLISH else f"{day:%d.%m.%Y}"


def page(report: Report) -> list[str]:
    """Return the report as lines for the terminal."""
    lines = [*_head(report), ""]
    if not report.found and not report.closed and not report.recovered:
        done = _("The comparison was not completed.") if report.cut else f"✓ {_('Everything matches.')}"
        lines.append(f"  {done}")
    if report.recovered:
        text = N_("lost payments would be rebuilt from Stripe's metadata")
        text = text if report.dry_run else N_("lost payments rebuilt from Stripe's metadata")
        lines.append(_heading(len(report.recovered), text))
        lines += [line for payment in report.recovered[:_MOST] for line in _recovered_lines(payment)]
        lines += _more(len(report.recovered))
    for name, heading in _OUTCOMES.items():
        mismatches = [mismatch for mismatch in report.listed if mismatch.became == name]
        if mismatches:
            lines.append(_heading(report.became[name], heading))
            lines += [line for mismatch in mismatches[:_MOST] for line in _mismatch_lines(mismatch)]
            lines += _more(report.became[name])
    if report.closed:
        lines.append(_heading(report.closed, N_("closed automatically: both sides match now")))
    if report.still_open:
        lines.append(_heading(report.still_open, N_("open in total, for manual review")))
    return lines


def _heading(number: int, text: str) -> str:
    """Return ``2 repaired``; ``исправлено: 2`` in a language where the words depend on the number."""
    if language() is Language.ENGLISH:
        return f"  {console.bold(str(number))} {text}"
    return f"  {_(text)}: {console.bold(str(number))}"


def _more(number: int) -> list[str]:
    return [console.dim("      " + _("… and %(n)s more", n=number - _MOST))] if number > _MOST else []


def _head(report: Report) -> list[str]:
    title = f"{NAMES[report.provider]} · {window(report)}"
    dry_run = console.dim("  " + _("dry run: nothing is changed")) if report.dry_run else ""
    source = report.source.removeprefix("statement ")
    rows = [(_("source"), console.clean(source))] if source != "api" else []
    rows.append((_("ours"), _counted(report.compared, "payments")))
    for number, (word, count) in enumerate(report.read.items()):
        rows.append(("" if number else _("theirs"), _counted(count, word)))
    rows += [("" if number else _("sums"), _sums(sums)) for number, sums in enumerate(report.sums)]
    if report.window_is:
        since, until = (
            f"{at.astimezone(formats.almaty()):%Y-%m-%d %H:%M}" for at in (report.since, report.until)
        )
        days = _("%(first)s to %(last)s", first=since, last=until)
        rows.append((_("window"), f"{days}: {translated(report.window_is)}"))
    if report.settlements:
        recorded = _("%(movements)s recorded", movements=_counted(report.settlements, "movements"))
        rows.append((_("fees"), recorded))
    width = max(9, *(len(label) + 1 for label, _value in rows))
    lines = [console.bold(title) + dry_run, *console.label_rows(rows, width)]
    for note in _notes(report):
        lines += [f"  {line}" for line in console.wrap(note).splitlines()]
    return lines


def _notes(report: Report) -> list[str]:
    notes = [
        _("The run of %(time)s was killed: this run covers its window.", time=formats.clock_time(at))
        for at in report.interrupted
    ]
    if report.changed_since_read:
        notes.append(
            _(
                "%(n)s payments changed meanwhile: the next run compares them.",
                n=report.changed_since_read,
            )
        )
    if report.skipped:
        notes.append(
            _(
                "%(n)s lines could not be read: no payment is reported as missing at the provider.",
                n=report.skipped,
            )
        )
    if report.is_foreign:
        notes.insert(0, _("NO LINE BELONGS TO A PAYMENT OF OURS: is it the right file?"))
    if report.not_compared:
        notes.append(_("Not compared: %(what)s.", what=_joined(report.not_compared)))
    return notes + list(map(translated, report.notes))


def cut(report: Report) -> str:
    """Return how far an interrupted run got."""
    return _(
        "%(provider)s was not read to the end: %(why)s. What was done is kept; no payment is reported as "
        "missing from an incomplete window",
        provider=NAMES[report.provider],
        why=console.clean(translated(report.cut or "")),
    )


def _recovered_lines(payment: RecoveredPayment) -> list[str]:
    text = f"{payment.payment_id}  {console.clean(payment.full_name)}  {payment.money}  {payment.reference}"
    return _indented(text)


def _mismatch_lines(outcome: MismatchOutcome) -> list[str]:
    finding = outcome.finding
    key = finding.ours.payment_id if finding.ours else console.clean(finding.reference)
    return _indented(f"{wording.code(finding.kind)}  {key}  {difference(finding)}")


def _indented(text: str) -> list[str]:
    return console.wrap(f"      {text}", " " * 8).splitlines()


def difference(finding: Mismatch) -> str:
    """Return the difference in a sentence."""
    ours, theirs = finding.ours, finding.theirs
    local = f"{formats.money(ours.money)} {wording.status(ours.status)}" if ours else _("not in our books")
    other = "; " + _("there: %(what)s", what=_provider_side(theirs)) if theirs else ""
    here = _("here: %(what)s", what=local)
    return f"{translated(finding.what)} ({here}{other})"


def _provider_side(theirs: ProviderRecord) -> str:
    line = ", " + _("line %(n)s", n=theirs.number) if theirs.number else ""
    amount = theirs.amount
    money = "" if amount is None else formats.total(amount, console.clean(theirs.currency))
    stand = in_words(theirs.stand, wording.STANDS)
    return f"{wording.code(theirs.kind)} {money} {stand}{line}".replace("  ", " ")
