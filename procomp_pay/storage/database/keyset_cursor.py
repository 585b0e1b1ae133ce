"""Write and read keyset cursors: the last row of a page, as text for the caller."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from procomp_pay.domain.errors import Refused

#: The most rows of one page.
MOST = 200


def write_cursor(at: datetime, row_id: str) -> str:
    """Return the cursor of a row in a list ordered by time and id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the time and id of a cursor.

    :raises Refused: it is not a valid cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, row_id = base64.urlsafe_b64decode(padded.encode("ascii")).decode().split(" ")
        when = datetime.fromisoformat(at)
        # the database would reject these: no zone, a time out of range, a NUL
        if when.tzinfo is not None and row_id.isprintable():
            return when.astimezone(UTC), row_id
    except (ValueError, OverflowError, binascii.Error, UnicodeError):
        pass
    raise Refused("The cursor is not valid", next_step="start again without a cursor")
