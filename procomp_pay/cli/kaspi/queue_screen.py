"""The screens of the queue: the list, one payment, and PAID."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from procomp_pay.cli.display import screens, wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.kaspi.wording import KASPI, minutes, short_state

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView

#: Lines around the rows: heading, table head, what is not shown, notice, two of help, the prompt.
_FRAME = 8
#: Columns that the table needs; on a narrower screen each payment takes two lines.
_WIDE = 64


class Room(NamedTuple):
    """Columns and lines that a screen may use."""

    columns: int
    lines: int


class Board(Live):
    """The whole screen of the terminal.

    :param notice: its first line while no real money moves.
    """

    def __init__(self, terminal: Console, notice: str | None) -> None:
        super().__init__(console=terminal, screen=True, auto_refresh=False, transient=True)
        self._notice = notice

    @property
    def room(self) -> Room:
        """The size left below the notice; the window can be resized."""
        return Room(self.console.width, self.console.height - (self._notice is not None))

    def put(self, shown: RenderableType) -> None:
        """Show this now."""
        notice = [] if self._notice is None else [Text(self._notice, style="bold yellow", no_wrap=True)]
        self.update(Group(*notice, shown), refresh=True)


def queue_screen(
    space: Room,
    shown: list[tuple[int, PaymentView]],
    total: int,
    now: datetime,
    typed: str,
    notice: str | None,
) -> RenderableType:
    """Return the list of unverified payments, within the terminal's size."""
    wide = space.columns >= _WIDE
    room = max(1, (space.lines - _FRAME) // (1 if wide else 2))
    table = (_table if wide else _narrow_table)(shown[:room], now)
    count = "none" if not total else str(total)
    head = Text.assemble(("Kaspi payments to verify", "bold"), f" · {count} · {formats.exact_time(now)}")
    below: list[RenderableType] = []
    if len(shown) > room:
        below.append(Text(f"… and {len(shown) - room} more: type a part of a name", style="dim"))
    if total and not shown:
        below.append(Text("No payment in the list matches; Esc clears", style="yellow"))
    if notice:
        below.append(Text.from_markup(notice))
    below += [
        Text(""),
        Text("Type a row, a part of a name or a receipt's number, then Enter · Esc quits", style="dim"),
        _prompt("Row, name or receipt", typed),
    ]
    return Group(head, Text(""), *([table] if shown else []), *below)


def _table(shown: list[tuple[int, PaymentView]], now: datetime) -> Table:
    table = _bare_table()
    table.add_column("NAME", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("CATEGORY", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("AMOUNT", justify="right", no_wrap=True)
    table.add_column("MIN", justify="right", no_wrap=True)
    table.add_column("STATE", no_wrap=True, min_width=15)
    for number, view in shown:
        cells = (_name(view), console.safe(view.category or ""), _amount(view), str(minutes(view, now)))
        table.add_row(str(number), *cells, _state(view))
    return table


def _narrow_table(shown: list[tuple[int, PaymentView]], now: datetime) -> Table:
    """Return the table with a line for the name alone: it is what the clerk looks for."""
    table = _bare_table()
    table.add_column("NAME", ratio=1, no_wrap=True, overflow="ellipsis")
    for number, view in shown:
        rest = Text.assemble(f"{_amount(view)} · ", _state(view), f" · {minutes(view, now)}'")
        table.add_row(str(number), Group(Text.from_markup(_name(view)), rest))
    return table


def _bare_table() -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, show_edge=False)
    table.add_column("#", justify="right", style="bold cyan", no_wrap=True)
    return table


def _name(view: PaymentView) -> str:
    return f"[bold]{console.safe(view.participant_name)}[/]"


def _amount(view: PaymentView) -> str:
    return str(view.charged).replace(".00", "")


def _state(view: PaymentView) -> Text:
    return Text(short_state(view), style=wording.COLOURS[view.status])


def payment_screen(
    space: Room, view: PaymentView, word: str | None, typed: str, trouble: str | None, *, busy: bool
) -> RenderableType:
    """Return the screen of one payment, with the line for its operation number."""
    place = console.safe(wording.tournament(view))
    answer = "Asking Kaspi …" if word is None else KASPI.get(word, word)
    lines = [
        Text.from_markup(f"[bold]{console.safe(view.participant_name)}[/]"),
        Text.from_markup(place),
        Text.from_markup(f"[bold reverse] {view.charged} [/]  {console.safe(short_state(view))}"),
        Text.from_markup(f"[dim]code[/] {view.code or '-'}  [dim]payment[/] {view.payment_id}"),
        Text(""),
        Text(answer, style="dim" if word is None else "cyan"),
    ]
    if trouble:
        lines += [Text(""), Text(trouble, style="bold red")]
    lines += [
        Text(""),
        Text("Type the receipt's number (with or without QR), then Enter · Esc returns", style="dim"),
        Text("Checking …", style="bold") if busy else _prompt("Receipt's number", typed),
    ]
    return Group(*(line for line in lines[: max(4, space.lines - 1)]))


def paid_screen(view: PaymentView, remark: str | None, *, utf8: bool) -> RenderableType:
    """Return the green screen: the payment is paid."""
    lines: list[RenderableType] = [screens.final_panel(view, utf8=utf8)]
    if remark:
        lines.append(Text(console.clean(remark), style="yellow"))
    return Group(*lines, Text(""), Text("Enter: next payment", style="dim"))


def _prompt(label: str, typed: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), console.clean(typed), ("▌", "blink"))
