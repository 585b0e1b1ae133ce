"""``refund --made-in-app``: record what a person gave back in the Kaspi Pay app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import (
    clean,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.refunds.refund import document, mode_of, money_of, show

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import RefundOptions
    from procomp_pay.domain.money import Money
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.refunds.create import Refunded
    from procomp_pay.services.refunds.manual import MadeInApp
    from procomp_pay.services.views.payment import PaymentView


def record(
    payment: str, number: str, amount: str | None, currency: str | None, options: RefundOptions
) -> None:
    """Show what will be written down, ask, write it down."""
    using = settings()
    actor = operator(options.acting)

    async def look(ctx: AppContext) -> tuple[PaymentView, MadeInApp, Money]:
        from procomp_pay.services.refunds import manual as use
        from procomp_pay.services.views import payment as views

        view = await views.one(ctx, payment)
        made = use.MadeInApp(view.payment_id, number, options.reason, money_of(view, amount, currency))
        return view, made, await use.check_made(ctx, made)

    view, made, money = run_with_context(look, using=using)
    warn_of_play_money(using, kaspi=True, as_json=options.as_json)
    if not options.yes:
        _ask(view, number, money)

    async def work(ctx: AppContext) -> Refunded:
        from procomp_pay.services.refunds import manual as use

        return await use.record_made(ctx, made, actor)

    done = run_with_context(work, using=using)
    if options.as_json:
        print_json(document(done, options, mode_of(using, view)))
    else:
        show(done, view)


def _ask(view: PaymentView, number: str, money: Money) -> None:
    name, number = clean(view.participant_name), clean(number)
    say(f"Recorded is that {money} went back to {name} in the Kaspi Pay app, as operation {number}.")
    say("This pays nothing back: only record what stands in the app's History.", fg="yellow")
    if not typer.confirm("Record it?", default=False, err=True):
        say("Left as it is.", fg="yellow")
        raise typer.Exit(3)
