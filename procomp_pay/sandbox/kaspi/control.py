"""The control pages (JSON, under /_sandbox/kaspi), with which a tester changes Kaspi's state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from .book import Book
from .calls_refund import give_back
from .codes import KaspiError, MalformedRequestError, StepRefusedError
from .control_view import overview, payment_view
from .dates import CHOICES
from .life import process
from .model import PROCESSED, ForcedCode, Payment
from .wire import json_answer, json_object, number, tenge_text

PREFIX: Final = "/_sandbox/kaspi"
CHOICES_OF: Final[dict[str, tuple[object, ...]]] = {
    "date_form": CHOICES,
    "v02": (True, False),
    "operation_numbers": ("payment-id", "own"),
    "require_client_cert": (True, False),
    "gateway_status": (True, False),
}
MOST_FORCED: Final = 1000
MOST_LISTED: Final = 1000

Answer = Callable[[Book, web.Request, dict[str, Any]], Any]


class NotHereError(Exception):
    """The control page was asked for a record that does not exist."""


def control_routes(book: Book) -> list[web.RouteDef]:
    """Return all control routes."""
    table: list[tuple[str, str, Answer]] = [
        ("GET", "", lambda book, _request, _body: overview(book)),
        ("POST", "/settings", _settings),
        ("GET", "/payments", _list_payments),
        ("GET", "/payments/{id}", lambda book, request, _body: _view(request, _payment(book, request))),
        ("POST", "/payments/{id}/late-process", _late_process),
        ("POST", "/payments/{id}/status", _status),
        ("POST", "/payments/{id}/cashier-refund", _cashier_refund),
        ("GET", "/force", lambda book, _request, _body: overview(book)["forced"]),
        ("POST", "/force", _force),
        ("DELETE", "/force", _unforce),
    ]
    return [web.route(method, PREFIX + path, _served(book, answer)) for method, path, answer in table]


def _served(book: Book, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            body = await json_object(request) if request.can_read_body else {}
            return json_answer(answer(book, request, body))
        except NotHereError as error:
            return json_answer({"error": str(error)}, 404)
        except MalformedRequestError as error:
            return json_answer({"error": error.message}, error.http_status)
        except StepRefusedError as error:
            return json_answer({"error": f"The payment {error}"}, 409)
        except KaspiError as error:
            return json_answer({"error": error.message, "StatusCode": error.code}, 409)

    return serve


def _payment(book: Book, request: web.Request) -> Payment:
    payment = book.payment(number(request.match_info["id"]) or 0)
    if payment is None:
        raise NotHereError("No such payment")
    return payment


def _view(request: web.Request, payment: Payment) -> dict[str, Any]:
    return payment_view(payment, f"{request.scheme}://{request.host}")


def _settings(book: Book, _request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    for name, value in body.items():
        if name not in CHOICES_OF:
            raise MalformedRequestError(f"Unknown setting {name!r}; there are {', '.join(CHOICES_OF)}")
        # 1 == True in Python, so the type is compared too.
        if not any(type(value) is type(choice) and value == choice for choice in CHOICES_OF[name]):
            raise MalformedRequestError(f"{name} is one of {', '.join(map(str, CHOICES_OF[name]))}")
    for name, value in body.items():
        setattr(book.settings, name, value)
    book.commit()
    settings: dict[str, Any] = overview(book)["settings"]
    return settings


def _list_payments(book: Book, request: web.Request, _body: dict[str, Any]) -> list[dict[str, Any]]:
    limit = min(number(request.query.get("limit", "100")) or 100, MOST_LISTED)
    newest = sorted(book.payments, reverse=True)[:limit]
    current = (book.payment(payment_id) for payment_id in newest)
    return [_view(request, payment) for payment in current if payment is not None]


def _late_process(book: Book, request: web.Request, _body: dict[str, Any]) -> dict[str, Any]:
    payment = _payment(book, request)
    process(payment, book.clock(), book.settings, book.next_id(), payment.product_type)
    book.commit()
    return _view(request, payment)


def _status(book: Book, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    """Report any status in place of the true one, until null or a step of the buyer ends that."""
    payment = _payment(book, request)
    status = body.get("Status")
    if status is not None and (not isinstance(status, str) or not status):
        raise MalformedRequestError("Status must be a string, or null")
    if status == PROCESSED and payment.status != PROCESSED:
        raise MalformedRequestError(
            "Use late-process: a payment that only looks paid has no operation to show"
        )
    payment.shown_as = status
    book.commit()
    return _view(request, payment)


def _cashier_refund(book: Book, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    payment = _payment(book, request)
    give_back(book, payment, tenge_text(body.get("Amount")), "cashier")
    return _view(request, payment)


def _force(book: Book, _request: web.Request, body: dict[str, Any]) -> Any:
    path, code, times = body.get("path"), body.get("code"), body.get("times", 1)
    message, after = body.get("message"), body.get("after", False)
    if not isinstance(path, str) or not path.startswith("/"):
        raise MalformedRequestError("path is what follows the base, such as /qr/create")
    if isinstance(code, bool) or not isinstance(code, int) or code == 0:
        raise MalformedRequestError("code must be an integer other than 0")
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= MOST_FORCED:
        raise MalformedRequestError(f"times must be 1 to {MOST_FORCED}")
    if message is not None and not isinstance(message, str):
        raise MalformedRequestError("message must be a string")
    if not isinstance(after, bool):
        raise MalformedRequestError("after must be true or false")
    if len(book.forced) >= MOST_FORCED:
        raise MalformedRequestError("Too many forced codes are waiting")
    book.forced.append(ForcedCode(path, code, times, after, message))
    book.commit()
    return overview(book)["forced"]


def _unforce(book: Book, _request: web.Request, _body: dict[str, Any]) -> list[Any]:
    book.forced.clear()
    book.commit()
    return []
