"""Define the figures of a report: attempts and money. Amounts of two currencies are never added."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, AnyStatus, PaymentStatus

_NONE = Decimal("0.00")


@dataclass(slots=True)
class Attempts:
    """Started payments, by their present status."""

    by_status: Counter[AnyStatus] = field(default_factory=Counter)
    #: Whole seconds from start to money, for paid ones; ``None`` if none was paid.
    median_s: int | None = None
    p95_s: int | None = None

    @property
    def started(self) -> int:
        return self.by_status.total()

    @property
    def paid(self) -> int:
        """Return the number of paid payments, refunded or not."""
        return sum(self.by_status[status] for status in PAID_STATUSES)

    @property
    def waiting(self) -> int:
        """Return the number of open payments, which count neither as success nor as failure."""
        return sum(self.by_status[status] for status in OPEN_STATUSES)

    @property
    def other(self) -> int:
        """Return the number of payments in a status that only the platform knows: not in the percentage."""
        return sum(count for status, count in self.by_status.items() if isinstance(status, UnknownLabel))

    @property
    def success_percent(self) -> Decimal | None:
        """Return the share of ended payments that were paid, in percent with one decimal; ``None`` if none
        has ended."""
        ended = self.started - self.waiting - self.other
        if ended == 0:
            return None
        return (Decimal(self.paid) * 100 / ended).quantize(Decimal("0.1"), ROUND_HALF_UP)

    def full(self) -> dict[str, Any]:
        return {
            "started": self.started,
            "paid": self.paid,
            "open": self.waiting,
            "failed": self.by_status[PaymentStatus.FAILED],
            "expired": self.by_status[PaymentStatus.EXPIRED],
            "cancelled": self.by_status[PaymentStatus.CANCELLED],
            "other": self.other,
            "success_percent": self.success_percent,
            "median_seconds": self.median_s,
            "p95_seconds": self.p95_s,
        }


@dataclass(slots=True)
class Total:
    """A number and a sum."""

    count: int = 0
    amount: Decimal = _NONE

    def add(self, count: int, amount: Decimal) -> None:
        self.count += count
        self.amount += amount

    def full(self) -> dict[str, Any]:
        return {"count": self.count, "amount": self.amount}


@dataclass(slots=True)
class Flow:
    """Movements of money in one currency.

    :param with_fee: the number of payments whose provider fee is known.
    :param fees: known fees in this currency; ``None`` if none is known.
    """

    currency: str
    paid: Total = field(default_factory=Total)
    late: int = 0
    duplicates: int = 0
    refunds: Total = field(default_factory=Total)
    on_their_way: Total = field(default_factory=Total)
    disputes: dict[DisputeState, Total] = field(default_factory=dict)
    with_fee: int = 0
    fees: Decimal | None = None

    def add(self, other: Flow) -> None:
        """Add the movements of another day or tournament in the same currency."""
        self.paid.add(other.paid.count, other.paid.amount)
        self.refunds.add(other.refunds.count, other.refunds.amount)
        for state, total in other.disputes.items():
            self.disputes.setdefault(state, Total()).add(total.count, total.amount)
        self.with_fee += other.with_fee
        if other.fees is not None:
            self.fees = other.fees + (self.fees or _NONE)

    def dispute(self, *states: DisputeState) -> Total:
        """Return the disputes in any of these states."""
        total = Total()
        for state in states:
            disputed = self.disputes.get(state, Total())
            total.add(disputed.count, disputed.amount)
        return total

    @property
    def lost(self) -> Total:
        """Return the lost disputes."""
        return self.dispute(DisputeState.LOST)

    @property
    def open_disputes(self) -> Total:
        return self.dispute(DisputeState.OPEN, DisputeState.WITHDRAWN)

    @property
    def without_fee(self) -> int:
        """Return the number of payments whose fee is not known yet."""
        return max(0, self.paid.count - self.with_fee)

    @property
    def before_fees(self) -> Decimal:
        """Return the revenue after refunds and lost disputes."""
        return self.paid.amount - self.refunds.amount - self.lost.amount

    @property
    def net(self) -> Decimal | None:
        """Return the revenue after fees too; ``None`` while a fee is unknown."""
        return None if self.without_fee else self.before_fees - (self.fees or _NONE)

    def full(self) -> dict[str, Any]:
        return {
            "currency": self.currency,
            "payments": self.paid.count,
            "revenue": self.paid.amount,
            "late": self.late,
            "duplicates": self.duplicates,
            "refunds": self.refunds.count,
            "refunded": self.refunds.amount,
            "refunds_on_their_way": self.on_their_way.full(),
            "disputes": {
                "open": self.open_disputes.full(),
                "won": self.dispute(DisputeState.WON).full(),
                "lost": self.lost.full(),
            },
            "net_before_fees": self.before_fees,
            "provider_fees": self.fees,
            "payments_without_fee": self.without_fee,
            "net": self.net,
        }

    def short(self) -> dict[str, Any]:
        """Return the figures of a day, a method or a tournament."""
        return {
            "currency": self.currency,
            "payments": self.paid.count,
            "revenue": self.paid.amount,
            "refunded": self.refunds.amount,
            "disputes_lost": self.lost.amount,
            "net_before_fees": self.before_fees,
            "provider_fees": self.fees,
            "net": self.net,
        }


@dataclass(slots=True)
class Ranks:
    """Median and 95th percentile of values that are added in order, without storing them.

    :param count: the number of values.
    """

    count: int
    _seen: int = 0
    median: int | None = None
    p95: int | None = None

    def add(self, value: int, times: int) -> None:
        before, self._seen = self._seen, self._seen + times
        if before < self._rank(50) <= self._seen:
            self.median = value
        if before < self._rank(95) <= self._seen:
            self.p95 = value

    def _rank(self, percentage: int) -> int:
        """Return the rank of a percentile, from 1, by which it is one of the values (nearest-rank method)."""
        return max(1, -(-self.count * percentage // 100))
