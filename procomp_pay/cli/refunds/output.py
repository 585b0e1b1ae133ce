"""A refund in the terminal: the summary before it, its result, its QR, its document for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import mode_of
from procomp_pay.domain.refunds import RefundState

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import RefundOptions
    from procomp_pay.config import Settings
    from procomp_pay.providers.kaspi.refunds import RefundQr
    from procomp_pay.services.refunds.create import Plan, Refunded
    from procomp_pay.services.views.payment import PaymentView


def summary(view: PaymentView, plan: Plan, reason: str) -> list[str]:
    """What a refund will do, for the person who is asked."""
    when = f", {formats.clock_time(view.completed_at)}" if view.completed_at else ""
    free = "" if plan.rest.amount or view.is_duplicate else "; the participant has not paid any more then"
    rows = [
        ("for", console.clean(wording.tournament(view))),
        ("paid", f"{plan.paid} by {wording.METHODS[view.method]}{when}"),
        *([("went back", f"{plan.before} before, or on its way")] if plan.before.amount else []),
        ("goes back", f"{console.bold(str(plan.money))} {plan.way}"),
        ("stays", f"{plan.rest}{free}"),
        *([("dispute", f"{view.dispute.state}: it may go back twice")] if view.dispute else []),
        ("reason", console.clean(reason)),
        ("payment", view.payment_id),
    ]
    head = f"↩ {console.bold(console.clean(view.participant_name))}"
    return [head, *console.label_rows(rows)]


def show_dry_run(view: PaymentView, plan: Plan, options: RefundOptions, settings: Settings) -> None:
    if not options.as_json:
        console.print_lines(summary(view, plan, options.reason))
        console.say("Dry run: nothing was done.", fg="yellow")
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
    """The refund QR for the customer, on stderr: stdout holds the result alone."""
    from procomp_pay.cli.display import qr as drawing

    console.say(f"The customer scans this in the Kaspi app, within {qr.wait_s} seconds:")
    if sys.stderr.isatty() and drawing.can_draw():
        code = drawing.lines(drawing.picture(qr.token), ink_is_dark=False)
        console.print_lines((f"  {line}" for line in code), err=True)
    else:
        console.say(f"QR text {console.clean(qr.token)}")
    console.say("Waiting for the scan …", dim=True)


def show(done: Refunded, view: PaymentView) -> None:
    name = console.clean(view.participant_name)
    why = console.clean(done.failure_reason or "no reason given")
    says = {
        RefundState.SUCCEEDED: f"✓ {console.bold(str(done.money))} went back to {name}",
        RefundState.PENDING: f"… {console.bold(str(done.money))} is on its way back to {name}",
        RefundState.FAILED: f"✗ {done.money} did not go back: {why}",
        RefundState.CANCELLED: f"✗ {done.money} did not go back: the refund was cancelled",
    }
    typer.echo(says[done.state])
    provider = "at Kaspi" if view.channel.is_kaspi else "at Stripe"
    rows = [
        ("refund", done.refund_id),
        (provider, console.clean(done.provider_refund_id or "not known yet")),
        ("payment", f"{done.payment_id} {done.payment_status}"),
    ]
    console.print_lines(console.label_rows(rows))
    if done.state is RefundState.PENDING:
        why = "the bank takes its time" if done.provider_refund_id else "its outcome is not known yet"
        console.say(f"It is followed up: {why}. Do not ask for it again.", fg="yellow")
        console.hint(f"procomp-pay status --payment {done.payment_id}")


def document(done: Refunded, view: PaymentView, options: RefundOptions, settings: Settings) -> dict[str, Any]:
    return {
        "refund_id": done.refund_id,
        "payment_id": done.payment_id,
        "state": done.state.value,
        "amount": done.money.amount,
        "currency": done.money.currency.value,
        "reason": options.reason,
        "provider_refund_id": done.provider_refund_id,
        "failure_reason": done.failure_reason,
        "payment_status": done.payment_status.value,
        "mode": mode_of(settings, view),
    }


def exit_code(done: Refunded) -> int:
    """0 where the provider has taken it, 5 while that is unknown, 3 where it came to nothing."""
    if done.state is RefundState.SUCCEEDED:
        return 0
    if done.state is RefundState.PENDING:
        return 0 if done.provider_refund_id else 5
    return 3
