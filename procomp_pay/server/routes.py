"""The handlers: parse, call a use case, answer."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from procomp_pay.domain.errors import Forbidden, NotFound
from procomp_pay.domain.facts import Source
from procomp_pay.payments import views
from procomp_pay.payments.desk import Actor
from procomp_pay.payments.inbox import receive_stripe
from procomp_pay.payments.initiate import initiate
from procomp_pay.payments.views import Move, PaymentView
from procomp_pay.server import admin, bodies, kaspi_hooks
from procomp_pay.server.auth import Caller
from procomp_pay.server.errors import json_answer
from procomp_pay.server.logs import REQUEST_ID
from procomp_pay.server.pictures import THANKS, qr_picture
from procomp_pay.server.state import STATE
from procomp_pay.server.state import caller as caller_of

BASE = "/api/v1/payments"

_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def routes() -> list[web.RouteDef]:
    """Every route."""
    return [
        web.post(f"{BASE}/initiate", start),
        web.get(f"{BASE}/status/{{participant_id}}", status),
        web.get(f"{BASE}/participant/{{participant_id}}/history", history),
        web.get(f"{BASE}/{{payment_id}}/qr.{{kind:png|svg}}", picture),
        web.post(f"{BASE}/webhooks/stripe", stripe_webhook),
        *kaspi_hooks.routes(BASE),
        web.get(f"{BASE}/health", health),
        web.get(f"{BASE}/health/live", live),
        web.get(f"{BASE}/thanks", thanks),
        *admin.routes(f"{BASE}/admin"),
    ]


async def _check_access(request: web.Request, caller: Caller, participant_id: str) -> None:
    """
    :raises NotFound: no such participant. :raises Forbidden: somebody else's.
    """
    owner = await views.owner_of(request.app[STATE].desk, participant_id)
    if not caller.sees_all and owner != caller.user_id:
        raise Forbidden("This participant belongs to another user")


async def start(request: web.Request) -> web.Response:
    """POST /initiate: start a payment, or return the open one with the secrets to pay it."""
    caller = caller_of(request)
    bodies.check_is_json(request)
    body = bodies.read_initiate(await bodies.read_body(request, bodies.BODY_BYTES))
    order = body.order(bodies.idempotency_key(request))
    await _check_access(request, caller, order.participant_id)
    state = request.app[STATE]
    started = await initiate(state.desk, order, Actor(caller.user_id, Source.APP, REQUEST_ID.get()))
    state.background.wake_watch()
    opening = await views.opening(state.desk, started.payment_id)
    return json_answer(opening.seeded())


async def status(request: web.Request) -> web.Response:
    """GET /status/{participant_id}: the newest payment."""
    caller, participant_id = caller_of(request), bodies.path_id(request, "participant_id")
    await _check_access(request, caller, participant_id)
    return json_answer((await views.latest(request.app[STATE].desk, participant_id)).seeded())


async def history(request: web.Request) -> web.Response:
    """GET /participant/{participant_id}/history: all payments with their moves, newest first."""
    caller, participant_id = caller_of(request), bodies.path_id(request, "participant_id")
    await _check_access(request, caller, participant_id)
    found = await views.history(request.app[STATE].desk, participant_id)
    items = [_past(view, moves, caller) for view, moves in found]
    return json_answer({"items": items, "next_cursor": None})


def _past(view: PaymentView, moves: list[Move], caller: Caller) -> dict[str, Any]:
    shown = [move.full() for move in moves]
    if not caller.sees_all:  # which clerk acted is not the customer's business
        shown = [{name: value for name, value in move.items() if name != "actor"} for move in shown]
    return view.seeded() | {"code": view.code, "refunded_amount": view.refunded.amount, "moves": shown}


async def picture(request: web.Request) -> web.Response:
    """GET /{payment_id}/qr.png or .svg: what the customer scans. The address itself is the permission."""
    payment_id, kind = bodies.path_id(request, "payment_id"), request.match_info["kind"]
    signature = request.query.get("s", "")
    desk = request.app[STATE].desk
    unknown = NotFound("There is no such picture")
    if not desk.keyring.verify(views.QR_PURPOSE, payment_id, signature):
        raise unknown
    payload = (await views.opening(desk, payment_id)).qr_payload
    if payload is None:
        raise unknown
    image = await asyncio.to_thread(qr_picture, payload, kind)
    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": _PAGE_POLICY}
    return web.Response(body=image, content_type=_TYPES[kind], headers=headers)


async def stripe_webhook(request: web.Request) -> web.Response:
    """POST /webhooks/stripe: checked, stored, then 200; what it means is worked out afterwards."""
    state = request.app[STATE]
    body = await bodies.read_body(request, bodies.WEBHOOK_BYTES)
    headers = request.headers.getall("Stripe-Signature", [])
    header = headers[0] if len(headers) == 1 else None
    await receive_stripe(state.desk, body, header, state.settings.webhook_secrets)
    state.background.wake_inbox()
    return json_answer({"received": True})


async def health(request: web.Request) -> web.Response:
    """GET /health."""
    code, report = await request.app[STATE].health.report()
    return json_answer(report, code, {"Retry-After": "5"} if code == 503 else None)


async def live(_request: web.Request) -> web.Response:
    """GET /health/live: the process answers."""
    return json_answer({"status": "alive"})


async def thanks(_request: web.Request) -> web.Response:
    """GET /thanks: where a hosted payment page sends the customer's browser."""
    return web.Response(
        text=THANKS, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
    )
