"""Ping, trade points and devices, and the checks that the other calls share."""

from __future__ import annotations

import re

from .book import Book
from .codes import (
    DEVICE_ELSEWHERE,
    DEVICE_OFF,
    DEVICE_UNKNOWN,
    NO_QR_HERE,
    NO_TRADE_POINTS,
    TRADE_POINT_OFF,
    TRADE_POINT_UNKNOWN,
    KaspiError,
    MalformedRequestError,
)
from .model import Device, TradePoint
from .wire import Call, Data, checked_bin

DEVICE_ID_FORM = re.compile(r"[A-Za-z0-9_-]+")


def active_device(book: Book, token: str, organization_bin: str) -> Device:
    """Return a token's device. Raises KaspiError -1501 (unknown, of another BIN) or -1502 (off, deleted)."""
    device = book.devices.get(token)
    if device is None or device.organization_bin != organization_bin:
        raise KaspiError(DEVICE_UNKNOWN)
    if device.deleted or not device.active:
        raise KaspiError(DEVICE_OFF)
    return device


def working_point(book: Book, device: Device) -> TradePoint:
    """Return the trade point of a device. Raises KaspiError -99000002 (deleted) or 990000018 (off)."""
    point = book.trade_points.get(device.trade_point_id)
    if point is None:
        raise KaspiError(TRADE_POINT_UNKNOWN)
    if not point.active:
        raise KaspiError(TRADE_POINT_OFF)
    return point


def ping(_call: Call) -> Data:
    """GET /health/ping."""
    return None


def list_trade_points(call: Call) -> Data:
    """GET /partner/tradepoints. Raises KaspiError -14000002 for an organisation that has none."""
    organization = checked_bin(call.path["bin"]) if "bin" in call.path else call.book.organization_bin
    points = [point for point in call.book.trade_points.values() if point.organization_bin == organization]
    if not points:
        raise KaspiError(NO_TRADE_POINTS)
    return [{"TradePointId": point.trade_point_id, "TradePointName": point.name} for point in points]


def register_device(call: Call) -> Data:
    """POST /device/register: the same arguments give the same token, until the device is deleted.

    Raises KaspiError -99000002, 990000026, or -1503 when the DeviceId stands at another trade point.
    """
    book, organization = call.book, call.organization()
    device_id, point_id = call.text("DeviceId"), call.whole("TradePointId")
    if not DEVICE_ID_FORM.fullmatch(device_id):
        raise MalformedRequestError("DeviceId may have latin letters, digits, - and _ only")
    point = book.trade_points.get(point_id)
    if point is None or point.organization_bin != organization:
        raise KaspiError(TRADE_POINT_UNKNOWN)
    if not point.accepts_qr:
        raise KaspiError(NO_QR_HERE)
    for device in book.devices.values():
        if device.deleted or (device.organization_bin, device.device_id) != (organization, device_id):
            continue
        if device.trade_point_id != point_id:
            raise KaspiError(DEVICE_ELSEWHERE)
        return {"DeviceToken": device.token}
    device = book.add_device(device_id, point)
    book.commit()
    return {"DeviceToken": device.token}


def delete_device(call: Call) -> Data:
    """POST /device/delete. Raises KaspiError -1501 for a token that is unknown or deleted already."""
    organization = call.organization()
    device = call.book.devices.get(call.text("DeviceToken"))
    if device is None or device.deleted or device.organization_bin != organization:
        raise KaspiError(DEVICE_UNKNOWN)
    device.deleted = True
    call.book.commit()
    return None
