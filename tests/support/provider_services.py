"""Stripe and Kaspi services against one sandbox, and requests to open payments with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.protocol import CreateRequest
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox


@dataclass
class ProviderServices:
    sandbox: Sandbox
    http: httpx.AsyncClient
    stripe: StripePaymentService
    basic: KaspiPaymentService
    enhanced: KaspiPaymentService

    async def fault(self, path: str, kind: str, **more: Any) -> None:
        answer = await self.http.post("/_sandbox/faults", json={"path": path, "kind": kind, **more})
        assert answer.status_code < 300, answer.text

    async def calls(self, path: str) -> int:
        """Return the number of requests for a path."""
        log = (await self.http.get("/_sandbox/requests")).json()
        entries = log["requests"] if isinstance(log, dict) else log
        return sum(entry["path"].endswith(path) for entry in entries)


def create_request(
    channel: Channel, amount: str = "50", currency: str = "USD", payment_id: str = "pay1"
) -> CreateRequest:
    now = datetime.now(UTC)
    return CreateRequest(
        payment_id=payment_id,
        participant_id="p1",
        channel=channel,
        money=Money.parse(amount, currency),
        description="Almaty Open: Әсел",
        idempotency_key=f"create:{payment_id}",
        created_at=now,
        return_url="https://app.example.com/paid",
        expires_at=now + timedelta(minutes=60),
    )


def tenge_request(channel: Channel) -> CreateRequest:
    return create_request(channel, "24000", "KZT")
