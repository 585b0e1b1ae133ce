"""The routes, each told in one row, and the handlers: parse, call a use case, answer."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.config.delivery import preferred
from procomp_pay.domain.errors import Forbidden, NotFound
from procomp_pay.domain.events import Source
from procomp_pay.server.api import admin_routes as admin
from procomp_pay.server.api import kaspi_webhooks as kaspi_hooks
from procomp_pay.server.api import openapi
from procomp_pay.server.api import requests as bodies
from procomp_pay.server.api import responses as answers
from procomp_pay.server.api.qr_images import THANKS, qr_picture
from procomp_pay.server.api.responses import answer
from procomp_pay.server.auth.tokens import Caller
from procomp_pay.server.http.guard import caller as caller_of
from procomp_pay.server.http.guard import guarded
from procomp_pay.server.http.proxy import client
from procomp_pay.server.http.route import ANYONE_KNOWN, BASE, JSON, Budget, Link, Route
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability import logs, metrics
from procomp_pay.server.observability.logs import REQUEST_ID
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import Move, PaymentView
from procomp_pay.services.webhooks.inbox import receive_stripe
from procomp_pay.storage.models import exact_json

_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_PICTURES = {"png": "image/png", "svg": "image/svg+xml"}
_PARTICIPANT = {"participant_id": "$request.body#/participant_id"}
_ITS_PARTICIPANT = {"participant_id": "$request.path.participant_id"}


def table() -> list[Route]:
    """Every route. What stands here is served, guarded and described; there is no other list."""
    return [
        Route(
            "POST", f"{BASE}/initiate", start, "initiatePayment", "Start a payment", "payments",
            answers.Started, roles=ANYONE_KNOWN, budget=Budget.WRITES, body=bodies.InitiateBody,
            headers={"Idempotency-Key": False}, refusals=(404, 409, 503),
            links={
                "status": Link("getStatus", _PARTICIPANT),
                "history": Link("getHistory", _PARTICIPANT),
                "qr": Link("getQrPng", {"payment_id": "$response.body#/payment_id"}),
            },
        ),
        Route(
            "GET", f"{BASE}/status/{{participant_id}}", status, "getStatus",
            "How a payment stands", "payments",
            answers.PaymentStanding, roles=ANYONE_KNOWN, budget=Budget.READS, refusals=(503,),
            links={"history": Link("getHistory", _ITS_PARTICIPANT)},
        ),
        Route(
            "GET", f"{BASE}/participant/{{participant_id}}/history", history, "getHistory",
            "All payments of a participant", "payments",
            answers.History, roles=ANYONE_KNOWN, budget=Budget.READS, refusals=(503,),
        ),
        *(
            Route(
                "GET", f"{BASE}/{{payment_id}}/qr.{kind}", _picture_as(kind), f"getQr{kind.title()}",
                f"What the customer scans, as {kind.upper()}", "payments",
                media=media, budget=Budget.OPEN, query=bodies.Signed, refusals=(503,),
            )
            for kind, media in _PICTURES.items()
        ),
        *admin.routes(),
        Route(
            "POST", f"{BASE}/webhooks/stripe", stripe_webhook, "receiveStripeEvent",
            "Stripe tells what happened", "webhooks",
            answers.Received, body=bodies.StripeEvent, headers={"Stripe-Signature": True},
            refusals=(429, 503),
        ),
        *kaspi_hooks.routes(),
        Route(
            "GET", f"{BASE}/health", health, "getHealth", "How the desk is", "operation",
            answers.HealthReport, also=(503,),
        ),
        Route(
            "GET", f"{BASE}/health/live", live, "getLive", "Whether the process answers", "operation",
            answers.Alive,
        ),
        Route(
            "GET", f"{BASE}/metrics", metrics.show, "getMetrics",
            "Prometheus metrics: by token, or from this machine", "operation",
            media="text/plain", refusals=(401, 403),
        ),
        Route(
            "GET", f"{BASE}/thanks", thanks, "getThanks", "Where a hosted payment page leads", "payments",
            media="text/html", budget=Budget.OPEN,
        ),
        Route(
            "GET", f"{BASE}/openapi.json", described, "getDocument", "This document", "operation",
            answers.Document, budget=Budget.OPEN,
        ),
    ]  # fmt: skip


def routes() -> list[web.RouteDef]:
    """The table as aiohttp wants it; GET answers HEAD too, where it changes nothing."""
    return [
        web.RouteDef(row.method, row.path, guarded(row), {} if row.head else {"allow_head": False})
        for row in table()
    ]


async def _check_access(request: web.Request, caller: Caller, participant_id: str) -> None:
    """
    :raises NotFound: no such participant. :raises Forbidden: somebody else's.
    """
    owner = await views.owner_of(request.app[STATE].ctx, participant_id)
    if not caller.sees_all and owner != caller.user_id:
        raise Forbidden("This participant belongs to another user")


def _desk(request: web.Request) -> AppContext:
    """The desk, with links that lead where the client came from, unless an address is configured."""
    state, origin = request.app[STATE], client(request).origin
    if origin is None or state.settings.public_base_url:
        return state.ctx
    return replace(state.ctx, base_url=origin)


async def start(request: web.Request) -> web.Response:
    """Starts a payment, or returns the open one with the secrets to pay it."""
    caller = caller_of(request)
    bodies.check_is_json(request)
    body = bodies.read_initiate(await bodies.read_body(request, bodies.BODY_BYTES))
    order = body.order(bodies.idempotency_key(request))
    await _check_access(request, caller, order.participant_id)
    if not caller.sees_all:  # staff's browser says nothing of the participant's language
        order = replace(order, language=preferred(request.headers.get("Accept-Language")))
    ctx = _desk(request)
    started = await initiate(ctx, order, Actor(caller.user_id, Source.APP, REQUEST_ID.get()))
    request.app[STATE].background.wake_watch()
    logs.note(payment_id=started.payment_id)
    opening = await views.opening(ctx, started.payment_id)
    return answer(answers.Started, opening.seeded())


async def status(request: web.Request) -> web.Response:
    """The payment that settled the fee, else the newest one."""
    caller, participant_id = caller_of(request), bodies.path_id(request, "participant_id")
    await _check_access(request, caller, participant_id)
    found = await views.latest(request.app[STATE].ctx, participant_id)
    return answer(answers.PaymentStanding, found.seeded())


async def history(request: web.Request) -> web.Response:
    """All payments with their moves, newest first."""
    caller, participant_id = caller_of(request), bodies.path_id(request, "participant_id")
    await _check_access(request, caller, participant_id)
    found = await views.history(request.app[STATE].ctx, participant_id)
    items = [_past(view, moves, caller) for view, moves in found]
    return answer(answers.History, {"items": items, "next_cursor": None})


def _past(view: PaymentView, moves: list[Move], caller: Caller) -> dict[str, Any]:
    shown = [move.full() for move in moves]
    if not caller.sees_all:  # which clerk acted is not the customer's business
        shown = [{name: value for name, value in move.items() if name != "actor"} for move in shown]
    return view.seeded() | {"code": view.code, "refunded_amount": view.refunded.amount, "moves": shown}


def _picture_as(kind: str) -> Handler:
    async def picture(request: web.Request) -> web.Response:
        """The address itself is the permission: ``qr_image_url`` of ``/initiate`` holds its signature."""
        payment_id, signature = bodies.path_id(request, "payment_id"), request.query.get("s", "")
        ctx = request.app[STATE].ctx
        unknown = NotFound("There is no such picture")
        if not ctx.keyring.verify(views.QR_PURPOSE, payment_id, signature):
            raise unknown
        payload = (await views.opening(ctx, payment_id)).qr_payload
        if payload is None:
            raise unknown
        image = await asyncio.to_thread(qr_picture, payload, kind)
        headers = {
            "Cache-Control": "private, no-store",
            "Content-Security-Policy": _PAGE_POLICY,
            "Cross-Origin-Resource-Policy": "cross-origin",  # a page of the platform shows it
        }
        return web.Response(body=image, content_type=_PICTURES[kind], headers=headers)

    return picture


async def stripe_webhook(request: web.Request) -> web.Response:
    """Checked, stored, then 200; what it means is worked out afterwards."""
    state = request.app[STATE]
    body = await bodies.read_body(request, bodies.WEBHOOK_BYTES)
    headers = request.headers.getall("Stripe-Signature", [])
    header = headers[0] if len(headers) == 1 else None
    await receive_stripe(state.ctx, body, header, state.settings.webhook_secrets)
    state.background.wake_inbox()
    return answer(answers.Received, {"received": True})


async def health(request: web.Request) -> web.Response:
    """503 when the database is down: nothing works without it."""
    code, report = await request.app[STATE].health.report()
    return answer(answers.HealthReport, report, code, {"Retry-After": "5"} if code == 503 else None)


async def live(_request: web.Request) -> web.Response:
    """Asks nothing and nobody."""
    return answer(answers.Alive, {"status": "alive"})


async def thanks(_request: web.Request) -> web.Response:
    """A page in three languages for the customer's browser."""
    return web.Response(
        text=THANKS, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
    )


async def described(_request: web.Request) -> web.Response:
    """OpenAPI 3.1, made from the same rows and models that serve."""
    return web.Response(text=document(), content_type=JSON)


@functools.cache
def document() -> str:
    """The OpenAPI document of the table, with exact numbers."""
    return exact_json.dumps(openapi.document(table()))
