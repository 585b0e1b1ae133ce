"""``refund``: give money back, for one payment or for a whole tournament."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    hint,
    is_interactive,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.refunds.options import RefundOptions
from procomp_pay.domain.errors import Conflict, OutcomeUnknown, ProviderUnavailable, Unavailable

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.domain.money import Money
    from procomp_pay.providers.kaspi.refunds import RefundQr
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
    payment: Annotated[
        str | None, typer.Argument(help="The payment's id or code.", metavar="PAYMENT")
    ] = None,
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
    options = RefundOptions(reason, yes, dry_run, as_json, acting)
    whole = tournament is not None or everything
    if whole and (payment or amount or currency or force or idempotency_key):
        raise typer.BadParameter("--tournament --all stands alone: no PAYMENT, part, --force or key with it")
    if whole and not (tournament and everything):
        raise typer.BadParameter("a whole tournament is named by both: --tournament ID --all")
    if not whole and payment is None:
        raise typer.BadParameter("name a PAYMENT, or a whole tournament with --tournament ID --all")
    if currency is not None and amount is None:
        raise typer.BadParameter("--currency goes with --amount")
    if not (yes or dry_run) and (as_json or not is_interactive()):
        raise typer.BadParameter("there is nobody to ask here: say --yes if you mean it, or --dry-run")
    if made_in_app is not None:
        if whole or force or idempotency_key or dry_run:
            raise typer.BadParameter("--made-in-app goes with PAYMENT, --amount and --reason alone")
        from procomp_pay.cli.refunds.manual import record

        record(str(payment), made_in_app, amount, currency, options)
        return
    if tournament is not None:
        from procomp_pay.cli.refunds.bulk import refund_all

        refund_all(tournament, options)
    else:
        _refund_one(str(payment), options, amount, currency, force=force, key=idempotency_key)


def _refund_one(
    payment: str,
    options: RefundOptions,
    amount: str | None,
    currency: str | None,
    *,
    force: bool,
    key: str | None,
) -> None:
    using = settings()
    actor = operator(options.acting)

    async def look(ctx: AppContext) -> tuple[PaymentView, RefundCommand, Plan | None]:
        from procomp_pay.services.refunds import create as use
        from procomp_pay.services.views import payment as views

        view = await views.one(ctx, payment)
        order = use.RefundCommand(
            view.payment_id, options.reason, money_of(view, amount, currency), key, force, at_desk=True
        )
        try:
            return view, order, await use.plan(ctx, order)
        except Conflict:
            if key is None or options.dry_run:
                raise
            return view, order, None  # it may be the key's own refund that stands in the way

    view, order, plan = run_with_context(look, using=using)
    warn_of_play_money(using, kaspi=view.channel.is_kaspi, as_json=options.as_json)
    mode = mode_of(using, view)
    if options.dry_run and plan is not None:
        _show_dry_run(view, plan, options, mode)
        return
    if not options.yes and plan is not None:
        _ask(view, plan, options)
    _act(replace(order, before=plan.before if plan else None), actor, using, options, view)


def money_of(view: PaymentView, amount: str | None, currency: str | None) -> Money | None:
    from procomp_pay.domain.money import Money

    return None if amount is None else Money.parse(amount, currency or view.charged.currency)


def mode_of(using: Settings, view: PaymentView) -> str:
    return (using.kaspi_mode if view.channel.is_kaspi else using.stripe_mode).value


def _act(
    order: RefundCommand, actor: Actor, using: Settings, options: RefundOptions, view: PaymentView
) -> None:
    trouble: list[Unavailable] = []

    async def work(ctx: AppContext) -> Refunded | None:
        from procomp_pay.services.refunds import create as use
        from procomp_pay.services.refunds.customer_scan import customer_scan
        from procomp_pay.services.views import payment as views

        try:
            scan = await customer_scan(ctx, order.payment_id, _show_qr)
            return await use.refund(ctx, replace(order, customer_scan=scan), actor)
        except (ProviderUnavailable, OutcomeUnknown) as error:
            trouble.append(error)
            now = await views.one(ctx, order.payment_id)
            kept = [each for each in now.refunds if each.is_unknown]
            return await use.state_of(ctx, kept[-1].refund_id) if kept else None

    try:
        done = run_with_context(work, using=using)
    except KeyboardInterrupt:
        say("\nStopped while it was being asked for: it may go back all the same. Look before you ask again.")
        hint(f"procomp-pay status --payment {order.payment_id}")
        raise typer.Exit(130) from None
    if done is None or (trouble and not options.as_json):
        raise trouble[0]
    if options.as_json:
        told = {"detail": trouble[0].message} if trouble else {}
        print_json(document(done, options, mode_of(using, view)) | told)
    else:
        show(done, view)
    if code := exit_code(done):
        raise typer.Exit(code)


def _show_qr(qr: RefundQr) -> None:
    """The refund QR for the customer, on stderr: stdout holds the result alone."""
    from procomp_pay.cli.payments import qr as drawing

    say(f"The customer scans this in the Kaspi app, within {qr.wait_s} seconds:")
    if sys.stderr.isatty() and drawing.can_draw():
        for line in drawing.lines(drawing.picture(qr.token), ink_is_dark=False):
            typer.echo(f"  {line}", err=True)
    else:
        say(f"QR text {clean(qr.token)}")
    say("Waiting for the scan …", dim=True)


def exit_code(done: Refunded) -> int:
    """0 where the provider has taken it, 5 while that is unknown, 3 where it came to nothing."""
    from procomp_pay.domain.refunds import RefundState

    if done.state is RefundState.SUCCEEDED:
        return 0
    if done.state is RefundState.PENDING:
        return 0 if done.provider_refund_id else 5
    return 3


def document(done: Refunded, options: RefundOptions, mode: str) -> dict[str, Any]:
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
        "mode": mode,
    }


def _show_dry_run(view: PaymentView, plan: Plan, options: RefundOptions, mode: str) -> None:
    if not options.as_json:
        for line in summary(view, plan, options.reason):
            typer.echo(line)
        say("Dry run: nothing was done.", fg="yellow")
        return
    amounts = {"paid": plan.paid, "went_back": plan.before, "goes_back": plan.money, "stays": plan.rest}
    print_json(
        {"dry_run": True, "payment_id": plan.payment_id, "participant_id": plan.participant_id}
        | {name: money.amount for name, money in amounts.items()}
        | {"currency": plan.paid.currency.value, "way": plan.way, "reason": options.reason, "mode": mode}
    )


def summary(view: PaymentView, plan: Plan, reason: str) -> list[str]:
    """What a refund will do, for the person who is asked."""
    from procomp_pay.cli.payments import wording
    from procomp_pay.cli.payments.tables import bold, dim

    place = clean(view.tournament_name) + (f" · {clean(view.category)}" if view.category else "")
    when = f", {wording.clock_time(view.completed_at)}" if view.completed_at else ""
    free = "" if plan.rest.amount or view.is_duplicate else "; the participant has not paid any more then"
    rows = [
        ("for", place),
        ("paid", f"{plan.paid} by {wording.METHODS[view.method]}{when}"),
        *([("went back", f"{plan.before} before, or on its way")] if plan.before.amount else []),
        ("goes back", f"{bold(str(plan.money))} {plan.way}"),
        ("stays", f"{plan.rest}{free}"),
        *([("dispute", f"{view.dispute.state}: it may go back twice")] if view.dispute else []),
        ("reason", clean(reason)),
        ("payment", view.payment_id),
    ]
    head = f"↩ {bold(clean(view.participant_name))}"
    return [head, *(f"  {dim(f'{label:<11}')} {value}" for label, value in rows)]


def _ask(view: PaymentView, plan: Plan, options: RefundOptions) -> None:
    for line in summary(view, plan, options.reason):
        typer.echo(line, err=True)
    if not typer.confirm(f"Pay {plan.money} back?", default=False, err=True):
        say("Left as it is.", fg="yellow")
        raise typer.Exit(3)


def show(done: Refunded, view: PaymentView) -> None:
    from procomp_pay.cli.payments.tables import bold, dim
    from procomp_pay.domain.refunds import RefundState

    name = clean(view.participant_name)
    why = clean(done.failure_reason or "no reason given")
    says = {
        RefundState.SUCCEEDED: f"✓ {bold(str(done.money))} went back to {name}",
        RefundState.PENDING: f"… {bold(str(done.money))} is on its way back to {name}",
        RefundState.FAILED: f"✗ {done.money} did not go back: {why}",
        RefundState.CANCELLED: f"✗ {done.money} did not go back: the refund was cancelled",
    }
    typer.echo(says[done.state])
    provider = "at Kaspi" if view.channel.is_kaspi else "at Stripe"
    rows = [
        ("refund", done.refund_id),
        (provider, clean(done.provider_refund_id or "not known yet")),
        ("payment", f"{done.payment_id} {done.payment_status}"),
    ]
    for label, value in rows:
        typer.echo(f"  {dim(f'{label:<11}')} {value}")
    if done.state is RefundState.PENDING:
        why = "the bank takes its time" if done.provider_refund_id else "its outcome is not known yet"
        say(f"It is followed up: {why}. Do not ask for it again.", fg="yellow")
        hint(f"procomp-pay status --payment {done.payment_id}")
