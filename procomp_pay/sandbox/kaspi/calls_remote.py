"""Invoices sent to a phone number (enhanced scheme)."""

from __future__ import annotations

import re

from .book import new_token
from .calls_setup import active_device
from .codes import (
    DEVICE_UNKNOWN,
    PHONE_NOT_FOUND,
    REFUND_PURCHASE_UNKNOWN,
    KaspiError,
)
from .model import REMOTE, REMOTE_CANCELED, REMOTE_CREATED, Payment
from .wire import Call, Data

PHONE_FORM = re.compile(r"87[0-9]{9}")
ANYBODY = "Тест Т."


def _check_phone(phone: str) -> None:
    """Raise KaspiError unless it can be a number; every one that can has a client."""
    if not PHONE_FORM.fullmatch(phone):
        raise KaspiError(PHONE_NOT_FOUND)


def client_info(call: Call) -> Data:
    """GET /remote/client-info?phoneNumber=&deviceToken=. Raises KaspiError."""
    phone, token = call.asked("phoneNumber"), call.asked("deviceToken")
    device = call.book.devices.get(token)
    if device is None:
        raise KaspiError(DEVICE_UNKNOWN)
    active_device(call.book, token, device.organization_bin)
    _check_phone(phone)
    return {"ClientName": ANYBODY}


def create_remote(call: Call) -> Data:
    """POST /remote/create: an invoice that lives for 24 hours. Raises KaspiError."""
    book, organization = call.book, call.organization()
    device = active_device(book, call.text("DeviceToken"), organization)
    phone, amount = call.text("PhoneNumber"), call.amount()
    _check_phone(phone)
    comment = call.optional_text("Comment")
    now = book.clock()
    payment = Payment(
        payment_id=book.next_id(),
        kind=REMOTE,
        token=new_token(),
        organization_bin=organization,
        trade_point_id=device.trade_point_id,
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
    book = call.book
    active_device(book, call.text("DeviceToken"), call.organization())
    payment = book.payment(call.whole("QrPaymentId"))
    if payment is None or payment.status != REMOTE_CREATED:
        raise KaspiError(REFUND_PURCHASE_UNKNOWN)
    payment.status, payment.shown_as = REMOTE_CANCELED, None
    book.commit()
    return {"Status": REMOTE_CANCELED}
