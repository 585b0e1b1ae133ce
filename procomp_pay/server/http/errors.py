"""The one place that turns errors into answers: ``{"detail": …, "status_code": …}``, never a trace."""

from __future__ import annotations

import logging
import re
import secrets
import time

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from procomp_pay.domain.errors import ConfigurationError, DatabaseUnavailable, PaymentError
from procomp_pay.domain.redact import redact
from procomp_pay.server.http.cors import CORS
from procomp_pay.server.http.json_response import ErrorAnswer, answer
from procomp_pay.server.http.proxy import client
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability.logs import REQUEST_ID

log = logging.getLogger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RETRY_S = 5
_LONGEST_DETAIL = 500
_SENTENCES = {
    404: "There is no such address",
    405: "This address does not take this method",
    406: "The answer has another content type than this request takes",
    413: "The body is too large",
    415: "The body must be application/json in UTF-8, not compressed",
    417: "Nothing else can be expected than 100-continue",
}
#: Spaces that are no printable characters to Python: the no-break spaces in amounts, line ends, tabs.
_SPACES = {ord(c): " " for c in "\u00a0\u202f\u2007\n\r\t"}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_A_YEAR = "max-age=31536000"
#: What a client cannot mend is told to it without names of hosts, files or settings; the log has them.
_NEUTRAL: tuple[tuple[type[PaymentError], str], ...] = (
    (DatabaseUnavailable, "The payment desk cannot reach its database; nothing is lost, try again"),
    (ConfigurationError, "The payment desk is not set up for this; its operator has to look at its log"),
)


def error_answer(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as every client of the API knows it."""
    known = redact(detail[:_LONGEST_DETAIL]).translate(_SPACES)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in known)
    return answer(ErrorAnswer, {"detail": text or "No reason given", "status_code": status}, status, headers)


def from_domain(error: PaymentError) -> web.Response:
    """The answer for an error of the domain."""
    detail = error.message
    for kind, sentence in _NEUTRAL:
        if isinstance(error, kind):
            log.warning("%s: %s (%s)", type(error).__name__, error.message, error.next_step)
            detail = sentence
    headers = {}
    if error.http_status in (429, 503):
        headers["Retry-After"] = str(_RETRY_S if error.retry_after is None else max(1, error.retry_after))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return error_answer(error.http_status, detail, headers)


def from_http(error: web.HTTPException, method: str) -> web.Response:
    """The answer for an error of HTTP itself; ``OPTIONS`` is told what an address takes."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
        if method == "OPTIONS":
            return web.Response(status=204, headers=allowed)
        return error_answer(405, _SENTENCES[405], allowed)
    return error_answer(error.status, _SENTENCES.get(error.status, error.reason))


def from_bug() -> web.Response:
    """The answer for a bug of ours; the log has the rest under the same id."""
    return error_answer(500, f"Something went wrong on our side. Request id: {REQUEST_ID.get()}")


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PaymentError as error:
        return from_domain(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return from_http(error, request.method)
    except Exception:
        log.exception("a bug met by %s %s", request.method, template_of(request))
        return from_bug()


def begin(given: str = "") -> None:
    """Give a request its id; a connection's requests come one after the other, each sets its own."""
    REQUEST_ID.set(given if _SANE_ID.fullmatch(given) else secrets.token_hex(12))


async def expect(request: web.Request) -> web.Response | None:
    """Let the client send its body, where it waits for ``100 Continue`` (RFC 9110, section 10.1.1).

    :return: the answer to any other expectation, else ``None``.
    """
    if request.version < HttpVersion11:
        return None
    if request.headers["Expect"].lower() != "100-continue":
        begin(request.headers.get("X-Request-ID", ""))
        return error_answer(417, _SENTENCES[417])
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun
    return None


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: gives the request its id, answers every error, logs one line."""
    begin(request.headers.get("X-Request-ID", ""))
    started, status = time.perf_counter(), 499
    try:
        answer = await _answered(request, handler)
        status = answer.status
        return answer
    finally:
        spent = (time.perf_counter() - started) * 1000
        fields = {"status": status, "duration_ms": round(spent, 1)}
        log.info("%s %s %d %.1f ms", request.method, template_of(request), status, spent, extra=fields)


def template_of(request: web.Request) -> str:
    """The route's path with its names, never the address itself: queries and odd paths may hold secrets."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"


async def set_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """Before any answer leaves: what every answer carries."""
    dress(answer)
    if client(request).is_https or request.app[STATE].settings.base_url.startswith("https://"):
        answer.headers["Strict-Transport-Security"] = _A_YEAR
    request.app[CORS].mark(request, answer)


def dress(answer: web.StreamResponse) -> None:
    """The headers of every answer, also of one to what is no HTTP."""
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers.setdefault("Content-Security-Policy", _POLICY)
    answer.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["X-Frame-Options"] = "DENY"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Server"] = "procomp-pay"
    answer.headers["X-Request-ID"] = REQUEST_ID.get()
