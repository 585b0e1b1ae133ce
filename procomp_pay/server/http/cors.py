"""Cross-origin requests of browsers (Fetch standard): refused unless their origin is configured by name."""

from __future__ import annotations

import re

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.domain.errors import ConfigurationError

#: Scheme, host, port as a browser sends them; a host in Punycode.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-ID"
_ANSWER_HEADERS = "X-Request-ID, Retry-After"
#: How long a browser may remember the answer to its question, in seconds.
_REMEMBERED_S = 600


class Cors:
    """The origins whose pages may read our answers. Tokens travel in a header, so credentials never do."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def mark(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Say in the answer whether the asking page may read it."""
        if not self._origins:
            return
        answer.headers.add("Vary", "Origin")
        given = request.headers.getall("Origin", [])
        if len(given) != 1 or given[0] not in self._origins:
            return
        answer.headers["Access-Control-Allow-Origin"] = given[0]
        answer.headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            answer.headers["Access-Control-Allow-Methods"] = answer.headers.get("Allow", "")
            answer.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            answer.headers["Access-Control-Max-Age"] = str(_REMEMBERED_S)


def cors_of(settings: Settings) -> Cors:
    """
    :raises ConfigurationError: ``CORS_ORIGINS`` has a ``*``, a path, or what else is no origin.
    """
    origins = [part.strip() for part in settings.cors_origins.split(",") if part.strip()]
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ConfigurationError(
            "CORS_ORIGINS is not a list of origins; * is none",
            next_step="name each one as a browser does: https://app.procomp.kz,https://admin.procomp.kz:8443",
        )
    return Cors(frozenset(origins))


CORS = web.AppKey("cors", Cors)
