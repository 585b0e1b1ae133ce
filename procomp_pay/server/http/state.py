"""What the handlers work with."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.server.auth.tokens import Caller, Gate
from procomp_pay.server.background.loops import Background
from procomp_pay.server.observability.health import Health
from procomp_pay.services.context import AppContext


@dataclass(frozen=True, slots=True)
class State:
    """One value for the whole application."""

    ctx: AppContext
    settings: Settings
    gate: Gate
    background: Background
    health: Health


STATE = web.AppKey("state", State)


async def caller(request: web.Request) -> Caller:
    """Who calls. The token's key is learned first, where keys are learned and this one is not known yet.

    :raises Unauthorized: no token, or one that does not hold.
    """
    gate, given = request.app[STATE].gate, request.headers.getall("Authorization", [])
    await gate.look(given)
    return gate.caller(given)
