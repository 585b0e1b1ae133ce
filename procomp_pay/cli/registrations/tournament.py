"""The commands ``tournament``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import named_tournament, operator, run_with_context
from procomp_pay.cli.framework.options import AsOption, JsonOption, TournamentArgument
from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from procomp_pay.domain.entry_fees import FeeKind
    from procomp_pay.domain.money import Currency
    from procomp_pay.services.context import AppContext

tournaments = typer.Typer(no_args_is_help=True, help="Tournaments and their entry fees.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(tournaments, name="tournament")


@tournaments.command("add")
def add_tournament(
    name: Annotated[str, typer.Argument(show_default=False)],
    fee: Annotated[str, typer.Option(help="The main entry fee, such as 24000 or 50.00.", show_default=False)],
    currency: Annotated[str, typer.Option(help="KZT, USD, EUR or RUB.")] = "KZT",
    starts: Annotated[
        str | None,
        typer.Option(help="2026-05-01 or 2026-05-01T09:00, Almaty time unless it has a zone. Default: now."),
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a tournament.

    procomp-pay tournament add "Кубок Алматы" --fee 24000 --starts 2026-05-01T09:00
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.domain.money import Money
    from procomp_pay.services.registrations import tournaments as service

    price, actor, begins = Money.typed(fee, currency), operator(acting), _read_moment(starts)
    view = run_with_context(
        lambda ctx: service.add_tournament(ctx, name, price, begins or ctx.clock(), actor)
    )
    if as_json:
        console.print_json(view.full())
        return
    output.show_tournament(view, N_("added"))
    console.err().print(f"[dim]→ procomp-pay participant import {view.tournament_id} FILE[/]", soft_wrap=True)


@tournaments.command("list")
def list_tournaments(
    archived: Annotated[bool, typer.Option("--archived", help="Those that are archived.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="The most to show.", min=1, max=10000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List tournaments, the latest first, with the numbers of registered and paid participants."""
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import tournaments as service

    views = run_with_context(lambda ctx: service.list_tournaments(ctx, limit=limit, archived=archived))
    if as_json:
        console.print_json({"items": [view.full() for view in views]})
        return
    output.show_tournaments(views)


@tournaments.command("archive")
def archive_tournament(
    tournament: TournamentArgument, acting: AsOption = None, as_json: JsonOption = False
) -> None:
    """Put away a tournament that is over: it leaves lists, searches and the desk, and no payment is started.

    Payments that were started go on: they are settled, refunded and reconciled as before.

    procomp-pay tournament archive TOURNAMENT
    """
    _set_archived(tournament, acting, as_json, archived=True)


@tournaments.command("unarchive")
def unarchive_tournament(
    tournament: TournamentArgument, acting: AsOption = None, as_json: JsonOption = False
) -> None:
    """Take a tournament back from the archive.

    procomp-pay tournament unarchive TOURNAMENT
    """
    _set_archived(tournament, acting, as_json, archived=False)


def _set_archived(tournament: str, acting: str | None, as_json: bool, *, archived: bool) -> None:
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import tournaments as service

    actor = operator(acting)

    async def work(ctx: AppContext) -> service.TournamentView:
        named = await named_tournament(ctx, tournament, as_json=as_json, whole_name=archived)
        return await service.set_archived(ctx, named, actor, archived=archived)

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
    else:
        output.show_tournament(view, "archived" if archived else "back in use:")


@tournaments.command("edit")
def edit_tournament(
    tournament: TournamentArgument,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    starts: Annotated[
        str | None, typer.Option(help="2026-05-01 or 2026-05-01T09:00, Almaty time unless it has a zone.")
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a tournament's name or start. Its fees: procomp-pay tournament fee.

    procomp-pay tournament edit TOURNAMENT --starts 2026-05-02
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import changes
    from procomp_pay.services.registrations.tournaments import TournamentView

    if name is None and starts is None:
        raise typer.BadParameter(N_("give what to change: --name or --starts"))
    actor, begins = operator(acting), _read_moment(starts)

    async def work(ctx: AppContext) -> TournamentView:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        return await changes.edit_tournament(ctx, named, actor, name=name, starts_at=begins)

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
    else:
        output.show_tournament(view, N_("changed"))


# a negative amount is refused as an amount, not as an unknown option
@tournaments.command("fee", context_settings={"ignore_unknown_options": True})
def tournament_fee(
    tournament: TournamentArgument,
    amount: Annotated[str | None, typer.Argument(show_default=False)] = None,
    currency: Annotated[str | None, typer.Argument(show_default=False)] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="CURRENCY", help="Remove the fee in this currency.")
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a tournament's fees, or set the fee in one currency.

    Kaspi charges the fee in KZT, Apple Pay and Google Pay in any currency. Open payments keep their amount.

    procomp-pay tournament fee TOURNAMENT

    procomp-pay tournament fee TOURNAMENT 24000 KZT

    procomp-pay tournament fee TOURNAMENT --remove EUR
    """
    _refuse_options(tournament, amount, currency)
    if remove is not None and amount is not None:
        raise typer.BadParameter(N_("give either an amount to set or --remove"), param_hint="--remove")
    if amount is not None and currency is None:
        raise typer.BadParameter(N_("add the currency, such as 24000 KZT"), param_hint="CURRENCY")
    if amount is None and remove is None:
        _show_fees(tournament, as_json)
    else:
        _change_fee(tournament, amount, currency or remove or "", acting, as_json)


def _show_fees(tournament: str, as_json: bool) -> None:
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import tournaments as service

    async def work(ctx: AppContext) -> service.TournamentView:
        return await service.tournament_view(ctx, await named_tournament(ctx, tournament, as_json=as_json))

    view = run_with_context(work)
    if as_json:
        console.print_json(view.full())
    else:
        output.show_tournament(view)


def _change_fee(
    tournament: str, amount: str | None, currency: str, acting: str | None, as_json: bool
) -> None:
    """Set the fee, or remove it if ``amount`` is ``None``."""
    from procomp_pay.cli.registrations import output
    from procomp_pay.domain.money import Money
    from procomp_pay.services.registrations import tournaments as service

    actor = operator(acting)
    price = None if amount is None else Money.typed(amount, currency)
    known = price.currency if price else _read_currency(currency)

    async def work(ctx: AppContext) -> service.FeeChange:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        if price is None:
            return await service.remove_fee(ctx, named, known, actor)
        return await service.set_fee(ctx, named, price, actor)

    change = run_with_context(work)
    if as_json:
        console.print_json(output.fee_document(change))
    else:
        output.show_fee_change(change)


# a negative amount is refused as an amount, not as an unknown option
@tournaments.command("fees", context_settings={"ignore_unknown_options": True})
def tournament_fees(
    tournament: TournamentArgument,
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="early, normal, late or on-site.", show_default=False)
    ] = None,
    amount: Annotated[str | None, typer.Argument(show_default=False)] = None,
    currency: Annotated[str | None, typer.Argument(show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="The first day, such as 2026-04-01. Default: from ever.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DAY", help="The last day, which is included. Default: for ever.")
    ] = None,
    remove: Annotated[str | None, typer.Option(metavar="KIND", help="Remove this fee.")] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the fees that hold on some days only, or set one: early, normal, late, on-site.

    On other days the tournament's own fee holds (tournament fee). Days begin at midnight of REPORT_TIMEZONE.
    A payment that is open keeps its price until it expires.

    procomp-pay tournament fees TOURNAMENT

    procomp-pay tournament fees TOURNAMENT early 20000 KZT --until 2026-04-01

    procomp-pay tournament fees TOURNAMENT --remove early
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.domain.entry_fees import FeePeriod
    from procomp_pay.domain.money import Money
    from procomp_pay.domain.period import Period
    from procomp_pay.services.registrations import terms as service

    _refuse_options(tournament, kind, amount, currency)
    if remove is not None and (kind, since, until) != (None, None, None):
        raise typer.BadParameter(N_("give either a fee to set or --remove"), param_hint="--remove")
    if kind is None and (since or until):
        raise typer.BadParameter(N_("give the fee too, such as early 20000 KZT"), param_hint="KIND")
    if kind is not None and (amount is None or currency is None):
        raise typer.BadParameter(N_("give the fee too, such as early 20000 KZT"), param_hint="AMOUNT")
    named_kind = _read_kind(kind or remove) if kind or remove else None
    actor = operator(acting) if named_kind else None
    period = None
    if named_kind is not None and amount is not None:
        days = Period(_zone(), _read_day(since, "--since"), _read_day(until, "--until"))
        period = FeePeriod(named_kind, Money.typed(amount, currency or ""), days)

    async def work(ctx: AppContext) -> service.Terms:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        if actor is None or named_kind is None:
            return await service.read(ctx, named)
        if period is None:
            return await service.remove_fee_period(ctx, named, named_kind, actor)
        return await service.set_fee_period(ctx, named, period, actor)

    terms = run_with_context(work)
    if as_json:
        console.print_json(terms.full())
    else:
        output.show_fees(terms)


@tournaments.command("refund-policy")
def tournament_refund_policy(
    tournament: TournamentArgument,
    steps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STEP]...",
            help="Until when, percent, and a sum that is kept: 14d:100, 2026-05-01:50, 3d:50:2000.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the policy.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how much of the fee goes back until when, or set it; then refund proposes this sum.

    14d is the 14th day before the day of the start, which is included. After the last step nothing goes back.
    Steps replace the former policy. Days are of REPORT_TIMEZONE; a sum is kept of payments in the
    tournament's main currency.

    procomp-pay tournament refund-policy TOURNAMENT

    procomp-pay tournament refund-policy TOURNAMENT 14d:100 3d:50:2000

    procomp-pay tournament refund-policy TOURNAMENT --remove
    """
    from procomp_pay.cli.registrations import output
    from procomp_pay.services.registrations import terms as service

    if steps and remove:
        raise typer.BadParameter(N_("give either steps or --remove"), param_hint="--remove")
    actor = operator(acting) if steps or remove else None
    zone = _zone()

    async def work(ctx: AppContext) -> service.Terms:
        named = await named_tournament(ctx, tournament, as_json=as_json)
        if actor is None:
            return await service.read(ctx, named)
        return await service.set_refund_policy(ctx, named, steps or (), zone, actor)

    terms = run_with_context(work)
    if as_json:
        console.print_json(terms.full())
    else:
        output.show_refund_policy(terms)


def _read_moment(text: str | None) -> datetime | None:
    """Return a time that was typed; without a zone it is Almaty time."""
    from datetime import datetime

    from procomp_pay.cli.framework.formats import date_of
    from procomp_pay.domain.almaty import ALMATY

    if text is None:
        return None
    try:
        written = text.strip()
        read = datetime.fromisoformat(str(date_of(written)) if len(written) <= len("2026-05-01") else written)
    except ValueError:
        read = None
    if read is None or not 2000 <= read.year <= 2100:
        raise typer.BadParameter(
            N_("%(text)s is not a time; write 2026-05-01 or 2026-05-01T09:00", text=repr(text[:40])),
            param_hint="--starts",
        )
    return read.replace(tzinfo=ALMATY) if read.tzinfo is None else read


def _zone() -> ZoneInfo:
    from procomp_pay.cli.framework.time_zone import time_zone

    return time_zone()


def _read_kind(text: str | None) -> FeeKind:
    from procomp_pay.domain.entry_fees import FeeKind

    try:
        return FeeKind((text or "").lower().replace("_", "-"))
    except ValueError:
        known = ", ".join(FeeKind)
        raise typer.BadParameter(
            N_("%(kind)s is no kind of fee; use %(known)s", kind=repr((text or "")[:40]), known=known),
            param_hint="KIND",
        ) from None


def _read_day(text: str | None, option: str) -> date | None:
    from datetime import date

    from procomp_pay.cli.framework.formats import date_of

    try:
        day = None if text is None else date_of(text)
    except ValueError:
        day = date.min
    if day is not None and not 2000 <= day.year <= 2100:
        raise typer.BadParameter(
            N_("%(text)s is not a day; write 2026-05-01", text=repr(str(text)[:40])), param_hint=option
        )
    return day


def _read_currency(text: str) -> Currency:
    """Return a currency that was typed."""
    from procomp_pay.domain.money import Currency

    try:
        return Currency(text.upper())
    except ValueError:
        raise InvalidAmount(
            N_("%(currency)s is not a currency we take", currency=repr(text[:12])),
            next_step=N_("use one of %(names)s", names=", ".join(Currency)),
        ) from None


def _refuse_options(*arguments: str | None) -> None:
    """Refuse unknown options, which arrive as arguments here; only a number may begin with a dash."""
    for text in arguments:
        if text and text.startswith("-") and not text[1:2].isdigit():
            raise typer.BadParameter(
                N_("there is no option %(text)s; see --help", text=text[:40]), param_hint=text[:40]
            )
