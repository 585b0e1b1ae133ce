"""The application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from procomp_pay.config import Settings
from procomp_pay.server.api.routes import routes
from procomp_pay.server.auth import tokens as auth
from procomp_pay.server.background.loops import Background
from procomp_pay.server.http import errors, request_log
from procomp_pay.server.http.cors import CORS, cors_of
from procomp_pay.server.http.proxy import PROXIES, proxies_of
from procomp_pay.server.http.rate_limits import LIMITS, limits_of
from procomp_pay.server.http.state import STATE, State
from procomp_pay.server.observability import metrics
from procomp_pay.server.observability.health import Health
from procomp_pay.services.context import AppContext


def make_app(ctx: AppContext, settings: Settings) -> web.Application:
    """The API and the loops that run as long as it does. They end after the last open request.

    :raises ConfigurationError: settings for tokens that are missing or contradict each other; limits, proxies
        or origins that cannot be read.
    """
    background = Background(ctx)
    gate = auth.gate_for(settings, ctx.keyring)
    app = web.Application(middlewares=[errors.middleware, request_log.middleware])
    app[STATE] = State(
        ctx=ctx,
        settings=settings,
        gate=gate,
        background=background,
        health=Health(ctx, settings, background),
    )
    app[LIMITS], app[PROXIES], app[CORS] = limits_of(settings), proxies_of(settings), cors_of(settings)
    app.add_routes(routes())
    metrics.install(app, metrics.Metrics(ctx, settings, background))
    app.on_response_prepare.append(errors.set_headers)
    app.cleanup_ctx.append(_loops)
    return app


async def _loops(app: web.Application) -> AsyncIterator[None]:
    background = app[STATE].background
    await app[STATE].gate.warm_up()
    await background.start()
    yield
    await background.stop()
