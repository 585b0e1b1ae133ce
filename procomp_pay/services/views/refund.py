"""The views of refunds and disputes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.refunds import Refund

#: Declines that the customer must not be told from an ordinary one, who may not be the card's owner:
#: https://docs.stripe.com/declines/codes
_PLAIN_DECLINES = re.compile(
    r"\b(fraudulent|lost_card|merchant_blacklist|pickup_card|restricted_card|security_violation|stolen_card)\b"
)


def plain_decline(reason: str | None) -> str | None:
    """Return why a payment failed, as the customer may read it."""
    hidden = reason is not None and _PLAIN_DECLINES.search(reason)
    return "Your card was declined. (generic_decline)" if hidden else reason


@dataclass(frozen=True, slots=True)
class RefundView:
    """A refund."""

    refund_id: str
    money: Money
    state: RefundState
    reason: str
    requested_by: str
    provider_refund_id: str | None
    failure_reason: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_unknown(self) -> bool:
        """True if the provider has not confirmed the refund yet."""
        return self.state is RefundState.PENDING and self.provider_refund_id is None

    def full(self) -> dict[str, Any]:
        return {
            "refund_id": self.refund_id,
            "amount": self.money.amount,
            "currency": self.money.currency.value,
            "state": self.state.value,
            "reason": self.reason,
            "requested_by": self.requested_by,
            "provider_refund_id": self.provider_refund_id,
            "failure_reason": self.failure_reason,
            "created_at": instant(self.created_at),
            "updated_at": instant(self.updated_at),
        }


@dataclass(frozen=True, slots=True)
class DisputeView:
    """The dispute over a payment; of several, one that is open or lost.

    :param due_at: the deadline for evidence.
    """

    dispute_id: str
    state: DisputeState
    money: Money
    reason: str | None
    due_at: datetime | None

    @property
    def holds_refunds_back(self) -> bool:
        """True if a refund is not allowed: the customer gets, or may get, the money through the dispute."""
        return self.state.holds_refunds_back

    def full(self) -> dict[str, Any]:
        return {
            "dispute_id": self.dispute_id,
            "state": self.state.value,
            "amount": self.money.amount,
            "currency": self.money.currency.value,
            "reason": self.reason,
            "evidence_until": instant(self.due_at),
        }


def refund_view(row: Refund) -> RefundView:
    return RefundView(
        refund_id=row.id,
        money=Money(row.amount, row.currency),
        state=row.state,
        reason=row.reason,
        requested_by=row.requested_by,
        provider_refund_id=row.provider_refund_id,
        failure_reason=row.failure_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def dispute_view(detail: PaymentDetail) -> DisputeView | None:
    if detail.dispute_id is None or detail.dispute_state is None:
        return None
    currency: Currency = detail.charged_currency
    return DisputeView(
        dispute_id=detail.dispute_id,
        state=detail.dispute_state,
        money=Money(detail.dispute_amount or Decimal(0), currency),
        reason=detail.dispute_reason,
        due_at=detail.dispute_due_at,
    )
