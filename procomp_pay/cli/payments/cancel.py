"""``cancel``: end a payment that was not paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    mode_of,
    operator,
    run_with_context,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.framework.options import AsOption, JsonOption, PaymentArgument, YesOption
from procomp_pay.domain.errors import Conflict

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay cancel PAYMENT
  procomp-pay cancel PAYMENT --yes --as aida

A Kaspi QR cannot be recalled: it is watched until Kaspi ends it, and money that
still comes through it is taken and reported."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(cancel)


def cancel(
    payment: PaymentArgument,
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a payment that was not paid."""
    console.check_can_ask(yes=yes, as_json=as_json)
    using = settings()
    actor = operator(acting)

    async def work(ctx: AppContext) -> PaymentView:
        from procomp_pay.services.lifecycle.cancel import cancel as end
        from procomp_pay.services.views import payment as views

        view = await views.one(ctx, payment)
        warn_of_play_money(using, kaspi=view.channel.is_kaspi, as_json=as_json)
        if not yes:
            _ask(view)
        await end(ctx, view.payment_id, actor)
        return await views.one(ctx, view.payment_id)

    view = run_with_context(work, using=using)
    if as_json:
        console.print_json(view.full() | {"provider_open": view.provider_open, "mode": mode_of(using, view)})
    else:
        _show(view)
    if view.completed_at is not None:
        if as_json:
            raise typer.Exit(3)
        raise Conflict(
            "The customer paid meanwhile: the payment is COMPLETED, not cancelled",
            next_step=f'procomp-pay refund {view.payment_id} --reason "…"',
        )


def _ask(view: PaymentView) -> None:
    from procomp_pay.cli.display.tables import status_lines

    console.print_lines(status_lines(view), err=True)
    console.confirm(f"Cancel the payment of {view.charged} for {console.clean(view.participant_name)}?")


def _show(view: PaymentView) -> None:
    from procomp_pay.cli.display.tables import status_lines

    console.print_lines(status_lines(view))
    if view.provider_open and view.channel.is_kaspi and not view.channel.recallable:
        until = f" until {formats.clock_time(view.expires_at)}" if view.expires_at else ""
        console.say(
            f"Kaspi cannot recall a QR: it lives{until} and is watched. Take it out of the customer's sight.",
            fg="yellow",
        )
