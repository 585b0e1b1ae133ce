"""The first screen: find a person by name, code or receipt; below it who waits, or the payments of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from procomp_pay.cli.desk import reads
from procomp_pay.cli.desk.app import DeskScreen, Keys
from procomp_pay.cli.desk.keys import mistyped_code, read_scan, row_number
from procomp_pay.cli.desk.person import PersonScreen
from procomp_pay.cli.desk.reads import Person
from procomp_pay.cli.desk.wording import columns, money, short_state, waiting_for, when
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.explain import explain
from procomp_pay.cli.framework.language import _
from procomp_pay.domain import payment_code
from procomp_pay.domain.errors import NotFound, PaymentError
from procomp_pay.domain.names import search_key
from procomp_pay.domain.states import PaymentStatus, method_name
from procomp_pay.domain.text import N_
from procomp_pay.services.kaspi_verification.queue import receipt as find_receipt
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.events import Key

    from procomp_pay.services.registrations.participants import ParticipantView

#: Looks at what waits for one read of today's payments.
_TODAY_EVERY = 5


class NameInput(Input):
    """The line to type in. Keys that come while a name is being looked up wait for the person's screen."""

    async def _on_key(self, event: Key) -> None:
        screen = self.screen
        if isinstance(screen, SearchScreen) and (screen.holds(event.key) or event.key == "enter"):
            event.stop()
            event.prevent_default()
            if event.key == "enter":
                screen.action_open()  # at once: a key that is already on its way belongs to the person
            return
        await super()._on_key(event)


class SearchScreen(DeskScreen):
    """The list and the line above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", N_("Choose"), key_display="↑↓", priority=True),
        Binding("enter", "open", N_("Open"), show=True),
        Binding("tab,shift+tab", "today", N_("Payments today"), key_display="Tab", priority=True),
        Binding("escape", "clear", N_("Clear"), key_display="Esc"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._people: list[ParticipantView] = []
        self._people_for: str | None = None
        self._today: list[PaymentView] | None = None  # read while they are shown
        self._rows: list[ParticipantView | PaymentView] = []
        self._chosen: str | None = None  # the id of the highlighted row
        self._has_moved = False  # the highlight, by hand
        self._receipt: str | None = None
        self._message = ""
        self._is_searching = False
        self._held: list[str] | None = None
        self._looks = 0

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield NameInput(placeholder=_("Name, code or receipt"), id="name", compact=True)
        yield Static(id="title")
        yield OptionList(id="rows", compact=True, markup=False)
        yield Static(id="message")
        yield Keys(compact=True)

    def begin(self) -> None:
        self.query_one("#rows", OptionList).can_focus = False
        self.query_one("#name", Input).focus()
        self.show()

    def on_resize(self) -> None:
        self.show()

    @property
    def _text(self) -> str:
        return self.query_one("#name", Input).value.strip()

    # What is shown

    def looked(self) -> None:
        """Show what waits as it was just read."""
        self._looks += 1
        if self._today is not None and self._looks % _TODAY_EVERY == 0:
            self.run_worker(self._read_today(), exit_on_error=False)
        self.show()

    def show(self) -> None:
        """Draw the screen as things stand; the chosen person stays chosen, wherever the row is now."""
        if not self.is_drawn:
            return
        self.put("head", self._head())
        title, self._rows = self._listed()
        self.put("title", Text(title, "bold"))
        rows = self.query_one("#rows", OptionList)
        lines = [Option(self._line(place, row), _id(row)) for place, row in enumerate(self._rows, start=1)]
        shown = [rows.get_option_at_index(number) for number in range(rows.option_count)]
        if [(each.id, str(each.prompt)) for each in shown] != [(each.id, str(each.prompt)) for each in lines]:
            rows.set_options(lines)
        place = self._place()
        rows.highlighted = place
        if place is not None:
            self._chosen = _id(self._rows[place])
        message = self.desk.trouble_line() or self._message
        self.put("message", Text(message, "bold yellow"))

    def _place(self) -> int | None:
        """Return where the chosen row is; ``None`` if it is gone or has a number that no row has."""
        ids, number = [_id(row) for row in self._rows], row_number(self._text)[1]
        if self._chosen in ids:
            return ids.index(self._chosen)
        if self._has_moved or (number is not None and self._chosen is not None):
            return None  # never another person instead
        place = 0 if number is None else number - 1
        return place if 0 <= place < len(ids) else None

    def _choose_anew(self) -> None:
        self._chosen, self._has_moved = None, False

    def _head(self) -> Text:
        desk = self.desk
        parts = [] if desk.is_live else [(_("TEST: no real money moves"), "bold yellow")]
        if desk.unpaid is not None:
            unpaid, registered = desk.unpaid
            parts.append((_("not paid: %(n)s of %(all)s", n=unpaid, all=registered), ""))
        parts.append((_("waiting: %(n)s", n=len(self._waiting())), ""))
        clock = desk.ctx.clock().astimezone(formats.almaty())
        parts.append((f"{console.clean(desk.actor.name)} {clock:%H:%M}", "dim"))
        text = Text()
        for number, (part, style) in enumerate(parts):
            text.append(" · " if number else "").append(part, style)
        return text

    def _listed(self) -> tuple[str, list[ParticipantView | PaymentView]]:
        text = row_number(self._text)[0]
        if self._today is not None:
            chosen = [view for view in self._today if _fits(view, text)]
            return _("Payments today: %(n)s", n=len(chosen)), [*chosen]
        if self._text:
            found = self._people if self._people_for is not None else []
            return _("Found: %(n)s", n=len(found)), [*found]
        return _("Who waits"), [*self._waiting()]

    def _waiting(self) -> list[PaymentView]:
        """Return the open payments of those who have not paid otherwise."""
        return [view for view in self.desk.open if not (view.is_marked_paid or view.settled_by is not None)]

    def _line(self, place: int, row: ParticipantView | PaymentView) -> Text:
        width = max(40, self.size.width - 2)
        if isinstance(row, PaymentView):
            now = self.desk.ctx.clock()
            at = when(row.created_at, now) if self._today is not None else waiting_for(row, now)
            rest = [
                (money(row.charged), -12),
                (method_name(row.method), 10),
                (at, -7),
                (short_state(row), 13),
            ]
            name, style = row.participant_name, ("green" if row.status is PaymentStatus.COMPLETED else "")
        else:
            waits = any(view.participant_id == row.participant_id for view in self.desk.open)
            state = _("paid") if row.is_paid else _("waits") if waits else ""
            several = len({each.tournament_id for each in self._rows}) > 1
            about = (row.category, row.tournament_name if several else None)
            place_of = " · ".join(part for part in about if part)
            rest = [(place_of, max(12, (width - 24) // 2)), (state, 9)]
            name, style = row.full_name, ("green" if row.is_paid else "")
        room = width - 5 - sum(abs(cell[1]) + 2 for cell in rest)
        return Text(columns([(str(place), -2), (name, max(10, room)), *rest]), style=style, no_wrap=True)

    # Typing

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._message = ""
        self._choose_anew()
        self._begin_search()
        self.show()

    def _begin_search(self) -> None:
        if not self._is_searching and self._today is None:
            self._is_searching = True
            self.run_worker(self._search_on(), exit_on_error=False)

    async def _search_on(self) -> None:
        """Search for what is typed until nothing more is typed meanwhile; one search at a time."""
        try:
            while (text := self._text) and self._people_for != row_number(text)[0]:
                if not await self._search(text):
                    break
        finally:
            self._is_searching = False
        self.show()

    async def _search(self, text: str) -> bool:
        """Search once; return whether the database answered."""
        wanted = row_number(text)[0]
        try:
            self._people = await reads.search(self.desk.ctx, wanted, self.desk.tournament_id)
            self._people_for = wanted
        except PaymentError as error:
            self._message = f"! {explain(error)}"
            return False
        if not self._has_moved:
            self._choose_anew()
        self.show()
        return True

    def holds(self, key: str) -> bool:
        """Hold a key back while a name is being looked up; return whether it was."""
        if self._held is None or key == "enter":
            return False
        self._held.append(key)
        return True

    # Choosing

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._chosen, self._has_moved = event.option_id, True
        self.show()
        self.action_open()

    def action_open(self) -> None:
        if self._held is None:
            self._held = []
            self.run_worker(self._choose(self._text), exit_on_error=False)

    async def _choose(self, text: str) -> None:
        """Open what was typed, scanned or chosen; then press the keys that came meanwhile."""
        held: list[str] = []
        try:
            person = await self._find(text)
            if person is not None:
                record = await reads.record(self.desk.ctx, person)
                receipt, self._receipt = self._receipt, None
                await self.app.push_screen(PersonScreen(record, receipt), self._returned)
        except PaymentError as error:
            self._message = f"! {explain(error)}"
        finally:
            held, self._held = self._held or [], None
        self.show()
        for each in held:
            self.app.simulate_key(each)

    async def _find(self, text: str) -> Person | None:
        """Return the person that a line means; otherwise a message says why there is none."""
        scan = read_scan(text) if self._today is None else None
        if scan is not None and scan.code is not None:
            try:
                return Person.of_payment(await views.one(self.desk.ctx, scan.code))
            except NotFound:
                if payment_code.has_digit(row_number(text)[0]):
                    self._message = _none_of(text)
                    return None  # else it may be a name, or one with the number of a row: Ахметов2
        if scan is not None and scan.receipt is not None:
            return await self._of_receipt(scan.receipt)
        if (
            text
            and self._today is None
            and self._people_for != row_number(text)[0]
            and not await self._search(text)
        ):
            return None
        place = self.query_one("#rows", OptionList).highlighted
        if place is None or place >= len(self._rows):
            has_list = self._rows or self._today is not None
            self._message = _("No row is chosen.") if has_list else _none_of(text)
            return None
        row = self._rows[place]
        return Person.of_payment(row) if isinstance(row, PaymentView) else Person.of_participant(row)

    async def _of_receipt(self, number: str) -> Person | None:
        """Return whose receipt it is; if it is not known yet, the number waits for the name."""
        known = await find_receipt(self.desk.ctx, number)
        if known.payment_id is None:
            self._receipt = number
            self.query_one("#name", Input).value = ""
            self.call_after_refresh(
                self._say,
                _("Receipt %(number)s is not known yet. Whose is it? Type the name.", number=number),
            )
            return None
        view = await views.one(self.desk.ctx, known.payment_id)
        if known.settled_at is None:
            self._receipt = number
        return Person.of_payment(view)

    def _say(self, text: str) -> None:
        self._message = text
        self.show()

    def _returned(self, scanned: str | None) -> None:
        """Begin anew for the next person, or take what was scanned on the person's screen."""
        if scanned is None:
            return  # back to the same list
        self._choose_anew()
        name = self.query_one("#name", Input)
        name.value = scanned
        if scanned:
            self.call_after_refresh(self.action_open)

    def action_move(self, step: int) -> None:
        rows = self.query_one("#rows", OptionList)
        if self._rows:
            before = -1 if rows.highlighted is None else rows.highlighted
            place = max(0, min(before + step, len(self._rows) - 1))
            self._chosen, self._has_moved = _id(self._rows[place]), True
            rows.highlighted = place

    def action_clear(self) -> None:
        self._receipt, self._message = None, ""
        self._today = None
        self._choose_anew()
        self.query_one("#name", Input).value = ""
        self.show()

    async def action_today(self) -> None:
        """Show the payments of today, or go back."""
        self._choose_anew()
        if self._today is not None:
            self._today = None
            self._begin_search()  # for what was typed meanwhile
        else:
            self._today = []
            self.run_worker(self._read_today(), exit_on_error=False)
        self.show()

    async def _read_today(self) -> None:
        try:
            today = await reads.todays_payments(self.desk.ctx, self.desk.tournament_id)
        except PaymentError as error:
            self._message = f"! {explain(error)}"
        else:
            self._today = today if self._today is not None else None
        self.show()


def _none_of(text: str) -> str:
    """Return that nothing has this name or code."""
    scan = read_scan(text)
    if scan is not None and scan.code is not None and payment_code.has_digit(text):
        return _("There is no payment %(code)s.", code=payment_code.shown(scan.code))
    if (code := mistyped_code(text)) is not None:
        shown = payment_code.shown(code)
        return _("The payment code %(shown)s is mistyped: its check character is wrong", shown=shown)
    return _("Nobody of this name is registered.") if text else ""


def _id(row: ParticipantView | PaymentView) -> str:
    return row.payment_id if isinstance(row, PaymentView) else row.participant_id


def _fits(view: PaymentView, text: str) -> bool:
    """Return whether all parts of a text are in a payment's name, category, amount or code."""
    about = f"{view.participant_name} {view.category or ''} {method_name(view.method)} {view.code or ''}"
    key = search_key(f"{about} {short_state(view)} {view.charged.amount:f}")
    return all(part in key for part in search_key(text).split())
