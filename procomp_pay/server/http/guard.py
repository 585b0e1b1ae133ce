"""What stands before every handler: who calls, whether they may, how often, and what answer they can read."""

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
_REFUSED = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)


def guarded(route: Route) -> Handler:
    """The route's handler behind all that its row says."""

    @functools.wraps(route.handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        await _admit(request, route)
        try:
            return await route.handler(request)
        except BadSignature:
            _count_failure(request)
            raise

    return handle


def caller(request: web.Request) -> Caller:
    """Return the caller that the guard has authenticated."""
    return request[_CALLER]


async def _admit(request: web.Request, route: Route) -> None:
    """
    :raises Unauthorized: no token that holds. :raises Forbidden: another role.
    :raises TooManyRequests: too often. :raises HTTPNotAcceptable: the answer cannot be read.
    """
    who = None
    if route.roles is not None:
        who = request[_CALLER] = await _known(request)
    if route.budget is not None:
        key = f"user {who.user_id}" if who else f"address {client(request).network}"
        request.app[LIMITS].spend(route.budget, key)
    if route.roles is not None and caller(request).role not in route.roles:
        raise Forbidden(f"This is for {' and '.join(sorted(route.roles, reverse=True))}")
    accepted = ",".join(request.headers.getall("Accept", []))
    if not any(takes(accepted, media) for media in (route.media, *route.other_media)):
        raise web.HTTPNotAcceptable


async def _known(request: web.Request) -> Caller:
    """
    :raises Unauthorized: no token that holds. :raises TooManyRequests: from an address of many such.
    """
    try:
        return await state.caller(request)
    except Unauthorized:
        _count_failure(request)
        raise


def _count_failure(request: web.Request) -> None:
    """Whoever holds a valid token is never locked out by what others do at their address.

    :raises TooManyRequests: in place of what it would have been told.
    """
    request.app[LIMITS].spend(Budget.FAILURES, client(request).network)


def takes(accept: str, media: str) -> bool:
    """Return whether ``Accept`` (RFC 9110 section 12.5.1) allows a content type; a malformed one allows
    all.
    """
    found: dict[str, bool] = {}
    for part in accept.split(","):
        name = part.partition(";")[0].strip().lower()
        if "/" in name:
            found[name] = _REFUSED.search(part) is None
    if not found:
        return True
    for name in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if name in found:
            return found[name]
    return False
