"""The queue on the screen: its rows, the meaning of a typed line, one payment, and PAID."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from procomp_pay.cli.display import screens, wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.kaspi.wording import KASPI, minutes, short_state
from procomp_pay.domain import operation_number, payment_code
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.name_search import matches
from procomp_pay.services.kaspi_verification.queue import receipt, waiting
from procomp_pay.services.registrations.participants import list_participants
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import PaymentView


class Queue:
    """The unverified payments, each with a row number that it keeps."""

    def __init__(self, ctx: AppContext) -> None:
        self._ctx = ctx
        self.clock = ctx.clock
        #: A receipt's number that was typed before its payment was chosen.
        self.receipt: str | None = None
        self._numbers: dict[str, int] = {}
        self._rows: list[PaymentView] = []

    async def refresh(self) -> None:
        """Read the payments again.

        :raises DatabaseUnavailable: the rows stay as they were.
        """
        self._rows = await waiting(self._ctx)
        for view in self._rows:
            self._numbers.setdefault(view.payment_id, len(self._numbers) + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def matching(self, typed: str) -> list[tuple[int, PaymentView]]:
        """Return the rows that match what has been typed; all rows for a number."""
        rows = [(self._numbers[view.payment_id], view) for view in self._rows]
        typed = typed.strip()
        if not typed or typed.isdigit():
            return rows
        found = matches([f"{view.participant_name} {view.category or ''}" for _, view in rows], typed)
        named = [rows[match.number] for match in found]
        return named or [row for row in rows if _has_code(row[1], typed)]

    def choice(self, typed: str) -> PaymentView | None:
        """Return the payment that a line chooses: by row number, or as the only match."""
        rows = self.matching(typed)
        if typed.strip().isdigit():
            return next((view for number, view in rows if str(number) == typed.strip()), None)
        return rows[0][1] if len(rows) == 1 else None

    async def find(self, typed: str) -> PaymentView | str:
        """Return the payment that a receipt's number belongs to; otherwise a message about the line."""
        number = as_receipt(typed)
        if number is None:
            return await self._explain(typed)
        operation = await receipt(self._ctx, number)
        if operation.payment_id is None:
            self.receipt = number
            return _marked(
                "yellow",
                _(
                    "Receipt %(number)s is not known yet. Whose is it? Type the row or the name",
                    number=number,
                ),
            )
        view = await views.one(self._ctx, operation.payment_id)
        if operation.settled_at is None:
            self.receipt = number
            return view
        when = formats.clock_time(operation.settled_at)
        participant = f"{console.safe(view.participant_name)} ({console.safe(view.category or '-')})"
        used = _(
            "Receipt %(number)s was used: it settled %(name)s at %(time)s. Ask for another receipt",
            number=number,
            name=participant,
            time=when,
        )
        return _marked("red", used)

    async def _explain(self, typed: str) -> str:
        matches, shown = len(self.matching(typed)), repr(console.safe(typed[:20]))
        if typed.isdigit():
            return _marked("yellow", _("There is no row %(number)s", number=console.safe(typed[:20])))
        if matches > 1:
            return _marked(
                "yellow", _("%(n)s match %(typed)s: type the number before the name", n=matches, typed=shown)
            )
        page = await list_participants(self._ctx, search=typed, limit=1)
        if page.total == 0:
            return _marked("yellow", _("No registered participant matches %(typed)s", typed=shown))
        if page.total > 1:
            return _marked(
                "yellow",
                _(
                    "%(n)s participants match %(typed)s, none has a payment to verify",
                    n=page.total,
                    typed=shown,
                ),
            )
        [participant] = page.items
        name = f"{console.safe(participant.full_name)} ({console.safe(participant.category or '-')})"
        if participant.is_paid:
            return _marked("green", _("✓ %(name)s is PAID already", name=name))
        command = f"procomp-pay initiate {participant.participant_id} --method kaspi_qr"
        none = _(
            "%(name)s has no Kaspi payment to verify. For a new QR: %(command)s",
            name=name,
            command=console.safe(command),
        )
        return _marked("yellow", none)


def _marked(colour: str, text: str) -> str:
    return f"[{colour}]{text}[/]"


def _has_code(view: PaymentView, typed: str) -> bool:
    """Return whether the payment's code starts with it."""
    part = payment_code.folded(typed)
    return len(part) >= 3 and payment_code.folded(view.code or "").startswith(part)


def as_receipt(typed: str) -> str | None:
    """Return the operation number if one was typed; a row number never has that many digits."""
    try:
        return operation_number.read(typed)
    except PaymentError:
        return None


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
    count = _("none") if not total else str(total)
    head = Text.assemble((_("Kaspi payments to verify"), "bold"), f" · {count} · {formats.exact_time(now)}")
    below: list[RenderableType] = []
    if len(shown) > room:
        below.append(Text(_("… and %(n)s more: type a part of a name", n=len(shown) - room), style="dim"))
    if total and not shown:
        below.append(Text(_("No payment in the list matches; Esc clears"), style="yellow"))
    if notice:
        below.append(Text.from_markup(notice))
    below += [
        Text(""),
        Text(_("Type a row, a part of a name or a receipt's number, then Enter · Esc quits"), style="dim"),
        _prompt(_("Row, name or receipt"), typed),
    ]
    return Group(head, Text(""), *([table] if shown else []), *below)


def _table(shown: list[tuple[int, PaymentView]], now: datetime) -> Table:
    table = _bare_table()
    table.add_column(_("NAME"), ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column(_("CATEGORY"), ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(_("AMOUNT"), justify="right", no_wrap=True)
    table.add_column(_("MIN"), justify="right", no_wrap=True)
    table.add_column(_("STATE"), no_wrap=True, min_width=15)
    for number, view in shown:
        cells = (_name(view), console.safe(view.category or ""), _amount(view), str(minutes(view, now)))
        table.add_row(str(number), *cells, _state(view))
    return table


def _narrow_table(shown: list[tuple[int, PaymentView]], now: datetime) -> Table:
    """Return the table with a line for the name alone: it is what the clerk looks for."""
    table = _bare_table()
    table.add_column(_("NAME"), ratio=1, no_wrap=True, overflow="ellipsis")
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
    return formats.money(view.charged).replace(".00", "")


def _state(view: PaymentView) -> Text:
    return Text(_(short_state(view)), style=wording.colour(view.status))


def payment_screen(
    space: Room, view: PaymentView, word: str | None, typed: str, trouble: str | None, *, busy: bool
) -> RenderableType:
    """Return the screen of one payment, with the line for its operation number."""
    tournament = console.safe(wording.tournament(view))
    answer = _("Asking %(provider)s …", provider="Kaspi") if word is None else _(KASPI.get(word, word))
    lines = [
        Text.from_markup(f"[bold]{console.safe(view.participant_name)}[/]"),
        Text.from_markup(tournament),
        Text.from_markup(
            f"[bold reverse] {formats.money(view.charged)} [/]  {console.safe(_(short_state(view)))}"
        ),
        Text.from_markup(f"[dim]{_('code')}[/] {view.code or '-'}  [dim]{_('payment')}[/] {view.payment_id}"),
        Text(""),
        Text(answer, style="dim" if word is None else "cyan"),
    ]
    if trouble:
        lines += [Text(""), Text(trouble, style="bold red")]
    lines += [
        Text(""),
        Text(_("Type the receipt's number (with or without QR), then Enter · Esc returns"), style="dim"),
        Text(_("Checking …"), style="bold") if busy else _prompt(_("Receipt's number"), typed),
    ]
    return Group(*(line for line in lines[: max(4, space.lines - 1)]))


def paid_screen(view: PaymentView, remark: str | None, *, utf8: bool) -> RenderableType:
    """Return the green screen: the payment is paid."""
    lines: list[RenderableType] = [screens.final_panel(view, utf8=utf8)]
    if remark:
        lines.append(Text(console.clean(remark), style="yellow"))
    return Group(*lines, Text(""), Text(_("Enter: next payment"), style="dim"))


def _prompt(label: str, typed: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), console.clean(typed), ("▌", "blink"))
