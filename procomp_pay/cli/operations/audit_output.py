"""The audit trail in the terminal: each entry in words, and what a verification found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _, counted, language, translated
from procomp_pay.domain.language import Language
from procomp_pay.domain.states import METHOD_NAMES
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.audit.chain_check import Finding
    from procomp_pay.services.audit.trail import Change, Step, Trail
    from procomp_pay.services.audit.verify import AuditReport
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.models.audit import AuditEntry

#: Findings that the terminal shows; --json has all.
_SHOWN = 20
_WHERE = {
    "person": N_("%(actor)s, at the terminal"),
    "app": N_("user %(actor)s, in the app"),
    "stripe_webhook": N_("Stripe, by webhook"),
    "stripe_api": N_("Stripe, when polled"),
    "kaspi_status": N_("Kaspi, when polled"),
    "kaspi_api": N_("Kaspi, when polled"),
    "kaspi_callback": N_("the gateway, by callback"),
    "kaspi_bill": N_("Kaspi, by bill"),
    "reconcile": N_("procomp-pay, reconciling"),
    "clock": N_("procomp-pay, by its clock"),
}
_NAMES = {
    "status": N_("status"),
    "failure_reason": N_("failure reason"),
    "provider_open": N_("can still be paid"),
    "create_state": N_("at the provider"),
    "payment_intent": N_("Stripe PaymentIntent"),
    "checkout_session": N_("Stripe Checkout Session"),
    "kaspi_payment": N_("Kaspi payment"),
    "kaspi_operation": N_("Kaspi operation number"),
    "charge": N_("Stripe charge"),
    "charged": N_("amount"),
    "refunded": N_("refunded"),
    "dispute": N_("dispute"),
    "late": N_("late"),
    "duplicate": N_("duplicate"),
    "participant_status": N_("participant"),
    "participant_payment": N_("registration paid by"),
    "participant_id": N_("participant"),
    "former_participant_status": N_("the one it was taken from"),
    "provider_ref": N_("at the provider"),
    "refund_id": N_("refund"),
    "force": N_("forced"),
    # shown as they are stored, in other languages in words
    "account": N_("account"), "amount": N_("amount"), "approved_by": N_("approved by"),
    "bank_line_id": N_("bank line id"), "birth_year": N_("birth year"), "category": N_("category"),
    "channel": N_("channel"), "club": N_("club"), "coach": N_("coach"), "currency": N_("currency"),
    "day": N_("day"), "digest": N_("digest"), "discrepancy_id": N_("discrepancy id"), "email": N_("email"),
    "erased": N_("erased"), "failed_attempts": N_("failed attempts"), "fee": N_("fee"), "files": N_("files"),
    "full_name": N_("full name"), "how": N_("how"), "kind": N_("kind"), "locked_until": N_("locked until"),
    "logs_in_with": N_("logs in with"), "method": N_("method"), "name": N_("name"),
    "no_longer_valid": N_("no longer valid"), "number": N_("number"), "open": N_("open items"),
    "os_user": N_("os user"), "payouts": N_("payouts"), "phone": N_("phone"), "proposed": N_("proposed"),
    "role": N_("role"), "signatures": N_("signatures"), "state": N_("state"), "step": N_("step"),
    "steps": N_("steps"), "timezone": N_("timezone"), "tournament_id": N_("tournament id"),
    "tournaments": N_("tournaments"), "zone": N_("zone"),
}  # fmt: skip
_ACTIONS = {
    "started": N_("started this payment"),
    "adopted": N_("adopted this payment of the platform"),
    "kept_by_platform": N_("accepted this payment as the platform's own"),
    "recovered": N_("rebuilt this payment, which our books had lost"),
    "cancel_requested": N_("requested its cancellation"),
    "participant_edited": N_("corrected the registration"),
    "person_erased": N_("erased the person's names and addresses"),
    "payment_moved": N_("moved this payment to another participant"),
}
#: Actions that are shown as they are stored, with spaces; for the catalogue.
_OTHER_ACTIONS = (
    N_("closing begun"), N_("closing step"), N_("closing skipped"), N_("closing signed"),
    N_("closing closed"), N_("operator added"), N_("operator changed"), N_("operator disabled"),
    N_("operator enabled"), N_("operator secret changed"), N_("operator locked"), N_("login refused"),
    N_("logged in"), N_("tournament added"), N_("fee set"), N_("fee removed"), N_("fee by day set"),
    N_("fee by day removed"), N_("refund policy set"), N_("payout matched"), N_("discrepancy resolved"),
    N_("event replayed"), N_("refund number, noted"),
)  # fmt: skip
#: Stored codes in words, by the field, for languages that have none of their own.
_WORDS: dict[str, dict[str, str]] = {
    "channel": {
        "kaspi_qr": "Kaspi QR", "kaspi_link": N_("link to the Kaspi app"), "kaspi_bill": N_("Kaspi bill"),
        "kaspi_remote": N_("Kaspi invoice to a phone"), "stripe_checkout": N_("Stripe's payment page"),
        "stripe_intent": N_("Stripe, in the app"),
    },
    "dispute": {
        "open": N_("open"), "withdrawn": N_("withheld"), "won": N_("won"), "lost": N_("lost"),
    },
    "how": wording.HOW,
    "logs_in_with": {"pin": "PIN", "token": N_("token")},
    "participant_status": {
        "REGISTERED": N_("REGISTERED"), "PAID": N_("PAID"), "CANCELLED": N_("CANCELLED"),
    },
    "event_state": {
        "pending": N_("waiting to be handled"), "dead": N_("given up"), "done": N_("handled"),
        "ignored": N_("not handled here"), "foreign": N_("of another system"),
    },
    "state": {"open": N_("still open"), "done": N_("finished"), "skipped": N_("skipped")},
    "status": wording.STATUSES,
}  # fmt: skip
#: Long and for programs alone: --json has it.
_UNSHOWN = ("proof",)
#: What a chain that belongs to no payment is about, by the beginning of its name.
_OF_NO_PAYMENT = {
    "closing": N_("Closing of a day"),
    "operator": N_("Operator"),
    "tournament": N_("Fees and refund policy of a tournament"),
    "payout": N_("Payout"),
}
_STATES = {
    "planned": N_("not sent yet"),
    "sent": N_("sent, no response seen"),
    "open": N_("created"),
    "never": N_("never created"),
}
_FLAWS = {
    "edited": N_("edited"),
    "missing": N_("missing"),
    "broken_link": N_("broken link"),
    "disagrees": N_("disagrees"),
    "no_chain": N_("no chain"),
    "no_payment": N_("no payment"),
    "seal": N_("seal"),
}


def trail_lines(trail: Trail) -> list[str]:
    """Return the lines that show a payment's audit trail."""
    kind = _OF_NO_PAYMENT.get(trail.payment_id.partition(":")[0])
    if kind is not None:
        lines = [console.bold(_(kind))]
    elif trail.view is None:
        lines = [console.bold(_("The payment itself was deleted; its audit trail remains"))]
    else:
        head = console.bold(console.clean(f"{trail.view.participant_name} · {trail.view.tournament_name}"))
        money, status = formats.money(trail.view.charged), wording.status(trail.view.status)
        lines = [f"{head}  {money}  {status}"]
    lines.append(console.dim(console.clean(trail.payment_id)))
    if trail.steps and trail.steps[0].link.seq > 1:
        older = counted("%(n)d older entry", "%(n)d older entries", trail.steps[0].link.seq - 1)
        lines.append(console.dim("  " + _("%(entries)s in the audit archive", entries=older)))
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
    note = f" \N{EN DASH} {_note(entry)}" if entry.note else ""
    head = f"{_actor(entry)}: {action}{note}"
    prefix = f"  {formats.exact_time(entry.at)}  {step.link.seq:>2}  "
    lines.append(console.wrap(prefix + console.clean(head), indent=" " * len(prefix)))
    rest = [_change(change) for change in step.changes if change.name not in _UNSHOWN]
    sources = {_("event"): entry.source_id, _("request"): entry.request_id}
    rest += [f"{name} {value}" for name, value in sources.items() if value]
    for line in rest:
        shown = console.wrap(" " * len(prefix) + console.clean(line), indent=" " * (len(prefix) + 2))
        lines.append(console.dim(shown))
    return lines


def _note(entry: AuditEntry) -> str:
    note = entry.note or ""
    if entry.action != "event_replayed":
        return wording.reason(note)
    kind, _comma, state = note.partition(", was ")
    return _("%(event)s, was %(state)s", event=kind, state=_value("event_state", state))


def show_findings(report: AuditReport) -> None:
    """Print what a verification found."""
    if report.is_sound:
        seals = counted("%(n)d seal", "%(n)d seals", report.seals)
        recomputed = ", " + _("%(seals)s recomputed", seals=seals) if report.seals else ""
        entries = counted("%(n)d entry", "%(n)d entries", report.entries)
        chains = counted("in %(n)d chain", "in %(n)d chains", report.chains)
        typer.echo(f"✓ {_('intact')}: {entries} {chains}{recomputed}")
        if report.erased:
            lost = counted("%(n)d entry", "%(n)d entries", report.erased)
            typer.echo(
                "  " + _("%(n)s lost names by person erase; what is left matches its signed record", n=lost)
            )
        if report.archives:
            typer.echo("  " + counted("with %(n)d archive", "with %(n)d archives", report.archives))
        elif report.archived:
            older = counted("%(n)d older entry", "%(n)d older entries", report.archived)
            unread = _("%(entries)s in archives not read: verify them with --archive DIR", entries=older)
            console.say(f"  {unread}", dim=True)
        return
    first, *others = report.findings
    console.say(_("✗ the first broken link: %(finding)s", finding=_finding(first)), fg="red", bold=True)
    for finding in others[:_SHOWN]:
        console.say(f"✗ {_finding(finding)}", fg="red")
    rest = len(others) - len(others[:_SHOWN]) + report.more
    if rest:
        console.say("  " + _("… and %(n)s more", n=rest))
    if first.payment_id is not None:
        console.hint(f"procomp-pay audit show {first.payment_id}")


def _finding(finding: Finding) -> str:
    if finding.payment_id is None:
        return console.clean(translated(finding.detail))
    position = ", " + _("entry %(n)s", n=finding.seq) if finding.seq is not None else ""
    chain = finding.payment_id
    if ":" not in chain:
        chain = _("payment %(payment)s", payment=chain)
    detail = translated(finding.detail)
    return console.clean(f"{chain}{position}: {_(_FLAWS[finding.flaw])}: {detail}")


def _actor(entry: AuditEntry) -> str:
    """Return who did it, and through which source."""
    where = _WHERE.get(entry.source)
    if where is None:
        return f"{entry.actor} ({entry.source})"
    return _(where, actor=entry.actor) if "%(" in where else _(where)


def _action(step: Step, view: PaymentView | None) -> str:
    """Return what happened."""
    if step.entry is None:
        return _("this entry is unreadable")
    if view is None or step.move is None:
        return _(step.entry.action.replace("_", " ").replace(":", ", "))
    own = _ACTIONS.get(step.entry.action)
    return _(own) if own is not None else wording.describe_action(step.move, view)


def _change(change: Change) -> str:
    """Return a change as ``refunded: 0.00 → 20.00``; a new value has no arrow."""
    name = _(_NAMES.get(change.name, change.name.replace("_", " ")))
    after = _value(change.name, change.after)
    if change.before is None:
        return f"{name}: {after}"
    return f"{name}: {_value(change.name, change.before)} → {after}"


def _value(name: str, value: Any) -> str:
    if value is None:
        return _("nothing")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if name == "create_state":
        return _(_STATES.get(value, str(value)))
    return str(value) if language() is Language.ENGLISH else _in_words(name, value)


def _in_words(name: str, value: Any) -> str:
    """Return a stored code in the reader's language; any other value as it is."""
    if isinstance(value, list):
        return ", ".join(_value(name, each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(name, each)}" for key, each in value.items())
    text = str(value)
    if name in ("step", "open"):
        from procomp_pay.cli.closing.tables import STEPS, item_text
        from procomp_pay.domain.closing import Step

        if name == "open":
            return item_text(text)
        return f"{_(STEPS[Step(text)])} ({text})" if text in list(Step) else text
    if name == "kind":
        return wording.kind(text)
    known = METHOD_NAMES if name == "method" else _WORDS.get(name.removeprefix("former_"), {})
    return _(known[text]) if text in known else wording.reason(text)
