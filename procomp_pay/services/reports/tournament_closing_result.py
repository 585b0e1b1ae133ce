"""The closing sheet of a tournament as a value: its lines, sums and checks, and its JSON document."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, AnyMethod, AnyStatus, PaymentMethod
from procomp_pay.services.payouts.view import PayoutSums
from procomp_pay.services.views.timestamps import instant

_NONE = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class ClosingLine:
    """One payment, in its state at the sheet's moment.

    :param clerk: who started it; all users of the app count as one.
    :param numbers: its numbers at the provider, the one on the customer's receipt first.
    """

    payment_id: str
    started_at: datetime
    paid_at: datetime | None
    participant_name: str
    category: str | None
    method: AnyMethod
    charged: Money
    clerk: str
    status: AnyStatus
    is_late: bool
    is_duplicate: bool
    dispute: DisputeState | None
    dispute_amount: Decimal
    refunded: Decimal
    under_way: Decimal
    numbers: tuple[str, ...]
    disagreements: tuple[str, ...] = ()

    @property
    def is_kaspi(self) -> bool:
        return self.method is PaymentMethod.KASPI_QR

    @property
    def is_paid(self) -> bool:
        return self.status in PAID_STATUSES

    @property
    def taken(self) -> Decimal:
        """Return the amount received."""
        return self.charged.amount if self.is_paid else _NONE

    @property
    def lost(self) -> Decimal:
        """Return the amount that a lost dispute took."""
        return self.dispute_amount if self.dispute is DisputeState.LOST else _NONE

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the payment's flags in the desk's words: late, duplicate, disputed."""
        flags = ["late"] if self.is_late else []
        flags += ["paid twice"] if self.is_duplicate else []
        flags += [f"dispute {self.dispute.value}"] if self.dispute else []
        return (*flags, *(kind.lower().replace("_", " ") for kind in self.disagreements))

    def full(self) -> dict[str, Any]:
        return {
            "payment_id": self.payment_id,
            "started_at": instant(self.started_at),
            "paid_at": instant(self.paid_at),
            "participant_name": self.participant_name,
            "category": self.category,
            "method": self.method.public_name,
            "amount": self.charged.amount,
            "currency": self.charged.currency.value,
            "clerk": self.clerk,
            "status": self.status.value,
            "late": self.is_late,
            "duplicate": self.is_duplicate,
            "dispute": self.dispute.value if self.dispute else None,
            "dispute_amount": self.dispute_amount if self.dispute else None,
            "refunded": self.refunded,
            "refund_on_its_way": self.under_way,
            "provider_numbers": list(self.numbers),
            "open_discrepancies": list(self.disagreements),
        }


@dataclass(slots=True)
class Sum:
    """The sums of one method, one clerk, or all, in one currency."""

    name: str
    currency: str
    started: int = 0
    paid: int = 0
    waiting: int = 0
    taken: Decimal = _NONE
    refunded: Decimal = _NONE
    under_way: Decimal = _NONE
    lost: Decimal = _NONE

    def add(self, line: ClosingLine) -> None:
        self.started += 1
        self.paid += line.is_paid
        self.waiting += line.status in OPEN_STATUSES
        self.taken += line.taken
        self.refunded += line.refunded
        self.under_way += line.under_way
        self.lost += line.lost

    @property
    def kept(self) -> Decimal:
        """Return the amount received less refunds and lost disputes, before the provider's fees."""
        return self.taken - self.refunded - self.lost

    def full(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "currency": self.currency,
            "payments": self.started,
            "paid": self.paid,
            "open": self.waiting,
            "taken": self.taken,
            "refunded": self.refunded,
            "refunds_on_their_way": self.under_way,
            "disputes_lost": self.lost,
            "kept_before_fees": self.kept,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """The last reconciliation with a provider over the sheet's time.

    :param state: ``never`` if there was none.
    """

    provider: str
    state: str = "never"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    window_from: datetime | None = None
    window_until: datetime | None = None
    source: str | None = None
    counts: dict[str, Any] = field(default_factory=dict)

    def full(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "state": self.state,
            "started_at": instant(self.started_at),
            "finished_at": instant(self.finished_at),
            "window_from": instant(self.window_from),
            "window_until": instant(self.window_until),
            "source": self.source,
            "counts": self.counts,
        }


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An open discrepancy of one of the sheet's payments."""

    discrepancy_id: str
    kind: str
    payment_id: str
    opened_at: datetime

    def full(self) -> dict[str, Any]:
        return {
            "discrepancy_id": self.discrepancy_id,
            "kind": self.kind,
            "payment_id": self.payment_id,
            "opened_at": instant(self.opened_at),
        }


@dataclass(frozen=True, slots=True)
class AfterFees:
    """The amount left in a currency after the providers' fees.

    :param fees: as far as they are known; ``None`` if none is.
    :param without_fee: paid payments whose fee is not known yet.
    """

    currency: str
    kept: Decimal
    fees: Decimal | None
    without_fee: int

    @property
    def net(self) -> Decimal | None:
        """Return the net amount; ``None`` while a fee is unknown."""
        return None if self.without_fee else self.kept - (self.fees or _NONE)

    def full(self) -> dict[str, Any]:
        return {
            "currency": self.currency,
            "kept_before_fees": self.kept,
            "provider_fees": self.fees,
            "payments_without_fee": self.without_fee,
            "net": self.net,
        }


@dataclass(slots=True)
class TournamentClosing:
    """The sheet.

    :param strange: open discrepancies about money that belongs to no payment, of any tournament.
    :param seal: root, time and author of the newest audit seal.
    """

    tournament_id: str
    tournament_name: str
    as_of: datetime
    zone: ZoneInfo
    lines: list[ClosingLine]
    totals: list[Sum]
    by_method: list[Sum]
    by_clerk: list[Sum]
    disagreements: list[Disagreement]
    strange: int
    checks: list[Check]
    after_fees: list[AfterFees]
    seal: tuple[str, datetime, str] | None
    payouts: list[PayoutSums] = field(default_factory=list)

    @property
    def odd(self) -> list[ClosingLine]:
        """Return the payments for manual review: with an open discrepancy, as late and duplicate ones have
        until somebody decides about them, or disputed."""
        return [line for line in self.lines if line.disagreements or line.dispute]

    @property
    def agrees(self) -> bool:
        """Return whether nothing is open: no discrepancy, dispute, payment or refund."""
        disputed = any(line.dispute is not None and line.dispute.is_open for line in self.lines)
        waiting = any(total.waiting or total.under_way for total in self.totals)
        return not (self.disagreements or self.strange or disputed or waiting)

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "report": "closing",
            "tournament": {"tournament_id": self.tournament_id, "name": self.tournament_name},
            # to the microsecond, so that the same moment gives the same sheet
            "as_of": self.as_of.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "timezone": self.zone.key,
            "agrees": self.agrees,
            "totals": [item.full() for item in self.totals],
            "by_method": [item.full() for item in self.by_method],
            "by_clerk": [item.full() for item in self.by_clerk],
            "after_fees": [item.full() for item in self.after_fees],
            "payouts": [item.full() for item in self.payouts],
            "open_discrepancies": [item.full() for item in self.disagreements],
            "open_discrepancies_of_no_payment": self.strange,
            "reconciliation": [item.full() for item in self.checks],
            "audit_seal": None
            if self.seal is None
            else {"root": self.seal[0], "sealed_at": instant(self.seal[1]), "sealed_by": self.seal[2]},
            "payments": [line.full() for line in self.lines],
        }
