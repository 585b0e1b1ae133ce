"""Decide how much of a fee goes back, by the day: the refund policy of a tournament."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from procomp_pay.domain.entry_fees import checked_fee
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.money import AnyCurrency, Currency, Money
from procomp_pay.domain.text import N_

#: The most days before the start.
_MOST_DAYS = 3650
_STEP = re.compile(
    r"(?:(?P<days>\d{1,4})d|(?P<day>\d{4}-\d{2}-\d{2})):(?P<percent>\d{1,3})%?(?::(?P<kept>.+))?"
)


@dataclass(frozen=True, slots=True)
class RefundStep:
    """What goes back until a day, which is included: a share of what was paid, less a sum that is kept.

    :param until: the last day; ``None`` if it is ``days_before`` the day of the start.
    :param kept: a payment in another currency keeps nothing of it.
    """

    percent: int
    kept: Money | None = None
    until: date | None = None
    days_before: int | None = None

    def last_day(self, start: date | None) -> date | None:
        """Return the last day; ``None`` if it depends on a start that is unknown."""
        if self.until is not None or start is None or self.days_before is None:
            return self.until
        return start - timedelta(days=self.days_before)


@dataclass(frozen=True, slots=True)
class RefundPolicy:
    """The steps of a tournament; after the last of them nothing goes back.

    :param zone: the time zone of the days.
    """

    steps: Sequence[RefundStep]
    zone: ZoneInfo

    def rule(self, starts_at: datetime | None, at: datetime) -> tuple[RefundStep | None, date] | None:
        """Return the step that holds at an instant, ``None`` after the last one, with its last day.

        There is no rule if there are no steps, or one depends on a start that is unknown.
        """
        start = None if starts_at is None else starts_at.astimezone(self.zone).date()
        steps = [(last, step) for step in self.steps if (last := step.last_day(start)) is not None]
        if not steps or len(steps) < len(self.steps):
            return None
        today = at.astimezone(self.zone).date()
        steps.sort(key=lambda pair: pair[0])
        return next(((step, last) for last, step in steps if today <= last), (None, steps[-1][0]))


def amount_back(step: RefundStep | None, paid: Money, before: Decimal) -> Money:
    """Return what goes back by a step, without what went back before; never less than zero. Whole tenge."""
    if step is None:
        return Money(Decimal("0.00"), paid.currency)
    unit = Decimal(1) if paid.currency is Currency.KZT else Decimal("0.01")
    share = (paid.amount * step.percent / 100).quantize(unit, ROUND_HALF_UP)
    kept = step.kept.amount if step.kept is not None and step.kept.currency == paid.currency else Decimal(0)
    return Money(max(share - kept - before, Decimal("0.00")), paid.currency)


def read_step(text: str, currency: AnyCurrency) -> RefundStep:
    """Return a step as it is typed: ``14d:100``, ``2026-05-01:50`` or ``3d:50:2000``, which keeps 2000.

    :param currency: of the sum that is kept.
    :raises Refused: it is none, or its share is over 100 percent.
    :raises InvalidAmount: the sum that is kept is none.
    """
    read = _STEP.fullmatch("".join(text.split()))
    try:
        until = date.fromisoformat(read["day"]) if read and read["day"] else None
    except ValueError:
        read = None
    if read is None or int(read["percent"]) > 100 or int(read["days"] or 0) > _MOST_DAYS:
        raise Refused(
            N_("%(text)s is not a step of a refund policy", text=repr(text[:40])),
            next_step=N_(
                "write days or a day, percent, and what is kept: 14d:100, 2026-05-01:50 or 3d:50:2000"
            ),
        )
    kept = checked_fee(Money.parse(read["kept"], currency)) if read["kept"] else None
    return RefundStep(int(read["percent"]), kept, until, int(read["days"]) if read["days"] else None)


def checked_steps(steps: Sequence[RefundStep], start: date | None) -> list[RefundStep]:
    """Return steps if they are a policy, by their last days.

    :raises Refused: there are none, two end on one day, or one depends on a start that is unknown.
    """
    days = {step.last_day(start): step for step in steps}
    if None in days:
        raise Refused(
            N_("The day of the start is unknown, on which the days before it depend"),
            next_step=N_("write the days as dates, such as 2026-05-01:50"),
        )
    if not days or len(days) < len(steps):
        raise Refused(
            N_("Two steps of a refund policy end on one day"),
            next_step=N_("leave one of them out"),
        )
    return [days[day] for day in sorted(day for day in days if day is not None)]
