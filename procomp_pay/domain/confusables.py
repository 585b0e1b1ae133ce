"""Letters that look like others: what a person meant who had the other keyboard on, or read a receipt."""

from __future__ import annotations

import unicodedata

#: Cyrillic capitals that nobody can tell from the Latin ones on paper.
LATIN_FOR = str.maketrans("АВЕЅЗІЈКМНОРСТУХҮҺҚ", "ABES3IJKMHOPCTYXYHK")
#: Letters that can only have been a digit where there are digits alone.
DIGIT_FOR = str.maketrans("OОІIL|З", "0011113")


def upper(text: str) -> str:
    """Upper case, wide forms made narrow; spaces, hyphens and what cannot be seen taken out."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain.upper() if not _is_gap(c))


def _is_gap(c: str) -> bool:
    # Z: spaces, also no-break ones; Cf: zero-width; Pd: hyphens and dashes
    return unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cf", "Pd") or c in "\t\r\n"
