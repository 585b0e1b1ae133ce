"""A refund in the terminal: its summary, its QR, its result, and its JSON document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import mode_of
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import method_name

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import RefundOptions
    from procomp_pay.config import Settings
    from procomp_pay.providers.kaspi.refunds import RefundQr
    from procomp_pay.services.refunds.create import Plan, Refunded
    from procomp_pay.services.views.payment import PaymentView


def summary(view: PaymentView, plan: Plan, reason: str) -> list[str]:
    """Return what a refund will do, as lines to confirm."""
    when = f", {formats.clock_time(view.completed_at)}" if view.completed_at else ""
    unpaid = "" if plan.rest.amount or view.is_duplicate else "; the participant will count as unpaid"
    rows = [
        ("for", console.clean(wording.tournament(view))),
        ("paid", f"{plan.paid} by {method_name(view.method)}{when}"),
        *([("refunded", f"{plan.before} so far, pending included")] if plan.before.amount else []),
        ("refund", f"{console.bold(str(plan.money))} {plan.way}"),
        ("remains", f"{plan.rest}{unpaid}"),
        *([("dispute", f"{view.dispute.state}: the money may be returned twice")] if view.dispute else []),
        ("reason", console.clean(reason)),
        ("payment", view.payment_id),
    ]
    head = f"↩ {console.bold(console.clean(view.participant_name))}"
    return [head, *console.label_rows(rows)]


def show_dry_run(view: PaymentView, plan: Plan, options: RefundOptions, settings: Settings) -> None:
    """Print what a refund would do."""
    if not options.as_json:
        console.print_lines(summary(view, plan, options.reason))
        console.say("Dry run: nothing was refunded.", fg="yellow")
        return
    amounts = {"paid": plan.paid, "went_back": plan.before, "goes_back": plan.money, "stays": plan.rest}
    console.print_json(
        {"dry_run": True, "payment_id": plan.payment_id, "participant_id": plan.participant_id}
        | {name: money.amount for name, money in amounts.items()}
        | {
            "currency": plan.paid.currency.value,
            "way": plan.way,
            "reason": options.reason,
            "mode": mode_of(settings, view),
        }
    )


def show_qr(qr: RefundQr) -> None:
    """Print the refund QR for the customer on stderr; stdout is for the result."""
    from procomp_pay.cli.display import qr as drawing

    console.say(f"The customer must scan this in the Kaspi app within {qr.wait_s} seconds:")
    if sys.stderr.isatty() and drawing.can_draw():
        code = drawing.lines(drawing.picture(qr.token), ink_is_dark=False)
        console.print_lines((f"  {line}" for line in code), err=True)
    else:
        console.say(f"QR text {console.clean(qr.token)}")
    console.say("Waiting for the scan …", dim=True)


def say_unlisted() -> None:
    """Say that the payment is not among the purchases that Kaspi lists; Kaspi decides about the refund."""
    console.say(
        "This payment is not among the latest ten purchases of the customer who scanned. Kaspi is asked to "
        "refund it, and refuses if somebody else paid.",
        fg="yellow",
    )


def show(refund: Refunded, view: PaymentView) -> None:
    """Print the result of a refund."""
    name = console.clean(view.participant_name)
    reason = console.clean(refund.failure_reason or "no reason given")
    lines = {
        RefundState.SUCCEEDED: f"✓ {console.bold(str(refund.money))} refunded to {name}",
        RefundState.PENDING: f"… {console.bold(str(refund.money))} is on its way to {name}",
        RefundState.FAILED: f"✗ {refund.money} was not refunded: {reason}",
        RefundState.CANCELLED: f"✗ {refund.money} was not refunded: the refund was cancelled",
    }
    typer.echo(lines[refund.state])
    provider = "at Kaspi" if view.channel.is_kaspi else "at Stripe"
    rows = [
        ("refund", refund.refund_id),
        (provider, console.clean(refund.provider_refund_id or "not known yet")),
        ("payment", f"{refund.payment_id} {refund.payment_status}"),
    ]
    console.print_lines(console.label_rows(rows))
    if refund.state is RefundState.PENDING:
        known = refund.provider_refund_id is not None
        pending = "the bank is processing it" if known else "its outcome is not known yet"
        console.say(f"The refund is tracked: {pending}. Do not request it again.", fg="yellow")
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
