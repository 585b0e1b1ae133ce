"""Tell apart the parts of a refunded purchase: at Kaspi each may have the number of the purchase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal


def part_refs(
    parts: Iterable[tuple[str, date, Decimal]], stored: Mapping[str, tuple[date | None, Decimal]]
) -> list[str]:
    """Return a reference of its own for each part, the same whenever it is read again, in whatever order.

    :param parts: number, day in Almaty and amount of each: files with and without times agree about the day.
    :param stored: day and amount of the part that is stored under a number. It keeps it, or else the first
        one of ``parts``; the others add their day and amount.
    """
    first = dict(stored)
    seen: Counter[tuple[str, date, Decimal]] = Counter()
    refs = []
    for part in parts:
        number, day, amount = part
        seen[part] += 1
        times = seen[part]
        is_first = first.setdefault(number, (day, amount)) == (day, amount) and times == 1
        again = f"#{times}" if times > 1 else ""
        refs.append(number if is_first else f"{number}@{day}:{amount:.2f}{again}")
    return refs
