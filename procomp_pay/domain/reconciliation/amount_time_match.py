"""Match lines of Kaspi's statement that have no known number with payments, and never guess between two.

A number decides first (``storage.reconciliation.staging_sql``). A line without a known number is compared by
amount and time with the payments that have neither a known number nor a line. A match is taken only if the
payment fits no other line, and the line no other payment. The order of the lines does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.kaspi_schedule import KaspiSchedule

#: Tolerance before a payment's creation and after its end: statements round to the minute, and clocks differ.
SLACK = timedelta(minutes=2)
#: The most candidates that are listed for manual review.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class PossibleMatch:
    """A line and a payment of the same amount.

    :param line: the line's number. :param at: its time.
    :param created_at: when the payment was started. :param life: its polling schedule, which says how long it
        could be paid.
    :param can_be_paid: its money can have arrived: Kaspi has not said finally that it was not paid.
    """

    line: str
    at: datetime
    payment_id: str
    created_at: datetime
    life: KaspiSchedule
    can_be_paid: bool = True

    @property
    def is_within_window(self) -> bool:
        """Return whether the payment could be paid at the line's time, within the tolerance."""
        return self.created_at - SLACK <= self.at <= self.life.final_poll_at + SLACK


def match_certain(pairs: Iterable[PossibleMatch]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Return the payment of each line that is certain, and the candidates of the others, for manual review.

    A match is certain if the line fits only this payment, and the payment only this line. A payment that
    Kaspi reports as unpaid is not a match: the money belongs to another sale.
    """
    payments_of_line: dict[str, set[str]] = defaultdict(set)
    lines_of_payment: dict[str, set[str]] = defaultdict(set)
    payable: set[str] = set()
    for pair in pairs:
        if pair.is_within_window:
            payments_of_line[pair.line].add(pair.payment_id)
            lines_of_payment[pair.payment_id].add(pair.line)
            if pair.can_be_paid:
                payable.add(pair.payment_id)
    certain: dict[str, str] = {}
    doubtful: dict[str, tuple[str, ...]] = {}
    for line, payments in payments_of_line.items():
        candidates = sorted(payments & payable or payments)
        if len(candidates) == 1 and candidates[0] in payable and len(lines_of_payment[candidates[0]]) == 1:
            certain[line] = candidates[0]
        else:
            doubtful[line] = tuple(candidates[:_MOST_NAMED])
    return certain, doubtful
