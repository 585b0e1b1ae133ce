"""Lock payments without the ORM, many at once or one that was opened; write them by one statement.

Settlement works on a :class:`LockedPayment` and does not know whether it is one of many. Here its rows are
plain objects, without the cost of the ORM, and audit entries and messages are collected and written at the
end by :meth:`Batch.write`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, inspect, select, true
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit.chain import AuditRecord, Chains
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.columns import Row, among, listed
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments.locked_payment import (
    DetailRow,
    LockedPayment,
    OpenDetailRow,
    ParticipantRow,
    PaymentRow,
)
from procomp_pay.storage.payments.repository import OrmLockedPayment

DetailT = TypeVar("DetailT", bound=DetailRow)


class _TrackedRows:
    """One table's rows of a batch, with their original values.

    :param kind: a dataclass whose fields are attributes of the table, the key first.
    """

    def __init__(self, table: type[Row], kind: type[Any]) -> None:
        self.table = table
        self.names = [field.name for field in fields(kind)]
        self._values = attrgetter(*self.names)
        self._originals: list[tuple[Any, tuple[Any, ...]]] = []

    def take(self, row: Any) -> None:
        """Track changes of a row from now on."""
        self._originals.append((row, self._values(row)))

    def changes(self) -> list[dict[str, Any]]:
        """Return the changed rows: the key, and the columns that changed in any of them."""
        pairs_of_values = [(self._values(row), old) for row, old in self._originals]
        changed = [(new, old) for new, old in pairs_of_values if new != old]
        columns = [
            n for n in range(len(self.names)) if n == 0 or any(new[n] != old[n] for new, old in changed)
        ]
        return [{self.names[n]: new[n] for n in columns} for new, _ in changed]


class Batch:
    """The payments that a transaction has locked, and what it writes at its end."""

    def __init__(self, detail: type[DetailRow] = DetailRow) -> None:
        self.locked: dict[str, BatchedPayment] = {}
        self.chains = Chains({})
        self.messages: list[dict[str, Any]] = []
        self._payments = _TrackedRows(Payment, PaymentRow)
        self._details = _TrackedRows(PaymentDetail, detail)
        self._participants = _TrackedRows(Participant, ParticipantRow)

    def take(self, locked: BatchedPayment) -> None:
        """Add a payment."""
        self.locked[locked.payment.id] = locked
        self._payments.take(locked.payment)
        self._details.take(locked.detail)
        self._participants.take(locked.participant)

    async def write(self, session: AsyncSession, *more: Write) -> None:
        """Write the changed rows, the messages and the audit entries, and ``more`` together with them."""
        tracked = (self._payments, self._details, self._participants)
        await write_all(
            session,
            [
                *(Write(Action.UPDATE, rows.table, rows.changes()) for rows in tracked),
                Write(Action.INSERT_ONCE, OutboxMessage, self.messages),
                Write(Action.INSERT, AuditEntry, self.chains.added),
                *more,
            ],
        )


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
        """Do nothing: a batch takes only participants with one open payment."""


async def lock_payments(session: AsyncSession, payment_ids: Collection[str]) -> Batch:
    """Lock those payments that can be locked at once, with their details and participants.

    Left out, to be processed alone: a payment or participant that is locked at this moment (waiting here
    could deadlock two batches), a payment whose participant was deleted, and one whose participant has
    another payment that is open or in the batch, or is linked to another one, which may be unpaid.
    """
    batch = Batch()
    if not payment_ids:
        return batch
    postgresql = session.get_bind().dialect.name == "postgresql"
    connection = await session.connection()
    result = await connection.execute(_select_locked(postgresql), {"payments": list(payment_ids)})
    rows = [_rows_of(row, DetailRow) for row in result]
    several = await _participants_with_several(session, postgresql, [detail for _, detail, _ in rows])
    for payment, detail, participant in rows:
        if participant.id not in several and participant.payment_id in (None, payment.id):
            batch.take(BatchedPayment(payment, detail, participant, batch))
    batch.chains = await Chains.read(session, list(batch.locked))
    return batch


@dataclass(slots=True)
class OpenedPayment(BatchedPayment):
    """One payment, with what it is paid with."""

    detail: OpenDetailRow


#: A payment with what it is paid with (address, QR token, client secret), whichever way its rows were read.
PaymentWithSecrets: TypeAlias = OrmLockedPayment | OpenedPayment


async def lock_opened(session: AsyncSession, payment_id: str) -> tuple[Batch, OpenedPayment] | None:
    """Lock one payment to store what its provider has opened, as :func:`lock_payments` does.

    ``None`` in the cases in which those leave a payment out: it has to be locked with its ORM rows. Other
    open payments of the participant do not matter here: opening a payment settles nothing.
    """
    connection = await session.connection()
    row = (await connection.execute(_select_opened(), {"payment": payment_id})).first()
    if row is None:
        return None
    *columns, seq, digest = row
    payment, detail, participant = _rows_of(columns, OpenDetailRow)
    if participant.payment_id not in (None, payment_id):
        return None
    batch = Batch(OpenDetailRow)
    locked = OpenedPayment(payment, detail, participant, batch)
    batch.take(locked)
    batch.chains = Chains({} if seq is None else {payment_id: (seq, digest)})
    return batch, locked


@lru_cache
def _select_opened() -> Select[Any]:
    """Select and lock one payment, with the end of its audit chain.

    The end is that of the statement's start. If another transaction has appended an entry until the lock is
    taken, the next one has a number that exists: :class:`DatabaseBusy`, and everything is done again.
    """
    payment, entry = inspect(Payment).columns, inspect(AuditEntry).columns
    last = entry.payment_id == payment.id
    ends = (
        select(column).where(last).order_by(entry.seq.desc()).limit(1).scalar_subquery()
        for column in (entry.seq, entry.hash)
    )
    return (
        _joined(OpenDetailRow).add_columns(*ends).where(payment.id == bindparam("payment"))
    ).with_for_update(skip_locked=True)


_DETAIL = len(fields(PaymentRow))


def _rows_of(row: Any, kind: type[DetailT]) -> tuple[PaymentRow, DetailT, ParticipantRow]:
    participant = _DETAIL + len(fields(kind))
    return (
        PaymentRow(*row[:_DETAIL]),
        kind(*row[_DETAIL:participant]),
        ParticipantRow(*row[participant:]),
    )


@lru_cache
def _select_locked(postgresql: bool) -> Select[Any]:
    """Select and lock all three rows: a locked row is read in its present state, not in that at the
    statement's start."""
    payment, detail, participant = (inspect(table).columns for table in (Payment, PaymentDetail, Participant))
    query = (
        _joined(DetailRow)
        .order_by(payment.id)
        .with_for_update(
            skip_locked=True, of=[c.table for c in (payment.id, detail.payment_id, participant.id)]
        )
    )
    if postgresql:
        payment_id = listed("payments")
        return query.join(payment_id.table, payment_id == payment.id)
    return query.where(among(payment.id, "payments", postgresql=False))


def _joined(kind: type[DetailRow]) -> Select[Any]:
    payment, detail, participant = (inspect(table).columns for table in (Payment, PaymentDetail, Participant))
    selected = [*_of(payment, PaymentRow), *_of(detail, kind), *_of(participant, ParticipantRow)]
    return (
        select(*selected)
        .join_from(payment.id.table, detail.payment_id.table, detail.payment_id == payment.id)
        .join(participant.id.table, participant.id == detail.participant_id)
    )


def _of(columns: Any, kind: type[Any]) -> Iterable[ColumnElement[Any]]:
    return (columns[field.name] for field in fields(kind))


async def _participants_with_several(
    session: AsyncSession, postgresql: bool, details: list[DetailRow]
) -> set[str]:
    """Return the participants with several payments open or in the batch. They are locked, so that no payment
    is added for them meanwhile, and a statement that begins now sees those added before.
    """
    connection = await session.connection()
    participants = [detail.participant_id for detail in details]
    result = await connection.execute(_select_open(postgresql), {"participants": participants})
    pairs = {(detail.participant_id, detail.payment_id) for detail in details} | {
        tuple(row) for row in result
    }
    counts = Counter(participant_id for participant_id, _ in pairs)
    return {participant_id for participant_id, count in counts.items() if count > 1}


@lru_cache
def _select_open(postgresql: bool) -> Select[Any]:
    """Select the open payments of each participant, of several at least two."""
    detail = inspect(PaymentDetail).columns
    query = select(detail.participant_id, detail.payment_id).where(detail.provider_open)
    if not postgresql:
        return query.where(among(detail.participant_id, "participants", postgresql=False))
    participant_id = listed("participants")
    of_one = query.where(detail.participant_id == participant_id).limit(2).lateral("open")
    return select(*of_one.c).join_from(participant_id.table, of_one, true())
