"""Read Kaspi's operation numbers: the payment that each settled, and its participant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, func
from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT, ABOUT_MONEY
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, PaymentMethod, PaymentStatus
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.paid import is_settled
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.payments.listing import Row


@dataclass(frozen=True, slots=True)
class Owner:
    """The participant of a payment, for messages: ``None`` if the platform deleted it."""

    full_name: str | None
    category: str | None


async def of_payment(session: AsyncSession, payment_id: str) -> list[KaspiOperation]:
    """Return the operations that settled a payment, oldest first. There is one, unless something went
    wrong."""
    result = await session.exec(
        select(KaspiOperation)
        .where(KaspiOperation.payment_id == payment_id)
        .order_by(col(KaspiOperation.created_at), col(KaspiOperation.operation_number))
    )
    return list(result.all())


async def of_payments(session: AsyncSession, payment_ids: list[str]) -> dict[str, list[str]]:
    """Return the operation numbers of many payments, by payment, oldest first."""
    if not payment_ids:
        return {}
    rows = await session.exec(
        select(KaspiOperation.payment_id, KaspiOperation.operation_number)
        .where(col(KaspiOperation.payment_id).in_(payment_ids))
        .order_by(col(KaspiOperation.created_at), col(KaspiOperation.operation_number))
    )
    numbers: dict[str, list[str]] = {}
    for payment_id, number in rows.all():
        numbers.setdefault(payment_id, []).append(number)
    return numbers


async def used_by(session: AsyncSession, number: str) -> KaspiOperation | None:
    """Return the operation that used a number, or ``None``."""
    return await session.get(KaspiOperation, number, populate_existing=True)


async def counted_elsewhere(session: AsyncSession, payment_ids: Collection[str]) -> set[str]:
    """Return those of these payments whose only operation number settled another payment."""
    query = (
        select(Payment.id)
        .join(KaspiOperation, col(KaspiOperation.operation_number) == col(Payment.kaspi_transaction_id))
        .where(col(Payment.id).in_(payment_ids), KaspiOperation.payment_id != Payment.id)
    )
    ids = set((await session.exec(query)).all())
    return ids - (await of_payments(session, sorted(ids))).keys()


async def among_used(session: AsyncSession, numbers: Collection[str]) -> set[str]:
    """Return those of these operation numbers that are used."""
    if not numbers:
        return set()
    query = select(KaspiOperation.operation_number).where(col(KaspiOperation.operation_number).in_(numbers))
    return set((await session.exec(query)).all())


async def qr_of(session: AsyncSession, number: str) -> str | None:
    """Return our payment whose QR has this number at Kaspi, which its receipt can show."""
    query = select(PaymentDetail.payment_id).where(PaymentDetail.provider_ref == number)
    return (await session.exec(query)).first()


async def came_under(session: AsyncSession, number: str) -> str | None:
    """Return our payment for which money arrived under this number that did not settle it, such as another
    amount; also after somebody decided about it, or after other money settled it.

    There is a discrepancy for each, by which it is found: the platform's table has no index of numbers, and
    has one number for each payment.
    """
    # a duplicate that was accepted may be the fee of somebody else, who has paid by this QR
    is_accepted = and_(Discrepancy.kind == "DUPLICATE_PAYMENT", Discrepancy.resolution == "accept")
    names_it = and_(
        col(Discrepancy.kind).in_([kind.value for kind in ABOUT_MONEY]),
        func.coalesce(is_accepted, False).is_(False),
        cast(col(Discrepancy.detail), Text).contains(f'"{number}"', autoescape=True),
    )
    query = (
        select(Payment.id)
        .join(Discrepancy, col(Discrepancy.payment_id) == col(Payment.id))
        .where(or_(Payment.kaspi_transaction_id == number, names_it))
        .order_by(col(Discrepancy.opened_at), col(Discrepancy.id))
    )
    return (await session.exec(query.limit(1))).first()


async def of_platform(session: AsyncSession, number: str) -> str | None:
    """Return the payment that the platform took by itself under this number and that is not adopted."""
    adopted = select(PaymentDetail.payment_id).where(PaymentDetail.payment_id == Payment.id).exists()
    status = col(Payment.status)
    # adopting one that is not paid leaves its number free; a status of the platform's own may mean paid
    may_be_paid = or_(
        status.is_(None), status.not_in([each for each in PaymentStatus if each not in PAID_STATUSES])
    )
    query = select(Payment.id).where(
        col(Payment.kaspi_transaction_id).in_((number, f"QR{number}")), may_be_paid, ~adopted
    )  # as the platform may have stored it
    return (await session.exec(query.limit(1))).first()


async def is_amount_in_doubt(session: AsyncSession, payment_id: str) -> bool:
    """Return whether another amount arrived for a payment and still awaits a decision."""
    query = select(Discrepancy.id).where(
        Discrepancy.payment_id == payment_id,
        Discrepancy.state == DiscrepancyState.OPEN,
        col(Discrepancy.kind).in_([kind.value for kind in ABOUT_AMOUNT]),
    )
    return (await session.exec(query.limit(1))).first() is not None


async def participant_of(session: AsyncSession, payment_id: str) -> str | None:
    """Return the id of a payment's participant."""
    query = select(PaymentDetail.participant_id).where(PaymentDetail.payment_id == payment_id)
    return (await session.exec(query)).first()


async def owner(session: AsyncSession, payment_id: str) -> Owner:
    """Return the participant of a payment."""
    query = (
        select(Participant.full_name, Participant.category)
        .join(PaymentDetail, col(PaymentDetail.participant_id) == col(Participant.id))
        .where(PaymentDetail.payment_id == payment_id)
    )
    row = (await session.exec(query)).first()
    return Owner(*row) if row else Owner(None, None)


_ENDED = (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED, PaymentStatus.FAILED)


async def unsettled_kaspi(session: AsyncSession, *, ended_since: datetime, limit: int) -> list[Row]:
    """Return Kaspi payments of participants whose fee is not settled, oldest first: all open ones, and those
    started since ``ended_since`` that ended without known money."""
    query: Any = (
        select(Payment, PaymentDetail, Participant, Tournament)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id))
        .join(Tournament, col(Tournament.id) == col(Payment.tournament_id))
        .where(
            Payment.method == PaymentMethod.KASPI_QR,
            or_(col(Participant.payment_id).is_(None), ~is_settled()),
            or_(
                _in(OPEN_STATUSES),
                and_(_in(_ENDED), col(Payment.created_at) >= ended_since),
            ),
        )
        .order_by(col(PaymentDetail.created_at), col(PaymentDetail.payment_id))
        .limit(limit)
    )
    return [tuple(row) for row in (await session.exec(query)).all()]


def _in(statuses: Collection[PaymentStatus]) -> Any:
    return col(Payment.status).in_(list(statuses))
