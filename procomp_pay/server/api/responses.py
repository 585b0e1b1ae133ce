"""Responses of the API. Each is checked against its model; the OpenAPI document is made from the models."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from procomp_pay.domain.money import Currency
from procomp_pay.server.http.json_types import (
    Amount,
    Instant,
    Reason,
    ResponseModel,
    ShownMethod,
    ShownStatus,
    example,
)

#: An example, with an id such as ours.
STANDING: dict[str, Any] = {
    "payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
    "participant_id": "participant_123",
    "status": "COMPLETED",
    "method": "apple_pay",
    "amount": Decimal("50.00"),
    "currency": "USD",
    "created_at": "2024-01-15T14:00:00Z",
    "updated_at": "2024-01-15T14:05:00Z",
    "failure_reason": None,
}
_PAST: dict[str, Any] = STANDING | {
    "code": "X54A-BHPZ",
    "refunded_amount": Decimal("0.00"),
    "moves": [
        {
            "at": "2024-01-15T14:05:00Z",
            "action": "succeeded:moved",
            "source": "stripe_webhook",
            "before": "PENDING",
            "after": "COMPLETED",
            "note": None,
            "amount": None,
        }
    ],
}


class KaspiStarted(ResponseModel):
    """Tell how to pay by Kaspi: ``payment_url`` opens its app, ``qr_image_url`` is the same as a QR code.

    ``amount`` is the charged amount, always in tenge.
    """

    model_config = example(
        {
            "payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "payment_url": "https://pay.kaspi.kz/pay/123456789",
            "qr_image_url": "https://pay.procomp.kz/api/v1/payments/cq3rz6p0sxiqtq1c3ao8l1bc9/qr.png?s=Zm9v",
            "expires_at": "2024-01-15T14:30:00Z",
            "amount": Decimal("24000.00"),
            "currency": "KZT",
            "method": "kaspi_qr",
        }
    )

    payment_id: str
    payment_url: str | None
    qr_image_url: str | None
    expires_at: Instant | None
    amount: Amount
    currency: Currency
    method: Literal["kaspi_qr"]


class WalletStarted(ResponseModel):
    """Tell how to pay by Apple Pay or Google Pay: a secret for Stripe's SDK in the app."""

    model_config = example(
        {
            "payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "client_secret": "pi_1234567890_secret_abcdef",
            "amount": Decimal("50.00"),
            "currency": "USD",
            "method": "apple_pay",
        }
    )

    payment_id: str
    client_secret: str
    amount: Amount
    currency: Currency
    method: Literal["apple_pay", "google_pay"]


class Started(RootModel[Annotated[KaspiStarted | WalletStarted, Field(discriminator="method")]]):
    """An open payment and how to pay it; the shape depends on ``method``."""


class PaymentSummary(ResponseModel):
    """The status of a payment."""

    model_config = example(STANDING)

    payment_id: str
    participant_id: str
    status: ShownStatus
    method: ShownMethod
    amount: Amount
    currency: Currency
    created_at: Instant
    updated_at: Instant
    failure_reason: Reason


class StatusChange(ResponseModel):
    """One entry of a payment's audit trail. Staff and admins alone see ``actor`` and their own notes."""

    at: Instant
    action: str
    actor: str | None = None
    source: str
    before: str | None
    after: str | None
    note: str | None
    amount: Amount | None


class PastPayment(PaymentSummary):
    """A payment with its audit trail, oldest entry first."""

    model_config = example(_PAST)

    #: A short code that people can type in place of the id.
    code: str | None
    refunded_amount: Amount
    moves: list[StatusChange]


class History(ResponseModel):
    """All payments of a participant, newest first."""

    model_config = example({"items": [_PAST], "next_cursor": None})

    items: list[PastPayment]
    next_cursor: str | None


class Received(ResponseModel):
    """The event is stored."""

    model_config = example({"received": True})

    received: Literal[True]


class HealthReport(ResponseModel):
    """The health of the server and the mode or state of each service."""

    model_config = example({
        "status": "healthy",
        "services": {
            "stripe": "connected", "kaspi": "configured", "database": "connected", "background": "running",
        },
        "timestamp": "2024-01-15T14:00:00Z",
    })  # fmt: skip

    status: Literal["healthy", "degraded", "unhealthy"]
    services: dict[str, str]
    timestamp: Instant


class Alive(ResponseModel):
    """The process answers."""

    model_config = example({"status": "alive"})

    status: Literal["alive"]


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""
