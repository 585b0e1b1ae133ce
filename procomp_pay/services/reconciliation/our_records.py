"""Build our side of a comparison from payments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.reconciliation.records import LocalRecord, LocalRefund, RegistrationState
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    PAID_STATUSES,
    CreateState,
    ParticipantStatus,
    PaymentStatus,
)
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.services.settlement.side_effects import provider_reference
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import kaspi_operations
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation.discrepancies import other_money
from procomp_pay.storage.reconciliation.local_records import COMPARED_COLUMNS, payments_by_id

#: A payment that is still open so long after its end is stuck: background work has had time to close it.
STRIPE_LIFE = timedelta(hours=24)
_GRACE = {True: timedelta(minutes=10), False: timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class CoverageWindow:
    """The window in which the provider's records were read.

    :param since: from here until before ``until`` the provider must list every settled payment.
    :param by_payment_time: the window refers to the time of the money (a statement), not of the start.
    :param whole: the window was read completely; otherwise nothing is expected.
    :param read_at: when reading began: payments that changed since are left for the next run.
    """

    since: datetime
    until: datetime
    by_payment_time: bool
    whole: bool = True
    read_at: datetime | None = None

    def covers(self, at: datetime | None) -> bool:
        return self.whole and at is not None and self.since <= at < self.until


async def local_records_by_id(
    session: AsyncSession, payment_ids: list[str], coverage: CoverageWindow, now: datetime
) -> dict[str, LocalRecord]:
    """Return the local records of payments, by id."""
    rows = await payments_by_id(session, payment_ids, *COMPARED_COLUMNS)
    refunds = await refund_repository.of_payments(session, list(rows))
    kaspi_ids = [payment_id for payment_id, locked in rows.items() if locked.detail.channel.is_kaspi]
    numbers = await kaspi_operations.of_payments(session, kaspi_ids)
    others = await other_money(session, kaspi_ids) if kaspi_ids else {}
    return {
        payment_id: local_record_of(
            locked,
            refunds.get(payment_id, []),
            numbers.get(payment_id, []),
            coverage,
            now,
            others.get(payment_id),
        )
        for payment_id, locked in rows.items()
    }


def local_record_of(
    locked: OrmLockedPayment,
    refunds: list[Refund],
    numbers: list[str],
    coverage: CoverageWindow,
    now: datetime,
    others: Mapping[str, tuple[DiscrepancyKind, str]] | None = None,
) -> LocalRecord:
    """Return the local record of one payment.

    :param numbers: Kaspi's numbers of the operations that settled it, oldest first.
    :param others: those of discrepancies about it; one of an override is also among ``numbers``.
    """
    payment, detail = locked.payment, locked.detail
    # later news, such as a refund's, do not change when it was paid
    paid_at = min((at for at in (detail.news_at, detail.completed_at) if at is not None), default=None)
    changed_at = [payment.updated_at, detail.updated_at, *(refund.updated_at for refund in refunds)]
    dispute = (detail.dispute_id, detail.dispute_state)
    first = None if payment.status in PAID_STATUSES else payment.kaspi_transaction_id
    own = {*numbers, first, provider_reference(locked)}
    lists_single_refunds = coverage.by_payment_time or not detail.channel.is_kaspi
    return LocalRecord(
        key=payment.id,
        payment_id=payment.id,
        ref=provider_reference(locked),
        number=_settling_number(locked, numbers),
        status=payment.status,
        money=locked.charged,
        place=registration_state_of(locked),
        refunds=tuple(_refund(refund, coverage, can_be_expected=lists_single_refunds) for refund in refunds),
        dispute=None if None in dispute else dispute,  # type: ignore[arg-type]
        late=detail.is_late,
        duplicate=detail.is_duplicate,
        expected=_can_be_listed(locked, coverage)
        and coverage.covers(paid_at if coverage.by_payment_time else detail.created_at),
        overdue=is_overdue(locked, now),
        changed_since_read=coverage.read_at is not None and max(changed_at) >= coverage.read_at,
        other_money={name: told for name, told in (others or {}).items() if name not in own},
    )


def _settling_number(locked: OrmLockedPayment, numbers: list[str]) -> str | None:
    """Return the first number, or the second if the first is the QR's own, which the receipt shows; of a
    payment that is not paid that of money of another amount."""
    if not numbers and locked.payment.status not in PAID_STATUSES:
        return locked.payment.kaspi_transaction_id
    qr_number = provider_reference(locked)
    return next((number for number in numbers[:2] if number != qr_number), None)


def _can_be_listed(locked: OrmLockedPayment, coverage: CoverageWindow) -> bool:
    """Return whether the provider's side could contain the payment. Kaspi's API has no list, so a payment
    by bill, or one verified manually after a lost answer, cannot be asked for and is not expected there."""
    detail = locked.detail
    opened = detail.create_state is CreateState.OPEN and detail.provider_ref is not None
    return coverage.by_payment_time or not detail.channel.is_kaspi or opened


def _refund(row: Refund, coverage: CoverageWindow, *, can_be_expected: bool) -> LocalRefund:
    """Return a local refund. Kaspi's API reports at most a sum, so single refunds are not expected there."""
    sent_at = row.sent_at or row.created_at
    expected = can_be_expected and coverage.covers(sent_at)
    made_at = row.sent_at if sent_at < row.created_at else None  # else it is when we began to ask for it
    return LocalRefund(row.id, row.provider_refund_id, row.amount, row.state, expected, made_at)


def registration_state_of(locked: OrmLockedPayment) -> RegistrationState:
    """Return the participant's registration in relation to the payment."""
    participant, payment = locked.participant, locked.payment
    if participant is None or participant.status is ParticipantStatus.CANCELLED:
        return RegistrationState.GONE
    if locked.is_settled_otherwise and (locked.settled_by is not None or locked.detail.is_duplicate):
        return RegistrationState.OTHER
    unknown = isinstance(participant.status, UnknownLabel)
    if participant.payment_id == payment.id and (unknown or participant.status is ParticipantStatus.PAID):
        return RegistrationState.TAKEN
    if unknown:
        return RegistrationState.GONE
    return (
        RegistrationState.FREE
        if participant.tournament_id == payment.tournament_id
        else RegistrationState.GONE
    )


def is_overdue(locked: OrmLockedPayment, now: datetime) -> bool:
    """Return whether the payment is still open, here or at its provider, after its life is over."""
    is_open = locked.payment.status in OPEN_STATUSES or (
        locked.detail.provider_open
        and locked.payment.status in (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED)
    )
    if not is_open or locked.detail.create_state is CreateState.NEVER:
        return False
    if locked.detail.channel.is_kaspi:
        end = kaspi_schedule(locked).final_poll_at
    else:
        end = locked.detail.expires_at or locked.detail.created_at + STRIPE_LIFE
    return now >= end + _GRACE[locked.detail.channel.is_kaspi]
