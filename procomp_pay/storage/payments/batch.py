"""Many payments in one transaction: read and locked by one statement, written by one for each table.

The door works on a :class:`LockedPayment` and does not know whether it is one of
many. Here its rows are plain objects, without the ORM's bookkeeping for each read and each assignment, and
what the door writes beside them (audit entries, messages) is put down for the :class:`Batch`'s end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, inspect, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit.chain import AuditRecord, Chains
from procomp_pay.storage.database.bulk_write import insert_all, update_all
from procomp_pay.storage.models.columns import Row, among
from procomp_pay.storage.models.payments import AuditEntry, PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.queues import OutboxMessage
from procomp_pay.storage.payments.locked_payment import DetailRow, LockedPayment, ParticipantRow, PaymentRow


class _Lines:
    """One table's part of a batch: plain rows, and what they were.

    :param kind: a dataclass whose fields are attributes of the table, the key first.
    """

    def __init__(self, table: type[Row], kind: type[Any]) -> None:
        self.table = table
        self.names = [each.name for each in fields(kind)]
        self._values = attrgetter(*self.names)
        self._taken: list[tuple[Any, tuple[Any, ...]]] = []

    def take(self, line: Any) -> None:
        """From now on its changes count."""
        self._taken.append((line, self._values(line)))

    def changes(self) -> list[dict[str, Any]]:
        """The keys of the rows that were changed, each with whatever was changed in any of them."""
        pairs = [(self._values(line), was) for line, was in self._taken]
        moved = [(now, was) for now, was in pairs if now != was]
        wanted = [n for n in range(len(self.names)) if n == 0 or any(now[n] != was[n] for now, was in moved)]
        return [{self.names[n]: now[n] for n in wanted} for now, _ in moved]


class Batch:
    """The payments that a transaction has in hand, and what it writes at its end."""

    def __init__(self) -> None:
        self.locked: dict[str, BatchedPayment] = {}
        self.chains = Chains({})
        self.messages: list[dict[str, Any]] = []
        self._payments = _Lines(Payment, PaymentRow)
        self._details = _Lines(PaymentDetail, DetailRow)
        self._people = _Lines(Participant, ParticipantRow)

    def take(self, payment: PaymentRow, detail: DetailRow, who: ParticipantRow) -> None:
        """One more payment."""
        self.locked[payment.id] = BatchedPayment(payment, detail, who, self)
        self._payments.take(payment)
        self._details.take(detail)
        self._people.take(who)

    async def write(self, session: AsyncSession) -> None:
        """Everything that was put down, and the rows that were changed."""
        for lines in (self._payments, self._details, self._people):
            await update_all(session, lines.table, lines.changes())
        await insert_all(session, OutboxMessage, self.messages, once=True)
        await insert_all(session, AuditEntry, self.chains.added)


@dataclass(slots=True)
class BatchedPayment(LockedPayment):
    """One payment of a batch."""

    payment: PaymentRow
    detail: DetailRow
    participant: ParticipantRow
    batch: Batch

    async def append_audit_entry(self, session: AsyncSession, record: AuditRecord, at: datetime) -> None:  # noqa: ARG002
        self.batch.chains.add(self.payment.id, record, at)

    async def enqueue_message(self, session: AsyncSession, message: dict[str, Any]) -> None:  # noqa: ARG002
        self.batch.messages.append(message)

    async def poll_other_payments_now(self, session: AsyncSession, now: datetime) -> None:
        """One of many has no others."""


async def lock_payments(session: AsyncSession, payment_ids: Collection[str]) -> Batch:
    """The payments that can be had at once, locked as :func:`hold` locks one,
    and their details with them.

    Left out, to be handled alone: a payment or participant whom somebody else holds at this moment (nothing
    here waits, so that no two batches can wait for each other), a payment whose participant is gone, and one
    whose participant has another payment that is open or is in the batch as well.
    """
    batch = Batch()
    if not payment_ids:
        return batch
    postgresql = session.get_bind().dialect.name == "postgresql"
    connection = await session.connection()
    found = await connection.execute(_locking(postgresql), {"payments": list(payment_ids)})
    rows = [
        (PaymentRow(*row[:_DETAIL]), DetailRow(*row[_DETAIL:_WHO]), ParticipantRow(*row[_WHO:]))
        for row in found
    ]
    rivals = await _rivals(session, postgresql, [detail for _, detail, _ in rows])
    for payment, detail, who in rows:
        if who.id not in rivals:
            batch.take(payment, detail, who)
    batch.chains = await Chains.read(session, list(batch.locked))
    return batch


_DETAIL = len(fields(PaymentRow))
_WHO = _DETAIL + len(fields(DetailRow))


@lru_cache
def _locking(postgresql: bool) -> Select[Any]:
    """All three are locked, so that each is read as it is now, not as it was when the statement began."""
    payment, detail, who = (inspect(table).columns for table in (Payment, PaymentDetail, Participant))
    chosen = [*_of(payment, PaymentRow), *_of(detail, DetailRow), *_of(who, ParticipantRow)]
    return (
        select(*chosen)
        .join_from(payment.id.table, detail.payment_id.table, detail.payment_id == payment.id)
        .join(who.id.table, who.id == detail.participant_id)
        .where(among(payment.id, "payments", postgresql=postgresql))
        .order_by(payment.id)
        .with_for_update(skip_locked=True)
    )


def _of(columns: Any, kind: type[Any]) -> Iterable[ColumnElement[Any]]:
    return (columns[each.name] for each in fields(kind))


async def _rivals(session: AsyncSession, postgresql: bool, details: list[DetailRow]) -> set[str]:
    """The participants of several payments that are open or in hand. They are locked: nobody adds a payment
    of theirs meanwhile, and what was added before is seen by a statement that begins now."""
    connection = await session.connection()
    people = [each.participant_id for each in details]
    found = await connection.execute(_opens(postgresql), {"people": people})
    known = {(each.participant_id, each.payment_id) for each in details} | {tuple(row) for row in found}
    several = Counter(participant_id for participant_id, _ in known)
    return {participant_id for participant_id, count in several.items() if count > 1}


@lru_cache
def _opens(postgresql: bool) -> Select[Any]:
    detail = inspect(PaymentDetail).columns
    return select(detail.participant_id, detail.payment_id).where(
        among(detail.participant_id, "people", postgresql=postgresql), detail.provider_open
    )
