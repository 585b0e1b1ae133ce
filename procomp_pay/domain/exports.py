"""What can be exported for accounting."""

from __future__ import annotations

from enum import StrEnum


class Export(StrEnum):
    """What is exported."""

    PAYMENTS = "payments"
    REFUNDS = "refunds"
    PAYOUTS = "payouts"
