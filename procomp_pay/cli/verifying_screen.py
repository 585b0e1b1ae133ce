"""The two screens of the queue: who waits, and one of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from procomp_pay.cli import screens, words
from procomp_pay.cli.common import clean, safe
from procomp_pay.cli.verifying_words import KASPI, minutes, short_state

if TYPE_CHECKING:
    from procomp_pay.payments.views import PaymentView

#: Lines beside the rows: heading, table head, what is not shown, notice, two of help, the prompt.
_FRAME = 8


def queue_screen(
    console: Console,
    shown: list[tuple[int, PaymentView]],
    total: int,
    now: datetime,
    typed: str,
    notice: str | None,
) -> RenderableType:
    """Who waits, within the terminal's size."""
    room = max(1, console.height - _FRAME)
    table = Table(box=None, padding=(0, 1), expand=True, show_edge=False)
    table.add_column("#", justify="right", style="bold cyan", no_wrap=True)
    table.add_column("NAME", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("CATEGORY", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("AMOUNT", justify="right", no_wrap=True)
    table.add_column("MIN", justify="right", no_wrap=True)
    table.add_column("STATE", no_wrap=True, min_width=15)
    for number, view in shown[:room]:
        state = Text(short_state(view), style=words.COLOURS[view.status])
        amount = str(view.charged).replace(".00", "")
        cells = (f"[bold]{safe(view.participant_name)}[/]", safe(view.category or ""), amount)
        table.add_row(str(number), *cells, str(minutes(view, now)), state)
    people = "nobody waits" if not total else f"{total} wait" + ("s" if total == 1 else "")
    head = Text.assemble(("Kaspi payments to verify", "bold"), f" · {people} · {words.exact_time(now)}")
    below: list[RenderableType] = []
    if len(shown) > room:
        below.append(Text(f"… and {len(shown) - room} more: type a part of the name", style="dim"))
    if total and not shown:
        below.append(Text("No name fits; Esc clears", style="yellow"))
    if notice:
        below.append(Text.from_markup(notice))
    below += [
        Text(""),
        Text("Type the number or a part of the name, then Enter · Esc leaves", style="dim"),
        _prompt("Number or name", typed),
    ]
    return Group(head, Text(""), *([table] if shown else []), *below)


def payment_screen(
    console: Console, view: PaymentView, word: str | None, typed: str, trouble: str | None, *, busy: bool
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
        Text("Checking …", style="bold") if busy else _prompt("Operation number", typed),
    ]
    return Group(*(line for line in lines[: max(4, console.height - 1)]))


def paid_screen(console: Console, view: PaymentView, remark: str | None) -> RenderableType:
    """Green: the money is here."""
    lines: list[RenderableType] = [screens.last_word(view, utf8=console.encoding.startswith("utf"))]
    if remark:
        lines.append(Text(clean(remark), style="yellow"))
    return Group(*lines, Text(""), Text("Enter: the next one", style="dim"))


def _prompt(label: str, typed: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), clean(typed), ("▌", "blink"))
