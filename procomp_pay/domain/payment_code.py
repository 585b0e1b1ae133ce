"""A payment's short code: eight characters that a person can read out, type, and mistype without harm.

Crockford's base 32 (no I, L, O, U) with his check character (modulo 37). Codes whose check would be one of
his five signs (``* ~ $ = U``) are not given out: Kaspi's account field does not take them, and people do not
find them. A mistyped character, and two that changed places, are always told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.names import LATIN_FOR, upper

#: Characters before the check: 35 bits, so that nobody finds one by trying.
LENGTH = 7
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {c: n for n, c in enumerate(_ALPHABET)}
_MODULUS = 37
_MEANT = str.maketrans("OIL", "011")


def candidates(payment_id: str) -> Iterator[str]:
    """Codes for a payment, the first one first; the next one where a code is taken.

    Made from the id, which nobody can guess; the id cannot be found from the code.
    """
    for number in count():
        digest = hashlib.sha256(f"short-code:{payment_id}:{number}".encode()).digest()
        value = int.from_bytes(digest[:8], "big") % 32**LENGTH
        if value % _MODULUS < len(_ALPHABET):
            yield _written(value)


def shown(code: str) -> str:
    """``K7QX-2M9R``: two groups, as people read them out."""
    return f"{code[:4]}-{code[4:]}"


def folded(text: str) -> str:
    """What was typed, in the letters of a code: any case, hyphens, spaces, look-alikes."""
    return upper(text).translate(LATIN_FOR).translate(_MEANT)


def looks_like_one(text: str) -> bool:
    """Whether somebody may have meant a code."""
    typed = folded(text)
    return len(typed) == LENGTH + 1 and all(c in _VALUES for c in typed)


def read(text: str) -> str:
    """A code as it is kept, however it was typed: any case, hyphens, spaces, O for 0, I and L for 1,
    Cyrillic letters that look like Latin ones.

    :raises NotFound: it is none, or was mistyped.
    """
    typed = folded(text)
    if len(typed) != LENGTH + 1 or any(c not in _VALUES for c in typed):
        raise NotFound(f"{text[:24]!r} is not a payment code: those have {LENGTH + 1} letters and digits")
    value = 0
    for c in typed[:LENGTH]:
        value = value * 32 + _VALUES[c]
    if value % _MODULUS != _VALUES[typed[LENGTH]]:
        raise NotFound(
            f"The payment code {shown(typed)} is mistyped: its check character does not fit",
            next_step="compare it with the receipt, character by character",
        )
    return typed


def _written(value: int) -> str:
    letters = [_ALPHABET[value % _MODULUS]]
    for _ in range(LENGTH):
        value, last = divmod(value, 32)
        letters.append(_ALPHABET[last])
    return "".join(reversed(letters))
