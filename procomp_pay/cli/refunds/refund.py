"""``refund``: give money back, for one payment or for a whole tournament."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context, show_mode_notice
from procomp_pay.cli.framework.options import AsOption, JsonOption, OptionalPaymentArgument, YesOption
from procomp_pay.cli.refunds.options import RefundOptions, check
from procomp_pay.domain.errors import Conflict, OutcomeUnknown, ProviderUnavailable, Unavailable

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.refunds.create import Plan, RefundCommand, Refunded
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay refund PAYMENT --reason "injured"
  procomp-pay refund PAYMENT --amount 20 --reason "second category" --yes
  procomp-pay refund PAYMENT --reason "injured" --dry-run
  procomp-pay refund --tournament "Almaty Open" --all --reason "cancelled"
  procomp-pay refund PAYMENT --made-in-app 14001234567 --reason "injured"

A whole tournament may be stopped or killed at any moment: the same command goes
on where it was, and nothing goes back twice.
Exit codes: 0 back or on its way, 3 refused, 5 not known yet or not available
(kept, followed up), 6 some payments need a person."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(refund)


def refund(
    payment: OptionalPaymentArgument = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept in the audit.")] = None,
    amount: Annotated[
        str | None, typer.Option(metavar="20", help="A part of it. Default: all that is left.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="USD", help="What --amount is in. Default: what was paid.")
    ] = None,
    tournament: Annotated[
        str | None, typer.Option(metavar="ID", help="With --all: every paid payment of it. Id or name.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --tournament: pay back every payment of it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go back, do nothing.")] = False,
    yes: YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while a dispute is open: it may go back twice.")
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key never pays back a second time.")
    ] = None,
    made_in_app: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Record a refund made in the Kaspi Pay app: its operation number."
        ),
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pay money back: one payment, a part of it, or a whole tournament.

    It shows what it will do and asks before it does it.
    """
    if reason is None:
        raise typer.BadParameter('say why, for the audit: --reason "…"')
    options = RefundOptions(
        payment, reason, amount, currency, tournament, everything, dry_run, yes, force, idempotency_key,
        made_in_app, acting, as_json,
    )  # fmt: skip
    check(options)
    if made_in_app is not None:
        from procomp_pay.cli.refunds.manual import record

        record(str(payment), made_in_app, options)
    elif tournament is not None:
        from procomp_pay.cli.refunds.bulk import refund_all

        refund_all(tournament, options)
    else:
        _refund_one(str(payment), options)


def _refund_one(payment: str, options: RefundOptions) -> None:
    from procomp_pay.cli.refunds import output

    settings = load_settings()
    actor = operator(options.acting)
    trouble: list[Unavailable] = []
    sent: list[str] = []

    async def work(ctx: AppContext) -> tuple[PaymentView, Refunded | None] | None:
        view, order, plan = await _plan(ctx, payment, options)
        show_mode_notice(settings, kaspi=view.channel.is_kaspi, as_json=options.as_json)
        if plan is not None and options.dry_run:
            output.show_dry_run(view, plan, options, settings)
            return None
        if plan is not None and not options.yes:
            console.print_lines(output.summary(view, plan, options.reason), err=True)
            console.confirm(f"Pay {plan.money} back?")
        sent.append(view.payment_id)
        return view, await _send(ctx, replace(order, before=plan.before if plan else None), actor, trouble)

    try:
        result = run_with_context(work, settings=settings)
    except KeyboardInterrupt:
        if not sent:
            raise
        console.say(
            "\nStopped while it was being asked for: it may go back all the same. Look before you ask again."
        )
        console.hint(f"procomp-pay status --payment {sent[0]}")
        raise typer.Exit(130) from None
    if result is None:
        return
    view, done = result
    if done is None or (trouble and not options.as_json):
        raise trouble[0]
    if options.as_json:
        told = {"detail": trouble[0].message} if trouble else {}
        console.print_json(output.document(done, view, options, settings) | told)
    else:
        output.show(done, view)
    if code := output.exit_code(done):
        raise typer.Exit(code)


async def _plan(
    ctx: AppContext, payment: str, options: RefundOptions
) -> tuple[PaymentView, RefundCommand, Plan | None]:
    """Return what would be done; no plan where an idempotency key may name a refund that was made before."""
    from procomp_pay.services.refunds import create as use
    from procomp_pay.services.views import payment as views

    view = await views.one(ctx, payment)
    order = use.RefundCommand(
        view.payment_id,
        options.reason,
        options.money(view),
        options.idempotency_key,
        options.force,
        at_desk=True,
    )
    try:
        return view, order, await use.plan(ctx, order)
    except Conflict:
        if options.idempotency_key is None or options.dry_run:
            raise
        return view, order, None  # it may be the key's own refund that stands in the way


async def _send(
    ctx: AppContext, order: RefundCommand, actor: Actor, trouble: list[Unavailable]
) -> Refunded | None:
    """Ask the provider for the refund.

    :param trouble: gets the error where the outcome is unknown; the refund is kept then, and returned.
    """
    from procomp_pay.cli.refunds.output import show_qr
    from procomp_pay.services.refunds import create as use
    from procomp_pay.services.refunds.customer_scan import customer_scan
    from procomp_pay.services.views import payment as views

    try:
        scan = await customer_scan(ctx, order.payment_id, show_qr)
        return await use.refund(ctx, replace(order, customer_scan=scan), actor)
    except (ProviderUnavailable, OutcomeUnknown) as error:
        trouble.append(error)
        now = await views.one(ctx, order.payment_id)
        kept = [each for each in now.refunds if each.is_unknown]
        return await use.state_of(ctx, kept[-1].refund_id) if kept else None
