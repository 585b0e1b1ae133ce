"""The desk's application: follows its payments, reads what waits, and ends only when no call is running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Static

from procomp_pay.cli.desk import reads
from procomp_pay.cli.desk.wording import money
from procomp_pay.cli.display.qr import Picture, lines
from procomp_pay.cli.framework.explain import explain
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.payments.watch import Watched, follow
from procomp_pay.domain.errors import PaymentError, Unavailable
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.maintenance.run import PROVIDER_CHANNELS, Pass, work_watch
from procomp_pay.services.views.payment import PaymentView

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import ActiveBinding
    from textual.events import Key

#: Seconds between two reads of what waits, and until a failed following is taken up again.
_LOOK_S = 1.0
_AGAIN_S = 5.0
#: Reads of what waits for one count of the unpaid.
_COUNT_EVERY = 5
#: Payments of others that are polled in one go, as the queue of ``verify-kaspi`` does.
_POLLED = 16
#: Seconds that the background work gets at the end.
_LAST_STEP_S = 2.0
#: Seconds without a further character after which a letter is a key that was pressed: a scanner is faster.
_QUIET_S = 0.1


def qr_text(picture: Picture) -> Text:
    """Return a QR as text; its widget's class ``-qr`` makes it dark on light, also without colours."""
    return Text("\n".join(lines(picture, ink_is_dark=True)), no_wrap=True)


class DeskScreen(Screen[Any]):
    """A screen whose keys are named in the clerk's language, and pressed by a person only.

    A scanner types a whole text and Enter within milliseconds: none of its letters may start a charge.
    """

    def __init__(self) -> None:
        super().__init__()
        self._burst = ""
        self._keys: tuple[str, ...] = ()
        self._put: dict[str, tuple[str, str]] = {}
        self._shown_keys: tuple[str, ...] = ()
        self._has_parts = False

    def on_mount(self) -> None:
        self._has_parts = True
        self.begin()

    def begin(self) -> None:
        """Show the screen for the first time: all its parts are there."""

    @property
    def desk(self) -> DeskApp:
        """The application."""
        return cast("DeskApp", self.app)

    def put(self, name: str, content: Text) -> None:
        """Show a text in one of the screen's parts; nothing is drawn while it stays the same."""
        part = self.query_one(f"#{name}", Static)
        if self._put.get(name) != (content.markup, content.plain):
            self._put[name] = (content.markup, content.plain)
            part.update(content)

    def refresh_keys(self) -> None:
        """Show the keys anew if others can be pressed now: the line of keys is costly to draw."""
        names = tuple(self.active_bindings)
        if names != self._shown_keys:
            self._shown_keys = names
            self.refresh_bindings()

    @property
    def is_drawn(self) -> bool:
        """Whether the screen has all its parts: not before it is shown, nor while it closes."""
        # ``display`` is false from the moment when it begins to close: its parts go one by one
        return self._has_parts and self.is_running and self.is_attached and self.display

    def moved(self, watched: Watched, now: datetime) -> bool:  # noqa: ARG002 - most screens show no payment
        """Take news of a followed payment; return whether it is shown here."""
        return False

    def looked(self) -> None:
        """Show what was just read of the payments that wait."""

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys with their names in the clerk's language; the one that quits comes last."""
        bindings = super().active_bindings.items()
        return {
            name: each._replace(
                binding=replace(
                    each.binding,
                    description=_(each.binding.description),
                    key_display=_(each.binding.key_display) if each.binding.key_display else None,
                )
            )
            for name, each in sorted(bindings, key=lambda item: item[1].binding.action == "leave")
        }

    def on_key(self, event: Key) -> None:
        if event.character and event.is_printable:
            event.stop()
            event.prevent_default()
            self._burst += event.character
            self._keys = keys = (*self._keys, event.key)
            self.set_timer(_QUIET_S, lambda: self._quiet(keys))
        elif event.key == "enter" and self._burst:
            event.stop()
            event.prevent_default()
            text, self._burst, self._keys = self._burst, "", ()
            self.scanned(text)

    async def _quiet(self, keys: tuple[str, ...]) -> None:
        """Press the key that was typed, unless others have followed it; hit twice, it counts once."""
        if keys != self._keys:
            return
        self._burst, self._keys = "", ()
        pressed = {name: self.active_bindings.get(name) for name in keys}
        actions = {each.binding.action if each and each.enabled else None for each in pressed.values()}
        first = pressed[keys[0]]
        if len(actions) == 1 and first is not None and first.enabled:
            await self.app.run_action(first.binding.action, first.node)

    def scanned(self, text: str) -> None:
        """Take a scanned text; most screens have no use for one."""


class Keys(Footer):
    """The line of keys; three keys a line where the terminal is narrow, so that none is cut."""

    def compose(self) -> ComposeResult:
        yield from super().compose()
        self.styles.grid_size_columns = 3  # desk.tcss makes a grid of a narrow one


class DeskApp(App[None]):
    """One desk: its operator, its screens, and the payments that it follows."""

    CSS_PATH = "desk.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012 - declared so by Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q,ctrl+c", "leave", N_("Quit"), key_display="Ctrl+Q", priority=True)
    ]

    def __init__(
        self,
        ctx: AppContext,
        actor: Actor,
        first: Callable[[], DeskScreen],
        *,
        tournament_id: str | None = None,
        is_live: bool = True,
        bell: bool = True,
    ) -> None:
        super().__init__()
        self.ctx, self.actor, self.tournament_id = ctx, actor, tournament_id
        self._first = first
        self.is_live, self._rings = is_live, bell
        self.open: list[PaymentView] = []
        self.unpaid: tuple[int, int] | None = None
        self.trouble: PaymentError | None = None
        self.failure: Exception | None = None
        self._rung: set[str] = set()
        self._calls = 0
        self._leaving = False
        self._over = asyncio.Event()
        self._followed: dict[str, Watched | None] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._followers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Run until the operator quits.

        :raises Exception: a bug ended the screen.
        """
        await self.run_async()
        if self.failure is not None:
            raise self.failure

    async def on_mount(self) -> None:
        await self.push_screen(self._first())
        for loop in (self._look_on(), *map(self._poll_on, PROVIDER_CHANNELS)):
            self._loops.append(asyncio.create_task(self._guarded(loop)))

    async def on_unmount(self) -> None:
        self._over.set()
        for task in self._followers:
            task.cancel()  # it lets the database finish
        if self._loops:
            await asyncio.wait(self._loops, timeout=_LAST_STEP_S)
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, *self._followers, return_exceptions=True)

    @property
    def desk_screens(self) -> list[DeskScreen]:
        """The screens that are open, one over the other."""
        return [screen for screen in self.screen_stack if isinstance(screen, DeskScreen)]

    def ring(self, payment_id: str) -> None:
        """Ring the terminal's bell once for a paid payment, unless it is off."""
        if self._rings and payment_id not in self._rung:
            self.bell()
        self._rung.add(payment_id)

    # Calls of providers

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that calls a provider. It goes on when its screen is left, and quitting waits for it."""
        self._calls += 1
        self.run_worker(self._called(work), exit_on_error=False)

    async def _called(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._guarded(work)
        finally:
            self._calls -= 1
            if self._leaving and not self._calls:
                self.exit()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._handle_exception(error)

    def _handle_exception(self, error: Exception) -> None:
        # Textual's own report shows the values of variables, secrets among them
        self.failure = self.failure or error
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self.panic()

    def action_leave(self) -> None:
        """Quit; while a provider is asked, first say so and wait for the answer."""
        if not self._calls or self._leaving:
            self.exit()
            return
        self._leaving = True
        self.notify(
            _("Waiting for a provider's answer, then the desk closes. Once more closes it now."),
            timeout=60,
            markup=False,
        )

    # Payments that are followed

    def follow(self, payment_id: str) -> None:
        """Follow a payment of this desk until it is final, whatever screen is shown."""
        if payment_id not in self._followed:
            self._followed[payment_id] = None
            self._followers = [task for task in self._followers if not task.done()]
            self._followers.append(asyncio.create_task(self._guarded(self._follow(payment_id))))

    async def _follow(self, payment_id: str) -> None:
        try:
            while not self._over.is_set():
                with suppress(Unavailable):  # the person's screen shows it; it is asked again and again
                    await follow(self.ctx, payment_id, self.actor, self._moved)
                    return
                await self._pause(_AGAIN_S)
        finally:
            self._followed.pop(payment_id, None)

    def _moved(self, state: Watched, now: datetime) -> None:
        """Show a followed payment where it belongs; tell of one that was paid meanwhile."""
        payment_id = state.view.payment_id
        self._followed[payment_id] = state
        takers = [screen for screen in self.desk_screens if screen.moved(state, now)]
        if state.view.status is PaymentStatus.COMPLETED:
            self.ring(payment_id)
            if not takers:
                paid = _(
                    "✓ PAID %(name)s %(money)s",
                    name=state.view.participant_name,
                    money=money(state.view.charged),
                )
                self.notify(paid, timeout=15, markup=False)

    # What waits

    async def _look_on(self) -> None:
        rounds = 0
        while not self._over.is_set():
            try:
                self.open = await reads.open_payments(self.ctx, self.tournament_id)
                if rounds % _COUNT_EVERY == 0:
                    self.unpaid = await reads.count_unpaid(self.ctx, self.tournament_id)
                self.trouble = None
            except PaymentError as error:
                self.trouble = error
            rounds += 1
            for screen in self.desk_screens:
                screen.looked()
            await self._pause(_LOOK_S)

    async def _poll_on(self, channels: Collection[Channel]) -> None:
        """Poll what is due at one provider, as ``serve`` does: else nobody else's payments would change."""
        while not self._over.is_set():
            with suppress(PaymentError):
                await work_watch(self.ctx, Pass(), channels, most=_POLLED)
            await self._pause(_LOOK_S)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def trouble_line(self) -> str:
        """Return what keeps the desk from reading; empty if nothing does."""
        return "" if self.trouble is None else f"! {explain(self.trouble)}"
