"""The sandbox's own routes: its description, clock, faults and last requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from procomp_pay.sandbox import pages
from procomp_pay.sandbox.faults import Faults, RequestLog
from procomp_pay.sandbox.httpio import json_body, refused

MAX_ADVANCE = 400 * 86400


class Control:
    """Routes under /_sandbox that are about no provider in particular."""

    def __init__(
        self,
        faults: Faults,
        log: RequestLog,
        info: Callable[[], dict[str, Any]],
        advance: Callable[[float], float],
    ) -> None:
        self._faults = faults
        self._log = log
        self._info = info
        self._advance = advance

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.index),
            web.get("/_sandbox", self.show),
            web.get("/_sandbox/faults", self.list_faults),
            web.post("/_sandbox/faults", self.add_fault),
            web.delete("/_sandbox/faults", self.clear_faults),
            web.get("/_sandbox/requests", self.requests),
            web.delete("/_sandbox/requests", self.clear_requests),
            web.post("/_sandbox/clock", self.move_clock),
        ]

    async def index(self, _request: web.Request) -> web.Response:
        """GET /: the page for a person."""
        return self._page()

    async def show(self, request: web.Request) -> web.Response:
        """GET /_sandbox: JSON for programs, a page for browsers."""
        if "text/html" in request.headers.get("Accept", ""):
            return self._page()
        return web.json_response(self._info())

    def _page(self) -> web.Response:
        targets = {
            "/_sandbox/webhooks": "Webhook deliveries",
            "/_sandbox/faults": "Faults in force",
            "/_sandbox/requests": "Last requests",
        }
        body = pages.paragraph("A local stand-in for Stripe and Kaspi. Nothing here is real money.")
        return pages.page("procomp-pay sandbox", body + pages.links(targets))

    async def list_faults(self, _request: web.Request) -> web.Response:
        """GET: the rules in force."""
        return web.json_response({"faults": self._faults.to_json()})

    async def add_fault(self, request: web.Request) -> web.Response:
        """POST: add a rule; see `faults.Fault` for its fields."""
        try:
            fault = self._faults.add(await json_body(request))
        except ValueError as error:
            raise refused(str(error)) from error
        return web.json_response(fault.to_json(), status=201)

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """DELETE: drop every rule."""
        self._faults.clear()
        return web.json_response({"faults": []})

    async def requests(self, _request: web.Request) -> web.Response:
        """GET: the last requests, oldest first, and how many there were in all."""
        return web.json_response({"total": self._log.total, "requests": self._log.to_json()})

    async def clear_requests(self, _request: web.Request) -> web.Response:
        """DELETE: forget them."""
        self._log.clear()
        return web.json_response({"requests": []})

    async def move_clock(self, request: web.Request) -> web.Response:
        """POST {"advance": seconds}: move the sandbox's clock forward, so that a session expires now."""
        seconds = (await json_body(request)).get("advance")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds <= MAX_ADVANCE
        ):
            raise refused(f"advance must be a number of seconds between 0 and {MAX_ADVANCE}")
        return web.json_response({"now": self._advance(float(seconds))})
