"""``cancel``: end a payment that was not paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    is_interactive,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
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
    payment: Annotated[str, typer.Argument(help="The payment's id or code.", metavar="PAYMENT")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a payment that was not paid."""
    if not yes and (as_json or not is_interactive()):
        raise typer.BadParameter("there is nobody to ask here: say --yes if you mean it")
    using = settings()
    actor = operator(acting)

    async def look(ctx: AppContext) -> PaymentView:
        from procomp_pay.services.views import payment as views

        return await views.one(ctx, payment)

    async def work(ctx: AppContext) -> PaymentView:
        from procomp_pay.services.lifecycle.cancel import cancel as end

        await end(ctx, (await look(ctx)).payment_id, actor)
        return await look(ctx)

    view = run_with_context(look, using=using)
    warn_of_play_money(using, kaspi=view.channel.is_kaspi, as_json=as_json)
    if not yes:
        _ask(view)
    view = run_with_context(work, using=using)
    mode = using.kaspi_mode if view.channel.is_kaspi else using.stripe_mode
    if as_json:
        print_json(view.full() | {"provider_open": view.provider_open, "mode": mode.value})
    else:
        _show(view)
    if view.completed_at is not None:
        raise (
            Conflict(
                "The customer paid meanwhile: the payment is COMPLETED, not cancelled",
                next_step=f'procomp-pay refund {view.payment_id} --reason "…"',
            )
            if not as_json
            else typer.Exit(3)
        )


def _ask(view: PaymentView) -> None:
    from procomp_pay.cli.payments.tables import status_lines

    for line in status_lines(view):
        typer.echo(line, err=True)
    question = f"Cancel the payment of {view.charged} for {clean(view.participant_name)}?"
    if not typer.confirm(question, default=False, err=True):
        say("Left as it is.", fg="yellow")
        raise typer.Exit(3)


def _show(view: PaymentView) -> None:
    from procomp_pay.cli.payments import wording
    from procomp_pay.cli.payments.tables import status_lines

    for line in status_lines(view):
        typer.echo(line)
    if view.provider_open and view.channel.is_kaspi and not view.channel.recallable:
        until = f" until {wording.clock_time(view.expires_at)}" if view.expires_at else ""
        say(
            f"Kaspi cannot recall a QR: it lives{until} and is watched. Take it out of the customer's sight.",
            fg="yellow",
        )
