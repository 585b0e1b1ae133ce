"""Check identifiers in requests."""

from __future__ import annotations

#: The maximum length of an id, in characters.
LONGEST_ID = 128


def is_identifier(text: object) -> bool:
    """Return whether a value can be an id: PostgreSQL rejects NUL, and lone surrogates cannot be sent."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_ID and text.isprintable()
