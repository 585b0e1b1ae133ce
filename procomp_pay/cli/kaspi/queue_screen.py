"""The two screens of the queue: who waits, and one of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from procomp_pay.cli.framework.common import clean, safe
from procomp_pay.cli.kaspi.wording import KASPI, minutes, short_state
from procomp_pay.cli.payments import screens, wording

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import PaymentView

#: Lines beside the rows: heading, table head, what is not shown, notice, two of help, the prompt.
_FRAME = 8
#: Columns that the table needs; below, each payment has two lines of its own.
_WIDE = 64


class Room(NamedTuple):
    """Columns and lines that a screen may use."""

    columns: int
    lines: int


class Board(Live):
    """The terminal's whole screen.

    :param mark: its first line, while no real money moves.
    """

    def __init__(self, console: Console, mark: str | None) -> None:
        super().__init__(console=console, screen=True, auto_refresh=False, transient=True)
        self._mark = mark

    @property
    def room(self) -> Room:
        """What is left beside the mark; people make windows larger and smaller."""
        return Room(self.console.width, self.console.height - (self._mark is not None))

    def put(self, shown: RenderableType) -> None:
        """Show it now."""
        mark = [] if self._mark is None else [Text(self._mark, style="bold yellow", no_wrap=True)]
        self.update(Group(*mark, shown), refresh=True)


def queue_screen(
    space: Room,
    shown: list[tuple[int, PaymentView]],
    total: int,
    now: datetime,
    typed: str,
    notice: str | None,
) -> RenderableType:
    """Who waits, within the terminal's size."""
    wide = space.columns >= _WIDE
    room = max(1, (space.lines - _FRAME) // (1 if wide else 2))
    table = (_table if wide else _narrow_table)(shown[:room], now)
    people = "nobody waits" if not total else f"{total} wait" + ("s" if total == 1 else "")
    head = Text.assemble(("Kaspi payments to verify", "bold"), f" · {people} · {wording.exact_time(now)}")
    below: list[RenderableType] = []
    if len(shown) > room:
        below.append(Text(f"… and {len(shown) - room} more: type a part of the name", style="dim"))
    if total and not shown:
        below.append(Text("Nobody who waits fits; Esc clears", style="yellow"))
    if notice:
        below.append(Text.from_markup(notice))
    below += [
        Text(""),
        Text("Type a row, a part of the name or the receipt's number, then Enter · Esc leaves", style="dim"),
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
        cells = (_name(view), safe(view.category or ""), _amount(view), str(minutes(view, now)))
        table.add_row(str(number), *cells, _state(view))
    return table


def _narrow_table(shown: list[tuple[int, PaymentView]], now: datetime) -> Table:
    """The name has a line to itself: it is what the clerk looks for."""
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
    return f"[bold]{safe(view.participant_name)}[/]"


def _amount(view: PaymentView) -> str:
    return str(view.charged).replace(".00", "")


def _state(view: PaymentView) -> Text:
    return Text(short_state(view), style=wording.COLOURS[view.status])


def payment_screen(
    space: Room, view: PaymentView, word: str | None, typed: str, trouble: str | None, *, busy: bool
) -> RenderableType:
    """One payment, and the line for its operation number."""
    place = safe(view.tournament_name) + (f" · {safe(view.category)}" if view.category else "")
    said = "Asking Kaspi …" if word is None else KASPI.get(word, word)
    lines = [
        Text.from_markup(f"[bold]{safe(view.participant_name)}[/]"),
        Text.from_markup(place),
        Text.from_markup(f"[bold reverse] {view.charged} [/]  {safe(short_state(view))}"),
        Text.from_markup(f"[dim]code[/] {view.code or '-'}  [dim]payment[/] {view.payment_id}"),
        Text(""),
        Text(said, style="dim" if word is None else "cyan"),
    ]
    if trouble:
        lines += [Text(""), Text(trouble, style="bold red")]
    lines += [
        Text(""),
        Text("Type the receipt's number (with or without QR), then Enter · Esc goes back", style="dim"),
        Text("Checking …", style="bold") if busy else _prompt("Receipt's number", typed),
    ]
    return Group(*(line for line in lines[: max(4, space.lines - 1)]))


def paid_screen(view: PaymentView, remark: str | None, *, utf8: bool) -> RenderableType:
    """Green: the money is here."""
    lines: list[RenderableType] = [screens.last_word(view, utf8=utf8)]
    if remark:
        lines.append(Text(clean(remark), style="yellow"))
    return Group(*lines, Text(""), Text("Enter: the next one", style="dim"))


def _prompt(label: str, typed: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), clean(typed), ("▌", "blink"))
