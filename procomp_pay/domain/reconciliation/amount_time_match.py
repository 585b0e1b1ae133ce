"""Which payment a line of Kaspi's statement is about, whose number nobody knows: never a guess between two.

A number decides before anything else (``storage.reconciliation.staging_sql``). A line without a number that
we know is compared by amount and time, with the payments of which no number is known and no line either; then
only a payment that could be no other line's, of which no other line could be, is taken. The order of the
lines changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.kaspi_schedule import KaspiSchedule

#: Statements round to the minute, and two clocks differ: so much before a payment's making its line may
#: stand, and so much after its end.
SLACK = timedelta(minutes=2)
#: Candidates that are named to a person.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """A line and a payment of its amount.

    :param line: the line's number. :param at: its time.
    :param born: when the payment was started. :param life: how long it could be paid.
    :param can_be: its money can have come: not after Kaspi's last word that it was not paid.
    """

    line: str
    at: datetime
    payment_id: str
    born: datetime
    life: KaspiSchedule
    can_be: bool = True

    @property
    def is_in_time(self) -> bool:
        """Whether the line's time falls into the payment's life, with some slack."""
        return self.born - SLACK <= self.at <= self.life.final_poll_at + SLACK


def tell_apart(pairs: Iterable[Fit]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The lines that have their payment for certain; and those that have none, with the payments that they
    fit, for a person.

    Certain is a payment that the line alone fits, and that fits the line alone; one that Kaspi itself calls
    unpaid is none: the money is of another sale.
    """
    fits: dict[str, set[str]] = defaultdict(set)
    wanted: dict[str, set[str]] = defaultdict(set)
    alive: set[str] = set()
    for each in pairs:
        if each.is_in_time:
            fits[each.line].add(each.payment_id)
            wanted[each.payment_id].add(each.line)
            if each.can_be:
                alive.add(each.payment_id)
    certain: dict[str, str] = {}
    doubtful: dict[str, tuple[str, ...]] = {}
    for line, named in fits.items():
        fitting = sorted(named & alive or named)
        if len(fitting) == 1 and fitting[0] in alive and len(wanted[fitting[0]]) == 1:
            certain[line] = fitting[0]
        else:
            doubtful[line] = tuple(fitting[:_MOST_NAMED])
    return certain, doubtful
