"""The buyer's phone: a small page for each QR, link, invoice and return QR, and one POST to pay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from procomp_pay.sandbox.httpio import wants_json

from .book import Book
from .codes import MalformedRequestError, StepRefusedError
from .life import shown_status
from .model import DEFAULT_BUYER, METHODS, Payment, ReturnQr
from .phone_page import missing_page, payment_page, return_page
from .steps import take
from .wire import json_answer, json_object

ACTIONS = ("scan", "confirm", "cancel", "pay")
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def phone_routes(book: Book) -> list[web.RouteDef]:
    """Return the routes of `/pay/{key}`; the key is the 41-digit token or a payment's id."""

    async def show(request: web.Request) -> web.StreamResponse:
        record = book.by_key(request.match_info["key"])
        if record is None:
            return _missing(request)
        return _answer(book, request, record)

    async def act(request: web.Request) -> web.StreamResponse:
        record = book.by_key(request.match_info["key"])
        if record is None:
            return _missing(request)
        try:
            fields = await _fields(request)
            # The wait for the body may have been long: look at the clock again before the step.
            record = book.by_key(record.token) or record
            _step(book, record, fields)
        except MalformedRequestError as error:
            return _answer(book, request, record, error.message, error.http_status)
        except StepRefusedError as error:
            return _answer(book, request, record, f"Refused: {error}", 409)
        if wants_json(request):
            return _answer(book, request, record)
        raise web.HTTPSeeOther(f"/pay/{record.token}")

    return [web.get("/pay/{key}", show), web.post("/pay/{key}", act)]


async def _fields(request: web.Request) -> Mapping[str, Any]:
    if request.content_type == "application/json":
        return await json_object(request)
    return await request.post()


def _step(book: Book, record: Payment | ReturnQr, fields: Mapping[str, Any]) -> None:
    action, product = fields.get("action"), fields.get("product") or None
    buyer = fields.get("phone") or DEFAULT_BUYER
    if action not in ACTIONS:
        raise MalformedRequestError(f"action is one of {', '.join(ACTIONS)}")
    if product is not None and product not in METHODS:
        raise MalformedRequestError(f"product is one of {', '.join(METHODS)}")
    if not isinstance(buyer, str):
        raise MalformedRequestError("phone must be a string")
    take(book, record, str(action), buyer=buyer, product_type=product)


def _missing(request: web.Request) -> web.Response:
    if wants_json(request):
        return json_answer({"error": "No such QR or link"}, 404)
    return _page(missing_page(), 404)


def _page(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=PAGE_HEADERS)


def _answer(
    book: Book, request: web.Request, record: Payment | ReturnQr, note: str | None = None, status: int = 200
) -> web.Response:
    if wants_json(request):
        return json_answer({**_facts(book, record), **({"error": note} if note else {})}, status)
    if isinstance(record, ReturnQr):
        return _page(return_page(record, note), status)
    point = book.trade_points.get(record.trade_point_id)
    store = point.name if point else "—"
    return _page(payment_page(record, store, book.clock(), note), status)


def _facts(book: Book, record: Payment | ReturnQr) -> dict[str, Any]:
    if isinstance(record, ReturnQr):
        return {"QrReturnId": record.return_id, "Status": record.status}
    return {
        "QrPaymentId": record.payment_id,
        "Status": shown_status(record, book.settings),
        "Amount": record.amount,
        "OperationNumber": record.operation_number,
    }
