"""``initiate``: start a payment and show how to pay it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.common import (
    AsOption,
    JsonOption,
    clean,
    operator,
    out,
    print_json,
    say,
    settings,
    warn_of_play_money,
    with_desk,
)
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.cli.qr import Picture
    from procomp_pay.domain.money import Money
    from procomp_pay.domain.states import Channel
    from procomp_pay.payments.desk import Actor, Desk
    from procomp_pay.payments.initiate import Order
    from procomp_pay.payments.views import Opening, PaymentView


METHODS_HELP = "kaspi_qr, apple_pay or google_pay."


class Method(StrEnum):
    """The methods as people write them."""

    KASPI_QR = "kaspi_qr"
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed."""

    participant_id: str
    method: Method
    amount: str | None
    currency: str | None
    return_url: str | None
    idempotency_key: str | None
    intent_only: bool
    link: bool
    phone: str | None = None
    yes: bool = False

    @property
    def is_kaspi(self) -> bool:
        return self.method is Method.KASPI_QR


_EXAMPLES = """[bold]Examples[/]

  procomp-pay initiate PARTICIPANT --method kaspi_qr --watch
  procomp-pay initiate PARTICIPANT -m apple_pay --amount 50 --currency USD
  procomp-pay initiate PARTICIPANT -m kaspi_qr --qr-file qr.png --json"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(initiate)


def initiate(
    participant: Annotated[str, typer.Argument(help="The participant's id.", metavar="PARTICIPANT")],
    method: Annotated[Method, typer.Option("--method", "-m", metavar="METHOD", help=METHODS_HELP)],
    amount: Annotated[
        str | None, typer.Option(metavar="50.00", help="Must equal the entry fee, which is the default.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="USD", help="Default: the tournament's own; for Kaspi KZT.")
    ] = None,
    return_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the phone goes after a hosted page.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key and request: the same payment.")
    ] = None,
    intent_only: Annotated[
        bool, typer.Option("--intent-only", help="Wallets: a bare PaymentIntent for the app, no page.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Kaspi: a link to send instead of a QR at the desk.")
    ] = False,
    phone: Annotated[
        str | None, typer.Option(metavar="8707…", help="Kaspi: send an invoice to this number (enhanced).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --phone: do not ask whose it is.")] = False,
    qr_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the QR to FILE (.png or .svg).")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Follow it live until it is paid or over.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a payment and show the QR to pay it with.

    An open payment of the same participant and method is shown again, never made twice.
    With --watch the exit code is 0 when it is paid and 3 when it is not.
    """
    wish = Wish(
        participant, method, amount, currency, return_url, idempotency_key, intent_only, link, phone, yes
    )
    _check(wish, qr_file)
    _check_phone(wish, watch=watch or qr_file is not None, as_json=as_json)
    using = settings()
    actor = operator(acting)
    warn_of_play_money(using, kaspi=wish.is_kaspi, as_json=as_json)
    started: list[str] = []

    async def work(desk: Desk) -> int:
        from procomp_pay.payments import views
        from procomp_pay.payments.initiate import initiate as start

        begun = await start(desk, await _order(desk, wish), actor)
        started.append(begun.payment_id)
        opening = await views.opening(desk, begun.payment_id)
        if qr_file is not None:
            _save(opening, qr_file)
        if begun.reused and not as_json:
            say("This payment was open already: it is the same one, not a second.", dim=True)
        shown = opening.view
        if watch or not as_json:
            shown = await _show(desk, opening, actor, watch=watch, quiet=as_json)
        if as_json:
            mode = using.kaspi_mode if wish.is_kaspi else using.stripe_mode
            print_json(_document(opening, shown, reused=begun.reused, mode=mode.value))
        if not watch:
            return 0
        from procomp_pay.cli.watching import exit_code

        return exit_code(shown)

    try:
        code = with_desk(work, using=using)
    except KeyboardInterrupt:
        from procomp_pay.cli.watching import stopped

        if not started:
            raise
        raise stopped(started[0]) from None
    if code:
        raise typer.Exit(code)


def _check(wish: Wish, qr_file: Path | None) -> None:
    """What can be refused before anything is opened."""
    from procomp_pay.cli.qr import checked_file

    if wish.is_kaspi and wish.intent_only:
        raise typer.BadParameter("--intent-only is for apple_pay and google_pay")
    if wish.link and not wish.is_kaspi:
        raise typer.BadParameter("--link is for kaspi_qr")
    if wish.intent_only and qr_file is not None:
        raise typer.BadParameter("a bare intent has no QR: leave out --qr-file or --intent-only")
    checked_file(qr_file)
    url = wish.return_url
    if url is not None and not (url.startswith(("https://", "http://")) and url.isprintable()):
        raise Refused(
            f"--return-url {clean(url[:60])!r} is not a web address", next_step="write it with https://"
        )
    key = wish.idempotency_key
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise Refused(
            "An idempotency key is 1 to 255 printable characters", next_step="--idempotency-key ORDER-17"
        )


def _check_phone(wish: Wish, *, watch: bool, as_json: bool) -> None:
    from procomp_pay.cli.starting_remote import check

    if wish.phone is None:
        return
    if not wish.is_kaspi or wish.link:
        raise typer.BadParameter("--phone is for kaspi_qr, instead of a QR or a link")
    if watch:
        raise typer.BadParameter(
            "an invoice has no QR and may not be asked about on a timer: no --watch here"
        )
    check(yes=wish.yes, as_json=as_json)


def _channel(wish: Wish) -> Channel:
    from procomp_pay.domain.states import Channel

    if wish.phone is not None:
        return Channel.KASPI_REMOTE
    if wish.is_kaspi:
        return Channel.KASPI_LINK if wish.link else Channel.KASPI_QR
    return Channel.STRIPE_INTENT if wish.intent_only else Channel.STRIPE_CHECKOUT


async def _order(desk: Desk, wish: Wish) -> Order:
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.payments.initiate import Order

    phone = None
    if wish.phone is not None:
        from procomp_pay.cli.starting_remote import confirmed

        phone = await confirmed(desk, wish.phone, yes=wish.yes)
    return Order(
        participant_id=wish.participant_id,
        method=PaymentMethod(wish.method.value.upper()),
        channel=_channel(wish),
        requested=await _requested(desk, wish),
        return_url=wish.return_url,
        idempotency_key=wish.idempotency_key,
        phone=phone,
    )


async def _requested(desk: Desk, wish: Wish) -> Money | None:
    """The amount that was typed, in the currency that was meant; ``None`` takes the fee as it stands."""
    from procomp_pay.domain.money import Currency, Money
    from procomp_pay.payments import views

    if wish.amount is None and wish.currency is None:
        return None
    if wish.amount is not None and wish.currency is not None:
        return Money.parse(wish.amount, wish.currency)
    fees = await views.fees_for(desk, wish.participant_id)
    if wish.amount is not None:
        return Money.parse(wish.amount, Currency.KZT if wish.is_kaspi else fees.main.currency)
    currency = Money.parse(1, str(wish.currency)).currency
    fee = fees.in_currency(currency)
    if fee is None:
        raise Refused(
            f"The tournament has no entry fee in {currency}, only in {', '.join(fees.currencies)}",
            next_step=f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}",
        )
    return fee


async def _show(desk: Desk, opening: Opening, actor: Actor, *, watch: bool, quiet: bool) -> PaymentView:
    from procomp_pay.cli import screens
    from procomp_pay.cli.starting_remote import show as show_invoice
    from procomp_pay.domain.states import Channel

    view, console = opening.view, out()
    if quiet or view.is_final:
        picture = None
    else:
        picture = _picture(opening)
        if picture is not None and opening.payment_url is not None:
            console.print(_ways(opening)[0], soft_wrap=True)
        if view.channel is Channel.KASPI_REMOTE:
            show_invoice(view)
        elif not watch:
            say(f"Follow it: procomp-pay status --payment {view.payment_id} --watch", dim=True)
        if not watch or not sys.stderr.isatty():
            console.print(screens.pay_screen(view, picture, console, below=_below(opening, picture)))
        elif picture is None:
            console.print(screens.pay_screen(view, None, console, below=_ways(opening)))
    if not watch:
        return view
    from procomp_pay.cli.watching import follow_on_screen

    view = await follow_on_screen(desk, view.payment_id, actor, picture=picture, quiet=quiet)
    if not quiet:
        console.print(screens.last_word(view, utf8=console.encoding.startswith("utf")))
    return view


def _picture(opening: Opening) -> Picture | None:
    """The QR where this terminal can show it; else says why not, and what to do."""
    from procomp_pay.cli import qr, screens

    if opening.qr_payload is None or not sys.stdout.isatty():
        return None
    if not qr.can_draw():
        say("This terminal has no block characters: no QR here. Add --qr-file qr.png", dim=True)
        return None
    made, console = qr.picture(opening.qr_payload), out()
    if screens.place_for(made, console.width, console.height).fits:
        return made
    say(
        f"The QR needs {made.width} columns and {made.height + 1} lines; this terminal has "
        f"{console.width} x {console.height}. Make it larger, or add --qr-file qr.png",
        fg="yellow",
    )
    return None


def _below(opening: Opening, picture: Picture | None) -> list[str]:
    """What stands under the facts where nothing is followed: until when, and the ways to pay as text."""
    from procomp_pay.cli import words

    view = opening.view
    lines = _ways(opening) if picture is None else []
    if view.expires_at is not None:
        lines.append(f"[dim]until[/] {words.clock_time(view.expires_at)}")
    return lines


def _ways(opening: Opening) -> list[str]:
    from procomp_pay.cli.common import safe

    if opening.client_secret is not None:
        return [f"[dim]client secret[/] {safe(opening.client_secret)}"]
    if opening.payment_url is not None:
        return [f"[dim]link[/] {safe(opening.payment_url)}"]
    return [f"[dim]QR text[/] {safe(opening.qr_payload)}"] if opening.qr_payload else []


def _save(opening: Opening, path: Path) -> None:
    from procomp_pay.cli import qr

    if opening.qr_payload is None:
        raise Refused("This payment has no QR (yet)", next_step="start it again in a minute")
    qr.save(opening.qr_payload, path)
    say(f"The QR is in {clean(path)}", dim=True)


def _document(opening: Opening, view: PaymentView, *, reused: bool, mode: str) -> dict[str, Any]:
    """The API's answer, the payment as it stands, and what the QR holds."""
    ways = opening.seeded() | {"qr_payload": opening.qr_payload}
    return view.full() | ways | {"reused": reused, "mode": mode}
