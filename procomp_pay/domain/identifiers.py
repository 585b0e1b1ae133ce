"""Check identifiers from external input."""

from __future__ import annotations

#: The longest id, in characters.
LONGEST_ID = 128


def is_identifier(text: object) -> bool:
    """Return True if a text can be an id.

    PostgreSQL rejects NUL, and lone surrogates cannot be sent to it.
    """
    return isinstance(text, str) and 0 < len(text) <= LONGEST_ID and text.isprintable()
