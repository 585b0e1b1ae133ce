"""Requests and responses of verification, of gateway callbacks and of Kaspi's bill protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, RootModel, WithJsonSchema

from procomp_pay.domain.money import Currency, Money
from procomp_pay.server.http.json_types import Amount, RequestAmount, RequestModel, ResponseModel, example
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified

_TENGE = Currency.KZT.value
_WHEN: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
    "description": "With its zone.",
    "examples": ["2026-01-15T14:00:00+05:00"],
}


def _instant(value: object) -> object:
    """Return a time in UTC. One without a zone is refused: it could be Almaty's or UTC."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is not None and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-01-15T14:00:00+05:00")


class VerifyBody(RequestModel):
    """``POST /admin/payments/{payment_id}/verify-kaspi``. ``override`` is for admins, with a ``reason``."""

    model_config = example({"transaction_id": "17262148385", "amount": Decimal("24000.00")})

    transaction_id: Annotated[str, Field(min_length=1, max_length=64)]
    amount: RequestAmount = None
    paid_at: Annotated[
        datetime | None,
        BeforeValidator(lambda v: None if v is None else _instant(v)),
        WithJsonSchema(_WHEN),
    ] = None
    override: bool = False
    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None

    def to_request(self, payment_id: str, idempotency_key: str | None) -> VerificationRequest:
        """Return the request of the use case; the amount is in tenge.

        :raises InvalidAmount: not a valid amount.
        """
        return VerificationRequest(
            payment_id=payment_id,
            number=self.transaction_id,
            money=None if self.amount is None else Money.parse(self.amount, _TENGE),
            paid_at=self.paid_at,
            override=self.override,
            reason=self.reason,
            idempotency_key=idempotency_key,
        )


class VerifyAnswer(ResponseModel):
    """The verified payment. ``already``: it was completed before; ``kaspi``: the status at Kaspi."""

    model_config = example(
        {
            "payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "status": "COMPLETED",
            "transaction_id": "17262148385",
            "amount": Decimal("24000.00"),
            "currency": "KZT",
            "already": False,
            "late": False,
            "duplicate": False,
            "kaspi": "paid",
            "overridden": [],
        }
    )

    payment_id: str
    status: str
    transaction_id: str
    amount: Amount
    currency: str
    already: bool
    late: bool
    duplicate: bool
    kaspi: str
    overridden: list[str]

    @classmethod
    def of(cls, verified: Verified) -> VerifyAnswer:
        """Return the response for the result of the use case."""
        return cls(
            payment_id=verified.payment_id,
            status=verified.status.value,
            transaction_id=verified.number,
            amount=verified.money.amount,
            currency=verified.money.currency.value,
            already=verified.already,
            late=verified.late,
            duplicate=verified.duplicate,
            kaspi=verified.kaspi.value,
            overridden=list(verified.overridden),
        )


class GatewayCallback(RootModel[dict[str, Any]]):
    """A callback of a gateway. Its raw bytes are signed, so it is parsed after the signature is checked."""


class BillQuery(RequestModel):
    """A request of Kaspi's bill protocol, as third parties describe it.

    ``account``: a participant's id or a payment's code; ``sum`` in tenge; ``txn_date`` as ``YYYYMMDDHHMMSS``
    of Almaty. ``format=xml`` asks for XML.
    """

    command: Literal["check", "pay"]
    txn_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    account: str
    sum: str
    txn_date: str = ""
    format: Literal["json", "xml"] = "json"


class BillShown(ResponseModel):
    """``result``: 0 done, 1 no such account, 2 cancelled, 3 already paid, 4 in progress, 5 another error."""

    model_config = example(
        {
            "txn_id": "1234567",
            "prv_txn": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "prv_txn_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "result": 0,
            "sum": Decimal("24000.00"),
            "comment": "Almaty Open 2026",
        }
    )

    txn_id: str
    prv_txn: str | None = None
    prv_txn_id: str | None = None
    result: Annotated[int, Field(ge=0, le=5)]
    sum: Amount | None = None
    bin: str | None = None
    comment: str
