"""The control pages (JSON, under /_sandbox/kaspi), with which a tester changes Kaspi's state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from .book import Book
from .calls_refund import give_back
from .codes import KaspiError, MalformedRequestError, StepRefusedError
from .control_view import overview, payment_view, point_view
from .dates import CHOICES
from .life import process
from .model import CREATED, ERROR, METHODS, PROCESSED, REMOTE_CREATED, WAIT, ForcedCode, Payment
from .wire import checked_bin, json_answer, json_object, number, tenge_text

PREFIX: Final = "/_sandbox/kaspi"
CHOICES_OF: Final[dict[str, tuple[object, ...]]] = {
    "date_form": CHOICES,
    "v02": (True, False),
    "expired_status": (CREATED, ERROR),
    "link_open_status": (WAIT, REMOTE_CREATED),
    "operation_numbers": ("payment-id", "own"),
    "api_key_refusal": ("envelope", "http401"),
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
        ("GET", "/payments/{id}", lambda book, request, _body: _view(book, request, _payment(book, request))),
        ("POST", "/payments/{id}/late-process", _late_process),
        ("POST", "/payments/{id}/status", _status),
        ("POST", "/payments/{id}/cashier-refund", _cashier_refund),
        ("POST", "/tradepoints", _add_point),
        ("POST", "/tradepoints/{id}", _change_point),
        ("DELETE", "/tradepoints/{id}", _remove_point),
        ("POST", "/devices/{token}", _change_device),
        ("POST", "/phones", _phone),
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


def _view(book: Book, request: web.Request, payment: Payment) -> dict[str, Any]:
    return payment_view(book, payment, f"{request.scheme}://{request.host}")


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
    return [_view(book, request, payment) for payment in current if payment is not None]


def _late_process(book: Book, request: web.Request, _body: dict[str, Any]) -> dict[str, Any]:
    payment = _payment(book, request)
    process(payment, book.clock(), book.settings, book.next_id(), payment.product_type)
    book.commit()
    return _view(book, request, payment)


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
    return _view(book, request, payment)


def _cashier_refund(book: Book, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    payment = _payment(book, request)
    give_back(book, payment, tenge_text(body.get("Amount")), "cashier")
    return _view(book, request, payment)


def _name(body: dict[str, Any], key: str, otherwise: str) -> str:
    value = body.get(key, otherwise)
    if not isinstance(value, str) or not value:
        raise MalformedRequestError(f"{key} must be a string")
    return value


def _add_point(book: Book, _request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    organization = checked_bin(_name(body, "OrganizationBin", book.organization_bin))
    point = book.add_trade_point(organization, _name(body, "TradePointName", "Касса"))
    book.commit()
    return point_view(point)


def _flag(body: dict[str, Any], key: str, otherwise: bool) -> bool:
    value = body.get(key, otherwise)
    if not isinstance(value, bool):
        raise MalformedRequestError(f"{key} must be true or false")
    return value


def _change_point(book: Book, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    point = book.trade_points.get(number(request.match_info["id"]) or 0)
    if point is None:
        raise NotHereError("No such trade point")
    methods = body.get("PaymentMethods", point.methods)
    if not isinstance(methods, list) or not all(method in METHODS for method in methods):
        raise MalformedRequestError(f"PaymentMethods is a list of {', '.join(METHODS)}")
    active, accepts_qr = _flag(body, "Active", point.active), _flag(body, "AcceptsQr", point.accepts_qr)
    name = _name(body, "TradePointName", point.name)
    point.methods, point.active, point.accepts_qr, point.name = methods, active, accepts_qr, name
    book.commit()
    return point_view(point)


def _remove_point(book: Book, request: web.Request, _body: dict[str, Any]) -> dict[str, Any]:
    point = book.trade_points.pop(number(request.match_info["id"]) or 0, None)
    if point is None:
        raise NotHereError("No such trade point")
    book.commit()
    return {"removed": point.trade_point_id}


def _change_device(book: Book, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    device = book.devices.get(request.match_info["token"])
    if device is None:
        raise NotHereError("No such device")
    device.active = _flag(body, "Active", device.active)
    book.commit()
    return {"DeviceToken": device.token, "Active": device.active, "Deleted": device.deleted}


def _phone(book: Book, _request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    """Name the client of a phone number; null removes the client."""
    phone, name = _name(body, "PhoneNumber", ""), body.get("ClientName")
    if name is not None and not isinstance(name, str):
        raise MalformedRequestError("ClientName must be a string, or null")
    book.phones[phone] = name
    book.commit()
    return {"PhoneNumber": phone, "ClientName": name}


def _force(book: Book, _request: web.Request, body: dict[str, Any]) -> Any:
    path, code, times = _name(body, "path", ""), body.get("code"), body.get("times", 1)
    message = body.get("message")
    if not path.startswith("/"):
        raise MalformedRequestError("path is what follows the base, such as /qr/create")
    if isinstance(code, bool) or not isinstance(code, int) or code == 0:
        raise MalformedRequestError("code must be an integer other than 0")
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= MOST_FORCED:
        raise MalformedRequestError(f"times must be 1 to {MOST_FORCED}")
    if message is not None and not isinstance(message, str):
        raise MalformedRequestError("message must be a string")
    if len(book.forced) >= MOST_FORCED:
        raise MalformedRequestError("Too many forced codes are waiting")
    book.forced.append(ForcedCode(path, code, times, _flag(body, "after", False), message))
    book.commit()
    return overview(book)["forced"]


def _unforce(book: Book, _request: web.Request, _body: dict[str, Any]) -> list[Any]:
    book.forced.clear()
    book.commit()
    return []
