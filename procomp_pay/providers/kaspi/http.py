"""One HTTP client for Kaspi, replaced when the certificate files change."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.providers.kaspi.tls import TlsFiles, make_context, utc_now

log = logging.getLogger(__name__)

#: Seconds for one attempt. Kaspi answers within one or two; a tournament hall's Wi-Fi may take longer.
ATTEMPT_S = httpx.Timeout(10.0, connect=5.0)

_Mark = tuple[tuple[int, int, int] | None, ...]


def kaspi_http(
    url: str, *, headers: dict[str, str] | None = None, api_key: str | None = None,
    files: TlsFiles | None = None,
) -> httpx.AsyncClient:  # fmt: skip
    """Return an HTTP client for Kaspi: with an ``Api-Key`` for scheme basic, a client certificate for others.

    :raises ConfigurationError: a certificate, key or authority cannot be used; the message says which one and
        why.
    """
    all_headers = (headers or {}) | ({"Api-Key": api_key} if api_key else {})
    # the bundle of authorities takes a while to read, and plain HTTP (a local sandbox) does not need it
    verify = make_context(files or TlsFiles(), utc_now()) if url.startswith("https:") else False
    return httpx.AsyncClient(base_url=url, headers=all_headers, timeout=ATTEMPT_S, verify=verify)


class _Client:
    """A client and the number of its running calls."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.calls = 0
        self.is_old = False


class KaspiHttp:
    """Provide the client for each call. When a file changes, later calls get a new client, and the old one is
    closed after its last call, so that no call is interrupted.

    :param make: makes a client from the current files.
    :param files: checked for changes before each call.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient], files: tuple[Path, ...] = ()) -> None:
        self._make = make
        self._files = files
        self._versions = _file_versions(files)
        self._client = _Client(make())

    @classmethod
    def fixed(cls, http: httpx.AsyncClient) -> KaspiHttp:
        """Return one with a client that is never replaced."""
        return cls(lambda: http)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the client for one call."""
        await self._renew()
        current = self._client
        current.calls += 1
        try:
            yield current.http
        finally:
            current.calls -= 1
            if current.is_old and not current.calls:
                await current.http.aclose()

    async def _renew(self) -> None:
        versions = _file_versions(self._files)
        if versions == self._versions:
            return
        self._versions = versions
        try:
            new = _Client(self._make())
        except ConfigurationError as error:
            # certificate and key are two files, and do not match until both are replaced. The old ones
            # remain in use until then; the next change is tried again.
            log.warning("the changed certificate files are not used: %s", error.message)
            return
        old, self._client = self._client, new
        old.is_old = True
        log.info("the certificate files changed: a new connection to Kaspi is used")
        if not old.calls:
            await old.http.aclose()

    async def aclose(self) -> None:
        await self._client.http.aclose()


def _file_versions(files: tuple[Path, ...]) -> _Mark:
    """Return a value that changes when one of the files does."""
    marks: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            state = path.stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(marks)
