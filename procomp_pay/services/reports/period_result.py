"""Define a period report for the terminal, files and JSON."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from procomp_pay.domain.period import Period
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.services.reports.figures import Attempts, Flow
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.registrations.participants import Headcount

_K = TypeVar("_K", bound=Hashable)


class Flows(Generic[_K]):
    """Money by a key (a day, a method, a tournament) and currency."""

    def __init__(self) -> None:
        self._flows: dict[_K, dict[str, Flow]] = {}

    def of(self, key: _K, currency: str) -> Flow:
        """Return the flow of a key and currency, creating it if it is missing."""
        return self._flows.setdefault(key, {}).setdefault(currency, Flow(currency))

    def by_currency(self, key: _K) -> list[Flow]:
        """Return a key's flows, tenge first."""
        flows = self._flows.get(key, {})
        return [
            flows[currency] for currency in sorted(flows, key=lambda currency: (currency != "KZT", currency))
        ]

    def sorted(self) -> list[tuple[_K, Flow]]:
        """Return every key's flows, ordered by key."""
        keys: list[Any] = sorted(self._flows)
        return [(key, flow) for key in keys for flow in self.by_currency(key)]

    def keys(self) -> set[_K]:
        return set(self._flows)


@dataclass(frozen=True, slots=True)
class TournamentLine:
    """One tournament in a report; ``heads`` is the present number of participants."""

    tournament_id: str
    name: str
    attempts: Attempts
    heads: Headcount
    flows: list[Flow]

    def full(self) -> dict[str, Any]:
        return {
            "tournament_id": self.tournament_id,
            "name": self.name,
            "started": self.attempts.started,
            "paid": self.attempts.paid,
            "success_percent": self.attempts.success_percent,
            "participants": self.heads.registered,
            "participants_paid": self.heads.paid,
            "participants_not_paid": self.heads.registered - self.heads.paid,
            "money": [flow.short() for flow in self.flows],
        }


@dataclass(slots=True)
class Report:
    """The whole report. ``reasons`` are status, reason and count; ``disagreements`` are kind, whether it
    is about a payment of ours, and count."""

    period: Period
    made_at: datetime
    tournament: tuple[str, str] | None = None
    attempts: Attempts = field(default_factory=Attempts)
    methods: dict[PaymentMethod, Attempts] = field(default_factory=dict)
    by_method: Flows[PaymentMethod] = field(default_factory=Flows)
    total: Flows[str] = field(default_factory=Flows)
    days: Flows[date] = field(default_factory=Flows)
    by_tournament: Flows[str] = field(default_factory=Flows)
    tournaments: list[TournamentLine] = field(default_factory=list)
    reasons: list[tuple[PaymentStatus, str | None, int]] = field(default_factory=list)
    disagreements: list[tuple[str, bool, int]] = field(default_factory=list)

    @property
    def money(self) -> list[Flow]:
        return self.total.by_currency("")

    @property
    def heads(self) -> Headcount:
        """Return the number of participants of the report's tournaments."""
        return Headcount(
            sum(line.heads.registered for line in self.tournaments),
            sum(line.heads.paid for line in self.tournaments),
        )

    @property
    def reasons_not_named(self) -> int:
        """Return the number of payments that failed for a reason too rare to be listed."""
        ended = self.attempts.started - self.attempts.waiting - self.attempts.paid
        return max(0, ended - sum(count for *_, count in self.reasons))

    @property
    def open_discrepancies(self) -> int:
        return sum(count for *_, count in self.disagreements)

    @property
    def of_no_payment(self) -> int:
        """Return the open discrepancies about money that belongs to no payment."""
        return sum(count for _, ours, count in self.disagreements if not ours)

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "report": "period",
            "made_at": instant(self.made_at),
            "timezone": self.period.zone.key,
            "since": self.period.since.isoformat() if self.period.since else None,
            "until": self.period.until.isoformat() if self.period.until else None,
            "tournament": dict(zip(("tournament_id", "name"), self.tournament, strict=True))
            if self.tournament
            else None,
            "attempts": self.attempts.full(),
            "methods": [
                {"method": method.public_name, **attempts.full(), "money": self._money_of(method)}
                for method, attempts in self.methods.items()
            ],
            "failure_reasons": [
                {"status": status.value, "reason": reason, "count": count}
                for status, reason, count in self.reasons
            ],
            "failure_reasons_not_named": self.reasons_not_named,
            "money": [flow.full() for flow in self.money],
            "days": [{"day": day.isoformat(), **flow.short()} for day, flow in self.days.sorted()],
            "tournaments": [line.full() for line in self.tournaments],
            "participants": {
                "registered": self.heads.registered,
                "paid": self.heads.paid,
                "not_paid": self.heads.registered - self.heads.paid,
            },
            "open_discrepancies": {
                "count": self.open_discrepancies,
                "of_no_payment": self.of_no_payment,
                "kinds": [
                    {"kind": kind, "of_our_payments": ours, "count": count}
                    for kind, ours, count in self.disagreements
                ],
            },
        }

    def _money_of(self, method: PaymentMethod) -> list[dict[str, Any]]:
        return [flow.short() for flow in self.by_method.by_currency(method)]
