"""Fetch and cache the platform's public keys from its JWKS URL (RFC 7517).

An unknown ``kid`` makes us fetch again, at most once in :data:`PAUSE_S`, so that strangers cannot make us
fetch at will. While the URL does not respond, the cached keys stay valid for :data:`KEPT_S`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from procomp_pay.config import JwtAlgorithm
from procomp_pay.domain.errors import Unavailable
from procomp_pay.server.auth.keys import fits

log = logging.getLogger(__name__)

#: The least time between two fetches, in seconds.
PAUSE_S = 30.0
#: Age at which the keys are fetched again, in seconds: a key that the platform has removed ends then.
FRESH_S = 300.0
#: How long keys are trusted while their URL does not respond, in seconds.
KEPT_S = 24 * 3600.0
#: The name of EdDSA with this curve since RFC 9864.
ED25519 = "Ed25519"
_FETCH_S = 5.0
_LARGEST = 256 * 1024
_MOST_KEYS = 50
_LONGEST_KID = 200


class KeySet:
    """The keys of one URL, by ``kid``.

    :param clock: monotonic, in seconds.
    """

    def __init__(
        self, url: str, algorithm: JwtAlgorithm, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._algorithm = algorithm
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    def key(self, kid: object) -> Any | None:
        """Return the key of this name, or the only key where no name is given.

        :raises Unavailable: there are no keys, or they are too old to be trusted.
        """
        if self._fetched_at is None or self._clock() - self._fetched_at > KEPT_S:
            raise Unavailable("The keys that tokens are checked with cannot be fetched now", retry_after=30)
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def refresh_keys(self, kid: object) -> None:
        """Fetch the keys if this one is unknown or they are old."""
        if not self._needs_fetch(kid):
            return
        if self._fetching.locked():  # another request fetches them: wait for its result
            if self._fetched_at is None or kid not in self._keys:
                async with self._fetching:
                    return
        elif self._may_fetch():
            async with self._fetching:
                self._tried_at = self._clock()
                await self._fetch()

    def _needs_fetch(self, kid: object) -> bool:
        if self._fetched_at is None or self._clock() - self._fetched_at > FRESH_S:
            return True
        return isinstance(kid, str) and len(kid) <= _LONGEST_KID and kid not in self._keys

    def _may_fetch(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= PAUSE_S

    async def _fetch(self) -> None:
        try:
            keys = read(await self._body(), self._algorithm)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("cannot fetch the keys of JWT_JWKS_URL: %s", type(error).__name__)
            return
        if not keys:
            log.warning("JWT_JWKS_URL has no key for %s: the cached ones are kept", self._algorithm)
            return
        if set(keys) != set(self._keys):
            log.info("fetched %d keys from JWT_JWKS_URL", len(keys))
        self._keys, self._fetched_at = keys, self._clock()

    async def _body(self) -> bytes:
        """
        :raises ValueError: not a 200, or too long.
        """
        https = self._url.startswith("https:")
        async with (
            asyncio.timeout(_FETCH_S),
            httpx.AsyncClient(timeout=_FETCH_S, verify=https) as http,
            http.stream("GET", self._url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != 200:  # redirects are not followed: they could lead anywhere
                raise ValueError("HTTP status")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError("too long")
            return body


def read(body: bytes, algorithm: JwtAlgorithm) -> dict[str, Any]:
    """Return the keys of a JWK set that fit this algorithm; others are skipped.

    :raises ValueError: it is not a JWK set.
    """
    document = json.loads(body)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - callers expect a ValueError
    keys: dict[str, Any] = {}
    for item in listed[:_MOST_KEYS]:
        key = _key(item, algorithm)
        if key is not None:
            keys[str(item.get("kid", ""))] = key
    return keys


def _key(item: Any, algorithm: JwtAlgorithm) -> Any | None:
    if not isinstance(item, dict) or item.get("kty") == "oct":
        return None  # a secret that everybody can fetch is not a secret
    named = item.get("alg", algorithm.value)
    if (JwtAlgorithm.EDDSA if named == ED25519 else named) != algorithm or item.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(item, algorithm.value).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key if fits(key, algorithm) else None
