"""Report a reconciliation: counts, and as many differences as can be shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.reconciliation.records import LocalRecord, Mismatch, ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.services.reconciliation.recover import RecoveredPayment

#: Differences kept for display; further ones are only counted, and are in ``discrepancies list``.
MOST = 1000


@dataclass(frozen=True, slots=True)
class MismatchOutcome:
    """A difference and its outcome: ``repaired``, ``opened``, ``again``, ``reopened``, ``accepted``;
    in a dry run ``would repair`` or ``would open``."""

    finding: Mismatch
    became: str

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        finding = self.finding
        return {
            "kind": finding.kind.value,
            "what": finding.what,
            "payment_id": finding.ours.payment_id if finding.ours else None,
            "became": self.became,
        } | facts(finding)


@dataclass(frozen=True, slots=True)
class SumsOfKind:
    """The payments or refunds of one currency in the compared window, in our books and in the statement."""

    kind: LineKind
    currency: str
    our_count: int
    our_sum: Decimal
    their_count: int
    their_sum: Decimal

    @property
    def difference(self) -> Decimal:
        """Return how much more there is in the statement; negative if there is less."""
        return self.their_sum - self.our_sum

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "kind": self.kind.value,
            "currency": self.currency,
            "ours": {"count": self.our_count, "sum": self.our_sum},
            "theirs": {"count": self.their_count, "sum": self.their_sum},
            "difference": self.difference,
        }


#: The number and sum of payments or refunds, by kind and currency.
Sums = Mapping[tuple[LineKind, str], tuple[int, Decimal]]


def side_by_side(ours: Sums, theirs: Sums) -> list[SumsOfKind]:
    """Return the sums of both sides: payments first, then refunds."""
    none = (0, Decimal("0.00"))
    names = sorted({*ours, *theirs}, key=lambda name: (name[0] is LineKind.REFUND, name[1]))
    return [SumsOfKind(*name, *ours.get(name, none), *theirs.get(name, none)) for name in names]


@dataclass(slots=True)
class Report:
    """One provider's part of a run."""

    provider: str
    source: str
    since: datetime
    until: datetime
    dry_run: bool
    run_id: str | None = None
    read: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    became: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    changed_since_read: int = 0
    settlements: int = 0
    listed: list[MismatchOutcome] = field(default_factory=list)
    still_open: int = 0
    interrupted: list[datetime] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut: str | None = None
    #: The provider stopped answering, so it is not asked any more.
    provider_unavailable: bool = False
    #: Lines of a statement that could not be read for certain.
    skipped: int = 0
    #: The books come from a backup: money of unknown owner may be anybody's who paid after it.
    after_restore: bool = False
    #: Payments that our books had lost, and that were rebuilt from Stripe's metadata.
    recovered: list[RecoveredPayment] = field(default_factory=list)
    #: Where a statement's window comes from, in words.
    window_is: str | None = None
    sums: list[SumsOfKind] = field(default_factory=list)
    #: What of a statement was not compared, in words.
    not_compared: list[str] = field(default_factory=list)
    #: No line of the statement belongs to one of our payments.
    is_foreign: bool = False
    #: What Kaspi's API said of each paid payment, where it reports amounts: paid, and refunded in all.
    told: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    def add(self, finding: Mismatch, became: str) -> None:
        """Count a difference, and keep up to :data:`MOST` for display."""
        self.became[became] += 1
        self.kinds[finding.kind.value] += 1
        if len(self.listed) < MOST:
            self.listed.append(MismatchOutcome(finding, became))

    @property
    def found(self) -> int:
        return sum(self.became.values())

    @property
    def needs_person(self) -> bool:
        """Return whether anything is open for manual review, or would be after a dry run."""
        would = self.became["would open"] + self.became["would repair"]
        lost = self.recovered if self.dry_run else ()
        return bool(self.still_open or would or self.skipped or lost)

    def counts(self) -> dict[str, Any]:
        """Return the counts for the row of the run."""
        return {
            "read": dict(self.read),
            "compared": self.compared,
            "found": self.found,
            "became": dict(self.became),
            "kinds": dict(self.kinds),
            "closed": self.closed,
            "moving": self.changed_since_read,
            "settlements": self.settlements,
            "skipped": self.skipped,
            "not_one_line_of_ours": self.is_foreign,
            "cut": self.cut,
        }

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "provider": self.provider,
            "source": self.source,
            "run_id": self.run_id,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "dry_run": self.dry_run,
            "state": "incomplete" if self.cut else "done",
            **self.counts(),
            "open": self.still_open,
            "interrupted_before": [started_at.isoformat() for started_at in self.interrupted],
            "notes": self.notes,
            "recovered": [payment.full() for payment in self.recovered],
            "window": self.window_is,
            "sums": [sums.full() for sums in self.sums],
            "not_compared": self.not_compared,
            "findings": [outcome.full() for outcome in self.listed],
            "findings_left_out": self.found - len(self.listed),
        }


def facts(mismatch: Mismatch) -> dict[str, Any]:
    """Return both sides of a difference for storage and display. Equal while the difference is the same."""
    return {"ours": _ours(mismatch.ours), "theirs": _theirs(mismatch.theirs)}


def _ours(ours: LocalRecord | None) -> dict[str, Any] | None:
    if ours is None:
        return None
    return {
        "status": ours.status.value,
        "amount": ours.money.amount,
        "currency": ours.money.currency.value,
        "ref": ours.ref,
        "place": ours.place.value,
        "refunds": [
            {"ref": refund.ref or refund.refund_id, "amount": refund.amount, "state": refund.state.value}
            for refund in ours.refunds
        ],
    }


def _theirs(theirs: ProviderRecord | None) -> dict[str, Any] | None:
    if theirs is None:
        return None
    document = {
        "kind": theirs.kind.value,
        "stand": theirs.stand.value,
        "amount": theirs.amount,
        "currency": theirs.currency,
        "ref": theirs.ref,
        "payment_ref": theirs.payment_ref,
        "at": theirs.at.isoformat(),
    }
    optional = {"line": theirs.number or None, "candidates": list(theirs.candidates) or None}
    return document | {name: value for name, value in optional.items() if value is not None}
