"""The kinds of discrepancy between our books and a provider's."""

from __future__ import annotations

from enum import StrEnum


class DiscrepancyKind(StrEnum):
    """A kind of difference between our records and those of a provider (SPEC 8)."""

    MISSING_LOCALLY = "MISSING_LOCALLY"
    MISSING_AT_PROVIDER = "MISSING_AT_PROVIDER"
    STATUS_MISMATCH = "STATUS_MISMATCH"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    REFUND_MISMATCH = "REFUND_MISMATCH"
    DUPLICATE_PAYMENT = "DUPLICATE_PAYMENT"
    LATE_PAYMENT = "LATE_PAYMENT"
    STUCK = "STUCK"
    PARTICIPANT_MISMATCH = "PARTICIPANT_MISMATCH"


#: The kinds about money of another amount or currency than the fee; and all about money that came and did not
#: settle the payment.
ABOUT_AMOUNT = (DiscrepancyKind.AMOUNT_MISMATCH, DiscrepancyKind.CURRENCY_MISMATCH)
ABOUT_MONEY = (*ABOUT_AMOUNT, DiscrepancyKind.DUPLICATE_PAYMENT)
