"""The time of the hall, and of Kaspi: Almaty's."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

ALMATY = ZoneInfo("Asia/Almaty")


def almaty_day(at: datetime) -> date:
    """Return the day of a moment."""
    return at.astimezone(ALMATY).date()


def almaty_time(at: datetime) -> str:
    """Format as ``2026-05-02 14:05``."""
    return f"{at.astimezone(ALMATY):%Y-%m-%d %H:%M}"
