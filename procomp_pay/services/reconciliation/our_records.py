"""Our side of a comparison: payments as the judge sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlalchemy.orm import load_only
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.records import LocalRecord, LocalRefund, RegistrationState
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    Channel,
    CreateState,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.services.settlement.side_effects import provider_reference
from procomp_pay.storage.models.payments import PaymentDetail, Refund
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments import kaspi_operations
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: A payment that is still open so long after its end is stuck: background work has had its turns.
_STRIPE_LIFE = timedelta(hours=24)
_GRACE = {True: timedelta(minutes=10), False: timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class CoverageWindow:
    """What was read of the provider.

    :param since: from here, to before ``until``, whatever our books have as settled must be there.
    :param by_payment_time: the window is about when the money came (a statement), not when it was started.
    :param whole: nothing is missing of it; else nothing is expected.
    :param read_at: when reading began: what changed since is left for the next run.
    """

    since: datetime
    until: datetime
    by_payment_time: bool
    whole: bool = True
    read_at: datetime | None = None

    def covers(self, at: datetime | None) -> bool:
        return self.whole and at is not None and self.since <= at < self.until


#: What :func:`as_ours` looks at: of three rows of seventy columns a third.
_LOOKED_AT = (
    load_only(
        *(Payment.stripe_payment_id, Payment.kaspi_qr_code, Payment.kaspi_transaction_id),  # type: ignore[arg-type]
        *(Payment.status, Payment.tournament_id, Payment.updated_at),  # type: ignore[arg-type]
    ),
    load_only(
        *(PaymentDetail.channel, PaymentDetail.create_state, PaymentDetail.provider_open),  # type: ignore[arg-type]
        *(PaymentDetail.provider_ref, PaymentDetail.charged_amount, PaymentDetail.charged_currency),  # type: ignore[arg-type]
        *(PaymentDetail.is_late, PaymentDetail.is_duplicate, PaymentDetail.dispute_id),  # type: ignore[arg-type]
        *(PaymentDetail.dispute_state, PaymentDetail.news_at, PaymentDetail.completed_at),  # type: ignore[arg-type]
        *(PaymentDetail.created_at, PaymentDetail.updated_at, PaymentDetail.sent_at),  # type: ignore[arg-type]
        *(PaymentDetail.expires_at, PaymentDetail.scanned_at, PaymentDetail.scan_timeout_s),  # type: ignore[arg-type]
        *(PaymentDetail.confirm_timeout_s, PaymentDetail.poll_interval_s),  # type: ignore[arg-type]
    ),
    load_only(Participant.status, Participant.payment_id, Participant.tournament_id),  # type: ignore[arg-type]
)


async def held_by_id(
    session: AsyncSession, payment_ids: list[str], *options: ORMOption
) -> dict[str, OrmLockedPayment]:
    """Payments with their rows, not locked; those that this desk did not take are left out."""
    found = await session.exec(
        select(Payment, PaymentDetail, Participant)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .where(col(Payment.id).in_(payment_ids))
        .options(*options)
        .execution_options(populate_existing=True)
    )
    return {payment.id: OrmLockedPayment(payment, detail, who) for payment, detail, who in found.all()}


async def ours_by_id(
    session: AsyncSession, payment_ids: list[str], coverage: CoverageWindow, now: datetime
) -> dict[str, LocalRecord]:
    """The payments as the judge sees them, by id."""
    rows = await held_by_id(session, payment_ids, *_LOOKED_AT)
    refunds = await refund_repository.of_payments(session, list(rows))
    kaspis = [name for name, locked in rows.items() if locked.detail.channel.is_kaspi]
    used = await kaspi_operations.of_payments(session, kaspis)
    return {
        name: as_ours(locked, refunds.get(name, []), used.get(name, []), coverage, now)
        for name, locked in rows.items()
    }


def as_ours(
    locked: OrmLockedPayment,
    refunds: list[Refund],
    numbers: list[str],
    coverage: CoverageWindow,
    now: datetime,
) -> LocalRecord:
    """One payment as the judge sees it.

    :param numbers: Kaspi's, of the operations for it, oldest first.
    """
    payment, detail = locked.payment, locked.detail
    paid_at = detail.news_at or detail.completed_at
    touched = [payment.updated_at, detail.updated_at, *(each.updated_at for each in refunds)]
    dispute = (detail.dispute_id, detail.dispute_state)
    told = coverage.by_payment_time or not detail.channel.is_kaspi
    return LocalRecord(
        key=payment.id,
        payment_id=payment.id,
        ref=provider_reference(locked),
        number=_settled_by(locked, numbers),
        status=payment.status,
        money=locked.charged,
        place=place_of(locked),
        refunds=tuple(_refund(each, coverage, can_be_missed=told) for each in refunds),
        dispute=dispute if _is_known(dispute) else None,  # type: ignore[arg-type]
        late=detail.is_late,
        duplicate=detail.is_duplicate,
        expected=_is_told(locked, coverage)
        and coverage.covers(paid_at if coverage.by_payment_time else detail.created_at),
        overdue=is_overdue(locked, now),
        changed_since_read=coverage.read_at is not None and max(touched) >= coverage.read_at,
    )


def _settled_by(locked: OrmLockedPayment, numbers: list[str]) -> str | None:
    """The first number; the second where the first is the QR's own, which the customer's receipt shows."""
    own = provider_reference(locked)
    return next((each for each in numbers[:2] if each != own), None)


def _is_known(dispute: tuple[str | None, DisputeState | None]) -> bool:
    return None not in dispute


def _is_told(locked: OrmLockedPayment, coverage: CoverageWindow) -> bool:
    """Whether the side that was read could tell of it. Kaspi's API has no list: what came by bill, or by a
    clerk's word after a lost answer, cannot be asked for, and is not missed there."""
    detail = locked.detail
    opened = detail.create_state is CreateState.OPEN and detail.provider_ref is not None
    return coverage.by_payment_time or not detail.channel.is_kaspi or opened


def _refund(row: Refund, coverage: CoverageWindow, *, can_be_missed: bool) -> LocalRefund:
    """Kaspi's API tells a sum at most, never single refunds: none is missed there by itself."""
    went = row.sent_at or row.created_at
    expected = can_be_missed and coverage.covers(went)
    return LocalRefund(row.id, row.provider_refund_id, row.amount, row.state, expected)


def place_of(locked: OrmLockedPayment) -> RegistrationState:
    """How the participant stands towards the payment."""
    who, payment = locked.participant, locked.payment
    if who is None or who.status is ParticipantStatus.CANCELLED:
        return RegistrationState.GONE
    if who.payment_id not in (None, payment.id):
        return RegistrationState.OTHER
    if who.payment_id == payment.id and who.status is ParticipantStatus.PAID:
        return RegistrationState.TAKEN
    return RegistrationState.FREE if who.tournament_id == payment.tournament_id else RegistrationState.GONE


def is_overdue(locked: OrmLockedPayment, now: datetime) -> bool:
    """Whether it still waits, here or at its provider, though its life is over."""
    waits = locked.payment.status in OPEN_STATUSES or (
        locked.detail.provider_open
        and locked.payment.status in (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED)
    )
    if not waits or locked.detail.create_state is CreateState.NEVER:
        return False
    if locked.detail.channel.is_kaspi:
        end = kaspi_schedule(locked).final_poll_at
    else:
        end = locked.detail.expires_at or locked.detail.created_at + _STRIPE_LIFE
    return now >= end + _GRACE[locked.detail.channel.is_kaspi]


async def open_ids(session: AsyncSession, provider: str, *, after: str, limit: int) -> list[str]:
    """Payments of any age that still wait, here or at their provider, by id."""
    found = await session.exec(
        select(Payment.id)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(col(Payment.status).in_(OPEN_STATUSES), col(Payment.id) > after, of_provider(provider))
        .order_by(col(Payment.id))
        .limit(limit)
    )
    return list(found.all())


async def ids_in(
    session: AsyncSession, provider: str, since: datetime, until: datetime, *, after: str, limit: int
) -> list[str]:
    """Payments that were started in a window, by id."""
    found = await session.exec(
        select(PaymentDetail.payment_id)
        .where(
            PaymentDetail.created_at >= since,
            PaymentDetail.created_at < until,
            col(PaymentDetail.payment_id) > after,
            of_channel(provider),
        )
        .order_by(col(PaymentDetail.payment_id))
        .limit(limit)
    )
    return list(found.all())


async def count_in(session: AsyncSession, provider: str, since: datetime, until: datetime) -> int:
    """How many payments were started in a window."""
    found = await session.exec(
        select(func.count(col(PaymentDetail.payment_id))).where(
            PaymentDetail.created_at >= since, PaymentDetail.created_at < until, of_channel(provider)
        )
    )
    return found.one()


async def first_start(session: AsyncSession, provider: str) -> datetime | None:
    """When the first payment of a provider was started."""
    query = (
        select(PaymentDetail.created_at)
        .where(of_channel(provider))
        .order_by(col(PaymentDetail.created_at))
        .limit(1)
    )
    return (await session.exec(query)).first()


def of_provider(provider: str) -> ColumnElement[bool]:
    """The condition on "Payment"."""
    kaspi = col(Payment.method) == PaymentMethod.KASPI_QR
    return kaspi if provider == "kaspi" else col(Payment.method) != PaymentMethod.KASPI_QR


def of_channel(provider: str) -> ColumnElement[bool]:
    """The condition on pay_payment_detail."""
    return col(PaymentDetail.channel).in_(
        [each for each in Channel if each.is_kaspi == (provider == "kaspi")]
    )
