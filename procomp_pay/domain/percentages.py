"""How a report counts: rates, ranks, nets. Whole numbers and Decimal, never a float."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from procomp_pay.domain.states import PaymentStatus

#: What came to an end without money.
NOT_PAID = frozenset({PaymentStatus.FAILED, PaymentStatus.EXPIRED, PaymentStatus.CANCELLED})

_TENTH = Decimal("0.1")


def percent(part: int, whole: int) -> Decimal | None:
    """``part`` of ``whole`` in percent with one decimal, halves rounded up; ``None`` of nothing."""
    if whole == 0:
        return None
    return (Decimal(part) * 100 / Decimal(whole)).quantize(_TENTH, ROUND_HALF_UP)


def rank(count: int, percentage: int) -> int:
    """The place, from 1, of a percentile among ``count`` ordered values (nearest rank): the first one that
    at least so many percent do not exceed. Always a value that really occurred."""
    return max(1, -(-count * percentage // 100))
