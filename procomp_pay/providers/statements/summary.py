"""What was seen while a statement was read: counts, sums, what was passed over and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind

#: So many skipped lines (repeated ones, notes) are kept with their words; the rest are counted alone.
MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that could not be read for certain: somebody has to look at it.

    :param line: its 1-based line (CSV) or row (XLSX).
    :param column: the header of the column, where it is one cell's fault.
    """

    line: int
    reason: str
    column: str | None = None

    def __str__(self) -> str:
        place = f"line {self.line}" + (f", “{self.column}”" if self.column else "")
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A line that stands in the file twice with the same content: counted once."""

    line: int
    first_line: int
    ref: str


@dataclass(frozen=True, slots=True)
class Total:
    """A total line of the provider's own, and whether the lines add up to it."""

    line: int
    text: str
    amount: Decimal
    agrees: bool


@dataclass(frozen=True, slots=True)
class Sum:
    """The lines of one kind in one currency; ``amount`` is their gross, positive."""

    kind: LineKind
    currency: Currency
    count: int
    amount: Decimal


@dataclass(slots=True)
class StatementSummary:
    """Filled while the lines are read, whole at their end.

    :param counts: lines by kind, those among them that are not handed out (of no payment, in a foreign
        currency) too.
    :param remarks: lines of words alone below the header: a signature, a date of printing.
    """

    counts: Counter[LineKind] = field(default_factory=Counter)
    sums: dict[tuple[LineKind, Currency], Sum] = field(default_factory=dict)
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
        """Lines that were understood."""
        return self.counts.total()

    @property
    def needs_person(self) -> bool:
        """Something in the file was not understood for certain: a run with it ends with exit code 6."""
        return self.skipped_count > 0 or any(not total.agrees for total in self.totals)

    def skip(self, line: int, reason: str, column: str | None = None) -> None:
        """Never silently: a line that is passed over is counted and, up to a bound, kept with its reason."""
        self.skipped_count += 1
        if len(self.skipped) < MOST_KEPT:
            self.skipped.append(Skipped(line, reason, column))

    def repeat(self, line: int, first_line: int, ref: str) -> None:
        """The same line again."""
        self.repeated_count += 1
        if len(self.repeated) < MOST_KEPT:
            self.repeated.append(Repeated(line, first_line, ref))

    def note(self, text: str) -> None:
        """Something worth knowing that asks nothing of anybody."""
        if len(self.notes) < MOST_KEPT and text not in self.notes:
            self.notes.append(text)

    def add(self, kind: LineKind, count: int, currency: Currency | None, amount: Decimal) -> None:
        """So many lines of a kind that are ``amount`` each; ``currency`` is ``None`` for a foreign one."""
        self.counts[kind] += count
        if currency is None:
            return
        before = self.sums.get((kind, currency)) or Sum(kind, currency, 0, Decimal("0.00"))
        self.sums[kind, currency] = Sum(kind, currency, before.count + count, before.amount + amount * count)

    def check_totals(self, found: Iterable[tuple[int, str, Decimal]]) -> None:
        """Compare the provider's totals with what the lines add up to, in any of the ways that are usual."""
        by_kind = {kind: Decimal(0) for kind in LineKind}
        for each in self.sums.values():
            by_kind[each.kind] += each.amount
        paid, back = by_kind[LineKind.PAYMENT], by_kind[LineKind.REFUND]
        usual = {paid, back, paid - back, paid + back, sum(by_kind.values(), Decimal(0))}
        for line, text, amount in found:
            self.totals.append(Total(line, text, amount, agrees=amount in usual or -amount in usual))
