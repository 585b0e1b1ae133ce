"""Format times for JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(at: datetime | None) -> str | None:
    """Format a time for JSON in UTC, ``2024-01-15T14:00:00Z``, with milliseconds if they are not zero."""
    if at is None:
        return None
    length = len("2024-01-15T14:00:00.000") if at.microsecond else len("2024-01-15T14:00:00")
    return f"{at.astimezone(UTC).isoformat()[:length]}Z"
