"""The entry point of the package: one object that holds an emulated Kaspi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .book import Book
from .control import PREFIX, control_routes
from .gateway import gateway_routes
from .outgoing import outgoing_routes
from .phone import phone_routes
from .server import api_routes
from .statement import statement_routes
from .timers import Timers
from .wire import BIN_FORM


class KaspiSandbox:
    """Kaspi's Public QR API (schemes r1, r2, r3), its buyers' phones and a control page, as aiohttp routes.

    `clock` gives Unix seconds. `changed` is called after each change of state and before the answer, so that
    the owner can save `dump()`.

    `time_scale` makes Kaspi's timers run that many times faster. The three timers that stand in the answers
    (5, 180 and 65 seconds) are divided by it, rounded up to whole seconds, never below 1, and the emulator
    lives by those rounded values. With 60 they are 1, 3 and 2. The 24 hours of a remote invoice and the two
    flood limits are divided exactly.

    A trade point and a registered device are there from the start: `trade_point_id`, `device_token`. The
    `api_key` is made at run time unless given; one that is given also outlives `load`.

    Raises ValueError for a scale that is not above zero and for a BIN that is not 12 digits.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
        api_key: str | None = None,
        time_scale: float = 1.0,
        organization_bin: str = "123456789012",
    ) -> None:
        if not BIN_FORM.fullmatch(organization_bin):
            raise ValueError("organization_bin must be 12 digits")
        self._given_key = api_key
        self._book = Book(
            clock=clock,
            changed=changed,
            timers=Timers.scaled(time_scale),
            organization_bin=organization_bin,
        )
        book = self._book
        book.api_key = api_key or book.api_key
        point = book.add_trade_point(organization_bin, "ProComp: касса турнира")
        book.ready_trade_point = point.trade_point_id
        book.ready_device = book.add_device("procomp-desk", point).token

    @property
    def api_key(self) -> str:
        """The Api-Key of the basic scheme."""
        return self._book.api_key

    @property
    def organization_bin(self) -> str:
        """The BIN of the ready organisation, 12 digits."""
        return self._book.organization_bin

    @property
    def trade_point_id(self) -> int:
        """The trade point that exists from the start."""
        return self._book.ready_trade_point

    @property
    def device_token(self) -> str:
        """The token of the device that is registered from the start."""
        return self._book.ready_device

    def routes(self) -> list[web.RouteDef]:
        """Return the routes: /r1, /r2, /r3 (the API), /gateway, /pay (the phone), /_sandbox/kaspi."""
        book = self._book
        return [
            *api_routes(book),
            *gateway_routes(book),
            *phone_routes(book),
            *control_routes(book),
            *outgoing_routes(book, PREFIX),
            *statement_routes(book),
        ]

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON values, amounts as text, without the last minute's request counters."""
        return self._book.dump()

    def load(self, data: dict[str, Any]) -> None:
        """Take the state that `dump` gave. Raises ValueError for a state of another version.

        Time scale and a given `api_key` stay those of this object; deadlines already set stay as they were.
        """
        self._book.load(data)
        if self._given_key is not None:
            self._book.api_key = self._given_key

    async def start(self) -> None:
        """Do nothing: deadlines are applied at each request."""

    async def stop(self) -> None:
        """Do nothing."""
