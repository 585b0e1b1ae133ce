"""The audit trail in the terminal: each entry in words, and what a check found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats

if TYPE_CHECKING:
    from procomp_pay.services.audit.trail import Change, Step, Trail
    from procomp_pay.services.audit.verify import AuditReport, Finding
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.models.payments import AuditEntry

#: Findings that a terminal shows; --json has them all.
_SHOWN = 20
_WHERE = {
    "person": "{actor}, at the terminal",
    "app": "user {actor}, in the app",
    "stripe_webhook": "Stripe, by webhook",
    "stripe_api": "Stripe, when we asked",
    "kaspi_status": "Kaspi, when we asked",
    "kaspi_api": "Kaspi, when we asked",
    "kaspi_callback": "the gateway, by callback",
    "kaspi_bill": "Kaspi, by bill",
    "reconcile": "procomp-pay, reconciling",
    "clock": "procomp-pay, by the clock",
}
_NAMES = {
    "status": "status",
    "failure_reason": "why it failed",
    "provider_open": "can still be paid",
    "create_state": "at the provider",
    "payment_intent": "Stripe PaymentIntent",
    "checkout_session": "Stripe Checkout Session",
    "kaspi_payment": "Kaspi payment",
    "kaspi_operation": "Kaspi operation number",
    "charge": "Stripe charge",
    "charged": "amount",
    "refunded": "paid back",
    "dispute": "dispute",
    "late": "came late",
    "duplicate": "paid twice",
    "participant_status": "participant",
    "participant_payment": "place taken by payment",
    "participant_id": "participant",
    "provider_ref": "at the provider",
    "refund_id": "refund",
    "force": "against the warnings",
}
_DEEDS = {
    "started": "started this payment",
    "adopted": "took this payment of the platform over",
    "cancel_requested": "asked to cancel it",
}
_STATES = {
    "planned": "not sent yet",
    "sent": "sent, no answer seen",
    "open": "made",
    "never": "never made",
}


def trail_lines(found: Trail) -> list[str]:
    if found.view is None:
        lines = [console.bold("The payment itself is gone; its trail is not")]
    else:
        head = f"{found.view.participant_name} · {found.view.tournament_name}"
        lines = [f"{console.bold(console.clean(head))}  {found.view.charged}  {found.view.status.value}"]
    lines.append(console.dim(console.clean(found.payment_id)))
    day = ""
    for step in found.steps:
        lines += _step_lines(step, found, day)
        day = _day(step) or day
    return lines


def _day(step: Step) -> str:
    return formats.day_of(step.entry.at) if step.entry else ""


def _step_lines(step: Step, found: Trail, day: str) -> list[str]:
    entry, lines = step.entry, []
    if _day(step) not in ("", day):
        lines.append(console.dim(_day(step)))
    said = _what(step, found.view)
    if entry is None:
        return [*lines, f"  {'':8}  {step.link.seq:>2}  {said}"]
    note = f" \N{EN DASH} {entry.note}" if entry.note else ""
    head = f"{_who(entry)}: {said}{note}"
    prefix = f"  {formats.exact_time(entry.at)}  {step.link.seq:>2}  "
    lines.append(console.wrap(prefix + console.clean(head), indent=" " * len(prefix)))
    rest = [_change(each) for each in step.changes]
    sources = {"event": entry.source_id, "request": entry.request_id}
    rest += [f"{name} {value}" for name, value in sources.items() if value]
    for line in rest:
        shown = console.wrap(" " * len(prefix) + console.clean(line), indent=" " * (len(prefix) + 2))
        lines.append(console.dim(shown))
    return lines


def show_findings(report: AuditReport) -> None:
    if report.is_sound:
        seals = f", {formats.counted(report.seals, 'seal')} computed again" if report.seals else ""
        covered = f"{formats.counted(report.entries, 'entry')} in {formats.counted(report.chains, 'chain')}"
        typer.echo(f"✓ whole: {covered}{seals}")
        return
    first, *others = report.findings
    console.say(f"✗ the first broken link: {_finding(first)}", fg="red", bold=True)
    for finding in others[:_SHOWN]:
        console.say(f"✗ {_finding(finding)}", fg="red")
    rest = len(others) - len(others[:_SHOWN]) + report.more
    if rest:
        console.say(f"  … and {rest} more")
    if first.payment_id is not None:
        console.hint(f"procomp-pay audit show {first.payment_id}")


def _finding(finding: Finding) -> str:
    if finding.payment_id is None:
        return console.clean(finding.detail)
    place = f", entry {finding.seq}" if finding.seq is not None else ""
    return console.clean(
        f"payment {finding.payment_id}{place}: {finding.flaw.replace('_', ' ')}: {finding.detail}"
    )


def _who(entry: AuditEntry) -> str:
    """Who did it, and on whose word."""
    return _WHERE.get(entry.source, "{actor} ({source})").format(actor=entry.actor, source=entry.source)


def _what(step: Step, view: PaymentView | None) -> str:
    """What happened, without who."""
    if step.entry is None:
        return "this entry cannot be read"
    if view is None or step.move is None:
        return step.entry.action.replace("_", " ").replace(":", ", ")
    return _DEEDS.get(step.entry.action) or wording.describe_action(step.move, view)


def _change(each: Change) -> str:
    """``paid back: 0.00 → 20.00``; what is new has no arrow."""
    name = _NAMES.get(each.name, each.name.replace("_", " "))
    after = _value(each.name, each.after)
    if each.before is None:
        return f"{name}: {after}"
    return f"{name}: {_value(each.name, each.before)} → {after}"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "create_state":
        return _STATES.get(str(value), str(value))
    return str(value)
