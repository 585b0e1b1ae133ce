"""Calculate the percentages and percentiles of reports, with whole numbers and Decimal."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

_TENTH = Decimal("0.1")


def percent(part: int, whole: int) -> Decimal | None:
    """Return ``part`` of ``whole`` in percent with one decimal, halves rounded up; ``None`` if ``whole``
    is 0."""
    if whole == 0:
        return None
    return (Decimal(part) * 100 / Decimal(whole)).quantize(_TENTH, ROUND_HALF_UP)


def rank(count: int, percentage: int) -> int:
    """Return the rank, from 1, of a percentile among ``count`` ordered values (nearest-rank method), so
    that the percentile is always one of the values."""
    return max(1, -(-count * percentage // 100))
