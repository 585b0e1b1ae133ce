"""Read Kaspi's operation numbers as people type them from a receipt or the Kaspi Pay app.

Real numbers have 10 or 11 digits, those of the bill protocol up to 18. There is no check digit, so a number
with two possible readings is refused.
"""

from __future__ import annotations

import re

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import DIGIT_FOR, upper
from procomp_pay.domain.text import N_

SHORTEST, LONGEST = 8, 18
#: The text before the number on receipts: ``№ чека QR19000000001``.
_BEFORE = re.compile(r"(?:№|NO|#)?(?:ЧЕКА?|ОПЕРАЦИИ|ТРАНЗАКЦИИ)?:?(?:QR)?")
_WHERE = N_("it is on the receipt (№ чека) and in the Kaspi Pay app: History, the payment")


def read(text: str) -> str:
    """Return the number that was typed: digits only, without leading zeros.

    Spaces, hyphens, ``№`` and ``QR`` are accepted. A letter O for a zero, a Cyrillic З for a three and the
    like are read as digits, since nothing else is possible between digits.

    :raises Refused: other characters, or not 8 to 18 digits.
    """
    typed = upper(text)
    digits = typed[_BEFORE.match(typed).end() :].translate(DIGIT_FOR)  # type: ignore[union-attr]
    if not digits:
        raise Refused(N_("There is no operation number"), next_step=_WHERE)
    for position, c in enumerate(digits, start=1):
        if not ("0" <= c <= "9"):
            shown = f"“{c}”" if c.isprintable() else f"U+{ord(c):04X}"
            raise Refused(
                N_(
                    "An operation number has digits only, but character %(position)s here is %(shown)s",
                    position=position,
                    shown=shown,
                ),
                next_step=N_("check the number and type its digits; %(where)s", where=_WHERE),
            )
    digits = digits.lstrip("0")
    if not SHORTEST <= len(digits) <= LONGEST:
        problem = N_("too long") if len(digits) > LONGEST else N_("too short")
        raise Refused(
            N_(
                "An operation number has %(least)s to %(most)s digits, this one has %(digits)s: %(problem)s",
                least=SHORTEST,
                most=LONGEST,
                digits=len(digits),
                problem=problem,
            ),
            next_step=_WHERE,
        )
    return digits


def canonical(text: str) -> str:
    """Return a provider's number in the form in which numbers are stored and compared.

    Never fails: an unknown form is still the provider's number and stays as it is.
    """
    plain = "".join(text.split())
    digits = plain[2:] if plain[:2].upper() == "QR" else plain
    return digits.lstrip("0") or plain if digits.isascii() and digits.isdigit() else plain
