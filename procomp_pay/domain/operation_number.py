"""Kaspi's operation number, as a person types it from a receipt or the Kaspi Pay app, and as we keep it.

Live numbers have 10 or 11 digits, those of the bill protocol up to 18. There is
no check digit: what could be read in two ways is refused, never guessed.
"""

from __future__ import annotations

import re

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import DIGIT_FOR, upper

SHORTEST, LONGEST = 8, 18
#: What stands before the number on receipts: ``№ чека QR19000000001``.
_BEFORE = re.compile(r"(?:№|NO|#)?(?:ЧЕКА?|ОПЕРАЦИИ|ТРАНЗАКЦИИ)?:?(?:QR)?")
_WHERE = "it stands on the receipt (№ чека) and in the Kaspi Pay app: History, the payment"


def read(text: str) -> str:
    """The number that was typed: digits alone, without leading zeros.

    Spaces, hyphens, ``№`` and ``QR`` may be there; a letter O for a zero, a Cyrillic З for a three and the
    like are read as the digit, since between digits they can be nothing else.

    :raises Refused: something else in it, or not 8 to 18 digits; says what and where.
    """
    typed = upper(text)
    digits = typed[_BEFORE.match(typed).end() :].translate(DIGIT_FOR)  # type: ignore[union-attr]
    if not digits:
        raise Refused("There is no operation number", next_step=_WHERE)
    for place, c in enumerate(digits, start=1):
        if not ("0" <= c <= "9"):
            shown = f"“{c}”" if c.isprintable() else f"U+{ord(c):04X}"
            raise Refused(
                f"An operation number has digits alone, and character {place} here is {shown}",
                next_step=f"look again and type the digits; {_WHERE}",
            )
    digits = digits.lstrip("0")
    if not SHORTEST <= len(digits) <= LONGEST:
        long = "too long" if len(digits) > LONGEST else "too short"
        raise Refused(
            f"An operation number has {SHORTEST} to {LONGEST} digits, and this one has {len(digits)}: {long}",
            next_step=_WHERE,
        )
    return digits


def canonical(text: str) -> str:
    """A number as a provider writes it, in the form in which all of them are kept and compared.

    Never refuses: a number that we do not understand is still that provider's number.
    """
    plain = "".join(text.split())
    digits = plain[2:] if plain[:2].upper() == "QR" else plain
    return digits.lstrip("0") or plain if digits.isascii() and digits.isdigit() else plain
