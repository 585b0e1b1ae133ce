"""The audit trail in the terminal: each entry in words, and what a verification found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats

if TYPE_CHECKING:
    from procomp_pay.services.audit.chain_check import Finding
    from procomp_pay.services.audit.trail import Change, Step, Trail
    from procomp_pay.services.audit.verify import AuditReport
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.models.audit import AuditEntry

#: Findings that the terminal shows; --json has all.
_SHOWN = 20
_WHERE = {
    "person": "{actor}, at the terminal",
    "app": "user {actor}, in the app",
    "stripe_webhook": "Stripe, by webhook",
    "stripe_api": "Stripe, when polled",
    "kaspi_status": "Kaspi, when polled",
    "kaspi_api": "Kaspi, when polled",
    "kaspi_callback": "the gateway, by callback",
    "kaspi_bill": "Kaspi, by bill",
    "reconcile": "procomp-pay, reconciling",
    "clock": "procomp-pay, by its clock",
}
_NAMES = {
    "status": "status",
    "failure_reason": "failure reason",
    "provider_open": "can still be paid",
    "create_state": "at the provider",
    "payment_intent": "Stripe PaymentIntent",
    "checkout_session": "Stripe Checkout Session",
    "kaspi_payment": "Kaspi payment",
    "kaspi_operation": "Kaspi operation number",
    "charge": "Stripe charge",
    "charged": "amount",
    "refunded": "refunded",
    "dispute": "dispute",
    "late": "late",
    "duplicate": "duplicate",
    "participant_status": "participant",
    "participant_payment": "registration paid by",
    "participant_id": "participant",
    "former_participant_status": "the one it was taken from",
    "provider_ref": "at the provider",
    "refund_id": "refund",
    "force": "forced",
}
_ACTIONS = {
    "started": "started this payment",
    "adopted": "adopted this payment of the platform",
    "kept_by_platform": "accepted this payment as the platform's own",
    "recovered": "rebuilt this payment, which our books had lost",
    "cancel_requested": "requested its cancellation",
    "participant_edited": "corrected the registration",
    "person_erased": "erased the person's names and addresses",
    "payment_moved": "moved this payment to another participant",
}
#: Long and for programs alone: --json has it.
_UNSHOWN = ("proof",)
#: What a chain that belongs to no payment is about, by the beginning of its name.
_OF_NO_PAYMENT = {
    "closing": "Closing of a day",
    "operator": "Operator",
    "tournament": "Fees and refund policy of a tournament",
    "payout": "Payout",
}
_STATES = {
    "planned": "not sent yet",
    "sent": "sent, no response seen",
    "open": "created",
    "never": "never created",
}


def trail_lines(trail: Trail) -> list[str]:
    """Return the lines that show a payment's audit trail."""
    kind = _OF_NO_PAYMENT.get(trail.payment_id.partition(":")[0])
    if kind is not None:
        lines = [console.bold(kind)]
    elif trail.view is None:
        lines = [console.bold("The payment itself was deleted; its audit trail remains")]
    else:
        head = f"{trail.view.participant_name} · {trail.view.tournament_name}"
        lines = [f"{console.bold(console.clean(head))}  {trail.view.charged}  {trail.view.status.value}"]
    lines.append(console.dim(console.clean(trail.payment_id)))
    if trail.steps and trail.steps[0].link.seq > 1:
        older = formats.counted(trail.steps[0].link.seq - 1, "older entry")
        lines.append(console.dim(f"  {older} in the audit archive"))
    day = ""
    for step in trail.steps:
        lines += _step_lines(step, trail, day)
        day = _day(step) or day
    return lines


def _day(step: Step) -> str:
    return formats.day_of(step.entry.at) if step.entry else ""


def _step_lines(step: Step, trail: Trail, day: str) -> list[str]:
    entry, lines = step.entry, []
    if _day(step) not in ("", day):
        lines.append(console.dim(_day(step)))
    action = _action(step, trail.view)
    if entry is None:
        return [*lines, f"  {'':8}  {step.link.seq:>2}  {action}"]
    note = f" \N{EN DASH} {entry.note}" if entry.note else ""
    head = f"{_actor(entry)}: {action}{note}"
    prefix = f"  {formats.exact_time(entry.at)}  {step.link.seq:>2}  "
    lines.append(console.wrap(prefix + console.clean(head), indent=" " * len(prefix)))
    rest = [_change(change) for change in step.changes if change.name not in _UNSHOWN]
    sources = {"event": entry.source_id, "request": entry.request_id}
    rest += [f"{name} {value}" for name, value in sources.items() if value]
    for line in rest:
        shown = console.wrap(" " * len(prefix) + console.clean(line), indent=" " * (len(prefix) + 2))
        lines.append(console.dim(shown))
    return lines


def show_findings(report: AuditReport) -> None:
    """Print what a verification found."""
    if report.is_sound:
        seals = f", {formats.counted(report.seals, 'seal')} recomputed" if report.seals else ""
        covered = f"{formats.counted(report.entries, 'entry')} in {formats.counted(report.chains, 'chain')}"
        typer.echo(f"✓ intact: {covered}{seals}")
        if report.erased:
            lost = formats.counted(report.erased, "entry")
            typer.echo(f"  {lost} lost names by person erase; what is left matches its signed record")
        if report.archives:
            typer.echo(f"  with {formats.counted(report.archives, 'archive')}")
        elif report.archived:
            older = formats.counted(report.archived, "older entry")
            console.say(f"  {older} in archives not read: verify them with --archive DIR", dim=True)
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
    position = f", entry {finding.seq}" if finding.seq is not None else ""
    chain = finding.payment_id if ":" in finding.payment_id else f"payment {finding.payment_id}"
    return console.clean(f"{chain}{position}: {finding.flaw.replace('_', ' ')}: {finding.detail}")


def _actor(entry: AuditEntry) -> str:
    """Return who did it, and through which source."""
    return _WHERE.get(entry.source, "{actor} ({source})").format(actor=entry.actor, source=entry.source)


def _action(step: Step, view: PaymentView | None) -> str:
    """Return what happened."""
    if step.entry is None:
        return "this entry is unreadable"
    if view is None or step.move is None:
        return step.entry.action.replace("_", " ").replace(":", ", ")
    return _ACTIONS.get(step.entry.action) or wording.describe_action(step.move, view)


def _change(change: Change) -> str:
    """Return a change as ``refunded: 0.00 → 20.00``; a new value has no arrow."""
    name = _NAMES.get(change.name, change.name.replace("_", " "))
    after = _value(change.name, change.after)
    if change.before is None:
        return f"{name}: {after}"
    return f"{name}: {_value(change.name, change.before)} → {after}"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "create_state":
        return _STATES.get(str(value), str(value))
    return str(value)
