"""Refunds: at once in the enhanced scheme, with the buyer's scan in the standard one."""

from __future__ import annotations

from decimal import Decimal

from .book import Book, new_token
from .calls_setup import active_device, working_point
from .codes import (
    NO_PART_REFUND,
    OTHER_TRADE_POINT,
    PURCHASE_UNKNOWN,
    REFUND_PURCHASE_UNKNOWN,
    REFUND_TOO_LARGE,
    WRONG_STATE,
    KaspiError,
    MalformedRequestError,
)
from .model import IDENTITY_OBTAINED, PROCESSED, Payment, Refund, ReturnQr
from .wire import Call, Data, number

MOST_OPERATIONS = 10


def give_back(book: Book, payment: Payment, amount: Decimal, made_by: str) -> Refund:
    """Refund `amount` tenge. The same request twice refunds twice: Kaspi's document promises nothing else.

    Raises KaspiError -99000011 (not paid), -99000005 (more than is left), -99000020 (part of a loan).
    """
    if payment.status != PROCESSED:
        raise KaspiError(WRONG_STATE)
    if amount > payment.available:
        raise KaspiError(REFUND_TOO_LARGE)
    if payment.product_type == "Loan" and amount != payment.available:
        raise KaspiError(NO_PART_REFUND)
    refund = Refund(book.next_id(), amount, book.clock(), made_by)
    payment.refunds.append(refund)
    book.commit()
    return refund


def return_payment(call: Call) -> Data:
    """POST /payment/return, all or part. Raises KaspiError.

    The standard scheme needs a QrReturnId that the same buyer has scanned at the same trade point; if not,
    -1601.
    """
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    working_point(book, device)
    payment_id = call.whole("QrPaymentId")
    return_id = call.whole("QrReturnId") if call.scheme == "r2" else None
    payment = book.payment(payment_id)
    if payment is None or payment.organization_bin != organization:
        raise KaspiError(REFUND_PURCHASE_UNKNOWN)
    if payment.trade_point_id != device.trade_point_id:
        raise KaspiError(OTHER_TRADE_POINT)
    if return_id is not None:
        item = _scanned_return(book, return_id, device.trade_point_id)
        if item.buyer != payment.buyer:
            raise KaspiError(PURCHASE_UNKNOWN)
    refund = give_back(book, payment, call.amount(), "api")
    return {"ReturnOperationId": refund.operation_id}


def _scanned_return(book: Book, return_id: int, trade_point_id: int) -> ReturnQr:
    item = book.return_qr(return_id)
    if item is None or item.trade_point_id != trade_point_id or item.status != IDENTITY_OBTAINED:
        raise KaspiError(PURCHASE_UNKNOWN)
    return item


def create_return(call: Call) -> Data:
    """POST /return/create: a QR by which the buyer shows who they are. Raises KaspiError."""
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    point = working_point(book, device)
    external_id = call.optional_text("ExternalId")
    now = book.clock()
    item = ReturnQr(
        return_id=book.next_id(),
        token=new_token(),
        organization_bin=organization,
        trade_point_id=point.trade_point_id,
        created_at=now,
        open_until=now + book.timers.scan_wait,
        external_id=external_id,
    )
    book.add(item)
    data = {
        "QrToken": item.token,
        "ExpireDate": book.date(item.open_until),
        "QrReturnId": item.return_id,
        "QrReturnBehaviorOptions": {
            "QrCodeScanEventPollingInterval": book.timers.polling_interval,
            "QrCodeScanWaitTimeout": book.timers.scan_wait,
        },
    }
    book.commit()
    return data


def return_status(call: Call) -> Data:
    """GET /return/status/{id}. Raises KaspiError -1601."""
    item = call.book.return_qr(number(call.path["id"]) or 0)
    if item is None:
        raise KaspiError(PURCHASE_UNKNOWN)
    return {"Status": item.status}


def return_operations(call: Call) -> Data:
    """POST /return/operations: the scanned buyer's latest purchases here, ten at most. Raises KaspiError."""
    book = call.book
    device = active_device(book, call.text("DeviceToken"), call.organization())
    item = _scanned_return(book, call.whole("QrReturnId"), device.trade_point_id)
    limit = call.whole("MaxResult") if call.body.get("MaxResult") is not None else MOST_OPERATIONS
    if limit < 1:
        raise MalformedRequestError("MaxResult must be 1 to 10")
    paid = [
        (payment.processed_at, payment)
        for payment in book.payments.values()
        if payment.processed_at is not None
        and payment.status == PROCESSED
        and (payment.buyer, payment.trade_point_id) == (item.buyer, item.trade_point_id)
    ]
    paid.sort(key=lambda pair: (pair[0], pair[1].payment_id), reverse=True)
    return [
        {"QrPaymentId": payment.payment_id, "TransactionDate": book.date(at), "Amount": payment.amount}
        for at, payment in paid[: min(limit, MOST_OPERATIONS)]
    ]
