"""Summarise a statement while it is read: counts, sums, and the lines that were not used, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from procomp_pay.domain.period import midnight
from procomp_pay.domain.reconciliation.statement_line import Blocks, LineKind, StatementLine

#: Skipped lines, repeated lines and notes that are kept with their text, of each; the rest are only counted.
MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that could not be read for certain and needs manual review.

    :param line: its 1-based line (CSV) or row (XLSX).
    :param column: the header of the column, if a single cell is at fault.
    """

    line: int
    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A line that appears twice in the file with the same content: it is counted once."""

    line: int
    first_line: int
    ref: str


@dataclass(frozen=True, slots=True)
class Total:
    """A total in the statement itself, and whether the lines add up to it."""

    line: int
    text: str
    amount: Decimal
    agrees: bool


@dataclass(frozen=True, slots=True)
class Sum:
    """The lines of one kind in one currency; ``amount`` is their gross sum, positive."""

    kind: LineKind
    currency: str
    count: int
    amount: Decimal


@dataclass(slots=True)
class StatementSummary:
    """The summary of a statement; it is filled while the lines are read and complete after the last one.

    :param counts: lines by kind, including those that belong to no payment or are in a foreign currency.
    :param remarks: lines of text only below the headers: a signature, a print date.
    """

    counts: Counter[LineKind] = field(default_factory=Counter)
    sums: dict[tuple[LineKind, str], Sum] = field(default_factory=dict)
    fees: dict[LineKind, Decimal] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0
    repeated: list[Repeated] = field(default_factory=list)
    repeated_count: int = 0
    totals: list[Total] = field(default_factory=list)
    remarks: int = 0
    notes: list[str] = field(default_factory=list)
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def lines(self) -> int:
        """Return the number of lines that were understood."""
        return self.counts.total()

    @property
    def needs_person(self) -> bool:
        """Return whether the file needs manual review: a run with it ends with exit code 6."""
        return self.skipped_count > 0 or any(not total.agrees for total in self.totals)

    def skip(self, line: int, reason: str, column: str | None = None) -> None:
        """Count a line that cannot be used, and keep its reason up to a limit."""
        self.skipped_count += 1
        if len(self.skipped) < MOST_KEPT:
            self.skipped.append(Skipped(line, reason, column))

    def repeat(self, line: int, first_line: int, ref: str) -> None:
        """Count a line that repeats an earlier one."""
        self.repeated_count += 1
        if len(self.repeated) < MOST_KEPT:
            self.repeated.append(Repeated(line, first_line, ref))

    def note(self, text: str) -> None:
        """Add a fact that the user should know and need not act on."""
        if len(self.notes) < MOST_KEPT and text not in self.notes:
            self.notes.append(text)

    def add(
        self,
        kind: LineKind,
        count: int,
        currency: str | None,
        amount: Decimal,
        fee: Decimal | None = None,
    ) -> None:
        """Add lines of one kind with one amount and fee each; ``currency`` is ``None`` if it is not
        accepted."""
        self.counts[kind] += count
        self.fees[kind] = self.fees.get(kind, Decimal(0)) + (fee or 0) * count
        if currency is None:
            return
        before = self.sums.get((kind, currency)) or Sum(kind, currency, 0, Decimal("0.00"))
        self.sums[kind, currency] = Sum(kind, currency, before.count + count, before.amount + amount * count)

    def check_totals(self, totals: Iterable[tuple[int, str, Decimal]]) -> None:
        """Compare the statement's totals with the sums of its lines: paid, refunded, their difference, all.

        :param totals: for each total its line, label and amount.
        """
        by_kind = self._by_kind()
        paid, refunded = by_kind[LineKind.PAYMENT], by_kind[LineKind.REFUND]
        usual = {paid, refunded, paid - refunded, paid + refunded, sum(by_kind.values(), Decimal(0))}
        for line, text, amount in totals:
            self.totals.append(Total(line, text, amount, agrees=amount in usual or -amount in usual))

    def check_total(self, line: int, text: str, amount: Decimal, kind: LineKind, *, of_fees: bool) -> None:
        """Compare a total with the sum of the lines of its kind, or of their fees; signs do not matter."""
        total = self.fees.get(kind, Decimal(0)) if of_fees else self._by_kind()[kind]
        self.totals.append(Total(line, text, amount, agrees=abs(amount) == abs(total)))

    def _by_kind(self) -> dict[LineKind, Decimal]:
        by_kind = {kind: Decimal(0) for kind in LineKind}
        for kind_sum in self.sums.values():
            by_kind[kind_sum.kind] += kind_sum.amount
        return by_kind


@dataclass(frozen=True, slots=True)
class StatementPeriod:
    """The time that a statement covers, from ``since`` until before ``until``."""

    since: datetime
    until: datetime

    @classmethod
    def of_days(cls, first: datetime, last: datetime, zone: ZoneInfo) -> StatementPeriod:
        """Return the whole days of a zone from one time to another.

        :raises Refused: a day at an end of the calendar.
        """
        since, until = first.astimezone(zone).date(), last.astimezone(zone).date()
        return cls(midnight(since, zone), midnight(until + timedelta(days=1), zone))

    def covers(self, at: datetime) -> bool:
        return self.since <= at < self.until


class StatementLines(Protocol):
    """A provider's statement, which can be read several times.

    :ivar summary: the summary of the last reading, complete at its end.
    """

    summary: StatementSummary

    @property
    def period(self) -> StatementPeriod | None:
        """Return the period that the statement itself names; ``None`` if it names none."""
        ...

    @property
    def day_zone(self) -> ZoneInfo:
        """Return the zone of its days."""
        ...

    def __iter__(self) -> Iterator[StatementLine]: ...

    def quick(self) -> Blocks:
        """Return a reader of blocks, which fills the summary too.

        :raises NotPlain: the statement must be iterated instead.
        """
        ...
