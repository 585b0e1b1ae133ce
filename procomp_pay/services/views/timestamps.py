"""Format times for JSON, and tell their day."""

from __future__ import annotations

from datetime import UTC, date, datetime

from procomp_pay.domain.almaty import almaty_day


def instant(at: datetime | None) -> str | None:
    """Format a time for JSON in UTC, ``2024-01-15T14:00:00Z``, with milliseconds if they are not zero."""
    if at is None:
        return None
    length = len("2024-01-15T14:00:00.000") if at.microsecond else len("2024-01-15T14:00:00")
    return f"{at.astimezone(UTC).isoformat()[:length]}Z"


def local_day(at: datetime | None) -> date | None:
    """Return the day in Almaty, by which tournaments of one name are told apart."""
    return None if at is None else almaty_day(at)
