"""The table of calls, and the handling around each: request id, access, forced codes, envelope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from . import calls_payment, calls_refund, calls_remote, calls_setup
from .access import check_access, check_request_id
from .book import Book
from .codes import (
    OK,
    PURCHASE_UNKNOWN,
    WRONG_STATE,
    KaspiError,
    MalformedRequestError,
    StepRefusedError,
)
from .model import ForcedCode
from .steps import take
from .wire import Call, Data, json_answer, json_object, number, refusal, success

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

R1, R2, R3 = "r1", "r2", "r3"
ALL: Final = (R1, R2, R3)


@dataclass(frozen=True)
class Entry:
    """A call of the document: method, path after the base, the schemes that have it, and what does it."""

    method: str
    path: str
    schemes: tuple[str, ...]
    run: Callable[[Call], Data]


CALLS: Final = (
    Entry("GET", "/health/ping", ALL, calls_setup.ping),
    Entry("GET", "/partner/tradepoints", (R1, R2), calls_setup.list_trade_points),
    Entry("GET", "/partner/tradepoints/{bin}", (R3,), calls_setup.list_trade_points),
    Entry("POST", "/device/register", ALL, calls_setup.register_device),
    Entry("POST", "/device/delete", ALL, calls_setup.delete_device),
    Entry("POST", "/qr/create", ALL, calls_payment.create_qr),
    Entry("POST", "/qr/create-link", ALL, calls_payment.create_link),
    Entry("GET", "/payment/status/{id}", ALL, calls_payment.payment_status),
    Entry("GET", "/payment/details", (R2, R3), calls_payment.payment_details),
    Entry("POST", "/payment/return", (R2, R3), calls_refund.return_payment),
    Entry("POST", "/return/create", (R2,), calls_refund.create_return),
    Entry("GET", "/return/status/{id}", (R2,), calls_refund.return_status),
    Entry("POST", "/return/operations", (R2,), calls_refund.return_operations),
    Entry("GET", "/remote/client-info", (R3,), calls_remote.client_info),
    Entry("POST", "/remote/create", (R3,), calls_remote.create_remote),
    Entry("POST", "/remote/cancel", (R3,), calls_remote.cancel_remote),
)
TEST_STEPS: Final = ("scan", "confirm", "scanerror", "confirmerror")


def api_routes(book: Book) -> list[web.RouteDef]:
    """Return the routes of the three schemes, with v02 of the status call and the test host's steps."""
    routes = [
        _route(book, entry, scheme, "v01", entry.path, entry.run)
        for entry in CALLS
        for scheme in entry.schemes
    ]
    status = Entry("GET", "/payment/status/{id}", ALL, calls_payment.payment_status)
    routes += [_route(book, status, scheme, "v02", status.path, status.run) for scheme in ALL]
    for step in TEST_STEPS:
        entry = Entry("POST", f"/test/payment/{step}", ALL, _test_step(step))
        routes += [_route(book, entry, scheme, "v01", entry.path, entry.run) for scheme in ALL]
    return routes


def _route(
    book: Book, entry: Entry, scheme: str, version: str, path: str, run: Callable[[Call], Data]
) -> web.RouteDef:
    handler = _served(book, entry, scheme, version, run)
    return web.route(entry.method, f"/{scheme}/{version}{path}", handler)


def _test_step(step: str) -> Callable[[Call], Data]:
    """Serve a call of the test host.

    For these the document lists no refusal but -999, which means "try again": an unknown id gets -1601, and a
    step that the state does not allow -99000011."""

    def run(call: Call) -> Data:
        record = call.book.by_key(str(number(call.text("qrPaymentId")) or 0))
        if record is None or (call.scheme != R3 and record.organization_bin != call.book.organization_bin):
            raise KaspiError(PURCHASE_UNKNOWN)
        try:
            take(call.book, record, step)
        except StepRefusedError as error:
            raise KaspiError(WRONG_STATE) from error
        return None

    return run


def _served(book: Book, entry: Entry, scheme: str, version: str, run: Callable[[Call], Data]) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        if version == "v02" and not book.settings.v02:
            raise web.HTTPNotFound
        try:
            check_request_id(request)
            check_access(request, scheme, book)
            body = await json_object(request) if entry.method == "POST" else {}
            origin = f"{request.scheme}://{request.host}"
            call = Call(book, scheme, version, origin, request.match_info, request.query, body)
            data = _run_or_refuse(call, request.path.removeprefix(f"/{scheme}/{version}"), run)
        except KaspiError as error:
            return _test_answer(error) if _is_test(entry) else refusal(error)
        except MalformedRequestError as error:
            return json_answer({"Message": error.message}, error.http_status)
        return _test_answer(KaspiError(OK)) if _is_test(entry) else success(data)

    return serve


def _run_or_refuse(call: Call, path: str, run: Callable[[Call], Data]) -> Data:
    forced = _take_forced(call.book, path)
    if forced is None:
        return run(call)
    if forced.after:
        run(call)
    raise KaspiError(forced.code, forced.message)


def _is_test(entry: Entry) -> bool:
    return entry.path.startswith("/test/")


def _test_answer(result: KaspiError) -> web.Response:
    """Return the answer of a test call; these alone have a lower-case `message`."""
    return json_answer({"StatusCode": result.code, "message": result.message}, result.http_status)


def _take_forced(book: Book, path: str) -> ForcedCode | None:
    """Return the code to force on this call, if any: `/payment/status` also matches `/payment/status/1`."""
    for item in book.forced:
        if path == item.path or path.startswith(item.path.rstrip("/") + "/"):
            item.times -= 1
            if item.times <= 0:
                book.forced.remove(item)
            book.commit()
            return item
    return None
