"""What the lines of a request say besides: its route and whom it is about."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.http.errors import template_of
from procomp_pay.server.observability import logs


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Inside of the one that gives the request its id."""
    named = {name: request.match_info.get(name) for name in ("payment_id", "participant_id")}
    known = {name: value for name, value in named.items() if is_identifier(value)}
    logs.start_request(method=request.method, route=template_of(request), **known)
    return await handler(request)
