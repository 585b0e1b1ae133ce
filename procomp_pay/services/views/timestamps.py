"""Format times for JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(at: datetime | None) -> str | None:
    """Format a time for JSON in UTC, ``2024-01-15T14:00:00Z``, with milliseconds if they are not zero."""
    if at is None:
        return None
    spec = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")
