"""Turn every error into a JSON response: ``{"detail": …, "status_code": …}``, never a traceback."""

from __future__ import annotations

import logging
import re
import secrets
import time

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from procomp_pay.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ErrorCode,
    PaymentError,
    fault_of,
)
from procomp_pay.domain.redact import redact
from procomp_pay.server.http.cors import CORS
from procomp_pay.server.http.json_response import ErrorAnswer, respond
from procomp_pay.server.http.proxy import client
from procomp_pay.server.http.route import BASE
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability.logs import REQUEST_ID, note_unavailable
from procomp_pay.storage.database.connection_queue import begin_request

log = logging.getLogger(__name__)
#: The line of each request, whatever its answer.
access_log = logging.getLogger("procomp_pay.server.http.access")

#: Of the webhooks that were answered 200, the first and then each so many-th is logged.
SAMPLE = 100
_WEBHOOKS = f"{BASE}/webhooks/"
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RETRY_S = 5
_LONGEST_DETAIL = 500
_DETAILS = {
    404: "There is no such address",
    405: "This address does not support this method",
    406: "The response has another content type than this request accepts",
    413: "The body is too large",
    415: "The body must be application/json in UTF-8, not compressed",
    417: "The only supported expectation is 100-continue",
}
#: The codes of errors that no class of ours stands for.
_CODES = {
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    406: ErrorCode.NOT_ACCEPTABLE,
    413: ErrorCode.BODY_TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    417: ErrorCode.EXPECTATION_FAILED,
}
#: Spaces that are no printable characters to Python: the no-break spaces in amounts, line ends, tabs.
_SPACES = {ord(c): " " for c in "\u00a0\u202f\u2007\n\r\t"}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_A_YEAR = "max-age=31536000"
#: Errors that a client cannot correct are described without hosts, files or settings; the log has them.
_NEUTRAL_DETAILS: tuple[tuple[type[PaymentError], str], ...] = (
    (DatabaseUnavailable, "The payment desk cannot reach its database; nothing is lost, try again"),
    (
        ConfigurationError,
        "The payment desk is not set up for this; its operator finds the reason in the log",
    ),
)


def error_response(
    status: int, detail: str, code: ErrorCode, headers: dict[str, str] | None = None
) -> web.Response:
    """Return an error in the shape that all errors of the API have."""
    redacted = redact(detail[:_LONGEST_DETAIL]).translate(_SPACES)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in redacted)
    body = {"detail": text or "No reason given", "status_code": status, "code": code}
    return respond(ErrorAnswer, body, status, headers)


def from_domain(error: PaymentError) -> web.Response:
    """Return the response to an error of the domain."""
    detail = error.message
    for kind, neutral in _NEUTRAL_DETAILS:
        if isinstance(error, kind):
            name, fault = type(error).__name__, fault_of(error)
            log.warning("%s: %s (%s)", name, error.message, error.next_step, extra=fault)
            detail = neutral
    if error.code is ErrorCode.FEE_MISSING and error.next_step:
        detail += f"; to add it: {error.next_step}"  # others' next steps are for the terminal alone
    headers = {}
    if error.http_status in (429, 503):
        headers["Retry-After"] = str(_RETRY_S if error.retry_after is None else max(1, error.retry_after))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(error.http_status, detail, error.code, headers)


def from_http(error: web.HTTPException, method: str) -> web.Response:
    """Return the response to an HTTP error of aiohttp; ``OPTIONS`` lists the methods of an address."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
        if method == "OPTIONS":
            return web.Response(status=204, headers=allowed)
        return error_response(405, _DETAILS[405], _CODES[405], allowed)
    code = _CODES.get(error.status, ErrorCode.INVALID_REQUEST)
    return error_response(error.status, _DETAILS.get(error.status, error.reason), code)


def from_bug() -> web.Response:
    """Return the response to a bug of ours; the log has the details under the same request id."""
    detail = f"Something went wrong on our side. Request id: {REQUEST_ID.get()}"
    return error_response(500, detail, ErrorCode.INTERNAL_ERROR)


async def _handle(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PaymentError as error:
        note_unavailable(error)
        return from_domain(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return from_http(error, request.method)
    except Exception:
        log.exception("a bug met by %s %s", request.method, route_template(request))
        return from_bug()


def assign_request_id(given: str = "") -> None:
    """Set the id of the current request: the given one where it is valid, else a new one."""
    REQUEST_ID.set(given if _VALID_ID.fullmatch(given) else secrets.token_hex(12))


async def expect(request: web.Request) -> web.Response | None:
    """Let a client send its body that waits for ``100 Continue`` (RFC 9110, section 10.1.1).

    :return: the response to any other expectation, else ``None``.
    """
    if request.version < HttpVersion11:
        return None
    if request.headers["Expect"].lower() != "100-continue":
        assign_request_id(request.headers.get("X-Request-ID", ""))
        return error_response(417, _DETAILS[417], _CODES[417])
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the response itself has not begun
    return None


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assign the request id, turn every error into a response, and log one line. The outermost middleware."""
    assign_request_id(request.headers.get("X-Request-ID", ""))
    begin_request()
    started, status = time.perf_counter(), 499
    try:
        response = await _handle(request, handler)
        status = response.status
        return response
    finally:
        level = _level(request, status)
        if access_log.isEnabledFor(level):
            duration_ms = (time.perf_counter() - started) * 1000
            fields = {"status": status, "duration_ms": round(duration_ms, 1)}
            line = "%s %s %d %.1f ms", request.method, route_template(request), status, duration_ms
            access_log.log(level, *line, extra=fields)


def _level(request: web.Request, status: int) -> int:
    """Return the level of a request's line. A day's webhooks are too many to log each that went well; the
    metrics count them."""
    if status != 200 or request.method != "POST" or not route_template(request).startswith(_WEBHOOKS):
        return logging.INFO
    is_sample = next(request.app[STATE].acknowledged) % SAMPLE == 0
    return logging.INFO if is_sample else logging.DEBUG


def route_template(request: web.Request) -> str:
    """Return the route's path with placeholders. The address itself is never logged: it may hold secrets."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every response has. Called before a response is sent."""
    set_security_headers(response)
    if client(request).is_https or request.app[STATE].settings.base_url.startswith("https://"):
        response.headers["Strict-Transport-Security"] = _A_YEAR
    request.app[CORS].set_headers(request, response)


def set_security_headers(response: web.StreamResponse) -> None:
    """Set the headers that every response has, also one to bytes that are not HTTP."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Server"] = "procomp-pay"
    response.headers["X-Request-ID"] = REQUEST_ID.get()
