"""The records of the emulated Kaspi. Amounts are Decimal tenge, times are Unix seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

QR, LINK, REMOTE = "qr", "link", "remote"

CREATED: Final = "QrTokenCreated"
WAIT: Final = "Wait"
PROCESSED: Final = "Processed"
ERROR: Final = "Error"
REMOTE_CREATED: Final = "RemotePaymentCreated"
REMOTE_CANCELED: Final = "RemotePaymentCanceled"
REMOTE_REJECTED: Final = "RemotePaymentRejected"
REMOTE_EXPIRED: Final = "Expired"
IDENTITY_OBTAINED: Final = "CustomerIdentityObtained"

METHODS: Final = ("Gold", "Red", "Loan")
ZERO: Final = Decimal("0.00")
DEFAULT_BUYER: Final = "87010000001"


@dataclass
class TradePoint:
    """A shop of an organisation, with the switches a merchant (or the bank) can turn."""

    trade_point_id: int
    organization_bin: str
    name: str
    address: str = "пр. Абая 44"
    city: str = "Алматы"
    active: bool = True
    accepts_qr: bool = True
    methods: list[str] = field(default_factory=lambda: list(METHODS))


@dataclass
class Device:
    """A registered till; a deleted one is remembered, for its token answers -1502."""

    token: str
    device_id: str
    trade_point_id: int
    organization_bin: str
    active: bool = True
    deleted: bool = False


@dataclass
class Refund:
    """Money given back; `made_by` is `api` or `cashier`."""

    operation_id: int
    amount: Decimal
    made_at: float
    made_by: str


@dataclass
class Payment:
    """A QR, a pay link or a remote invoice.

    `status` is the truth; `shown_as` is a status that the control page has put in front of it. The
    deadlines are fixed when the step is taken, so a restart with another time scale changes none.
    """

    payment_id: int
    kind: str
    token: str
    organization_bin: str
    trade_point_id: int
    device_token: str
    amount: Decimal
    status: str
    created_at: float
    open_until: float
    external_id: str | None = None
    comment: str | None = None
    buyer: str = DEFAULT_BUYER
    product_type: str = METHODS[0]
    confirm_until: float | None = None
    processed_at: float | None = None
    operation_number: str | None = None
    shown_as: str | None = None
    polled_at: float | None = None
    refunds: list[Refund] = field(default_factory=list)

    @property
    def available(self) -> Decimal:
        """Tenge that can still be given back; nothing before the purchase was paid."""
        if self.status != PROCESSED:
            return ZERO
        return self.amount - sum((refund.amount for refund in self.refunds), ZERO)


@dataclass
class Bill:
    """Money taken by the bill protocol; `number` is that of its line in the merchant's report."""

    txn_id: str
    account: str
    amount: Decimal
    paid_at: float
    number: str


@dataclass
class ReturnQr:
    """A QR that identifies the buyer before a refund (standard scheme)."""

    return_id: int
    token: str
    organization_bin: str
    trade_point_id: int
    created_at: float
    open_until: float
    status: str = CREATED
    buyer: str | None = None
    external_id: str | None = None


@dataclass
class ForcedCode:
    """A StatusCode for the next `times` calls of a path; with `after` the work is done all the same."""

    path: str
    code: int
    times: int
    after: bool = False
    message: str | None = None


@dataclass
class Settings:
    """Switches of the control page. Where the document is silent, each choice is one possible Kaspi."""

    date_form: str = "+05:00"
    v02: bool = True
    expired_status: str = CREATED
    link_open_status: str = WAIT
    operation_numbers: str = "payment-id"
    api_key_refusal: str = "envelope"
    require_client_cert: bool = True
    gateway_status: bool = True


def as_json(record: Any) -> dict[str, Any]:
    """Return a record as plain JSON values; amounts become text, so that no reader turns them into floats."""

    def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, Decimal) else value for key, value in pairs}

    return asdict(record, dict_factory=plain)


def payment_from_json(data: dict[str, Any]) -> Payment:
    """Return the payment that `as_json` wrote, with its refunds."""
    refunds = [Refund(**{**refund, "amount": Decimal(refund["amount"])}) for refund in data["refunds"]]
    return Payment(**{**data, "amount": Decimal(data["amount"]), "refunds": refunds})
