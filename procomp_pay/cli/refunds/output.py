"""A refund in the terminal: its summary, its QR, its result, and its JSON document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import mode_of
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import RefundOptions
    from procomp_pay.config import Settings
    from procomp_pay.providers.kaspi.refunds import RefundQr
    from procomp_pay.services.refunds.create import Plan, Refunded
    from procomp_pay.services.refunds.policy import Proposal
    from procomp_pay.services.views.payment import PaymentView


def summary(view: PaymentView, plan: Plan, reason: str, proposal: Proposal | None) -> list[str]:
    """Return what a refund will do, as lines to confirm.

    :param proposal: what the refund policy says, if there is one.
    """
    when = f", {formats.clock_time(view.completed_at)}" if view.completed_at else ""
    unpaid = "" if plan.rest.amount or view.is_duplicate else _("; the participant will count as unpaid")
    rows = [
        (_("for"), console.clean(wording.tournament(view))),
        (
            _("paid"),
            _("%(money)s by %(method)s%(when)s", money=plan.paid, method=method_name(view.method), when=when),
        ),
        *(
            [(_("refunded"), _("%(money)s so far, pending included", money=plan.before))]
            if plan.before.amount
            else []
        ),
        (_("refund"), f"{console.bold(formats.money(plan.money))} {translated(plan.way)}"),
        *([(_("policy"), _policy(plan, proposal))] if proposal else []),
        (_("remains"), f"{formats.money(plan.rest)}{unpaid}"),
        *(
            [(_("dispute"), _("%(state)s: the money may be returned twice", state=view.dispute.state))]
            if view.dispute
            else []
        ),
        (_("reason"), console.clean(reason)),
        (_("payment"), view.payment_id),
    ]
    head = f"↩ {console.bold(console.clean(view.participant_name))}"
    return [head, *console.label_rows(rows)]


def _policy(plan: Plan, proposal: Proposal) -> str:
    rule = translated(proposal.rule)
    if plan.money == proposal.money:
        return rule
    return _("%(rule)s: it would be %(money)s", rule=rule, money=formats.money(proposal.money))


def show_dry_run(
    view: PaymentView, plan: Plan, options: RefundOptions, settings: Settings, proposal: Proposal | None
) -> None:
    """Print what a refund would do."""
    if not options.as_json:
        console.print_lines(summary(view, plan, options.reason, proposal))
        console.say(_("Dry run: nothing was refunded."), fg="yellow")
        return
    amounts = {"paid": plan.paid, "went_back": plan.before, "goes_back": plan.money, "stays": plan.rest}
    console.print_json(
        {"dry_run": True, "payment_id": plan.payment_id, "participant_id": plan.participant_id}
        | {name: money.amount for name, money in amounts.items()}
        | {
            "currency": plan.paid.currency.value,
            "way": plan.way,
            "policy": {"rule": proposal.rule, "goes_back": proposal.money.amount} if proposal else None,
            "reason": options.reason,
            "mode": mode_of(settings, view),
        }
    )


def show_qr(qr: RefundQr) -> None:
    """Print the refund QR for the customer on stderr; stdout is for the result."""
    from procomp_pay.cli.display import qr as drawing

    console.say(_("The customer must scan this in the Kaspi app within %(n)s seconds:", n=qr.wait_s))
    if sys.stderr.isatty() and drawing.can_draw():
        code = drawing.lines(drawing.picture(qr.token), ink_is_dark=False)
        console.print_lines((f"  {line}" for line in code), err=True)
    else:
        console.say(_("QR text %(token)s", token=console.clean(qr.token)))
    console.say(_("Waiting for the scan …"), dim=True)


def say_unlisted() -> None:
    """Say that the payment is not among the purchases that Kaspi lists; Kaspi decides about the refund."""
    console.say(
        _(
            "This payment is not among the latest ten purchases of the customer who scanned. "
            "Kaspi is asked to refund it, and refuses if somebody else paid."
        ),
        fg="yellow",
    )


def show(refund: Refunded, view: PaymentView) -> None:
    """Print the result of a refund."""
    name, money = console.clean(view.participant_name), console.bold(formats.money(refund.money))
    reason = console.clean(wording.reason(refund.failure_reason or N_("no reason given")))
    lines = {
        RefundState.SUCCEEDED: _("✓ %(money)s refunded to %(name)s", money=money, name=name),
        RefundState.PENDING: _("… %(money)s is on its way to %(name)s", money=money, name=name),
        RefundState.FAILED: _("✗ %(money)s was not refunded: %(reason)s", money=refund.money, reason=reason),
        RefundState.CANCELLED: _(
            "✗ %(money)s was not refunded: the refund was cancelled", money=refund.money
        ),
    }
    typer.echo(lines[refund.state])
    provider = _("at Kaspi") if view.channel.is_kaspi else _("at Stripe")
    rows = [
        (_("refund"), refund.refund_id),
        (provider, console.clean(refund.provider_refund_id or _("not known yet"))),
        (_("payment"), f"{refund.payment_id} {wording.status(refund.payment_status)}"),
    ]
    console.print_lines(console.label_rows(rows))
    if refund.state is RefundState.PENDING:
        known = refund.provider_refund_id is not None
        pending = _("the bank is processing it") if known else _("its outcome is not known yet")
        console.say(
            _("The refund is tracked: %(pending)s. Do not request it again.", pending=pending), fg="yellow"
        )
        console.hint(f"procomp-pay status --payment {refund.payment_id}")


def document(
    refund: Refunded, view: PaymentView, options: RefundOptions, settings: Settings
) -> dict[str, Any]:
    """Return the JSON document of a refund."""
    return {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "state": refund.state.value,
        "amount": refund.money.amount,
        "currency": refund.money.currency.value,
        "reason": options.reason,
        "provider_refund_id": refund.provider_refund_id,
        "failure_reason": refund.failure_reason,
        "payment_status": refund.payment_status.value,
        "mode": mode_of(settings, view),
    }


def exit_code(refund: Refunded) -> int:
    """Return 0 if the provider accepted the refund, 5 while that is unknown, 3 if it failed."""
    if refund.state is RefundState.SUCCEEDED:
        return 0
    if refund.state is RefundState.PENDING:
        return 0 if refund.provider_refund_id else 5
    return 3
