"""Invoices sent to a phone number (enhanced scheme)."""

from __future__ import annotations

import re
from collections import deque

from .book import Book, new_token
from .calls_setup import active_device, working_point
from .codes import (
    CLIENT_NOT_FOUND,
    DEVICE_UNKNOWN,
    PHONE_NOT_FOUND,
    REFUND_PURCHASE_UNKNOWN,
    UNAVAILABLE,
    KaspiError,
)
from .model import REMOTE, REMOTE_CANCELED, REMOTE_CREATED, Payment
from .timers import CLIENT_INFO_LIMIT
from .wire import Call, Data

PHONE_FORM = re.compile(r"87[0-9]{9}")
ANYBODY = "Тест Т."


def _client_name(book: Book, phone: str) -> str:
    """Return the name of a number's client; every valid number has one unless the control page removed it."""
    if not PHONE_FORM.fullmatch(phone):
        raise KaspiError(PHONE_NOT_FOUND)
    name = book.phones.get(phone, ANYBODY)
    if name is None:
        raise KaspiError(CLIENT_NOT_FOUND)
    return name


def _count_client_info(book: Book, token: str) -> None:
    now, window = book.clock(), book.timers.client_info_window
    calls = book.client_info_calls.setdefault(token, deque(maxlen=CLIENT_INFO_LIMIT))
    if len(calls) == CLIENT_INFO_LIMIT and now - calls[0] < window:
        raise KaspiError(
            UNAVAILABLE,
            f"Не более {CLIENT_INFO_LIMIT} запросов в минуту",
            http_status=429,
            retry_after=max(1, round(window)),
        )
    calls.append(now)


def client_info(call: Call) -> Data:
    """GET /remote/client-info?phoneNumber=&deviceToken=, at most 50 a minute. Raises KaspiError."""
    phone, token = call.asked("phoneNumber"), call.asked("deviceToken")
    device = call.book.devices.get(token)
    if device is None:
        raise KaspiError(DEVICE_UNKNOWN)
    working_point(call.book, active_device(call.book, token, device.organization_bin))
    _count_client_info(call.book, token)
    return {"ClientName": _client_name(call.book, phone)}


def create_remote(call: Call) -> Data:
    """POST /remote/create: an invoice that lives for 24 hours. Raises KaspiError."""
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    point = working_point(book, device)
    phone, amount = call.text("PhoneNumber"), call.amount()
    _client_name(book, phone)
    comment = call.optional_text("Comment")
    now = book.clock()
    payment = Payment(
        payment_id=book.next_id(),
        kind=REMOTE,
        token=new_token(),
        organization_bin=organization,
        trade_point_id=point.trade_point_id,
        device_token=device.token,
        amount=amount,
        status=REMOTE_CREATED,
        created_at=now,
        open_until=now + book.timers.remote_life,
        comment=comment,
        buyer=phone,
    )
    book.add(payment)
    book.commit()
    return {"QrPaymentId": payment.payment_id}


def cancel_remote(call: Call) -> Data:
    """POST /remote/cancel of an open invoice. Raises KaspiError; -99000001 when there is none (any more)."""
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    working_point(book, device)
    payment = book.payment(call.whole("QrPaymentId"))
    if payment is None or payment.status != REMOTE_CREATED:
        raise KaspiError(REFUND_PURCHASE_UNKNOWN)
    if payment.trade_point_id != device.trade_point_id:
        raise KaspiError(REFUND_PURCHASE_UNKNOWN)
    payment.status, payment.shown_as = REMOTE_CANCELED, None
    book.commit()
    return {"Status": REMOTE_CANCELED}
