"""An initiated payment in the terminal: its QR where there is room for it, else how to pay as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console, formats
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from procomp_pay.cli.display.qr import Picture
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import Opening, PaymentView


async def show(ctx: AppContext, opening: Opening, actor: Actor, *, watch: bool, quiet: bool) -> PaymentView:
    """Show a payment, and follow it with ``watch``; return its latest view.

    :param quiet: print nothing (``--json``).
    """
    from procomp_pay.cli.display import screens
    from procomp_pay.domain.states import Channel

    view, terminal = opening.view, console.out()
    if quiet or view.is_final:
        picture = None
    else:
        picture = _picture(opening)
        if picture is not None and opening.payment_url is not None:
            terminal.print(_ways(opening)[0], soft_wrap=True)
        if view.channel is Channel.KASPI_REMOTE:
            _explain_invoice(view)
        elif not watch:
            console.say(f"Follow it: procomp-pay status --payment {view.payment_id} --watch", dim=True)
        if not watch or not sys.stderr.isatty():
            terminal.print(screens.pay_screen(view, picture, terminal, below=_below(opening, picture)))
        elif picture is None:
            terminal.print(screens.pay_screen(view, None, terminal, below=_ways(opening)))
    if not watch:
        return view
    from procomp_pay.cli.payments.watch import follow_on_screen

    view = await follow_on_screen(ctx, view.payment_id, actor, picture=picture, quiet=quiet)
    if not quiet:
        screens.print_final_panel(view)
    return view


def _explain_invoice(view: PaymentView) -> None:
    """Print what to do after an invoice was sent."""
    console.say(
        "The invoice is in the customer's Kaspi app for 24 hours. It is not polled: Kaspi forbids it.",
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
            "This terminal cannot show a QR: it has no block characters. Add --qr-file qr.png", dim=True
        )
        return None
    picture, terminal = qr.picture(opening.qr_payload), console.out()
    if screens.place_for(picture, terminal.width, terminal.height).fits:
        return picture
    console.say(
        f"The QR needs {picture.width} columns and {picture.height + 1} lines; this terminal has "
        f"{terminal.width} x {terminal.height}. Make it larger, or add --qr-file qr.png",
        fg="yellow",
    )
    return None


def _below(opening: Opening, picture: Picture | None) -> list[str]:
    """Return the lines under a payment that is not followed: how to pay as text, and until when."""

    view = opening.view
    lines = _ways(opening) if picture is None else []
    if view.expires_at is not None:
        lines.append(f"[dim]until[/] {formats.clock_time(view.expires_at)}")
    return lines


def _ways(opening: Opening) -> list[str]:
    if opening.client_secret is not None:
        return [f"[dim]client secret[/] {console.safe(opening.client_secret)}"]
    if opening.payment_url is not None:
        return [f"[dim]link[/] {console.safe(opening.payment_url)}"]
    return [f"[dim]QR text[/] {console.safe(opening.qr_payload)}"] if opening.qr_payload else []


def save(opening: Opening, path: Path) -> None:
    """Write the QR to a file.

    :raises Refused: there is no QR, or the file cannot be written.
    """
    from procomp_pay.cli.display import qr

    if opening.qr_payload is None:
        raise Refused(
            "This payment has no QR yet",
            next_step=f"in a minute: procomp-pay status --payment {opening.view.payment_id} --refresh",
        )
    qr.save(opening.qr_payload, path)
    console.say(f"The QR was saved to {console.clean(path)}", dim=True)
