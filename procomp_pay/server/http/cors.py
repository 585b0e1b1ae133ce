"""Answer cross-origin requests of browsers (Fetch standard): only configured origins may read responses."""

from __future__ import annotations

import re

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError

#: Scheme, host, port as a browser sends them; a host in Punycode.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-ID"
_RESPONSE_HEADERS = "X-Request-ID, Retry-After"
#: How long a browser may cache the response to a preflight request, in seconds.
_PREFLIGHT_AGE_S = 600


class Cors:
    """The origins whose pages may read our responses. Cookies are never allowed: tokens come in a header."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Set the headers that let a page of a configured origin read the response."""
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        origins = request.headers.getall("Origin", [])
        if len(origins) != 1 or origins[0] not in self._origins:
            return
        response.headers["Access-Control-Allow-Origin"] = origins[0]
        response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_AGE_S)


def cors_from(settings: Settings) -> Cors:
    """
    :raises ConfigurationError: ``CORS_ORIGINS`` has a ``*``, a path, or anything else that is not an origin.
    """
    origins = [part.strip() for part in settings.cors_origins.split(",") if part.strip()]
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ConfigurationError(
            "CORS_ORIGINS is not a list of origins; * is not allowed",
            next_step="write each one as a browser does: https://app.procomp.kz,https://admin.procomp.kz:8443",
        )
    return Cors(frozenset(origins))


CORS = web.AppKey("cors", Cors)
