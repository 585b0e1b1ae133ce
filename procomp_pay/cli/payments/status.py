"""``status``, ``history`` and ``list``: look, change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    JsonOption,
    clean,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.framework.paging import CursorOption, LimitOption, print_page, tell_next
from procomp_pay.cli.payments.initiate_options import METHODS_HELP, Method
from procomp_pay.domain.errors import NotFound, Refused, Unavailable
from procomp_pay.domain.states import Channel, PaymentStatus

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.payments.listing import Filter

_STATUS = """[bold]Examples[/]

  procomp-pay status PARTICIPANT
  procomp-pay status PARTICIPANT --watch
  procomp-pay status --payment PAYMENT --refresh --json"""
_HISTORY = """[bold]Examples[/]

  procomp-pay history PARTICIPANT
  procomp-pay history PARTICIPANT --json"""
_LIST = """[bold]Examples[/]

  procomp-pay list --status pending
  procomp-pay list --since 2026-05-01 --until 2026-05-03
  procomp-pay list --disputed
  procomp-pay list --tournament TOURNAMENT --limit 200 --json

Days are days in Almaty; --until counts its own day in."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_STATUS)(status)
    app.command(epilog=_HISTORY)(history)
    app.command("list", epilog=_LIST)(list_payments)


def status(
    participant: Annotated[
        str | None, typer.Argument(help="The participant's id.", metavar="PARTICIPANT")
    ] = None,
    payment: Annotated[
        str | None, typer.Option(metavar="ID", help="This payment (id or code), not the latest.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the provider now.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it live to the end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How a participant's latest payment stands.

    With --watch the exit code is 0 when it is paid and 3 when it is not.
    """
    if participant is None and payment is None:
        raise typer.BadParameter("name a PARTICIPANT, or a payment with --payment ID")
    using = settings()
    followed: list[str] = []

    async def work(ctx: AppContext) -> PaymentView:
        view = await _find(ctx, participant, payment)
        if not (refresh or watch):
            return view
        warn_of_play_money(using, kaspi=view.channel.is_kaspi, as_json=as_json)
        actor = operator(None)
        if watch and view.channel is Channel.KASPI_REMOTE and not view.is_final:
            raise Refused(
                "Kaspi forbids asking about an invoice on a timer",
                next_step=f"ask when the customer says it is paid: {_again(view)}",
            )
        if refresh:
            view = await _refreshed(ctx, view, actor, as_json=as_json, watch=watch)
        if watch:
            from procomp_pay.cli.payments.watch import follow_on_screen

            followed.append(view.payment_id)
            view = await follow_on_screen(ctx, view.payment_id, actor, quiet=as_json)
        return view

    try:
        view = run_with_context(work, using=using)
    except KeyboardInterrupt:
        from procomp_pay.cli.payments.watch import stopped

        if not followed:
            raise
        raise stopped(followed[0]) from None
    _show_status(view, using=using, as_json=as_json, watched=watch, with_mode=refresh or watch)


async def _find(ctx: AppContext, participant: str | None, payment: str | None) -> PaymentView:
    from procomp_pay.services.views import payment as views

    if payment is None:
        return await _of_participant(ctx, str(participant))
    view = await views.one(ctx, payment)
    if participant not in (None, view.participant_id):
        raise NotFound(
            f"Payment {clean(payment[:64])} is not of participant {clean(str(participant)[:64])!r}",
            next_step=f"procomp-pay history {participant}",
        )
    return view


async def _of_participant(ctx: AppContext, participant: str) -> PaymentView:
    """The latest payment of a participant; a payment's code is understood too."""
    from procomp_pay.domain import payment_code
    from procomp_pay.services.views import payment as views

    try:
        return await views.latest(ctx, participant)
    except NotFound:
        if not payment_code.looks_like_one(participant):
            raise
        return await views.one(ctx, participant)


def _again(view: PaymentView) -> str:
    return f"procomp-pay status --payment {view.payment_id} --refresh"


async def _refreshed(
    ctx: AppContext, view: PaymentView, actor: Actor, *, as_json: bool, watch: bool
) -> PaymentView:
    from procomp_pay.services.lifecycle.polling import poll_payment
    from procomp_pay.services.views import payment as views

    try:
        await poll_payment(ctx, view.payment_id, actor)
    except Unavailable as error:
        if watch:
            return view  # following tries again by itself
        if not as_json:
            _print_status(view)
        raise type(error)(
            f"{error.message}; {'this is' if not as_json else 'we only know'} how it stood before",
            next_step=f"again in a minute: procomp-pay status --payment {view.payment_id} --refresh",
        ) from error
    return await views.one(ctx, view.payment_id)


def _show_status(view: PaymentView, *, using: Any, as_json: bool, watched: bool, with_mode: bool) -> None:
    if as_json:
        mode = using.kaspi_mode if view.channel.is_kaspi else using.stripe_mode
        print_json(view.full() | ({"mode": mode.value} if with_mode else {}))
    elif watched:
        from procomp_pay.cli.framework.common import out
        from procomp_pay.cli.payments import screens

        console = out()
        console.print(screens.last_word(view, utf8=console.encoding.startswith("utf")))
    else:
        _print_status(view)
    if watched:
        from procomp_pay.cli.payments.watch import exit_code

        if code := exit_code(view):
            raise typer.Exit(code)


def _print_status(view: PaymentView) -> None:
    from procomp_pay.cli.payments.tables import status_lines

    for line in status_lines(view):
        typer.echo(line)


def history(
    participant: Annotated[str, typer.Argument(help="The participant's id.", metavar="PARTICIPANT")],
    as_json: JsonOption = False,
) -> None:
    """All payments of a participant: what happened to each, and what was paid back."""
    from procomp_pay.services.views import payment as views

    entries = run_with_context(lambda ctx: views.history(ctx, participant))
    if as_json:
        print_json(
            {"items": [view.full() | {"moves": [move.full() for move in moves]} for view, moves in entries]}
        )
        return
    from procomp_pay.cli.payments.tables import history_lines

    if not entries:
        say("No payment yet", dim=True)
        hint(f"procomp-pay initiate {participant} --method kaspi_qr")
        return
    for line in history_lines(entries):
        typer.echo(line)


def list_payments(
    status: Annotated[
        PaymentStatus | None,
        typer.Option(
            case_sensitive=False,
            metavar="STATUS",
            help="pending, processing, completed, failed, refunded, cancelled or expired.",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option("--method", "-m", metavar="METHOD", help=METHODS_HELP),
    ] = None,
    tournament: Annotated[str | None, typer.Option(metavar="ID", help="Only of this tournament.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="From this day, as 2026-05-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to and with this day.")] = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Only payments with a dispute, open or over.")
    ] = False,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """All payments, newest first, page by page."""
    from procomp_pay.services.views import payment as views

    wanted = replace(_wanted(status, method, tournament, since, until), disputed=disputed or None)
    found, following = run_with_context(lambda ctx: views.many(ctx, wanted, limit=limit, cursor=cursor))
    if as_json:
        print_page(found, following)
        return
    if not found:
        say("No payments" + (" fit" if wanted != _wanted() else " yet"), dim=True)
        return
    from procomp_pay.cli.payments.tables import list_lines

    for line in list_lines(found):
        typer.echo(line)
    given = {
        "status": status, "method": method, "tournament": tournament,
        "since": since, "until": until, "limit": limit, "disputed": disputed or None,
    }  # fmt: skip
    tell_next("list", given, following)


def _wanted(
    status: PaymentStatus | None = None,
    method: Method | None = None,
    tournament: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Filter:
    from procomp_pay.cli.payments import wording
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.storage.payments.listing import Filter

    first, last = wording.day(since, "--since"), wording.day(until, "--until")
    if first and last and last < first:
        raise Refused(f"--until {last} is before --since {first}", next_step="swap the two")
    return Filter(
        status=status,
        method=PaymentMethod(method.value.upper()) if method else None,
        tournament_id=tournament,
        since=wording.day_begins(first) if first else None,
        until=wording.day_begins(last, plus_days=1) if last else None,
    )
