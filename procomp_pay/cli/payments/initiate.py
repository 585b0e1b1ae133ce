"""``initiate``: start a payment and show how to pay it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_of,
    named_participant,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import AsOption, JsonOption, ParticipantArgument
from procomp_pay.cli.payments.initiate_options import (
    METHODS_HELP,
    InitiateOptions,
    Method,
    check,
    check_phone,
    read_request,
)
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.cli.display.qr import Picture
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import Opening, PaymentView


async def show(ctx: AppContext, opening: Opening, actor: Actor, *, watch: bool, quiet: bool) -> PaymentView:
    """Show a payment, and follow it with ``watch``; return its latest view.

    :param quiet: print nothing (``--json``).
    """
    from procomp_pay.cli.display import screens

    view, picture = opening.view, None
    if not quiet and not view.is_final:
        picture = _picture(opening)
        await _say_what_next(ctx, view, watch=watch)
        _print_screen(opening, picture, watch=watch)
    if not watch:
        return view
    from procomp_pay.cli.payments.watch import follow_on_screen

    view = await follow_on_screen(
        ctx, view.payment_id, actor, picture=picture, payload=opening.qr_payload or "", quiet=quiet
    )
    if not quiet:
        screens.print_final_panel(view)
    return view


async def _say_what_next(ctx: AppContext, view: PaymentView, *, watch: bool) -> None:
    from procomp_pay.domain.states import Channel

    if view.channel is Channel.KASPI_REMOTE:
        _explain_invoice(view)
        return
    await _warn_of_open_kaspi(ctx, view)
    if not watch:
        console.say(
            _("Follow it: procomp-pay status --payment %(payment)s --watch", payment=view.payment_id),
            dim=True,
        )


def _print_screen(opening: Opening, picture: Picture | None, *, watch: bool) -> None:
    """Print how to pay; a QR that is followed is drawn by the live screen."""
    from procomp_pay.cli.display import screens

    terminal = console.out()
    ways = _ways(opening) if picture is None or opening.payment_url is not None else []
    if picture is None or not watch or not sys.stderr.isatty():
        terminal.print(screens.pay_screen(opening.view, picture, terminal, below=_below(opening)))
    for way in ways:
        terminal.print(way, soft_wrap=True)  # a link in one piece can be copied


async def _warn_of_open_kaspi(ctx: AppContext, view: PaymentView) -> None:
    """Warn before a payment is shown while another one of the participant can still be paid through Kaspi,
    which recalls no QR."""
    from procomp_pay.domain.states import OPEN_STATUSES, Channel
    from procomp_pay.services.views import payment as views
    from procomp_pay.storage.payments.listing import Filter

    payments, _cursor = await views.many(ctx, Filter(participant_id=view.participant_id))
    for other in payments:
        if (
            other.payment_id == view.payment_id
            or not other.provider_open
            or other.status not in OPEN_STATUSES
        ):
            continue
        if other.channel is Channel.KASPI_REMOTE:
            console.say(
                _(
                    "Invoice %(payment)s may still be on the customer's phone. Ask the customer to reject it "
                    "in the Kaspi app: paying both is paying twice.",
                    payment=other.payment_id,
                ),
                fg="yellow",
            )
        elif other.channel.is_kaspi:
            until = (
                _(" until %(time)s", time=formats.clock_time(other.expires_at)) if other.expires_at else ""
            )
            console.say(
                _(
                    "The Kaspi QR that was shown before can still be paid%(until)s: "
                    "paying both is paying twice.",
                    until=until,
                ),
                fg="yellow",
            )


def _explain_invoice(view: PaymentView) -> None:
    """Print what to do after an invoice was sent."""
    console.say(
        _("The invoice is in the customer's Kaspi app for 24 hours. It is not polled: Kaspi forbids it."),
        dim=True,
    )
    console.hint(f"procomp-pay status --payment {view.payment_id} --refresh")
    console.hint(f"procomp-pay cancel {view.payment_id}")


def _picture(opening: Opening) -> Picture | None:
    """Return the QR if this terminal can show it; otherwise say why not, and what to do."""
    from procomp_pay.cli.display import qr, screens

    if opening.qr_payload is None or not sys.stdout.isatty():
        return None
    if not qr.can_draw():
        console.say(
            _("This terminal cannot show a QR: it has no block characters. Add --qr-file qr.png"), dim=True
        )
        return None
    picture, terminal = qr.picture(opening.qr_payload), console.out()
    if screens.position_for(picture, terminal.width, terminal.height).fits:
        return picture
    console.say(screens.why_no_qr(picture, opening.qr_payload, terminal.width, terminal.height), fg="yellow")
    return None


def _below(opening: Opening) -> list[str]:
    """Return the lines under a payment that is not followed: until when it can be paid."""
    view = opening.view
    return [] if view.expires_at is None else [f"[dim]{_('until')}[/] {formats.clock_time(view.expires_at)}"]


def _ways(opening: Opening) -> list[str]:
    if opening.client_secret is not None:
        return [f"[dim]{_('client secret')}[/] {console.safe(opening.client_secret)}"]
    if opening.payment_url is not None:
        return [f"[dim]{_('link')}[/] {console.safe(opening.payment_url)}"]
    return [f"[dim]{_('QR text')}[/] {console.safe(opening.qr_payload)}"] if opening.qr_payload else []


def save(opening: Opening, path: Path) -> None:
    """Write the QR to a file.

    :raises Refused: there is no QR, or the file cannot be written.
    """
    from procomp_pay.cli.display import qr

    if opening.qr_payload is None:
        raise Refused(
            N_("This payment has no QR yet"),
            next_step=N_(
                "in a minute: procomp-pay status --payment %(payment)s --refresh",
                payment=opening.view.payment_id,
            ),
        )
    qr.save(opening.qr_payload, path)
    console.say(_("The QR was saved to %(path)s", path=console.clean(path)), dim=True)


_EXAMPLES = """[bold]Examples[/]

  procomp-pay initiate "қайрат нұрланов" --method kaspi_qr --watch
  procomp-pay initiate kairat -m kaspi_qr
  procomp-pay initiate PARTICIPANT -m apple_pay --amount 50 --currency USD
  procomp-pay initiate PARTICIPANT -m kaspi_qr --qr-file qr.png --json"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(initiate)


def initiate(
    participant: ParticipantArgument,
    method: Annotated[Method, typer.Option("--method", "-m", metavar="METHOD", help=METHODS_HELP)],
    amount: Annotated[
        str | None,
        typer.Option(
            metavar="50.00", help="The amount to charge: it must equal the entry fee. Default: the fee."
        ),
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="USD", help="Default: the tournament's currency; KZT for Kaspi.")
    ] = None,
    return_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the hosted page sends the customer afterwards.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Repeating a request with its key returns the same payment."),
    ] = None,
    intent_only: Annotated[
        bool, typer.Option("--intent-only", help="Wallets: create only a PaymentIntent for the app, no page.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Kaspi: create a link to send, not a QR to scan.")
    ] = False,
    phone: Annotated[
        str | None,
        typer.Option(metavar="8707…", help="Kaspi: send an invoice to this number (scheme enhanced)."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --phone: do not ask whose number it is.")
    ] = False,
    not_theirs: Annotated[
        bool,
        typer.Option(
            "--not-theirs",
            help="After a restore: charge although Kaspi took this fee from somebody who is not known yet.",
        ),
    ] = False,
    qr_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the QR to FILE (.png or .svg).")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Follow the payment until it is paid or over.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a payment and show the QR to pay it with.

    If the participant has an open payment with this method, that one is shown again.
    With --watch, the exit code is 0 if it is paid and 3 if it is not.
    """
    options = InitiateOptions(
        participant, method, amount, currency, return_url, idempotency_key, intent_only, link, phone, yes,
        not_theirs,
    )  # fmt: skip
    check(options, qr_file)
    check_phone(options, watch=watch or qr_file is not None, as_json=as_json)
    settings = load_settings()
    actor = operator(acting)
    show_mode_notice(settings, kaspi=options.is_kaspi, as_json=as_json)
    started: list[str] = []

    async def work(ctx: AppContext) -> int:
        from procomp_pay.cli.framework.progress import asking
        from procomp_pay.services.initiation.initiate import initiate as start
        from procomp_pay.services.views import page_link
        from procomp_pay.services.views import payment as views

        named = await named_participant(ctx, participant, as_json=as_json)
        request = await read_request(ctx, replace(options, participant_id=named))
        async with asking("Kaspi" if options.is_kaspi else "Stripe", quiet=as_json):
            initiated = await start(ctx, request, actor)
        started.append(initiated.payment_id)
        opening = await views.opening(ctx, initiated.payment_id)
        at_desk = page_link.with_short_link(ctx, opening)
        if qr_file is not None:
            save(at_desk, qr_file)
        if initiated.reused and not as_json:
            console.say(_("This payment was already open; no second one was created."), dim=True)
        shown = opening.view
        if watch or not as_json:
            shown = await show(ctx, at_desk, actor, watch=watch, quiet=as_json)
        if as_json:
            console.print_json(
                _document(opening, shown, reused=initiated.reused, mode=mode_of(settings, shown))
            )
        if not watch:
            return 0
        from procomp_pay.cli.payments.watch import exit_code

        return exit_code(shown)

    try:
        code = run_with_context(work, settings=settings)
    except KeyboardInterrupt:
        from procomp_pay.cli.payments.watch import stopped

        if not started:
            raise
        raise stopped(started[0]) from None
    if code:
        raise typer.Exit(code)


def _document(opening: Opening, view: PaymentView, *, reused: bool, mode: str) -> dict[str, Any]:
    """Return the payment with the API's response and the content of the QR."""
    ways = opening.seeded() | {"qr_payload": opening.qr_payload}
    return view.full() | ways | {"reused": reused, "mode": mode}
