"""A payment on the screen: the QR to pay with, the line while it is followed, the panel at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from procomp_pay.cli.display import wording
from procomp_pay.cli.display.qr import Picture, drawn
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.states import PaymentStatus, method_name
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from procomp_pay.services.views.payment import PaymentView


_GLYPHS = {
    "0": "### # # # # # # ###",
    "1": " #  ##   #   #  ###",
    "2": "###   # ### #   ###",
    "3": "###   # ###   # ###",
    "4": "# # # # ###   #   #",
    "5": "### #   ###   # ###",
    "6": "### #   ### # # ###",
    "7": "###   #   #   #   #",
    "8": "### # # ### # # ###",
    "9": "### # # ###   # ###",
    ".": "                 # ",
    "A": "### # # ### # # # #",
    "D": "##  # # # # # # ## ",
    "I": "###  #   #   #  ###",
    "P": "### # # ### #   #  ",
    "А": "### # # ### # # # #",
    "Д": " #  # # # # ### # #",
    "Е": "### #   ### #   ###",
    "І": "###  #   #   #  ###",
    "Л": " ## # # # # # # # #",
    "Н": "# # # # ### # # # #",
    "О": "### # # # # # # ###",
    "П": "### # # # # # # # #",
    "Т": "###  #   #   #   # ",
    "Ч": "# # # # ###   #   #",
    "Ө": "### # # ### # # ###",
}
_ROWS = 5
_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def _pixels(text: str) -> list[list[bool]]:
    """Return five rows of pixels. A glyph is three wide with a gap after it; any other letter is a gap."""
    rows: list[list[bool]] = [[] for _ in range(_ROWS)]
    for letter in text:
        glyph = _GLYPHS.get(letter)
        for number, row in enumerate(rows):
            part = "  " if glyph is None else glyph[number * 4 : number * 4 + 3] + " "
            row.extend(pixel == "#" for pixel in part.ljust(2 if glyph is None else 4))
    return rows


def small(text: str) -> list[str]:
    """Return text in three lines, two pixels per character."""
    rows = [*_pixels(text), []]
    rows[-1] = [False] * len(rows[0])
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[pair] for pair in zip(*both, strict=True)).rstrip() for both in pairs]


def large(text: str, ink: str = "█") -> list[str]:
    """Return text in five lines, two characters per pixel."""
    return ["".join(ink * 2 if pixel else "  " for pixel in row).rstrip() for row in _pixels(text)]


#: The width of a column beside a QR in which a payment's id fits with its label.
_BESIDE = 32
#: The narrowest one: the id alone fits.
_NARROWEST = 26
#: Lines of text under a QR that has nothing beside it.
_UNDER = 4


@dataclass(frozen=True, slots=True)
class QrPosition:
    """The position of a QR: beside the text, above it, or nowhere."""

    beside: bool = False
    above: bool = False

    @property
    def fits(self) -> bool:
        return self.beside or self.above


def position_for(picture: Picture | None, width: int, height: int) -> QrPosition:
    """Return where a QR fits; the last line of the terminal is left for the prompt."""
    if picture is None:
        return QrPosition()
    if picture.width + 2 + _NARROWEST <= width and picture.height < height:
        return QrPosition(beside=True)
    return QrPosition(above=picture.width <= width and picture.height + _UNDER < height)


def amount_lines(view: PaymentView, *, large: bool) -> list[str]:
    """Return the amount, in large digits where there is room; always exact."""
    plain = f"[bold]{formats.money(view.charged)}[/]"
    if not large:
        return [f"[bold reverse] {formats.money(view.charged)} [/]"]
    digits = f"{view.charged.amount:,.2f}".removesuffix(".00").replace(",", " ")
    return [*(f"[bold]{line}[/]" for line in small(digits)), plain]


def payment_lines(view: PaymentView, *, large: bool, short: bool = False) -> list[str]:
    """Return who pays what for which tournament, as lines of markup."""
    if short:
        return [
            f"[bold reverse] {formats.money(view.charged)} [/] {console.safe(view.participant_name)}",
            view.code or view.payment_id,
        ]
    tournament = console.safe(wording.tournament(view))
    return [
        f"[bold]{console.safe(view.participant_name)}[/]",
        tournament,
        "",
        *amount_lines(view, large=large),
        "",
        f"{method_name(view.method)} · {wording.how_to_pay(view)}",
        f"[dim]{_('payment')}[/] {view.payment_id}",
        *([f"[dim]{_('code')}[/]    [bold]{view.code}[/]"] if view.code else []),
    ]


def now_line(
    view: PaymentView, now: datetime, trouble: str | None = None, next_step: str | None = None
) -> str:
    """Return the current status with the countdown, and what to do about a trouble."""
    colour = wording.colour(view.status)
    line = f"[bold {colour}]{wording.status(view.status)}[/]"
    if view.status is PaymentStatus.PENDING and view.expires_at is not None:
        over = view.expires_at <= now
        left = f"[bold]{formats.left(view.expires_at, now)}[/]"
        line += " " + (_("asking one last time") if over else _("%(left)s left", left=left))
    line += f" · {console.safe(wording.state(view))}"
    if trouble:
        line += f"\n[bold yellow]! {_('no connection, trying again')}[/] [dim]({console.safe(trouble)})[/]"
        line += f"\n→ {console.safe(next_step)}" if next_step else ""
    return line


def why_no_qr(picture: Picture, payload: str, width: int, height: int) -> str:
    """Return why a QR is not drawn, and what to do."""
    is_long = len(payload) > 100
    sizes = {
        "columns": picture.width,
        "lines": picture.height + 1,
        "width": width,
        "height": height,
    }
    if is_long:
        return _(
            "The QR (of a link of %(n)s characters) needs %(columns)s columns and %(lines)s lines; this "
            "terminal has %(width)s x %(height)s. Make it larger, or add --qr-file qr.png; where "
            "PUBLIC_BASE_URL is set, a short link takes its place",
            n=len(payload),
            **sizes,
        )
    return _(
        "The QR needs %(columns)s columns and %(lines)s lines; this terminal has %(width)s x %(height)s. "
        "Make it larger, or add --qr-file qr.png",
        **sizes,
    )


def pay_screen(
    view: PaymentView, picture: Picture | None, terminal: Console, below: Iterable[str] = ()
) -> RenderableType:
    """Return the screen to pay from, within the terminal's size."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    position = position_for(picture, terminal.width, terminal.height)
    large = terminal.width >= 40 and terminal.height >= 16
    coloured = terminal.color_system is not None and not terminal.no_color
    rest = [Text.from_markup(line) for line in below]
    if picture is None or not position.fits:
        return Group(*map(Text.from_markup, payment_lines(view, large=large)), *rest)
    code = drawn(picture, coloured=coloured)
    if position.above:
        return Group(code, *map(Text.from_markup, payment_lines(view, large=False, short=True)), *rest)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=picture.width, no_wrap=True)
    grid.add_column()
    short = picture.height < 14 or terminal.width - picture.width < 2 + _BESIDE
    grid.add_row(code, Group(*map(Text.from_markup, payment_lines(view, large=not short)), "", *rest))
    return grid


_TITLES: dict[str, str] = {
    PaymentStatus.FAILED: N_("✗ NOT PAID"),
    PaymentStatus.EXPIRED: N_("✗ NOT PAID – EXPIRED"),
    PaymentStatus.CANCELLED: N_("✗ NOT PAID – CANCELLED"),
    PaymentStatus.REFUNDED: N_("REFUNDED"),
    PaymentStatus.PENDING: N_("NOT PAID YET"),
    PaymentStatus.PROCESSING: N_("NOT PAID YET"),
}


def _title(view: PaymentView) -> str:
    if view.other_amount is not None:
        return _("✗ WRONG AMOUNT")
    if view.settled_by is not None:
        return _("ALREADY PAID")
    return _(_TITLES[view.status]) if view.status in _TITLES else str(view.status)


def final_panel(view: PaymentView, *, utf8: bool = True) -> RenderableType:
    """Return the panel that ends the screen. It is readable without colour."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    unusual = view.is_late or view.is_duplicate
    lines: list[Any] = []
    if view.status is PaymentStatus.COMPLETED:
        colour = "yellow" if unusual else "green"
        letters = large(_("PAID"), "█" if utf8 else "#")
        lines += [Text(line, style=f"bold {colour}") for line in letters]
        lines.append(Text(""))
    else:
        colour = wording.colour(view.status)
        lines.append(Text(_title(view), style=f"bold {colour}"))
    if unusual or view.status is not PaymentStatus.COMPLETED:
        lines.append(Text.from_markup(console.safe(wording.state(view))))
    amount, *details = _details(view)
    if view.status is PaymentStatus.COMPLETED:
        amount = f"{_('✓ PAID')} {amount}"  # also as a word: for a screen reader, for a log
    lines += map(Text.from_markup, [amount, *details])
    if (step := wording.next_step(view)) is not None:
        lines.append(Text(f"→ {step}"))
    return Panel(Group(*lines), border_style=colour, box=box.HEAVY, padding=(0, 2), expand=False)


def print_final_panel(view: PaymentView) -> None:
    """Print that panel on stdout."""
    terminal = console.out()
    terminal.print(final_panel(view, utf8=terminal.encoding.startswith("utf")))


def _details(view: PaymentView) -> list[str]:
    lines = [
        f"[bold]{formats.money(view.charged)}[/] · {console.safe(view.participant_name)}",
        f"{console.safe(view.tournament_name)} · {method_name(view.method)}",
    ]
    if view.operation_number:
        lines.append(_("Kaspi operation %(number)s", number=console.safe(view.operation_number)))
    when = view.completed_at or view.updated_at
    lines.append(f"{formats.clock_time(when)} · {view.payment_id}" + (f" · {view.code}" if view.code else ""))
    return lines
