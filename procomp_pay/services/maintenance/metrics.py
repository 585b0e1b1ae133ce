"""What happened to payments, as it happens, for counters: the audit trail read on from where it was left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from procomp_pay.domain.failure_reasons import FailureKind, kind_of
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.storage.audit import seals as audit_seals
from procomp_pay.storage.reports import metrics as figures
from procomp_pay.storage.reports.metrics import Happening

#: Entries that are read again: on PostgreSQL one with a lower id may be committed later.
_OVERLAP = 500
_PAGE = 2000
#: The most pages of one reading; the rest is for the next.
_PAGES = 5


@dataclass(frozen=True, slots=True)
class StatusChange:
    """Something to count.

    :param status: the new one; ``None`` for a payment that was started.
    :param seconds: from its start until it was completed.
    """

    method: str
    status: PaymentStatus | None
    seconds: float | None = None
    failure: FailureKind | None = None


class Tail:
    """Reads the audit trail on, from the moment when it was made."""

    def __init__(self, ctx: AppContext) -> None:
        self._desk = ctx
        self._last: int | None = None
        self._seen: set[int] = set()

    async def read(self) -> list[StatusChange]:
        """Return the status changes since the last call; none at the first call.

        :raises DatabaseUnavailable: nothing is skipped, the next reading has it.
        """
        if self._last is None:
            await self._begin()
            return []
        found: list[StatusChange] = []
        for _ in range(_PAGES):
            after = max(0, self._last - _OVERLAP)
            async with self._desk.db.reading() as session:
                rows = await figures.happenings(session, after, _PAGE)
            fresh = [row for row in rows if row.id not in self._seen]
            for row in fresh:
                found += _news(row)
            self._advance(rows)
            if len(rows) < _PAGE:
                break
        return found

    async def _begin(self) -> None:
        async with self._desk.db.reading() as session:
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


def _news(row: Happening) -> Iterator[StatusChange]:
    if row.action == "started":
        yield StatusChange(row.method, None)
        return
    if not isinstance(row.before, dict) or not isinstance(row.after, dict):
        return
    was, now = row.before.get("status"), row.after.get("status")
    if was == now or now not in PaymentStatus.__members__:
        return  # no status changed, or the entry was rewritten
    status = PaymentStatus(str(now))
    first = status is PaymentStatus.COMPLETED and was != PaymentStatus.REFUNDED
    seconds = (row.at - row.started_at).total_seconds() if first and row.started_at else None
    failed = kind_of(row.after.get("failure_reason")) if status is PaymentStatus.FAILED else None
    yield StatusChange(row.method, status, seconds, failed)
