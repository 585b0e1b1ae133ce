"""What a payment looks like: the screen to pay from, the line while it is followed, the last word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from procomp_pay.cli.framework.common import safe
from procomp_pay.cli.payments import block_text as bigtext
from procomp_pay.cli.payments import wording
from procomp_pay.cli.payments.qr import Picture, drawn
from procomp_pay.domain.states import PaymentStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from procomp_pay.services.views.payment import PaymentView

#: The narrowest column beside a QR: a payment's id fits in.
_BESIDE = 32
#: Lines under a QR that stands alone.
_UNDER = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a QR goes on a screen: beside the facts, above them, or nowhere."""

    beside: bool = False
    above: bool = False

    @property
    def fits(self) -> bool:
        return self.beside or self.above


def place_for(picture: Picture | None, width: int, height: int) -> Place:
    """Where a picture fits; the last line of the terminal is the prompt's."""
    if picture is None:
        return Place()
    if picture.width + 2 + _BESIDE <= width and picture.height < height:
        return Place(beside=True)
    return Place(above=picture.width <= width and picture.height + _UNDER < height)


def amount_lines(view: PaymentView, *, large: bool) -> list[str]:
    """The amount as large as the place allows; always exact."""
    plain = f"[bold]{view.charged}[/]"
    if not large:
        return [f"[bold reverse] {view.charged} [/]"]
    digits = f"{view.charged.amount:,.2f}".removesuffix(".00").replace(",", " ")
    return [*(f"[bold]{line}[/]" for line in bigtext.small(digits)), plain]


def facts(view: PaymentView, *, large: bool, short: bool = False) -> list[str]:
    """Who pays what for which tournament, as lines of markup."""
    if short:
        return [
            f"[bold reverse] {view.charged} [/] {safe(view.participant_name)}",
            view.code or view.payment_id,
        ]
    place = safe(view.tournament_name) + (f" · {safe(view.category)}" if view.category else "")
    return [
        f"[bold]{safe(view.participant_name)}[/]",
        place,
        "",
        *amount_lines(view, large=large),
        "",
        f"{wording.METHODS[view.method]} · {wording.how_to_pay(view)}",
        f"[dim]payment[/] {view.payment_id}",
        *([f"[dim]code[/]    [bold]{view.code}[/]"] if view.code else []),
    ]


def now_line(view: PaymentView, now: datetime, trouble: str | None = None) -> str:
    """How it stands at this moment, with the countdown."""
    colour = wording.COLOURS[view.status]
    line = f"[bold {colour}]{view.status}[/]"
    if view.status is PaymentStatus.PENDING and view.expires_at is not None:
        over = view.expires_at <= now
        line += " asking one last time" if over else f" [bold]{wording.left(view.expires_at, now)}[/] left"
    line += f" · {safe(wording.state(view))}"
    if trouble:
        line += f"\n[bold yellow]! no connection, trying again[/] [dim]({safe(trouble)})[/]"
    return line


def pay_screen(
    view: PaymentView, picture: Picture | None, console: Console, below: Iterable[str] = ()
) -> RenderableType:
    """The screen to pay from, within the terminal's size."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    place = place_for(picture, console.width, console.height)
    large = console.width >= 40 and console.height >= 16
    coloured = console.color_system is not None and not console.no_color
    rest = [Text.from_markup(line) for line in below]
    if picture is None or not place.fits:
        return Group(*map(Text.from_markup, facts(view, large=large)), *rest)
    code = drawn(picture, coloured=coloured)
    if place.above:
        return Group(code, *map(Text.from_markup, facts(view, large=False, short=True)), *rest)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=picture.width, no_wrap=True)
    grid.add_column()
    short = picture.height < 14 or console.width - picture.width < 2 + _BESIDE
    grid.add_row(code, Group(*map(Text.from_markup, facts(view, large=not short)), "", *rest))
    return grid


_TITLES = {
    PaymentStatus.FAILED: "✗ NOT PAID",
    PaymentStatus.EXPIRED: "✗ NOT PAID – TIME IS OVER",
    PaymentStatus.CANCELLED: "✗ NOT PAID – CANCELLED",
    PaymentStatus.REFUNDED: "PAID BACK",
    PaymentStatus.PENDING: "NOT PAID YET",
    PaymentStatus.PROCESSING: "NOT PAID YET",
}


def last_word(view: PaymentView, *, utf8: bool = True) -> RenderableType:
    """The panel at the end. What it says is in words and in its shape, not in its colour alone."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    odd = view.is_late or view.is_duplicate
    lines: list[Any] = []
    if view.status is PaymentStatus.COMPLETED:
        colour = "yellow" if odd else "green"
        lines += [Text(line, style=f"bold {colour}") for line in bigtext.large("PAID", "█" if utf8 else "#")]
        lines.append(Text(""))
    else:
        colour = wording.COLOURS[view.status]
        lines.append(Text(_TITLES[view.status], style=f"bold {colour}"))
    if odd or view.status is not PaymentStatus.COMPLETED:
        lines.append(Text.from_markup(safe(wording.state(view))))
    paid = "✓ PAID " if view.status is PaymentStatus.COMPLETED else ""  # the word too: for a reader, a log
    lines += [Text.from_markup(paid + line if n == 0 else line) for n, line in enumerate(_proof(view))]
    return Panel(Group(*lines), border_style=colour, box=box.HEAVY, padding=(0, 2), expand=False)


def _proof(view: PaymentView) -> list[str]:
    found = [
        f"[bold]{view.charged}[/] · {safe(view.participant_name)}",
        f"{safe(view.tournament_name)} · {wording.METHODS[view.method]}",
    ]
    if view.operation_number:
        found.append(f"Kaspi operation {safe(view.operation_number)}")
    when = view.completed_at or view.updated_at
    found.append(f"{wording.clock_time(when)} · {view.payment_id}" + (f" · {view.code}" if view.code else ""))
    return found
