"""Payment codes: eight characters that a person can read out and type; typing errors are detected.

Crockford's base 32 (no I, L, O, U) with his check character (modulo 37). Codes whose check character would be
one of the five symbols (``* ~ $ = U``) are not used: Kaspi's account field does not accept them, and people
do not find them on the keyboard. A wrong character, and two that are swapped, are always detected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.names import LATIN_FOR, upper
from procomp_pay.domain.text import N_

#: Characters before the check character: 35 bits, too many to guess a code.
LENGTH = 7
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {c: n for n, c in enumerate(_ALPHABET)}
_MODULUS = 37
_MEANT = str.maketrans("OIL", "011")


def candidates(payment_id: str) -> Iterator[str]:
    """Yield codes for a payment; use the next one if a code is taken.

    They are derived from the id, which cannot be guessed. The id cannot be derived from a code.
    """
    for number in count():
        digest = hashlib.sha256(f"short-code:{payment_id}:{number}".encode()).digest()
        value = int.from_bytes(digest[:8], "big") % 32**LENGTH
        if value % _MODULUS < len(_ALPHABET):
            yield _written(value)


def shown(code: str) -> str:
    """Return a code in two groups, as people read it out: ``K7QX-2M9R``."""
    return f"{code[:4]}-{code[4:]}"


def folded(text: str) -> str:
    """Return typed text in the letters of a code: without case, hyphens, spaces and look-alikes."""
    return upper(text).translate(LATIN_FOR).translate(_MEANT)


def looks_like_one(text: str) -> bool:
    """Return whether typed text may be a code, right or mistyped."""
    typed = folded(text)
    return len(typed) == LENGTH + 1 and all(c in _VALUES for c in typed)


def has_digit(text: str) -> bool:
    """Return whether text that looks like a code is no name: Махметов may be both."""
    return any(c.isdigit() for c in text)


def read(text: str) -> str:
    """Return a code as it is stored.

    Any case, hyphens, spaces, O for 0, I and L for 1, and Cyrillic letters that look like Latin ones are
    accepted.

    :raises NotFound: not a code, or mistyped.
    """
    typed = folded(text)
    if len(typed) != LENGTH + 1 or any(c not in _VALUES for c in typed):
        raise NotFound(
            N_(
                "%(text)s is not a payment code: a code has %(length)s letters and digits",
                text=repr(text[:24]),
                length=LENGTH + 1,
            )
        )
    value = 0
    for c in typed[:LENGTH]:
        value = value * 32 + _VALUES[c]
    if value % _MODULUS != _VALUES[typed[LENGTH]]:
        raise NotFound(
            N_("The payment code %(shown)s is mistyped: its check character is wrong", shown=shown(typed)),
            next_step=N_("compare it with the receipt, character by character"),
        )
    return typed


def _written(value: int) -> str:
    letters = [_ALPHABET[value % _MODULUS]]
    for _ in range(LENGTH):
        value, last = divmod(value, 32)
        letters.append(_ALPHABET[last])
    return "".join(reversed(letters))
