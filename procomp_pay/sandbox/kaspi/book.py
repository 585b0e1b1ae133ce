"""The emulator's state: every record and counter, with export and import."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from typing import Any, TypeVar

from .dates import CYCLE, FORMS, write_date
from .life import refresh
from .model import (
    Bill,
    Device,
    ForcedCode,
    Payment,
    ReturnQr,
    Settings,
    TradePoint,
    as_json,
    payment_from_json,
)
from .timers import Timers

VERSION = 1
TOKEN_DIGITS = 41
TRADE_POINT_ID = 100001

Record = TypeVar("Record", bound=Payment | ReturnQr)
Kept = TypeVar("Kept", TradePoint, Device, Settings)


def new_token() -> str:
    """Return 41 random digits, the first not zero: the content of a Kaspi QR."""
    return str(10 ** (TOKEN_DIGITS - 1) + secrets.randbelow(9 * 10 ** (TOKEN_DIGITS - 1)))


def _known(kind: type[Kept], data: dict[str, Any]) -> Kept:
    """Return a record of saved values, without the switches that an older sandbox had."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in data.items() if name in names})


class Book:
    """The state of one emulated Kaspi.

    Every change ends with `commit`, which is the owner's chance to save before the answer leaves.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
        timers: Timers,
        organization_bin: str,
    ) -> None:
        self.clock = clock
        self.commit = changed
        self.timers = timers
        self.organization_bin = organization_bin
        self.api_key = f"test_{uuid.uuid4()}"
        self.settings = Settings()
        self.trade_points: dict[int, TradePoint] = {}
        self.devices: dict[str, Device] = {}
        self.payments: dict[int, Payment] = {}
        self.returns: dict[int, ReturnQr] = {}
        self.bills: dict[str, Bill] = {}
        self.forced: list[ForcedCode] = []
        self.ready_trade_point = 0
        self.ready_device = ""
        self._dates_written = 0
        # Ids follow the clock, so that a sandbox begun afresh does not repeat the numbers of the one before.
        self._last_id = 10_000_000_000 + int(clock() * 10) % 80_000_000_000
        self._tokens: dict[str, Payment | ReturnQr] = {}

    def next_id(self) -> int:
        """Return the next 11-digit id; payments, return QRs and refunds share one sequence."""
        self._last_id += 1
        return self._last_id

    def date(self, unix_seconds: float) -> str:
        """Return a time in the date format that is switched on."""
        form = self.settings.date_form
        if form == CYCLE:
            form = FORMS[self._dates_written % len(FORMS)]
            self._dates_written += 1
        return write_date(unix_seconds, form)

    def add_trade_point(self, organization_bin: str, name: str) -> TradePoint:
        """Open the trade point, as a merchant does in the Kaspi Pay app."""
        point = TradePoint(TRADE_POINT_ID, organization_bin, name)
        self.trade_points[point.trade_point_id] = point
        return point

    def add_device(self, device_id: str, point: TradePoint) -> Device:
        """Register a device at a trade point; the token is a new GUID."""
        token = str(uuid.uuid4())
        device = Device(token, device_id, point.trade_point_id, point.organization_bin)
        self.devices[token] = device
        return device

    def add(self, record: Payment | ReturnQr) -> None:
        """Store a payment or a return QR under its id and its token."""
        if isinstance(record, Payment):
            self.payments[record.payment_id] = record
        else:
            self.returns[record.return_id] = record
        self._tokens[record.token] = record

    def payment(self, payment_id: int) -> Payment | None:
        """Return a payment in its present state: deadlines that have passed are applied (and saved) first."""
        payment = self.payments.get(payment_id)
        return None if payment is None else self._now(payment)

    def return_qr(self, return_id: int) -> ReturnQr | None:
        """Return a return QR in its present state."""
        item = self.returns.get(return_id)
        return None if item is None else self._now(item)

    def by_key(self, key: str) -> Payment | ReturnQr | None:
        """Return what the phone has scanned: by its token, or by the number of a payment or return QR."""
        record = self._tokens.get(key)
        if record is not None:
            return self._now(record)
        if not (key.isascii() and key.isdigit() and len(key) < TOKEN_DIGITS):
            return None
        return self.payment(int(key)) or self.return_qr(int(key))

    def _now(self, record: Record) -> Record:
        if refresh(record, self.clock()):
            self.commit()
        return record

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {
            "version": VERSION,
            "organization_bin": self.organization_bin,
            "api_key": self.api_key,
            "ready_trade_point": self.ready_trade_point,
            "ready_device": self.ready_device,
            "last_id": self._last_id,
            "dates_written": self._dates_written,
            "settings": as_json(self.settings),
            "trade_points": [as_json(point) for point in self.trade_points.values()],
            "devices": [as_json(device) for device in self.devices.values()],
            "payments": [as_json(payment) for payment in self.payments.values()],
            "returns": [as_json(item) for item in self.returns.values()],
            "bills": [as_json(item) for item in self.bills.values()],
            "forced": [as_json(item) for item in self.forced],
        }

    def load(self, data: dict[str, Any]) -> None:
        """Replace the whole state with one that `dump` made. Raises ValueError for another version."""
        if data.get("version") != VERSION:
            raise ValueError(f"Kaspi sandbox state has version {data.get('version')!r}, expected {VERSION}")
        self.organization_bin = data["organization_bin"]
        self.api_key = data["api_key"]
        self.ready_trade_point = data["ready_trade_point"]
        self.ready_device = data["ready_device"]
        self._last_id = data["last_id"]
        self._dates_written = data["dates_written"]
        self.settings = _known(Settings, data["settings"])
        points = [_known(TradePoint, item) for item in data["trade_points"]]
        self.trade_points = {point.trade_point_id: point for point in points}
        self.devices = {item["token"]: _known(Device, item) for item in data["devices"]}
        bills = [Bill(**{**item, "amount": Decimal(item["amount"])}) for item in data.get("bills", [])]
        self.bills = {bill.txn_id: bill for bill in bills}
        self.forced = [ForcedCode(**item) for item in data["forced"]]
        self.payments, self.returns, self._tokens = {}, {}, {}
        for item in data["payments"]:
            self.add(payment_from_json(item))
        for item in data["returns"]:
            self.add(ReturnQr(**item))
