"""The routes, and the handlers of payments and operation: parse, call a use case, respond."""

from __future__ import annotations

import asyncio
import functools
import io
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from procomp_pay.domain.errors import Forbidden, NotFound
from procomp_pay.domain.events import Source
from procomp_pay.domain.language import preferred
from procomp_pay.server.api import admin_routes, kaspi_webhooks, openapi, requests, responses
from procomp_pay.server.auth.tokens import Caller
from procomp_pay.server.http import errors
from procomp_pay.server.http.guard import caller as caller_of
from procomp_pay.server.http.guard import with_access_control
from procomp_pay.server.http.json_response import checked_text, respond
from procomp_pay.server.http.route import ANYONE_KNOWN, BASE, JSON, Budget, Link, Route
from procomp_pay.server.http.state import STATE, linking_context
from procomp_pay.server.observability import logs, metrics
from procomp_pay.server.observability.logs import REQUEST_ID
from procomp_pay.services.context import Actor
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.history import Move, read_history
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.services.webhooks.stripe import receive_stripe
from procomp_pay.storage.models import exact_json

_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_QR_MEDIA = {"png": "image/png", "svg": "image/svg+xml"}
#: Pixels of one module of a PNG, and the quiet zone in modules that scanners need (ISO/IEC 18004).
_QR_SCALE = 8
_QR_BORDER = 4
_THANKS_PAGE = """<!doctype html>
<html lang="ru"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Спасибо · Рақмет · Thank you</title>
<style>
body{font:18px/1.5 system-ui,sans-serif;max-width:32em;margin:12vh auto;padding:0 1em;text-align:center}
p{margin:1.2em 0}</style></head><body>
<p lang="ru"><b>Спасибо!</b><br>Эту страницу можно закрыть: стойка регистрации сама увидит ваш платёж.</p>
<p lang="kk"><b>Рақмет!</b><br>Бұл бетті жаба беріңіз: тіркеу үстелі төлеміңізді өзі көреді.</p>
<p lang="en"><b>Thank you!</b><br>You may close this page; the desk sees your payment by itself.</p>
</body></html>
"""

#: Made once: it is the most frequent answer.
_RECEIVED = checked_text(responses.Received, {"received": True})

_PARTICIPANT = {"participant_id": "$request.body#/participant_id"}
_ITS_PARTICIPANT = {"participant_id": "$request.path.participant_id"}


def table() -> list[Route]:
    """Every route. What stands here is served, with_access_control and described; there is no other list."""
    return [
        Route(
            "POST", f"{BASE}/initiate", start, "initiatePayment", "Start a payment", "payments",
            responses.Started, roles=ANYONE_KNOWN, budget=Budget.WRITES, body=requests.InitiateBody,
            headers={"Idempotency-Key": False}, errors=(404, 409, 503),
            links={
                "status": Link("getStatus", _PARTICIPANT),
                "history": Link("getHistory", _PARTICIPANT),
                "qr": Link("getQrPng", {"payment_id": "$response.body#/payment_id"}),
            },
        ),
        Route(
            "GET", f"{BASE}/status/{{participant_id}}", status, "getStatus",
            "The status of a participant's payment", "payments",
            responses.PaymentSummary, roles=ANYONE_KNOWN, budget=Budget.READS, errors=(503,),
            links={"history": Link("getHistory", _ITS_PARTICIPANT)},
        ),
        Route(
            "GET", f"{BASE}/participant/{{participant_id}}/history", history, "getHistory",
            "All payments of a participant", "payments",
            responses.History, roles=ANYONE_KNOWN, budget=Budget.READS, errors=(503,),
        ),
        *(
            Route(
                "GET", f"{BASE}/{{payment_id}}/qr.{kind}", _qr_handler(kind), f"getQr{kind.title()}",
                f"The QR code that the customer scans, as {kind.upper()}", "payments",
                media=media, budget=Budget.OPEN, query=requests.Signed, errors=(503,),
            )
            for kind, media in _QR_MEDIA.items()
        ),
        *admin_routes.routes(),
        Route(
            "POST", f"{BASE}/webhooks/stripe", stripe_webhook, "receiveStripeEvent",
            "Receive an event of Stripe", "webhooks",
            responses.Received, body=requests.StripeEvent, headers={"Stripe-Signature": True},
            errors=(429, 503),
        ),
        *kaspi_webhooks.routes(),
        Route(
            "GET", f"{BASE}/health", health, "getHealth", "Health of the server", "operation",
            responses.HealthReport, other_statuses=(503,),
        ),
        Route(
            "GET", f"{BASE}/health/live", live, "getLive", "The process is alive", "operation",
            responses.Alive,
        ),
        Route(
            "GET", f"{BASE}/metrics", metrics.show, "getMetrics",
            "Prometheus metrics: by token, or from this machine", "operation",
            media="text/plain", errors=(401, 403),
        ),
        Route(
            "GET", f"{BASE}/thanks", thanks, "getThanks", "Page after a hosted payment page", "payments",
            media="text/html", budget=Budget.OPEN,
        ),
        Route(
            "GET", f"{BASE}/openapi.json", openapi_document, "getDocument", "This document", "operation",
            responses.Document, budget=Budget.OPEN,
        ),
    ]  # fmt: skip


def routes() -> list[web.RouteDef]:
    """Return the routes for aiohttp. GET supports HEAD too, unless it changes something."""
    return [
        web.RouteDef(route.method, route.path, with_access_control(route), _options(route))
        for route in table()
    ]


def _options(route: Route) -> dict[str, Any]:
    return {"expect_handler": errors.expect} | ({} if route.head else {"allow_head": False})


async def _check_access(request: web.Request, caller: Caller, participant_id: str) -> None:
    """
    :raises NotFound: no such participant. :raises Forbidden: it belongs to another user.
    """
    _check_owner(caller, await views.owner_of(request.app[STATE].ctx, participant_id))


def _check_owner(caller: Caller, owner: str | None) -> None:
    """
    :raises Forbidden: the participant belongs to another user, or to nobody.
    """
    if not caller.sees_all and (owner is None or owner != caller.user_id):
        raise Forbidden("This participant belongs to another user")


async def start(request: web.Request) -> web.Response:
    """Start a payment, or return the open one with the secrets to pay it."""
    caller = caller_of(request)
    requests.check_is_json(request)
    body = requests.read_initiate(await requests.read_body(request, requests.BODY_BYTES))
    initiation = body.to_request(requests.idempotency_key(request))
    if not caller.sees_all:  # the language of a staff member's browser is not the participant's
        initiation = replace(initiation, language=preferred(request.headers.get("Accept-Language")))
    ctx = linking_context(request)
    actor = Actor(caller.user_id, Source.APP, REQUEST_ID.get())
    started = await initiate(ctx, initiation, actor, partial(_check_owner, caller))
    request.app[STATE].background.wake_watch(initiation.channel, started.rows.detail.next_poll_at)
    logs.note(payment_id=started.payment_id)
    return respond(responses.Started, views.way_to_pay(ctx, started.rows))


async def status(request: web.Request) -> web.Response:
    """Return the payment that settled the fee, else the newest one."""
    caller, participant_id = caller_of(request), requests.path_id(request, "participant_id")
    body = await views.standing(
        request.app[STATE].ctx, participant_id, partial(_check_owner, caller), plain=not caller.sees_all
    )
    return respond(responses.PaymentSummary, body)


async def history(request: web.Request) -> web.Response:
    """Return all payments with their status changes, newest first."""
    caller, participant_id = caller_of(request), requests.path_id(request, "participant_id")
    await _check_access(request, caller, participant_id)
    payments = await read_history(request.app[STATE].ctx, participant_id)
    items = [_history_item(view, moves, caller) for view, moves in payments]
    return respond(responses.History, {"items": items, "next_cursor": None})


def _seen_by(caller: Caller, view: PaymentView) -> PaymentView:
    return view if caller.sees_all else view.for_owner()


def _history_item(view: PaymentView, moves: list[Move], caller: Caller) -> dict[str, Any]:
    items = [move.full() if caller.sees_all else move.for_owner() for move in moves]
    extra = {"code": view.code, "refunded_amount": view.refunded.amount, "moves": items}
    return _seen_by(caller, view).seeded() | extra


def _qr_image(payload: str, kind: str) -> bytes:
    """Return a QR code as ``png`` or ``svg``."""
    import segno

    buffer = io.BytesIO()
    segno.make(payload, error="m", micro=False).save(buffer, kind=kind, scale=_QR_SCALE, border=_QR_BORDER)
    return buffer.getvalue()


def _qr_handler(kind: str) -> Handler:
    async def qr(request: web.Request) -> web.Response:
        """Return the QR code. Only the signed ``qr_image_url`` of ``/initiate`` gives access to it."""
        payment_id, signature = requests.path_id(request, "payment_id"), request.query.get("s", "")
        ctx = request.app[STATE].ctx
        unknown = NotFound("There is no such image")
        if not ctx.keyring.verify(views.QR_PURPOSE, payment_id, signature):
            raise unknown
        payload = (await views.opening(ctx, payment_id)).qr_payload
        if payload is None:
            raise unknown
        image = await asyncio.to_thread(_qr_image, payload, kind)
        headers = {
            "Cache-Control": "private, no-store",
            "Content-Security-Policy": _PAGE_POLICY,
            "Cross-Origin-Resource-Policy": "cross-origin",  # a page of the platform shows it
        }
        return web.Response(body=image, content_type=_QR_MEDIA[kind], headers=headers)

    return qr


async def stripe_webhook(request: web.Request) -> web.Response:
    """Verify and store an event, then respond 200; it is processed afterwards."""
    state = request.app[STATE]
    body = await requests.read_body(request, requests.WEBHOOK_BYTES)
    headers = request.headers.getall("Stripe-Signature", [])
    header = headers[0] if len(headers) == 1 else None
    await receive_stripe(state.ctx, body, header, state.settings.webhook_secrets)
    state.background.wake_inbox()
    return web.Response(text=_RECEIVED, content_type=JSON)


async def health(request: web.Request) -> web.Response:
    """Report the health; 503 when the database is down, without which nothing works."""
    code, report = await request.app[STATE].health.report()
    return respond(responses.HealthReport, report, code, {"Retry-After": "5"} if code == 503 else None)


async def live(_request: web.Request) -> web.Response:
    """Respond without asking the database or a provider."""
    return respond(responses.Alive, {"status": "alive"})


async def thanks(_request: web.Request) -> web.Response:
    """Return a page in three languages for the customer's browser."""
    return web.Response(
        text=_THANKS_PAGE, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
    )


async def openapi_document(_request: web.Request) -> web.Response:
    """Return this OpenAPI 3.1 document, made from the routes and models that are served."""
    return web.Response(text=document(), content_type=JSON)


@functools.cache
def document() -> str:
    """Return the OpenAPI document of all routes, with exact numbers."""
    return exact_json.dumps(openapi.document(table()))
