"""The state of the application that all handlers share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.server.auth.tokens import Authenticator, Caller
from procomp_pay.server.background.loops import Background
from procomp_pay.server.http.proxy import client
from procomp_pay.server.observability.health import Health
from procomp_pay.services.context import AppContext


@dataclass(frozen=True, slots=True)
class ServerState:
    """Everything that handlers work with; one for the whole application."""

    ctx: AppContext
    settings: Settings
    authenticator: Authenticator
    background: Background
    health: Health
    #: Numbers the webhooks that were answered 200.
    acknowledged: Iterator[int] = field(default_factory=itertools.count)


STATE = web.AppKey("state", ServerState)


async def caller(request: web.Request) -> Caller:
    """Return the caller of a request. An unknown key id makes the JWKS be read again first.

    :raises Unauthorized: no token, or an invalid one.
    """
    authenticator = request.app[STATE].authenticator
    authorization = request.headers.getall("Authorization", [])
    await authenticator.refresh_keys(authorization)
    return authenticator.caller(authorization)


def linking_context(request: web.Request) -> AppContext:
    """Return the context; its links lead to the host that the client requested, unless one is configured."""
    state, origin = request.app[STATE], client(request).origin
    if origin is None or state.settings.public_base_url:
        return state.ctx
    return replace(state.ctx, base_url=origin)
