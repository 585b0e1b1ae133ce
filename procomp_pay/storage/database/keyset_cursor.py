"""Cursors of lists that go on by key: where a page ended, as text for the caller."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from procomp_pay.domain.errors import Refused

#: The most rows of one page.
MOST = 200


def write_cursor(at: datetime, row_id: str) -> str:
    """The place of a row in a list that is ordered by time and id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """
    :raises Refused: it is not a valid cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, payment_id = base64.urlsafe_b64decode(padded.encode("ascii")).decode().split(" ")
        when = datetime.fromisoformat(at)
        # whatever the database would stumble over: no zone, a time out of range, a NUL
        if when.tzinfo is not None and payment_id.isprintable():
            return when.astimezone(UTC), payment_id
    except (ValueError, OverflowError, binascii.Error, UnicodeError):
        pass
    raise Refused("The cursor is none of ours", next_step="start again without a cursor")
