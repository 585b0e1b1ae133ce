"""The platform's public keys by URL (RFC 7517): kept, fetched again now and then, not when strangers ask.

An unknown ``kid`` makes us look again, at most once in :data:`PAUSE_S` whoever sends it. While the address
does not answer, the keys at hand stay good for :data:`KEPT_S`.
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

#: Between two fetches, in seconds, whatever asks for them.
PAUSE_S = 30.0
#: After so long, in seconds, the keys are fetched again: one that was taken out ends here.
FRESH_S = 300.0
#: The longest that keys are trusted while their address does not answer, in seconds.
KEPT_S = 24 * 3600.0
_FETCH_S = 5.0
_LARGEST = 256 * 1024
_MOST_KEYS = 50
_LONGEST_KID = 200


class KeySet:
    """The keys of one address, by ``kid``.

    :param clock: seconds that only go forward.
    """

    def __init__(
        self, url: str, algorithm: JwtAlgorithm, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._algorithm = algorithm
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._learned_at: float | None = None
        self._tried_at: float | None = None
        self._turn = asyncio.Lock()

    def key(self, kid: object) -> Any | None:
        """The key of this name; without a name the only one there is.

        :raises Unavailable: there are no keys, or none that may still be trusted.
        """
        if self._learned_at is None or self._clock() - self._learned_at > KEPT_S:
            raise Unavailable("The keys that tokens are checked with cannot be fetched now", retry_after=30)
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def look(self, kid: object) -> None:
        """Fetch the keys where this one is not among them, or where they are old."""
        if not self._wants(kid):
            return
        if self._turn.locked():  # somebody fetches: what comes counts for us as well
            if self._learned_at is None or kid not in self._keys:
                async with self._turn:
                    return
        elif self._may():
            async with self._turn:
                self._tried_at = self._clock()
                await self._fetch()

    def _wants(self, kid: object) -> bool:
        if self._learned_at is None or self._clock() - self._learned_at > FRESH_S:
            return True
        return isinstance(kid, str) and len(kid) <= _LONGEST_KID and kid not in self._keys

    def _may(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= PAUSE_S

    async def _fetch(self) -> None:
        try:
            keys = read(await self._body(), self._algorithm)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("the keys at JWT_JWKS_URL cannot be fetched: %s", type(error).__name__)
            return
        if not keys:
            log.warning("JWT_JWKS_URL has no key for %s: the ones at hand are kept", self._algorithm)
            return
        if set(keys) != set(self._keys):
            log.info("%d keys learned from JWT_JWKS_URL", len(keys))
        self._keys, self._learned_at = keys, self._clock()

    async def _body(self) -> bytes:
        """
        :raises ValueError: no good answer, or too long a one.
        """
        https = self._url.startswith("https:")
        async with (
            asyncio.timeout(_FETCH_S),
            httpx.AsyncClient(timeout=_FETCH_S, verify=https) as http,
            http.stream("GET", self._url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:  # redirects are not followed: they could lead anywhere
                raise ValueError("HTTP status")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError("too long")
            return body


def read(body: bytes, algorithm: JwtAlgorithm) -> dict[str, Any]:
    """The keys of a JWK set that sign with this algorithm; all others are passed over.

    :raises ValueError: it is no JWK set.
    """
    document = json.loads(body)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - what JSON says is no type of ours
    found: dict[str, Any] = {}
    for item in listed[:_MOST_KEYS]:
        key = _key(item, algorithm)
        if key is not None:
            found[str(item.get("kid", ""))] = key
    return found


def _key(item: Any, algorithm: JwtAlgorithm) -> Any | None:
    if not isinstance(item, dict) or item.get("kty") == "oct":
        return None  # a secret that everybody can fetch is none
    if item.get("alg", algorithm.value) != algorithm or item.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(item, algorithm.value).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key if fits(key, algorithm) else None
