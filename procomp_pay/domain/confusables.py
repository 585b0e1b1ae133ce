"""Map letters to the similar ones that were meant: typed on the other keyboard, or read from paper."""

from __future__ import annotations

import unicodedata

#: Cyrillic capitals that look like Latin ones.
LATIN_FOR = str.maketrans("АВЕЅЗІЈКМНОРСТУХҮҺҚ", "ABES3IJKMHOPCTYXYHK")
#: Letters that must be digits where only digits are allowed.
DIGIT_FOR = str.maketrans("OОІIL|З", "0011113")


def upper(text: str) -> str:
    """Return text in upper case and normal width, without spaces, hyphens and invisible characters."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain.upper() if not _is_gap(c))


def _is_gap(c: str) -> bool:
    # Z: spaces, also no-break ones; Cf: zero-width; Pd: hyphens and dashes
    return unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cf", "Pd") or c in "\t\r\n"
