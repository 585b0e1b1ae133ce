"""``refund --made-in-app``: record what a person gave back in the Kaspi Pay app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import (
    clean,
    operator,
    print_json,
    say,
    settings,
    warn_of_play_money,
    with_desk,
)
from procomp_pay.cli.refunds.refund import document, mode_of, money_of, show

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import Wish
    from procomp_pay.domain.money import Money
    from procomp_pay.services.context import Desk
    from procomp_pay.services.refunds.create import Refunded
    from procomp_pay.services.refunds.manual import MadeInApp
    from procomp_pay.services.views.payment import PaymentView


def record(payment: str, number: str, amount: str | None, currency: str | None, wish: Wish) -> None:
    """Show what will be written down, ask, write it down."""
    using = settings()
    actor = operator(wish.acting)

    async def look(desk: Desk) -> tuple[PaymentView, MadeInApp, Money]:
        from procomp_pay.services.refunds import manual as use
        from procomp_pay.services.views import payment as views

        view = await views.one(desk, payment)
        made = use.MadeInApp(view.payment_id, number, wish.reason, money_of(view, amount, currency))
        return view, made, await use.check_made(desk, made)

    view, made, money = with_desk(look, using=using)
    warn_of_play_money(using, kaspi=True, as_json=wish.as_json)
    if not wish.yes:
        _ask(view, number, money)

    async def work(desk: Desk) -> Refunded:
        from procomp_pay.services.refunds import manual as use

        return await use.record_made(desk, made, actor)

    done = with_desk(work, using=using)
    if wish.as_json:
        print_json(document(done, wish, mode_of(using, view)))
    else:
        show(done, view)


def _ask(view: PaymentView, number: str, money: Money) -> None:
    name, number = clean(view.participant_name), clean(number)
    say(f"Recorded is that {money} went back to {name} in the Kaspi Pay app, as operation {number}.")
    say("This pays nothing back: only record what stands in the app's History.", fg="yellow")
    if not typer.confirm("Record it?", default=False, err=True):
        say("Left as it is.", fg="yellow")
        raise typer.Exit(3)
