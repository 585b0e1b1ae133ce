"""Check each request before its handler runs: token, role, rate limit, and accepted content types."""

from __future__ import annotations

import functools
import re

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.domain.errors import BadSignature, Forbidden, Unauthorized
from procomp_pay.server.auth.tokens import Caller
from procomp_pay.server.http import state
from procomp_pay.server.http.proxy import client
from procomp_pay.server.http.rate_limits import LIMITS
from procomp_pay.server.http.route import Budget, Route

_CALLER = web.RequestKey("caller", Caller)
_ZERO_QUALITY = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)


def with_access_control(route: Route) -> Handler:
    """Return the route's handler behind the checks that the route asks for."""

    @functools.wraps(route.handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        await _authorize(request, route)
        try:
            return await route.handler(request)
        except BadSignature:
            _count_failure(request)
            raise

    return handle


def caller(request: web.Request) -> Caller:
    """Return the caller whose token has been checked."""
    return request[_CALLER]


async def _authorize(request: web.Request, route: Route) -> None:
    """
    :raises Unauthorized: no valid token. :raises Forbidden: another role is needed.
    :raises TooManyRequests: too often.
    :raises HTTPNotAcceptable: the client does not accept the response's content type.
    """
    known_caller = None
    if route.roles is not None:
        known_caller = request[_CALLER] = await _authenticate(request)
    if route.budget is not None:
        key = f"user {known_caller.user_id}" if known_caller else f"address {client(request).network}"
        request.app[LIMITS].spend(route.budget, key)
    if route.roles is not None and caller(request).role not in route.roles:
        raise Forbidden(f"This needs the role {' or '.join(sorted(route.roles, reverse=True))}")
    accept = ",".join(request.headers.getall("Accept", []))
    if not any(accepts(accept, media) for media in (route.media, *route.other_media)):
        raise web.HTTPNotAcceptable


async def _authenticate(request: web.Request) -> Caller:
    """
    :raises Unauthorized: no valid token. :raises TooManyRequests: too many of those from this address.
    """
    try:
        return await state.caller(request)
    except Unauthorized:
        _count_failure(request)
        raise


def _count_failure(request: web.Request) -> None:
    """Count an invalid token or signature. A valid token is never refused for others' failures.

    :raises TooManyRequests: too many failures from this address.
    """
    request.app[LIMITS].spend(Budget.FAILURES, client(request).network)


def accepts(accept: str, media: str) -> bool:
    """Return whether ``Accept`` (RFC 9110, section 12.5.1) admits a content type; an odd one admits all."""
    admitted: dict[str, bool] = {}
    for part in accept.split(","):
        name = part.partition(";")[0].strip().lower()
        if "/" in name:
            admitted[name] = _ZERO_QUALITY.search(part) is None
    if not admitted:
        return True
    for name in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if name in admitted:
            return admitted[name]
    return False
