"""Listen for connections, and answer what is not HTTP with JSON as every other error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from procomp_pay.domain.errors import ErrorCode
from procomp_pay.server.http import errors

log = logging.getLogger(__name__)

#: Seconds that a connection may be silent between two requests, and that a request's head may take. Longer
#: than the 60 s of common proxies: the side that closes first must be the one that reuses the connection.
KEEP_ALIVE_S = 75.0
#: Seconds in which the rest of an unread body is discarded before the connection is closed.
LINGER_S = 5.0
#: Connections that the kernel keeps until they are accepted.
_BACKLOG = 128
#: The longest address and header, in bytes. They differ, because aiohttp names only the limit that was hit.
_LONGEST_LINE = 8190
_LONGEST_HEADER = 8192


class _Connection(web.RequestHandler):
    """One client connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - part of the overridden method's signature
    ) -> web.StreamResponse:
        """Return the response to a request that is not HTTP, or to a bug outside of our middleware."""
        errors.assign_request_id()
        if isinstance(exc, HttpProcessingError) or status < 500:
            # the client's fault. Neither its bytes nor aiohttp's message, which quotes them, are logged
            log.warning("not HTTP: %s", type(exc).__name__)
            response = _refusal(exc)
        else:
            log.error("a bug outside of the application", exc_info=exc)
            response = errors.from_bug()
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        errors.set_security_headers(response)
        response.force_close()
        return response


def _refusal(error: BaseException | None) -> web.Response:
    """Return 414 or 431 for a head that is too long (RFC 9110 and 6585), else 400."""
    if isinstance(error, LineTooLong) and error.args[1] == _LONGEST_LINE:
        return errors.error_response(414, "The address is too long", ErrorCode.URI_TOO_LONG)
    too_many = isinstance(error, BadHttpMessage) and error.message.startswith("Too many headers")
    if isinstance(error, LineTooLong) or too_many:
        detail = "The request's headers are too large or too many"
        return errors.error_response(431, detail, ErrorCode.HEADERS_TOO_LARGE)
    detail = "This is not an HTTP request that this server accepts"
    return errors.error_response(400, detail, ErrorCode.INVALID_REQUEST)


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, bound: socket.socket, *, shutdown_timeout: float
) -> AsyncIterator[None]:
    """Serve the application on a bound socket; stop accepting, then let open requests finish, at the end.

    :param bound: is closed at the end.
    :param shutdown_timeout: seconds that open requests may take at the end.
    """
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, shutdown_timeout=shutdown_timeout)
    try:
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - set up in the line above
        options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEP_ALIVE_S,
            "lingering_time": LINGER_S,
            "max_line_size": _LONGEST_LINE,
            "max_field_size": _LONGEST_HEADER,
        }
        connection = partial(_Connection, runner.server, loop=loop, **options)
        listener = await loop.create_server(connection, sock=bound, backlog=_BACKLOG)
        try:
            yield
        finally:
            listener.close()
    finally:
        await runner.cleanup()
