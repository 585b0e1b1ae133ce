"""``cancel``: cancel an unpaid payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_of,
    named_payment,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import AsOption, JsonOption, PaymentArgument, YesOption
from procomp_pay.domain.errors import Conflict
from procomp_pay.domain.states import OPEN_STATUSES, PaymentStatus
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay cancel PAYMENT
  procomp-pay cancel PAYMENT --yes --as aida

A Kaspi QR cannot be recalled: it is polled until it expires at Kaspi, and a payment
that still arrives is booked and reported."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(cancel)


def cancel(
    payment: PaymentArgument,
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel an unpaid payment."""
    console.check_can_ask(yes=yes, as_json=as_json)
    settings = load_settings()
    actor = operator(acting)

    async def work(ctx: AppContext) -> PaymentView:
        from procomp_pay.cli.display.wording import provider
        from procomp_pay.cli.framework.progress import asking
        from procomp_pay.services.lifecycle.cancel import cancel as cancel_payment
        from procomp_pay.services.views import payment as views

        named = await named_payment(ctx, payment, as_json=as_json, whole_name=yes)
        view = await views.one(ctx, named)
        show_mode_notice(settings, kaspi=view.channel.is_kaspi, as_json=as_json)
        if not yes and view.status in (*OPEN_STATUSES, PaymentStatus.FAILED):  # any other is refused
            _ask(view)
        async with asking(provider(view), quiet=as_json):
            await cancel_payment(ctx, view.payment_id, actor)
        return await views.one(ctx, view.payment_id)

    view = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(
            view.full() | {"provider_open": view.provider_open, "mode": mode_of(settings, view)}
        )
    else:
        _show(view)
    if view.completed_at is not None:
        if as_json:
            raise typer.Exit(3)
        raise Conflict(
            N_("The customer has paid in the meantime: the payment is COMPLETED, not cancelled"),
            next_step=f'procomp-pay refund {view.payment_id} --reason "…"',
        )


def _ask(view: PaymentView) -> None:
    from procomp_pay.cli.display.tables import status_lines

    console.print_lines(status_lines(view), err=True)
    console.confirm(
        _(
            "Cancel the payment of %(charged)s for %(name)s?",
            charged=view.charged,
            name=console.clean(view.participant_name),
        )
    )


def _show(view: PaymentView) -> None:
    from procomp_pay.cli.display.tables import status_lines

    console.print_lines(status_lines(view))
    if view.provider_open and view.channel.is_kaspi and not view.channel.recallable:
        until = _(" until %(time)s", time=formats.clock_time(view.expires_at)) if view.expires_at else ""
        console.say(
            _(
                "Kaspi cannot recall a QR: it stays valid%(until)s. Do not show it to the customer any more.",
                until=until,
            ),
            fg="yellow",
        )
