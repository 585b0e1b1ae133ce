"""Format times for JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(at: datetime | None) -> str | None:
    """A time for JSON: UTC, ``2024-01-15T14:00:00Z``, with milliseconds where it has them."""
    if at is None:
        return None
    spec = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")
