"""Send a merchant, on request, Kaspi's bill calls and a gateway's callbacks.

``POST /_sandbox/kaspi/bill`` makes Kaspi call ``check`` or ``pay`` (bill protocol): GET, 15 seconds, again on
any break and any answer that is not HTTP 200. ``POST /_sandbox/kaspi/callback`` posts a signed callback as
gateways do.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import simplejson
from aiohttp import web

from .book import Book
from .codes import MalformedRequestError
from .dates import ALMATY, almaty_stamp
from .model import Bill
from .wire import json_answer, json_object

#: Kaspi hangs up after so many seconds.
PATIENCE_S: Final = 15.0
MOST_TRIES: Final = 10
PAUSE_S: Final = 0.2
_LONGEST_SHOWN: Final = 5000


def outgoing_routes(book: Book, prefix: str) -> list[web.RouteDef]:
    """Return the routes of the two calls under `prefix`."""

    async def bill(request: web.Request) -> web.StreamResponse:
        return await _served(request, lambda body: _bill(book, body))

    async def callback(request: web.Request) -> web.StreamResponse:
        return await _served(request, lambda body: _callback(book, body))

    return [web.post(f"{prefix}/bill", bill), web.post(f"{prefix}/callback", callback)]


async def _served(request: web.Request, send: Any) -> web.StreamResponse:
    try:
        return json_answer(await send(await json_object(request)))
    except MalformedRequestError as error:
        return json_answer({"error": error.message}, error.http_status)


async def _bill(book: Book, body: dict[str, Any]) -> dict[str, Any]:
    """Call `url` with `command` and `account`; optional `sum`, `txn_id` (default: a new one), `txn_date`,
    `tries`, and `more`: further parameters as they are agreed with Kaspi."""
    command = _text(body, "command")
    if command not in ("check", "pay"):
        raise MalformedRequestError("command is check or pay")
    query = {
        "command": command,
        "txn_id": _text(body, "txn_id", str(book.next_id())),
        "account": _text(body, "account"),
        "sum": _text(body, "sum", "1.00"),  # at check a placeholder
    }
    if command == "pay":
        query["txn_date"] = _text(body, "txn_date", almaty_stamp(book.clock()))
    more = body.get("more", {})
    if not isinstance(more, dict):
        raise MalformedRequestError("more is an object of further parameters")
    query |= {str(name): str(value) for name, value in more.items()}
    address, tries = _address(body), _tries(body)
    if command == "pay":
        _take(book, query)
    sent = await _until_answered(address, query, tries)
    return {"sent": query, **sent}


def _take(book: Book, query: dict[str, str]) -> None:
    """Keep the money for the merchant's report, once: it was taken before the merchant is told."""
    try:
        amount = Decimal(query["sum"]).quantize(Decimal("0.01"))
        paid_at = datetime.strptime(query["txn_date"], "%Y%m%d%H%M%S").replace(tzinfo=ALMATY).timestamp()
    except (ArithmeticError, ValueError):
        return  # a call that Kaspi would not make
    if query["txn_id"] not in book.bills and amount > 0:
        is_own = book.settings.operation_numbers == "own"
        number = str(book.next_id()) if is_own else query["txn_id"]
        book.bills[query["txn_id"]] = Bill(query["txn_id"], query["account"], amount, paid_at, number)
        book.commit()


async def _until_answered(url: str, query: dict[str, str], tries: int) -> dict[str, Any]:
    attempts: list[dict[str, Any]] = []
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            attempts.append(await _answer(http.get(url, params=query, allow_redirects=False)))
            if attempts[-1]["status"] == 200:
                break
    return {"tries": len(attempts), **attempts[-1]}


async def _callback(book: Book, body: dict[str, Any]) -> dict[str, Any]:
    """Post to `url`, signed with `secret`: a `document` as it is, or `payment` (a QrPaymentId of this
    sandbox) with `status` (default paid) in ApiPay's shape. Optional `external_order_id`, and `timestamp` in
    seconds from now.
    """
    document = body.get("document") or _invoice(book, body)
    raw = simplejson.dumps(document, use_decimal=True, ensure_ascii=False).encode()
    digest = hmac.new(_text(body, "secret").encode(), raw, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Webhook-Signature": f"sha256={digest}"}
    offset = body.get("timestamp")
    if isinstance(offset, int):
        headers["X-Webhook-Timestamp"] = str(int(time.time()) + offset)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
        post = http.post(_address(body), data=raw, headers=headers, allow_redirects=False)
        return {"sent": document, **await _answer(post)}


def _invoice(book: Book, body: dict[str, Any]) -> dict[str, Any]:
    number = _text(body, "payment")
    payment = book.payment(int(number)) if number.isascii() and number.isdigit() else None
    if payment is None:
        raise MalformedRequestError("payment is the QrPaymentId of a payment here; or send a document")
    invoice = {
        "id": number,
        "external_order_id": _text(body, "external_order_id", payment.external_id or ""),
        "status": _text(body, "status", "paid"),
        "amount": payment.amount,
    }
    if payment.operation_number:
        invoice["transaction_id"] = payment.operation_number
    return {"event": "invoice.status_changed", "invoice": invoice}


async def _answer(call: Any) -> dict[str, Any]:
    try:
        async with call as answer:
            return {"status": answer.status, "answer": (await answer.text())[:_LONGEST_SHOWN]}
    except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
        return {"status": None, "answer": type(error).__name__}


def _text(body: dict[str, Any], name: str, otherwise: str | None = None) -> str:
    value = body.get(name, otherwise)
    if not isinstance(value, str) or (otherwise is None and not value):
        raise MalformedRequestError(f"{name} is required and must be a string")
    return value


def _address(body: dict[str, Any]) -> str:
    url = _text(body, "url")
    if urlsplit(url).scheme not in ("http", "https"):
        raise MalformedRequestError("url must begin with http:// or https://")
    return url


def _tries(body: dict[str, Any]) -> int:
    tries = body.get("tries", 3)
    if isinstance(tries, bool) or not isinstance(tries, int) or not 1 <= tries <= MOST_TRIES:
        raise MalformedRequestError(f"tries must be 1 to {MOST_TRIES}")
    return tries
