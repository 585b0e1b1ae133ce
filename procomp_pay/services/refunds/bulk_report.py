"""Report what a bulk refund did or would do: totals, and the payments that need attention by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from procomp_pay.domain.money import AnyCurrency, Money
from procomp_pay.domain.states import AnyMethod
from procomp_pay.services.views.payment import PaymentView

#: Payments of a group that are listed by name; further ones are only counted. A preview lists all to refund.
MOST_NAMED = 500


class Ending(StrEnum):
    """The outcome for one payment, or the planned one."""

    TO_DO = "to_do"
    BACK = "back"
    ON_ITS_WAY = "on_its_way"
    UNKNOWN = "unknown"
    FAILED = "failed"
    DISPUTED = "disputed"
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Line:
    """One payment in a report."""

    view: PaymentView
    ending: Ending
    money: Money
    why: str = ""

    def full(self) -> dict[str, Any]:
        return {
            "payment_id": self.view.payment_id,
            "participant_id": self.view.participant_id,
            "participant_name": self.view.participant_name,
            "amount": self.money.amount,
            "currency": self.money.currency.value,
            "why": self.why,
        }


@dataclass(slots=True)
class Sum:
    """Payments of one method and currency. A total may exceed the limit of a single :class:`Money`."""

    count: int = 0
    amount: Decimal = Decimal("0.00")


@dataclass(slots=True)
class Group:
    """Payments with the same ending: totals, and by name those to refund, and the first that need manual
    review."""

    sums: dict[tuple[AnyMethod, AnyCurrency], Sum] = field(default_factory=dict)
    named: list[Line] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(total.count for total in self.sums.values())

    def add(self, line: Line, *, name: bool) -> None:
        entry = self.sums.setdefault((line.view.method, line.money.currency), Sum())
        entry.count += 1
        entry.amount += line.money.amount
        if name and (line.ending is Ending.TO_DO or len(self.named) < MOST_NAMED):
            self.named.append(line)

    def full(self) -> dict[str, Any]:
        totals = [
            {
                "method": method.public_name,
                "currency": currency.value,
                "count": total.count,
                "amount": total.amount,
            }
            for (method, currency), total in sorted(self.sums.items())
        ]
        return {"count": self.count, "totals": totals, "payments": [line.full() for line in self.named]}


_NAMED = frozenset({Ending.TO_DO, Ending.UNKNOWN, Ending.FAILED, Ending.DISPUTED, Ending.BY_HAND})


@dataclass(slots=True)
class Report:
    """The report of a run or a dry run.

    :param refunded_before: payments that were refunded in full before it started.
    :param still_open: payments that can still be paid.
    :param stopped: an operator stopped it.
    :param gave_up: it ended because the provider does not answer.
    :param to_do: of a preview: the payments to refund, with their amounts.
    """

    refunded_before: int = 0
    still_open: int = 0
    stopped: bool = False
    gave_up: bool = False
    groups: dict[Ending, Group] = field(default_factory=dict)
    to_do: dict[str, Decimal] = field(default_factory=dict)

    def of(self, ending: Ending) -> Group:
        return self.groups.setdefault(ending, Group())

    def add(self, line: Line) -> None:
        self.of(line.ending).add(line, name=line.ending in _NAMED)
        if line.ending is Ending.TO_DO:
            self.to_do[line.view.payment_id] = line.money.amount

    @property
    def needs_person(self) -> bool:
        return any(self.of(ending).count for ending in (Ending.FAILED, Ending.DISPUTED, Ending.BY_HAND))

    def full(self) -> dict[str, Any]:
        counts = {"refunded_before": self.refunded_before, "still_open": self.still_open}
        flags = {"stopped": self.stopped, "gave_up": self.gave_up}
        return counts | flags | {ending.value: self.of(ending).full() for ending in Ending}
