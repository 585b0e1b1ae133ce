"""Send the SDK's requests by aiohttp: a call takes a third of the CPU time that its client of httpx takes.

The SDK has a client of aiohttp, too, but it does not translate an error that is met while an answer is read.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import Awaitable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
import stripe

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.text import N_


class UnaskedAnswer(aiohttp.ServerDisconnectedError):
    """An idle connection had an answer to nothing: it would be taken for the next request's."""


#: Errors without a connection, or before it is used: the request cannot have been processed.
NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    UnaskedAnswer,
)


class StripeHttp(stripe.HTTPClient):
    """The connections to Stripe of one event loop, opened at the first request.

    :param api_base: the address that all requests go to.
    :param timeout_s: seconds to connect, and between two parts of an answer.
    """

    name = "aiohttp"

    def __init__(self, api_base: str, *, timeout_s: float) -> None:
        super().__init__()
        self._base = urlsplit(api_base)
        self._timeout_s = timeout_s
        self._opened: aiohttp.ClientSession | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Return the body, the status and the headers of an answer.

        :raises stripe.APIConnectionError: there was none, or it broke off; because of one of
            :data:`NOT_SENT`, if the request was not sent.
        :raises ConfigurationError: the environment names a proxy that does not speak HTTP.
        """
        session = self._opened = self._opened or self._open()
        try:
            async with session.request(
                method, url, headers=headers, data=post_data, allow_redirects=False
            ) as answer:
                return await answer.read(), answer.status, answer.headers
        except Exception as error:
            raise stripe.APIConnectionError(type(error).__name__) from error  # type: ignore[no-untyped-call]

    def _open(self) -> aiohttp.ClientSession:
        # the bundle of authorities is read only for https: a local sandbox does not need it
        https = self._base.scheme == "https"
        trusted = ssl.create_default_context(cafile=stripe.ca_bundle_path) if https else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy(self._base.scheme, self._base.netloc),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._timeout_s, sock_connect=self._timeout_s, sock_read=self._timeout_s
            ),
        )

    def sleep_async(self, secs: float) -> Awaitable[None]:
        return asyncio.sleep(secs)

    async def close_async(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def close(self) -> None:
        """Do nothing: connections are closed by :meth:`close_async`."""

    def request(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError

    request_stream = request_stream_async = request


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        if conn.protocol.should_close:  # aiohttp looks only when it takes a connection back, not later
            raise UnaskedAnswer
        return await super().send(conn)


def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment names for an address. It is read once: aiohttp would read it for
    each request, in a thread.

    :raises ConfigurationError: it does not speak HTTP.
    """
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None:
        return None
    kind, has_scheme, _ = proxy.partition("://")
    if not has_scheme:
        return f"http://{proxy}"
    if kind.lower() not in ("http", "https"):
        raise ConfigurationError(
            N_(
                "Stripe is not called through a proxy of the kind %(kind)s, which the environment names",
                kind=kind,
            ),
            next_step=N_("set HTTPS_PROXY to one that speaks HTTP, or NO_PROXY=%(host)s", host=host),
        )
    return proxy
