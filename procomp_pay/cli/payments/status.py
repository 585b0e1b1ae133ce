"""``status``, ``history`` and ``list``: show payments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats, paging
from procomp_pay.cli.framework.completion import complete_payment
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_of,
    named_participant,
    named_payment,
    operator,
    run_with_context,
    show_mode_notice,
    tournament_id,
)
from procomp_pay.cli.framework.formats import print_page
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import (
    CursorOption,
    JsonOption,
    LimitOption,
    NextOption,
    OptionalParticipantArgument,
    ParticipantArgument,
    SinceOption,
    TournamentFilter,
    UntilOption,
)
from procomp_pay.cli.framework.paging import print_next_page
from procomp_pay.cli.payments.initiate_options import METHODS_HELP, Method
from procomp_pay.domain.errors import NotFound, PaymentError, Refused, Unavailable
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.history import Move
    from procomp_pay.services.views.payment import PaymentView
    from procomp_pay.storage.payments.listing import Filter

    #: A participant's payments beside the one that is shown; ``None`` if no participant was named.
    Others = list[PaymentView] | None

_STATUS = """[bold]Examples[/]

  procomp-pay status PARTICIPANT
  procomp-pay status PARTICIPANT --watch
  procomp-pay status --payment PAYMENT --refresh --json"""
_HISTORY = """[bold]Examples[/]

  procomp-pay history PARTICIPANT
  procomp-pay history PARTICIPANT --json"""
_LIST = """[bold]Examples[/]

  procomp-pay list --status pending
  procomp-pay list --next
  procomp-pay list --since yesterday
  procomp-pay list --since 2026-05-01 --until 2026-05-03
  procomp-pay list --disputed
  procomp-pay list --tournament TOURNAMENT --limit 200 --json

Days are days in Almaty; --until is inclusive."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_STATUS)(status)
    app.command(epilog=_HISTORY)(history)
    app.command("list", epilog=_LIST)(list_payments)


def status(
    participant: OptionalParticipantArgument = None,
    payment: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="This payment instead of the latest: its code or id.",
            autocompletion=complete_payment,
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider for the current status first.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the payment until it is paid or over.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the status of a participant's latest payment.

    With --watch, the exit code is 0 if it is paid and 3 if it is not.
    """
    if participant is None and payment is None:
        raise typer.BadParameter(N_("give a PARTICIPANT, or a payment with --payment CODE"))
    settings = load_settings()
    watched: list[str] = []
    actor = operator(None) if refresh or watch else None  # before the rights are checked

    async def work(ctx: AppContext) -> tuple[PaymentView, Others]:
        view, others = await _find(ctx, participant, payment, as_json=as_json)
        if actor is None:
            return view, others
        await named_payment(ctx, view.payment_id)  # found by its code or id, it may be of another tournament
        show_mode_notice(settings, kaspi=view.channel.is_kaspi, as_json=as_json)
        if watch and view.channel is Channel.KASPI_REMOTE and not view.is_final:
            raise Refused(
                N_("Kaspi forbids polling an invoice"),
                next_step=N_("when the customer has paid: %(command)s", command=_again(view)),
            )
        if refresh:
            view = await _refreshed(ctx, view, others, actor, as_json=as_json, watch=watch)
        if watch:
            from procomp_pay.cli.payments.watch import follow_on_screen

            watched.append(view.payment_id)
            view = await follow_on_screen(ctx, view.payment_id, actor, quiet=as_json)
        return view, others

    try:
        view, others = run_with_context(work, settings=settings)
    except KeyboardInterrupt:
        from procomp_pay.cli.payments.watch import stopped

        if not watched:
            raise
        raise stopped(watched[0]) from None
    _show_status(view, others, settings=settings, as_json=as_json, watched=watch, with_mode=refresh or watch)


async def _find(
    ctx: AppContext, participant: str | None, payment: str | None, *, as_json: bool
) -> tuple[PaymentView, Others]:
    """Return the payment to show: a participant's latest one with the others, or the one whose id or code was
    typed, alone.
    """
    from procomp_pay.services.registrations.find import find_by_id_or_code
    from procomp_pay.services.views import payment as views

    if payment is not None:
        view = await views.one(ctx, await named_payment(ctx, payment, as_json=as_json))
        if participant is not None:
            named = await named_participant(ctx, participant, as_json=as_json)
            _check_owner(view, named)
        return view, None
    if (coded := await find_by_id_or_code(ctx, str(participant))) is not None:
        return coded, None
    return await views.latest_and_others(ctx, await named_participant(ctx, str(participant), as_json=as_json))


def _check_owner(view: PaymentView, participant_id: str) -> None:
    if participant_id != view.participant_id:
        raise NotFound(
            N_(
                "Payment %(payment)s does not belong to participant %(participant)s",
                payment=view.payment_id,
                participant=repr(participant_id),
            ),
            next_step=f"procomp-pay history {participant_id}",
        )


def _again(view: PaymentView) -> str:
    return f"procomp-pay status --payment {view.payment_id} --refresh"


async def _refreshed(
    ctx: AppContext, view: PaymentView, others: Others, actor: Actor, *, as_json: bool, watch: bool
) -> PaymentView:
    from procomp_pay.cli.display.wording import provider
    from procomp_pay.cli.framework.progress import asking
    from procomp_pay.services.lifecycle.polling import refresh_payment
    from procomp_pay.services.views import payment as views

    try:
        async with asking(provider(view), quiet=as_json):
            was_asked = await refresh_payment(ctx, view.payment_id, actor)
        if not was_asked and not as_json:
            console.say(_nothing_to_ask(view), dim=True)
    except PaymentError as error:
        is_passing = isinstance(error, Unavailable)
        if watch and is_passing:
            return view  # watching asks again anyway
        if not as_json:
            _print_status(view, others)
        raise type(error)(
            N_("%(error)s; the last known status is %(status)s", error=error.message, status=view.status),
            next_step=N_("try again in a minute: %(command)s", command=_again(view))
            if is_passing
            else error.next_step,
        ) from error
    return await views.one(ctx, view.payment_id)


def _nothing_to_ask(view: PaymentView) -> str:
    if view.channel is Channel.KASPI_BILL:
        return _("Kaspi reports a bill by itself and cannot be asked about it.")
    return _("The provider never opened this payment, so it cannot be asked about it.")


def _show_status(
    view: PaymentView, others: Others, *, settings: Any, as_json: bool, watched: bool, with_mode: bool
) -> None:
    if as_json:
        more: dict[str, Any] = {"mode": mode_of(settings, view)} if with_mode else {}
        if others is not None:
            more["other_payments"] = [other.brief() for other in others]
        console.print_json(view.full() | more)
    elif watched:
        from procomp_pay.cli.display import screens, tables

        screens.print_final_panel(view)
        console.print_lines(tables.also_lines(others or ()))
    else:
        _print_status(view, others)
    if watched:
        from procomp_pay.cli.payments.watch import exit_code

        if code := exit_code(view):
            raise typer.Exit(code)


def _print_status(view: PaymentView, others: Others) -> None:
    from procomp_pay.cli.display.tables import also_lines, status_lines
    from procomp_pay.cli.display.wording import next_step

    console.print_lines([*status_lines(view), *also_lines(others or ())])
    if (step := next_step(view)) is not None:
        console.hint(step)


def history(
    participant: ParticipantArgument,
    as_json: JsonOption = False,
) -> None:
    """Show all payments of a participant, with their history."""
    from procomp_pay.services.views.history import read_history

    async def work(ctx: AppContext) -> tuple[str, list[tuple[PaymentView, list[Move]]]]:
        named = await named_participant(ctx, participant, as_json=as_json)
        return named, await read_history(ctx, named)

    participant_id, entries = run_with_context(work)
    if as_json:
        console.print_json(
            {"items": [view.full() | {"moves": [move.full() for move in moves]} for view, moves in entries]}
        )
        return
    from procomp_pay.cli.display.tables import history_lines

    if not entries:
        console.say(_("No payments yet"), dim=True)
        console.hint(f"procomp-pay initiate {participant_id} --method kaspi_qr")
        return
    console.print_long(history_lines(entries))


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
    tournament: TournamentFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Only payments with a dispute, open or closed.")
    ] = False,
    wide: Annotated[bool, typer.Option("--wide", help="All columns, with ids, whatever the width.")] = False,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    next_page: NextOption = False,
    as_json: JsonOption = False,
) -> None:
    """List payments, newest first."""
    from procomp_pay.services.views import payment as views

    selection = replace(_filter(status, method, tournament, since, until), disputed=disputed or None)
    paging.refuse_unknown(next_page)

    async def work(ctx: AppContext) -> tuple[list[PaymentView], str | None]:
        wanted = replace(selection, tournament_id=await tournament_id(ctx, tournament, as_json=as_json))
        return await views.many(ctx, wanted, limit=limit, cursor=cursor)

    payments, next_cursor = run_with_context(work, replica=True)
    if as_json:
        print_page(payments, next_cursor)
        return
    if not payments:
        console.say(_("No payments match") if selection != _filter() else _("No payments yet"), dim=True)
        return
    from procomp_pay.cli.display.tables import list_lines

    console.print_long(list_lines(payments, wide=wide))
    filters = {
        "status": status, "method": method, "tournament": tournament,
        "since": since, "until": until, "limit": limit, "disputed": disputed or None, "wide": wide or None,
    }  # fmt: skip
    print_next_page("list", filters, next_cursor)


def _filter(
    status: PaymentStatus | None = None,
    method: Method | None = None,
    tournament: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Filter:
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.storage.payments.listing import Filter

    first, last = formats.day(since, "--since"), formats.day(until, "--until")
    if first and last and last < first:
        raise Refused(
            N_("--until %(until)s is before --since %(since)s", until=last, since=first),
            next_step=N_("swap them"),
        )
    return Filter(
        status=status,
        method=PaymentMethod(method.value.upper()) if method else None,
        tournament_id=tournament,
        since=formats.day_begins(first) if first else None,
        until=formats.day_begins(last, plus_days=1) if last else None,
    )
