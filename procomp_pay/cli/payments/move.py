"""``payment move``: give a payment that was taken for the wrong participant to the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.completion import complete_participant
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_of,
    named_participant,
    named_payment,
    operator,
    run_with_context,
)
from procomp_pay.cli.framework.options import AsOption, JsonOption, PaymentArgument, YesOption

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.registrations.participants import ParticipantView
    from procomp_pay.services.views.payment import PaymentView

payments = typer.Typer(no_args_is_help=True, help="Correct a payment.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(payments, name="payment")


@payments.callback()
def group() -> None:
    """Correct a payment."""


@payments.command("move")
def move(
    payment: PaymentArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="PARTICIPANT",
            help="Whose fee it is: a name, an id, or a payment's code.",
            autocompletion=complete_participant,
            show_default=False,
        ),
    ],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for the audit trail.", show_default=False)
    ],
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a paid payment to another participant of the same tournament, who has not paid.

    For the wrong child: the one it was taken for is unpaid again. No money moves.

    procomp-pay payment move PAYMENT --to PARTICIPANT --reason "the brother"
    """
    console.check_can_ask(yes=yes, as_json=as_json)
    settings, actor = load_settings(), operator(acting)

    async def work(ctx: AppContext) -> tuple[PaymentView, PaymentView, bool]:
        from procomp_pay.services.registrations.participants import participant_view
        from procomp_pay.services.settlement.move import move_payment
        from procomp_pay.services.views import payment as views

        before = await views.one(ctx, await named_payment(ctx, payment, as_json=as_json, whole_name=yes))
        key = await named_participant(ctx, to, as_json=as_json, whole_name=yes)
        if not yes:
            _ask(before, await participant_view(ctx, key))
        is_due = await move_payment(
            ctx, before.payment_id, key, actor, reason=reason, former_id=before.participant_id
        )
        return before, await views.one(ctx, before.payment_id), is_due

    before, view, is_due = run_with_context(work, settings=settings)
    if as_json:
        more = {"moved_from": before.participant_id, "mode": mode_of(settings, view)}
        console.print_json(view.full() | more)
        return
    console.say(console.clean(f"The payment of {view.charged} is {view.participant_name}'s now"), fg="green")
    if is_due:
        console.say(console.clean(f"{before.participant_name} has not paid"), fg="yellow")
        console.say(f"→ procomp-pay initiate {before.participant_id} --method kaspi_qr", dim=True)


def _ask(view: PaymentView, target: ParticipantView) -> None:
    from procomp_pay.cli.display.tables import status_lines

    console.print_lines(status_lines(view), err=True)
    kind = f", {target.category}" if target.category else ""
    names = f"from {view.participant_name} to {target.full_name} ({target.participant_id}{kind})"
    console.confirm(console.clean(f"Move the payment of {view.charged} {names}?"))
