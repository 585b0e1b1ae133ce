"""Responses to staff and admins."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from procomp_pay.domain.money import Currency
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import Channel
from procomp_pay.server.api.responses import STANDING, PaymentSummary
from procomp_pay.server.http.json_types import Amount, Instant, Reason, ResponseModel, ShownStatus, example

_FULL: dict[str, Any] = STANDING | {
    "code": "X54A-BHPZ",
    "participant_name": "Қайрат Нұрланов",
    "tournament_id": "tournament_123",
    "tournament_name": "Almaty Open 2026",
    "category": "Дзюдо -66 кг",
    "channel": "stripe_intent",
    "refunded_amount": Decimal("0.00"),
    "requested_amount": Decimal("50.00"),
    "requested_currency": "USD",
    "completed_at": "2024-01-15T14:05:00Z",
    "expires_at": None,
    "scanned_at": None,
    "provider_ref": "pi_1234567890",
    "operation_number": None,
    "wallet": "apple_pay",
    "late": False,
    "duplicate": False,
    "started_by": "user_123",
    "refunds": [],
    "dispute": None,
}


class RefundShown(ResponseModel):
    """One refund of a payment."""

    refund_id: str
    amount: Amount
    currency: Currency
    state: RefundState
    reason: str
    requested_by: str
    provider_refund_id: str | None
    failure_reason: Reason
    created_at: Instant
    updated_at: Instant


class DisputeShown(ResponseModel):
    """The dispute over a payment; of several, one that is open or lost."""

    dispute_id: str
    state: DisputeState
    amount: Amount
    currency: Currency
    reason: str | None
    evidence_until: Instant | None


class PaymentDetails(PaymentSummary):
    """A payment with all that staff may see; no secrets."""

    model_config = example(_FULL)

    #: A short code that people can type in place of the id; the oldest payments have none.
    code: str | None
    participant_name: str
    tournament_id: str
    tournament_name: str
    category: str | None
    channel: Channel
    refunded_amount: Amount
    requested_amount: Amount
    requested_currency: Currency
    completed_at: Instant | None
    expires_at: Instant | None
    scanned_at: Instant | None
    provider_ref: str | None
    operation_number: str | None
    wallet: str | None
    late: bool
    duplicate: bool
    started_by: str
    refunds: list[RefundShown]
    dispute: DisputeShown | None


class PaymentPage(ResponseModel):
    """A page of payments, newest first, and the next page's cursor."""

    model_config = example({"items": [_FULL], "next_cursor": None})

    items: list[PaymentDetails]
    next_cursor: str | None


class RefundDone(ResponseModel):
    """The outcome of a refund. ``PENDING``: the provider is still working on it."""

    model_config = example(
        {
            "refund_id": "cwg4dvae2z4qqig2cc3ishnr0",
            "payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9",
            "state": "SUCCEEDED",
            "amount": Decimal("20.00"),
            "currency": "USD",
            "payment_status": "COMPLETED",
            "failure_reason": None,
        }
    )

    refund_id: str
    payment_id: str
    state: RefundState
    amount: Amount
    currency: Currency
    payment_status: ShownStatus
    failure_reason: Reason


class CancelDone(ResponseModel):
    """The status of a payment after a cancellation: it may have been paid meanwhile."""

    model_config = example({"payment_id": "cq3rz6p0sxiqtq1c3ao8l1bc9", "status": "CANCELLED"})

    payment_id: str
    status: ShownStatus
