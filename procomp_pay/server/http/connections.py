"""Below the application: connections, and requests that are no HTTP, answered as every other."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from procomp_pay.server.http import errors

log = logging.getLogger(__name__)

#: Seconds that a connection may be silent between two requests, and that a request's head may take. More than
#: the 60 s of common proxies: the one who keeps the connection shorter must be the one who may reuse it.
KEEP_ALIVE_S = 75.0
#: Seconds in which the rest of a body that nobody wanted is read away before the connection is closed.
LINGER_S = 5.0


class _Connection(RequestHandler):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        """Bytes came. A body that turns out to be no HTTP ends at once; aiohttp would let its reader wait."""
        super().data_received(data)
        asked = self._current_request
        broken = bool(self._messages) and isinstance(self._messages[-1][0], _ErrInfo)
        if broken and asked is not None and not asked.content.is_eof():
            asked.content.set_exception(web.RequestPayloadError("not HTTP"))
            asked.content.feed_eof()
            self._messages.clear()
            self.close()  # after the answer to it

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp calls it so
    ) -> web.StreamResponse:
        """The answer to what aiohttp's parser refuses, and the last resort for a bug below our middleware."""
        errors.begin()
        if isinstance(exc, HttpProcessingError) or status < 500:
            # its sender's fault: neither its bytes nor the parser's message, which quotes them, are logged
            log.warning("not HTTP: %s", type(exc).__name__)
            answer = errors.error_answer(400, "This is not a request of HTTP that the payment desk takes")
        else:
            log.error("a bug below the application", exc_info=exc)
            answer = errors.from_bug()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        errors.dress(answer)
        answer.force_close()
        return answer


class _Server(web.Server):
    """Makes our connections in place of aiohttp's."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            _answering(made.request_handler),
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **made._kwargs,
        )


def _answering(handler: Any) -> Any:
    """Answer what aiohttp refuses before our middleware runs, such as an unknown ``Expect``."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            errors.begin(request.headers.get("X-Request-ID", ""))
            answer = errors.from_http(error, request.method)
        return answer

    return handle


def make_runner(app: web.Application, *, shutdown_timeout: float) -> web.AppRunner:
    """Return the runner that serves the application over TCP.

    :param shutdown_timeout: seconds that open requests may go on at the end.
    """
    return _Runner(
        app,
        access_log=None,
        shutdown_timeout=shutdown_timeout,
        auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE_S,
        lingering_time=LINGER_S,
    )
