"""The Stripe side as one provider: HTTP in and out, keys, idempotency, background work."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.sandbox.stripe import checkout, events, paying, refunds
from procomp_pay.sandbox.stripe.admin import Admin
from procomp_pay.sandbox.stripe.core import API_VERSION, Call, Cause, Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError, bad_key, unknown_route
from procomp_pay.sandbox.stripe.hosted import HostedPages
from procomp_pay.sandbox.stripe.lists import expand
from procomp_pay.sandbox.stripe.report import report_routes
from procomp_pay.sandbox.stripe.request_body import Idempotency, parse_form
from procomp_pay.sandbox.stripe.routes import ENDPOINTS, Endpoint
from procomp_pay.sandbox.stripe.schema import array, read_params, text
from procomp_pay.sandbox.stripe.webhooks import Webhooks

log = logging.getLogger(__name__)
_EXPAND = array(text(255), 20)


class StripeSandbox:
    """Stripe's API, as api.stripe.com answers.

    `clock` gives Unix seconds; `changed` is called after each change of state; `saved` returns when all
    changes so far are durable.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
        secret_key: str,
        saved: Callable[[], Awaitable[None]],
        time_scale: float,
    ) -> None:
        self.core = Core(clock=clock, changed=changed, time_scale=time_scale)
        self.webhooks = Webhooks(self.core, saved)
        self._secret_key = secret_key
        self._idempotency = Idempotency(self.core)
        self._pages = HostedPages(self.core)
        self._admin = Admin(self.core, self.webhooks)
        self._stir = asyncio.Event()
        self._timers: asyncio.Task[None] | None = None
        self._connect()

    def _connect(self) -> None:
        core = self.core
        core.on_event.append(self.webhooks.queue)
        core.on_paid.append(lambda intent: checkout.on_paid(core, intent))
        core.timers_changed = self._stir.set
        core.actions.update(
            expire_session=lambda owner: checkout.expire_by_timer(core, owner),
            finish_processing=lambda owner: paying.finish_processing(core, owner),
            refund_failed=lambda owner: refunds.fail_by_timer(core, owner),
            refund_pending=lambda owner: refunds.succeed(core, owner),
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the API, the hosted pages and the Stripe part of the control routes."""
        api = [web.route(item.method, item.path, self._handler(item)) for item in ENDPOINTS]
        unknown = web.route("*", "/v1/{tail:.*}", self._unknown)
        report = report_routes(self.core)
        return [*api, *self._pages.routes(), *self._admin.routes(), *report, unknown]

    def dump(self) -> dict[str, Any]:
        """Return the whole state, ready for JSON."""
        return self.core.dump()

    def load(self, data: dict[str, Any]) -> None:
        """Restore what `dump` returned."""
        self.core.load(data)

    def set_endpoint(self, address: str | None, secret: str | None) -> None:
        """Set the webhook endpoint of the options."""
        events.set_sandbox_endpoint(self.core, address, secret)

    async def start(self) -> None:
        """Begin to deliver webhooks and to run timers."""
        await self.webhooks.start()
        self._timers = asyncio.create_task(self._run_timers())

    async def stop(self) -> None:
        """Stop both."""
        if self._timers is not None:
            self._timers.cancel()
            await asyncio.gather(self._timers, return_exceptions=True)
            self._timers = None
        await self.webhooks.stop()

    def wake(self) -> None:
        """Check the timers again after the clock was moved."""
        self._stir.set()

    async def _run_timers(self) -> None:
        while True:
            try:
                self.core.run_due()
            except Exception:
                log.exception("a timer of the Stripe sandbox failed")
            due = self.core.next_timer()
            pause = None if due is None else max(0.01, due - self.core.clock())
            # not wait_for: in Python 3.11 it can swallow a cancellation that comes with the wake-up
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stir.wait()
            self._stir.clear()

    @web.middleware
    async def lock_keys(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lock an idempotency key for as long as its request lasts. Middleware, outside of the faults."""
        key = request.headers.get("Idempotency-Key", "")
        if request.method != "POST" or not key or not request.path.startswith("/v1/"):
            return await handler(request)
        try:
            with self._idempotency.lock(key):
                return await handler(request)
        except StripeError as error:
            return _answer(request, self.core.new_id("req", 14), error.status, error.body())

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            request_id = self.core.new_id("req", 14)
            try:
                self._authorize(request)
                raw = await _raw_parameters(request)
                return self._work(endpoint, request, raw, request_id)
            except StripeError as error:
                return _answer(request, request_id, error.status, error.body())

        return handle

    async def _unknown(self, request: web.Request) -> web.Response:
        error = unknown_route(request.method, request.path)
        return _answer(request, self.core.new_id("req", 14), error.status, error.body())

    def _work(self, endpoint: Endpoint, request: web.Request, raw: str, request_id: str) -> web.Response:
        """Answer the request, from memory if its key is known. Raises StripeError for what did not run."""
        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        kept = self._idempotency.recall(key, request.path, raw) if key else None
        if kept is not None:
            replayed = {"Idempotent-Replayed": "true", "Original-Request": kept["request_id"]}
            return _answer(request, request_id, kept["status"], kept["body"], replayed)
        params = parse_form(raw)
        paths = _EXPAND(params.pop("expand", {}), "expand")
        clean = read_params(params, endpoint.fields, endpoint.required)
        self.core.run_due()
        self.core.cause = Cause(request_id, key or None)
        try:
            status, body = self._run(endpoint, Call(clean, dict(request.match_info)), paths)
        finally:
            self.core.cause = Cause()
        if key:
            self._idempotency.store(key, request.path, raw, status=status, body=body, request_id=request_id)
        return _answer(request, request_id, status, body)

    def _run(self, endpoint: Endpoint, call: Call, paths: list[str]) -> tuple[int, Json]:
        """Return status and body, also of an error that came after the work had begun."""
        begun = False
        try:
            body = endpoint.function(self.core, call)
            begun = True
            return 200, expand(self.core, body, paths)
        except StripeError as error:
            if not error.executed and not begun:
                raise
            return error.status, error.body()
        except Exception:
            log.exception("the Stripe sandbox failed on %s %s", endpoint.method, endpoint.path)
            message = "An error of the sandbox itself: see its log."
            return 500, {"error": {"message": message, "type": "api_error"}}

    def _authorize(self, request: web.Request) -> None:
        """Check the secret key. Raises StripeError 401."""
        given = _given_key(request.headers.get("Authorization", ""))
        if not given:
            raise bad_key("You did not provide an API key: use the Authorization header with Bearer.")
        if not hmac.compare_digest(given.encode(), self._secret_key.encode()):
            raise bad_key(f"Invalid API Key provided: {given[:8]}{'*' * 8}")


async def _raw_parameters(request: web.Request) -> str:
    if request.method in ("GET", "DELETE"):
        return request.rel_url.raw_query_string
    if request.can_read_body and request.content_type != "application/x-www-form-urlencoded":
        message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
        raise StripeError(message, executed=False)
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise StripeError("Invalid request: the body is not UTF-8.", executed=False) from error


def _given_key(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _answer(
    request: web.Request, request_id: str, status: int, body: Json, more: dict[str, str] | None = None
) -> web.Response:
    headers = {
        "Request-Id": request_id,
        "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION),
        **(more or {}),
    }
    key = request.headers.get("Idempotency-Key")
    if key and request.method == "POST":
        headers["Idempotency-Key"] = key
    if status >= 500:
        headers["Stripe-Should-Retry"] = "false"  # the same key would only replay it
    return web.json_response(body, status=status, headers=headers)
