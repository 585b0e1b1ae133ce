"""QR, pay link, status and details."""

from __future__ import annotations

from typing import Any

from .book import Book, new_token
from .calls_setup import active_device, working_point
from .codes import NO_METHODS, NO_QR_HERE, PURCHASE_UNKNOWN, UNAVAILABLE, KaspiError
from .life import shown_status
from .model import CREATED, LINK, PROCESSED, QR, REMOTE, Payment
from .wire import Call, Data, number


def _create(call: Call, kind: str) -> tuple[Payment, list[str]]:
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    point = working_point(book, device)
    if not point.accepts_qr:
        raise KaspiError(NO_QR_HERE)
    amount, external_id = call.amount(), call.optional_text("ExternalId")
    if not point.methods:
        raise KaspiError(NO_METHODS)
    now = book.clock()
    payment = Payment(
        payment_id=book.next_id(),
        kind=kind,
        token=new_token(),
        organization_bin=organization,
        trade_point_id=point.trade_point_id,
        device_token=device.token,
        amount=amount,
        status=CREATED,
        created_at=now,
        open_until=now + book.timers.scan_wait,
        external_id=external_id,
        product_type=point.methods[0],
    )
    book.add(payment)
    return payment, list(point.methods)


def create_qr(call: Call) -> Data:
    """POST /qr/create: a new payment each time, whatever the ExternalId. Raises KaspiError."""
    payment, methods = _create(call, QR)
    timers = call.book.timers
    data = {
        "QrToken": payment.token,
        "ExpireDate": call.book.date(payment.open_until),
        "QrPaymentId": payment.payment_id,
        "PaymentMethods": methods,
        "QrPaymentBehaviorOptions": {
            "StatusPollingInterval": timers.polling_interval,
            "QrCodeScanWaitTimeout": timers.scan_wait,
            "PaymentConfirmationTimeout": timers.confirmation_wait,
        },
    }
    call.book.commit()
    return data


def create_link(call: Call) -> Data:
    """POST /qr/create-link: as a QR, under other names. Raises KaspiError.

    The link leads to the sandbox's own phone page at the address by which the caller reached us.
    """
    payment, methods = _create(call, LINK)
    timers = call.book.timers
    data = {
        "PaymentLink": f"{call.origin}/pay/{payment.token}",
        "ExpireDate": call.book.date(payment.open_until),
        "PaymentId": payment.payment_id,
        "PaymentMethods": methods,
        "PaymentBehaviorOptions": {
            "StatusPollingInterval": timers.polling_interval,
            "LinkActivationWaitTimeout": timers.scan_wait,
            "PaymentConfirmationTimeout": timers.confirmation_wait,
        },
    }
    call.book.commit()
    return data


def _refuse_flood(book: Book, payment: Payment) -> None:
    """Refuse to be polled about a remote invoice on a timer.

    The document names no code for the refusal: we answer HTTP 429 with -999, so that either shows it."""
    now, gap = book.clock(), book.timers.remote_status_gap
    if payment.polled_at is not None and now - payment.polled_at < gap:
        raise KaspiError(
            UNAVAILABLE,
            "Слишком частые запросы статуса удаленного счета",
            http_status=429,
            retry_after=max(1, round(gap)),
        )
    payment.polled_at = now
    book.commit()


def payment_status(call: Call) -> Data:
    """GET /payment/status/{id}; v02 adds the details of a processed payment. Raises KaspiError -1601."""
    book = call.book
    payment = book.payment(number(call.path["id"]) or 0)
    if payment is None or (call.scheme != "r3" and payment.organization_bin != book.organization_bin):
        raise KaspiError(PURCHASE_UNKNOWN)
    if payment.kind == REMOTE:
        _refuse_flood(book, payment)
    status = shown_status(payment, book.settings)
    if call.version == "v01" or status != PROCESSED:
        return {"Status": status}
    return {"Status": status, **_processed_facts(book, payment)}


def _processed_facts(book: Book, payment: Payment) -> dict[str, Any]:
    point = book.trade_points.get(payment.trade_point_id)
    loan = payment.product_type == "Loan"
    return {
        "TransactionId": payment.operation_number,
        "Amount": payment.amount,
        "ProductType": payment.product_type,
        "LoanOfferName": "Кредит на покупки" if loan else None,
        "LoanTerm": 3 if loan else None,
        "IsOffer": False,
        "StoreName": point.name if point else None,
        "Address": point.address if point else None,
        "City": point.city if point else None,
    }


def payment_details(call: Call) -> Data:
    """GET /payment/details?QrPaymentId=&DeviceToken= of a paid purchase. Raises KaspiError -1601.

    -1601 is the only refusal listed for this call, so it also stands for a foreign device and for a purchase
    that nobody has paid.
    """
    payment_id, token = number(call.asked("QrPaymentId")), call.asked("DeviceToken")
    device = call.book.devices.get(token)
    payment = call.book.payment(payment_id or 0)
    if device is None or device.deleted or payment is None or payment.processed_at is None:
        raise KaspiError(PURCHASE_UNKNOWN)
    if call.scheme == "r2" and device.organization_bin != call.book.organization_bin:
        raise KaspiError(PURCHASE_UNKNOWN)
    if device.trade_point_id != payment.trade_point_id:
        raise KaspiError(PURCHASE_UNKNOWN)
    return {
        "QrPaymentId": payment.payment_id,
        "TotalAmount": payment.amount,
        "AvailableReturnAmount": payment.available,
        "TransactionDate": call.book.date(payment.processed_at),
    }
