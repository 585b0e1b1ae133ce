"""A started payment on the terminal: its QR where there is room for it, else the ways to pay as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.cli.framework.common import clean, out, say
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.cli.payments.qr import Picture
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import Opening, PaymentView


async def show(ctx: AppContext, opening: Opening, actor: Actor, *, watch: bool, quiet: bool) -> PaymentView:
    from procomp_pay.cli.payments import screens
    from procomp_pay.cli.payments.invoice import show as show_invoice
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
    from procomp_pay.cli.payments.watch import follow_on_screen

    view = await follow_on_screen(ctx, view.payment_id, actor, picture=picture, quiet=quiet)
    if not quiet:
        console.print(screens.last_word(view, utf8=console.encoding.startswith("utf")))
    return view


def _picture(opening: Opening) -> Picture | None:
    """The QR where this terminal can show it; else says why not, and what to do."""
    from procomp_pay.cli.payments import qr, screens

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
    from procomp_pay.cli.payments import wording

    view = opening.view
    lines = _ways(opening) if picture is None else []
    if view.expires_at is not None:
        lines.append(f"[dim]until[/] {wording.clock_time(view.expires_at)}")
    return lines


def _ways(opening: Opening) -> list[str]:
    from procomp_pay.cli.framework.common import safe

    if opening.client_secret is not None:
        return [f"[dim]client secret[/] {safe(opening.client_secret)}"]
    if opening.payment_url is not None:
        return [f"[dim]link[/] {safe(opening.payment_url)}"]
    return [f"[dim]QR text[/] {safe(opening.qr_payload)}"] if opening.qr_payload else []


def save(opening: Opening, path: Path) -> None:
    from procomp_pay.cli.payments import qr

    if opening.qr_payload is None:
        raise Refused("This payment has no QR (yet)", next_step="start it again in a minute")
    qr.save(opening.qr_payload, path)
    say(f"The QR is in {clean(path)}", dim=True)
