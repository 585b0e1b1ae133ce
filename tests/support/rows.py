"""Build rows for tests, with all required columns filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment

NOW = datetime(2026, 11, 23, 9, 30, 15, 123456, tzinfo=UTC)


def a_payment(payment_id: str = "pay1", **more: Any) -> Payment:
    fields: dict[str, Any] = {
        "id": payment_id,
        "amount": Decimal("24000.00"),
        "currency": Currency.KZT,
        "method": PaymentMethod.KASPI_QR,
        "user_id": "u1",
        "tournament_id": "t1",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Payment(**{**fields, **more})


def a_detail(payment_id: str = "pay1", **more: Any) -> PaymentDetail:
    fields: dict[str, Any] = {
        "payment_id": payment_id,
        "participant_id": "p1",
        "channel": Channel.KASPI_QR,
        "create_state": CreateState.PLANNED,
        "provider_open": True,
        "requested_amount": Decimal("24000.00"),
        "requested_currency": Currency.KZT,
        "charged_amount": Decimal("24000.00"),
        "charged_currency": Currency.KZT,
        "started_by": "desk",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return PaymentDetail(**{**fields, **more})
