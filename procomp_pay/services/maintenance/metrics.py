"""Read status changes and failure reasons of payments from the audit trail, for metrics counters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.reports import metrics as figures
from procomp_pay.storage.reports.metrics import Happening


class FailureKind(StrEnum):
    """The kind of a failure."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    AUTHENTICATION = "authentication"
    EXPIRED_CARD = "expired_card"
    FRAUD = "fraud_suspected"
    DECLINED = "declined"
    NOT_CONFIRMED = "not_confirmed"
    REFUSED = "provider_refused"
    OTHER = "other"


#: The first kind that matches is used.
_WORDS: tuple[tuple[FailureKind, tuple[str, ...]], ...] = (
    (FailureKind.INSUFFICIENT_FUNDS, ("insufficient",)),
    (FailureKind.AUTHENTICATION, ("authenticat", "3d secure", "3-d secure")),
    (FailureKind.EXPIRED_CARD, ("expired_card", "expired card", "card has expired")),
    (FailureKind.FRAUD, ("fraud", "stolen", "lost_card", "lost card")),
    (FailureKind.DECLINED, ("declin", "do_not_honor", "incorrect", "card")),
    (FailureKind.NOT_CONFIRMED, ("not confirmed", "by the customer")),
    (FailureKind.REFUSED, ("refused", "kaspi", "stripe")),
)


def kind_of(reason: str | None) -> FailureKind:
    """Return the kind of a failure reason, written by a provider or by us."""
    lower = (reason or "").lower()
    for kind, words in _WORDS:
        if any(word in lower for word in words):
            return kind
    return FailureKind.OTHER


#: Entries that are read again: on PostgreSQL an entry with a lower id may be committed later.
_OVERLAP = 500
_PAGE = 2000
#: Pages per reading; the next reading continues there.
_PAGES = 5


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of a payment's status, to be counted.

    :param status: the new status; ``None`` for a payment that was started.
    :param seconds: from the payment's start until it was completed.
    """

    method: str
    status: PaymentStatus | None
    seconds: float | None = None
    failure: FailureKind | None = None


class Tail:
    """Follow the audit trail from the first call on."""

    def __init__(self, ctx: AppContext) -> None:
        self._ctx = ctx
        self._last: int | None = None
        self._seen: set[int] = set()

    async def read(self) -> list[StatusChange]:
        """Return the status changes since the last call; none at the first call.

        :raises DatabaseUnavailable: nothing is skipped; the next call returns the changes.
        """
        if self._last is None:
            await self._begin()
            return []
        changes: list[StatusChange] = []
        for _ in range(_PAGES):
            after = max(0, self._last - _OVERLAP)
            async with self._ctx.db.reading() as session:
                rows = await figures.happenings(session, after, _PAGE)
            for row in rows:
                if row.id not in self._seen:
                    changes += _changes(row)
            self._advance(rows)
            if len(rows) < _PAGE:
                break
        return changes

    async def _begin(self) -> None:
        async with self._ctx.db.reading() as session:
            last = await audit_seals.newest_entry(session)
            rows = await figures.happenings(session, max(0, last - _OVERLAP), _PAGE)
        self._last = last
        self._advance(rows)

    def _advance(self, rows: list[Happening]) -> None:
        self._last = max(self._last or 0, max((row.id for row in rows), default=0))
        oldest = self._last - _OVERLAP
        self._seen = {known for known in self._seen if known > oldest} | {
            row.id for row in rows if row.id > oldest
        }


def _changes(row: Happening) -> Iterator[StatusChange]:
    """Yield the status change that an audit entry records, if there is one."""
    if row.action == "started":
        yield StatusChange(row.method, None)
        return
    if not isinstance(row.before, dict) or not isinstance(row.after, dict):
        return
    was, now = row.before.get("status"), row.after.get("status")
    if was == now or now not in PaymentStatus.__members__:
        return  # the status did not change, or the entry was tampered with
    status = PaymentStatus(str(now))
    first = status is PaymentStatus.COMPLETED and was != PaymentStatus.REFUNDED
    seconds = (row.at - row.started_at).total_seconds() if first and row.started_at else None
    failed = kind_of(row.after.get("failure_reason")) if status is PaymentStatus.FAILED else None
    yield StatusChange(row.method, status, seconds, failed)
