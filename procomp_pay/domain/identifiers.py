"""Check identifiers that come from outside."""

from __future__ import annotations

#: The longest id, in characters.
LONGEST_ID = 128


def is_identifier(text: object) -> bool:
    """Return whether it can be an id at all. PostgreSQL refuses NUL; lone surrogates cannot be sent to it."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_ID and text.isprintable()
