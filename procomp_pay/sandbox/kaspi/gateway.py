"""A gateway in front of Kaspi, in its simplest form: one POST creates a payment, a GET returns its status.

Its buyers pay on the same phone page as everybody: `/pay/{id}`. Its signed callback is sent on request.
"""

from __future__ import annotations

import hmac
from typing import Any, Final

from aiohttp import web

from .book import Book, new_token
from .codes import KaspiError, MalformedRequestError
from .model import CREATED, ERROR, PROCESSED, QR, WAIT, Payment
from .wire import json_answer, json_object, number, tenge

PREFIX: Final = "/gateway/payments"
_SAYS: Final = {CREATED: "pending", WAIT: "wait", PROCESSED: "paid", ERROR: "cancelled"}


def gateway_routes(book: Book) -> list[web.RouteDef]:
    """Create and look; each with `Authorization: Bearer` and the Api-Key of the sandbox."""

    async def create(request: web.Request) -> web.StreamResponse:
        if not _may(request, book):
            return _error("Unknown key", 401)
        try:
            body = await json_object(request)
            payment = _payment(book, body)
        except MalformedRequestError as error:
            return _error(error.message, error.http_status)
        except KaspiError as error:
            return _error(error.message, 422)
        book.add(payment)
        book.commit()
        return json_answer(_view(book, payment, request), 201)

    async def show(request: web.Request) -> web.StreamResponse:
        if not _may(request, book):
            return _error("Unknown key", 401)
        if not book.settings.gateway_status:
            raise web.HTTPMethodNotAllowed("GET", ["POST"])
        payment = book.payment(number(request.match_info["id"]) or 0)
        if payment is None:
            return _error("No such payment", 404)
        return json_answer(_view(book, payment, request))

    return [web.post(PREFIX, create), web.get(PREFIX + "/{id}", show)]


def _may(request: web.Request, book: Book) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme == "Bearer" and hmac.compare_digest(key.encode(), book.api_key.encode())


def _error(message: str, status: int) -> web.Response:
    return json_answer({"detail": message}, status)


def _payment(book: Book, body: dict[str, Any]) -> Payment:
    order_id = body.get("external_order_id")
    if order_id is not None and not isinstance(order_id, str):
        raise MalformedRequestError("external_order_id must be a string")
    if body.get("currency", "KZT") != "KZT":
        raise MalformedRequestError("currency must be KZT", http_status=422)
    now = book.clock()
    return Payment(
        payment_id=book.next_id(),
        kind=QR,
        token=new_token(),
        organization_bin=book.organization_bin,
        trade_point_id=book.ready_trade_point,
        device_token=book.ready_device,
        amount=tenge(body.get("amount")),
        status=CREATED,
        created_at=now,
        open_until=now + book.timers.scan_wait,
        external_id=order_id,
    )


def _view(book: Book, payment: Payment, request: web.Request) -> dict[str, Any]:
    origin = f"{request.scheme}://{request.host}"
    fields = {
        "id": str(payment.payment_id),
        "external_order_id": payment.external_id,
        "status": _SAYS[payment.status],
        "amount": payment.amount,
        "currency": "KZT",
        "payment_url": f"{origin}/pay/{payment.token}",
        "qr_image_url": f"{origin}/gateway/qr/{payment.payment_id}.png",
        "expires_at": book.date(payment.open_until),
    }
    if payment.operation_number:
        fields["transaction_id"] = payment.operation_number
    return fields
