"""``refund --made-in-app``: record a refund that was made in the Kaspi Pay app."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import (
    load_settings,
    named_payment,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.refunds import output
from procomp_pay.domain.states import PaymentMethod

if TYPE_CHECKING:
    from procomp_pay.cli.refunds.options import RefundOptions
    from procomp_pay.domain.money import Money
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.refunds.create import Refunded
    from procomp_pay.services.views.payment import PaymentView


def record(payment: str, number: str, options: RefundOptions) -> None:
    """Ask for confirmation, then record the refund."""
    settings = load_settings()
    actor = operator(options.acting)

    async def work(ctx: AppContext) -> tuple[PaymentView, Refunded]:
        from procomp_pay.services.refunds import manual as use
        from procomp_pay.services.views import payment as views

        named = await named_payment(
            ctx, payment, as_json=options.as_json, whole_name=options.yes, method=PaymentMethod.KASPI_QR
        )
        view = await views.one(ctx, named)
        refund = use.MadeInApp(view.payment_id, number, options.reason, options.money(view))
        money = await use.check_made(ctx, refund)
        show_mode_notice(settings, kaspi=True, as_json=options.as_json)
        refund = replace(refund, reason=options.with_reason().reason)
        if not options.yes:
            _ask(view, number, money)
        return view, await use.record_made(ctx, refund, actor)

    view, recorded = run_with_context(work, settings=settings)
    if options.as_json:
        console.print_json(output.document(recorded, view, options, settings))
    else:
        output.show(recorded, view)


def _ask(view: PaymentView, number: str, money: Money) -> None:
    name, number = console.clean(view.participant_name), console.clean(number)
    console.say(
        _(
            "This records that %(money)s was refunded to %(name)s in the Kaspi Pay app, "
            "as operation %(number)s.",
            money=money,
            name=name,
            number=number,
        )
    )
    console.say(_("It moves no money. Record only what the app shows in its History."), fg="yellow")
    console.confirm(_("Record it?"))
