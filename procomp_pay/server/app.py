"""Assemble the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.config import Settings
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.server.api.routes import routes
from procomp_pay.server.auth import tokens as auth
from procomp_pay.server.background.loops import Background
from procomp_pay.server.http import errors
from procomp_pay.server.http.cors import CORS, cors_from
from procomp_pay.server.http.errors import route_template
from procomp_pay.server.http.proxy import PROXIES, proxies_from
from procomp_pay.server.http.rate_limits import LIMITS, limits_from
from procomp_pay.server.http.state import STATE, ServerState
from procomp_pay.server.observability import logs, metrics
from procomp_pay.server.observability.health import Health
from procomp_pay.server.pages import routes as pages
from procomp_pay.services.context import AppContext

#: Checks of the settings that a server needs; each raises :class:`ConfigurationError`.
SETTINGS_CHECKS: tuple[Callable[[Settings], object], ...] = (
    logs.level_of,
    limits_from,
    proxies_from,
    cors_from,
    metrics.token_of,
)


def make_app(ctx: AppContext, settings: Settings) -> web.Application:
    """Return the API with its background loops, which stop after the last open request.

    :raises ConfigurationError: settings for tokens are missing or contradict each other; limits, proxies or
        origins cannot be parsed.
    """
    background = Background(ctx)
    authenticator = auth.make_authenticator(settings, ctx.keyring)
    app = web.Application(middlewares=[errors.middleware, _log_fields])
    app[STATE] = ServerState(
        ctx=ctx,
        settings=settings,
        authenticator=authenticator,
        background=background,
        health=Health(ctx, settings, background),
    )
    app[LIMITS], app[PROXIES], app[CORS] = limits_from(settings), proxies_from(settings), cors_from(settings)
    app.add_routes(routes())
    pages.install(app, ctx)
    metrics.install(app, metrics.Metrics(ctx, settings, background))
    app.on_response_prepare.append(errors.set_headers)
    app.cleanup_ctx.append(_run_background)
    return app


async def _run_background(app: web.Application) -> AsyncIterator[None]:
    background = app[STATE].background
    await app[STATE].authenticator.warm_up()
    await background.start()
    yield
    await background.stop()


@web.middleware
async def _log_fields(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bind the route and the ids of its path to the log lines of a request."""
    ids = {name: request.match_info.get(name) for name in ("payment_id", "participant_id")}
    valid = {name: value for name, value in ids.items() if is_identifier(value)}
    logs.start_request(method=request.method, route=route_template(request), **valid)
    return await handler(request)
