"""Whose statement it is, by the block above its head: the BIN or IIN of the merchant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from procomp_pay.providers.statements.layout.cells import Cell, shown

#: БИН and ИИН, as the report's own block says it; БСН and ЖСН in Kazakh.
_SAYS = re.compile(r"(?<!\w)(?:[БB][ИI][НN]|[ИI]{2}[НN]|БСН|ЖСН)(?!\w)", re.I)
_DIGITS = 12
#: A workbook's number has lost the zeros before it.
_NUMBER = re.compile(r"(?<!\d)\d{9,12}(?!\d)", re.A)


def owner_of(above: Iterable[Sequence[Cell]]) -> str | None:
    """The twelve digits; ``None`` where no row above the head names one, or two do.

    :param above: the rows above the head.
    """
    found: set[str] = set()
    for row in above:
        text = " ".join(shown(cell) for cell in row)
        if _SAYS.search(text):
            found |= {number.zfill(_DIGITS) for number in _NUMBER.findall(text)}
    return found.pop() if len(found) == 1 else None
