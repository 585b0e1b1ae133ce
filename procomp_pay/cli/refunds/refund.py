"""``refund``: refund a payment, a part of it, or a whole tournament."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.completion import complete_tournament
from procomp_pay.cli.framework.context import (
    load_settings,
    named_payment,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.framework.options import (
    ApproveOption,
    AsOption,
    JsonOption,
    OptionalPaymentArgument,
    YesOption,
)
from procomp_pay.cli.refunds.options import RefundOptions, check
from procomp_pay.domain.errors import (
    Conflict,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
    Unavailable,
)
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.refunds.create import Plan, RefundCommand, Refunded
    from procomp_pay.services.refunds.policy import Proposal
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay refund PAYMENT --reason "injured"
  procomp-pay refund PAYMENT --amount 20 --reason "second category" --yes
  procomp-pay refund PAYMENT --reason "injured" --dry-run
  procomp-pay refund --tournament "Almaty Open" --all --reason "cancelled"
  procomp-pay refund PAYMENT --made-in-app 14001234567 --reason "injured"

The refund of a whole tournament can be stopped at any moment: the same command
continues it, and nothing is refunded twice.

Exit codes: 0 refunded or pending, 3 refused, 5 outcome not known yet or provider
unavailable (the refund is tracked), 6 some payments need manual review."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(refund)


def refund(
    payment: OptionalPaymentArgument = None,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The reason, for the audit trail; a terminal asks for it."),
    ] = None,
    amount: Annotated[
        str | None,
        typer.Option(metavar="20", help="Refund this amount. Default: by the refund policy, else all."),
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="USD", help="The currency of --amount. Default: the payment's.")
    ] = None,
    tournament: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="With --all: refund this tournament. Its name or id.",
            autocompletion=complete_tournament,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --tournament: refund all its payments.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be refunded; change nothing.")
    ] = False,
    yes: YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Refund despite an open dispute, or a number verified twice.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Repeating a request with its key refunds nothing twice."),
    ] = None,
    made_in_app: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Only record a refund made in the Kaspi Pay app: its operation number."
        ),
    ] = None,
    approve: ApproveOption = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refund a payment, a part of it, or a whole tournament.

    Shows a summary and asks for confirmation.
    """
    asks_reason = reason is None and not yes and not as_json and console.is_interactive()
    if reason is None and not asks_reason:
        raise typer.BadParameter(N_('give the reason, for the audit trail: --reason "…"'))
    options = RefundOptions(
        payment, "…" if reason is None else reason, amount, currency, tournament, everything, dry_run, yes,
        force, idempotency_key, made_in_app, acting, as_json, approve, asks_reason,
    )  # fmt: skip
    check(options)
    if made_in_app is not None:
        from procomp_pay.cli.refunds.manual import record

        record(str(payment), made_in_app, options)
    elif tournament is not None:
        from procomp_pay.cli.refunds.bulk import refund_all

        refund_all(tournament, options.with_reason())
    else:
        _refund_one(str(payment), options)


def _refund_one(payment: str, given: RefundOptions) -> None:
    from procomp_pay.cli.refunds import output

    settings = load_settings()
    actor, options = operator(given.acting), given
    errors: list[Unavailable] = []
    sent: list[str] = []

    async def work(ctx: AppContext) -> tuple[PaymentView, Refunded | None] | None:
        nonlocal options
        view, command, plan, proposal = await _plan(ctx, payment, given)
        show_mode_notice(settings, kaspi=view.channel.is_kaspi, as_json=given.as_json)
        options = given.with_reason()
        if plan is not None and options.dry_run:
            output.show_dry_run(view, plan, options, settings, proposal)
            return None
        if plan is not None and not options.yes:
            console.print_lines(output.summary(view, plan, options.reason, proposal), err=True)
            console.confirm(_("Refund %(money)s?", money=plan.money))
        sent.append(view.payment_id)
        command = replace(command, reason=options.reason, before=plan.before if plan else None)
        return view, await _send(
            ctx, command, actor, errors, name="Kaspi" if view.channel.is_kaspi else "Stripe"
        )

    try:
        result = run_with_context(work, settings=settings)
    except KeyboardInterrupt:
        if not sent:
            raise
        console.say(
            _(
                "\nStopped while the refund was being requested: it may still happen. "
                "Check before you repeat it."
            )
        )
        console.hint(f"procomp-pay status --payment {sent[0]}")
        raise typer.Exit(130) from None
    if result is None:
        return
    view, refunded = result
    if refunded is None or (errors and not options.as_json):
        raise errors[0]
    if options.as_json:
        detail = {"detail": errors[0].message} if errors else {}
        console.print_json(output.document(refunded, view, options, settings) | detail)
    else:
        output.show(refunded, view)
    if code := output.exit_code(refunded):
        raise typer.Exit(code)


async def _plan(
    ctx: AppContext, payment: str, options: RefundOptions
) -> tuple[PaymentView, RefundCommand, Plan | None, Proposal | None]:
    """Return the plan of a refund, by the refund policy if there is one; no plan if its idempotency key may
    belong to an earlier refund.

    :raises Conflict: by the policy nothing goes back.
    """
    from procomp_pay.services.refunds import create as use
    from procomp_pay.services.refunds.policy import propose
    from procomp_pay.services.views import payment as views

    named = await named_payment(
        ctx, payment, as_json=options.as_json, whole_name=options.yes and not options.dry_run
    )
    view = await views.one(ctx, named)
    proposal = await propose(ctx, view.payment_id, options.money(view))
    command = use.RefundCommand(
        view.payment_id,
        options.reason,
        options.money(view),
        options.idempotency_key,
        options.force,
        at_desk=True,
        proposed=proposal.money if proposal else None,
    )
    try:
        if proposal is not None:
            proposal.check(command)
        return view, command, await use.plan(ctx, command), proposal
    except Conflict:
        if options.idempotency_key is None or options.dry_run:
            raise
        return view, command, None, proposal  # the conflict may be the refund that this key made before
    except Refused:
        if proposal is not None and not options.as_json:  # it is made by hand, by the same rule
            console.say(
                _(
                    "Refund policy: %(rule)s, %(money)s",
                    rule=translated(proposal.rule),
                    money=formats.money(proposal.money),
                )
            )
        raise


async def _send(
    ctx: AppContext, command: RefundCommand, actor: Actor, errors: list[Unavailable], *, name: str
) -> Refunded | None:
    """Request the refund from the provider.

    :param name: of the provider.
    :param errors: receives the error when the outcome is unknown; the tracked refund is returned then.
    """
    from procomp_pay.cli.framework.progress import asking
    from procomp_pay.cli.refunds.output import say_unlisted, show_qr
    from procomp_pay.services.refunds import create as use
    from procomp_pay.services.refunds.customer_scan import customer_scan
    from procomp_pay.services.views import payment as views

    try:
        scan = await customer_scan(ctx, command.payment_id, show_qr, say_unlisted)
        async with asking(name, quiet=False):
            return await use.refund(ctx, replace(command, customer_scan=scan), actor)
    except (ProviderUnavailable, OutcomeUnknown) as error:
        errors.append(error)
        view = await views.one(ctx, command.payment_id)
        unknown = [refund for refund in view.refunds if refund.is_unknown]
        return await use.state_of(ctx, unknown[-1].refund_id) if unknown else None
