"""A desk without a terminal: Textual's pilot presses its keys; the providers are the sandbox over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from procomp_pay.cli.desk.app import DeskApp
from procomp_pay.cli.desk.search import SearchScreen
from procomp_pay.config import load_settings
from procomp_pay.domain.events import Source
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.storage.payments.listing import Filter
from tests.support.patience import PATIENCE_S
from tests.support.secret_watch import no_secret_in
from tests.support.terminal import CommandLine, LocalProviders


class OwnPilot:
    """Presses a desk's keys in that desk's context, whichever desk was opened last.

    In the context of another one Textual takes a screen for hidden, and stops drawing it.
    """

    def __init__(self, app: DeskApp, pilot: Pilot[None]) -> None:
        self._app, self._pilot = app, pilot

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def act(*args: Any, **kwargs: Any) -> Any:
            with self._app._context():
                return await getattr(self._pilot, name)(*args, **kwargs)

        return act


class Desk:
    """A running desk, its keys and what its screen shows."""

    def __init__(self, app: DeskApp, pilot: Pilot[None], clerk: CommandLine) -> None:
        self.app, self.pilot, self.clerk = app, OwnPilot(app, pilot), clerk
        self.bells = 0

    def ring(self) -> None:
        self.bells += 1

    @property
    def lines(self) -> list[str]:
        """The screen as text."""
        with self.app._context():
            strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return " ".join("\n".join(self.lines).replace("\xa0", " ").split())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Type as a person does: the next key comes after the last one has taken effect."""
        await self.pilot.press(*text)
        await self.pilot.pause()

    async def scan(self, text: str) -> None:
        """Type as a scanner does: all at once, then Enter."""
        for character in text:
            self.app.simulate_key(character)
        self.app.simulate_key("enter")
        await self.pilot.pause()

    async def sees(self, *texts: str) -> None:
        """Wait until the screen shows all these texts."""

        def shown() -> bool:
            screen = self.text
            return all(text in screen for text in texts)

        await self.until(shown, f"{texts} never came")

    async def until(self, condition: Callable[[], Any], complaint: str) -> None:
        until, pause_s = time.monotonic() + PATIENCE_S, 0.02
        while not condition():
            assert time.monotonic() < until, f"{complaint}:\n" + "\n".join(self.lines)
            await self.pilot.pause(pause_s)
            pause_s = min(1.5 * pause_s, 0.25)  # to draw and read a screen takes longer than what is awaited
        no_secret_in("\n".join(self.lines), "the desk")

    async def opens(self, name: str) -> None:
        """Search for a name and open the first person."""
        await self.type(name)
        await self.press("enter")
        await self.sees("Back")

    async def also_by_apple_pay(self) -> None:
        """Start a second payment beside the QR on the screen."""
        await self.press("a")
        await self.sees("Kaspi cannot recall its QR")
        await self.press("y")
        await self.sees("24,000 KZT · Apple Pay")

    async def payments(self, participant_id: str) -> list[PaymentView]:
        return (await views.many(self.app.ctx, Filter(participant_id=participant_id)))[0]

    async def pay(self, view: PaymentView, action: str = "pay") -> None:
        """Do what the customer does with the phone."""
        what = {"channel": view.channel.value, "provider_ref": view.provider_ref}
        await asyncio.to_thread(self.clerk.pay, what, action)


@pytest.fixture(scope="session")
def providers() -> Iterator[LocalProviders]:
    """A sandbox in which a QR can be scanned for a minute, even if the machine is busy."""
    made = LocalProviders(time_scale=3)
    yield made
    made.close()


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> OpenDesk:
    """Open a desk of 80 x 24, in English unless the test says otherwise; two can be open at once."""
    if "PROCOMP_LANGUAGE" not in os.environ:
        monkeypatch.setenv("PROCOMP_LANGUAGE", "en")

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = (80, 24),
        operator: str = "aigerim",
        login: Callable[[AppContext], Awaitable[AppContext]] | None = None,
        **more: Any,
    ) -> AsyncIterator[Desk]:
        async with open_context(load_settings()) as bare:
            ctx = bare if login is None else await login(bare)
            app = DeskApp(ctx, Actor(operator, Source.PERSON), SearchScreen, is_live=False, **more)
            async with app.run_test(size=size, notifications=True) as pilot:
                desk = Desk(app, pilot, sqlite_clerk)
                app.bell = desk.ring  # type: ignore[method-assign]
                yield desk

    return opened
