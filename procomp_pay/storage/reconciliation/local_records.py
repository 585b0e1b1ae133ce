"""Read our payments for reconciliation: by id, by provider, by the time they began."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.orm import load_only
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import OPEN_STATUSES, Channel, PaymentMethod
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: The columns that :func:`local_record_of` reads: a third of three rows of seventy columns.
COMPARED_COLUMNS = (
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


async def payments_by_id(
    session: AsyncSession, payment_ids: list[str], *options: ORMOption
) -> dict[str, OrmLockedPayment]:
    """Return payments with their rows, without locks; payments that are not ours are left out."""
    result = await session.exec(
        select(Payment, PaymentDetail, Participant)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .where(col(Payment.id).in_(payment_ids))
        .options(*options)
        .execution_options(populate_existing=True)
    )
    return {
        payment.id: OrmLockedPayment(payment, detail, participant)
        for payment, detail, participant in result.all()
    }


async def open_ids(session: AsyncSession, provider: str, *, after: str, limit: int) -> list[str]:
    """Return payments of any age that are still open, here or at their provider, ordered by id."""
    result = await session.exec(
        select(Payment.id)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(col(Payment.status).in_(OPEN_STATUSES), col(Payment.id) > after, of_provider(provider))
        .order_by(col(Payment.id))
        .limit(limit)
    )
    return list(result.all())


async def ids_started_in(
    session: AsyncSession, provider: str, since: datetime, until: datetime, *, after: str, limit: int
) -> list[str]:
    """Return payments that were started in a window, ordered by id."""
    result = await session.exec(
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
    return list(result.all())


async def count_started_in(session: AsyncSession, provider: str, since: datetime, until: datetime) -> int:
    """Return the number of payments that were started in a window."""
    result = await session.exec(
        select(func.count(col(PaymentDetail.payment_id))).where(
            PaymentDetail.created_at >= since, PaymentDetail.created_at < until, of_channel(provider)
        )
    )
    return result.one()


async def first_started_at(session: AsyncSession, provider: str) -> datetime | None:
    """Return when the first payment of a provider was started."""
    query = (
        select(PaymentDetail.created_at)
        .where(of_channel(provider))
        .order_by(col(PaymentDetail.created_at))
        .limit(1)
    )
    return (await session.exec(query)).first()


def of_provider(provider: str) -> ColumnElement[bool]:
    """Return the condition on "Payment" for a provider's payments."""
    kaspi = col(Payment.method) == PaymentMethod.KASPI_QR
    return kaspi if provider == "kaspi" else col(Payment.method) != PaymentMethod.KASPI_QR


def of_channel(provider: str) -> ColumnElement[bool]:
    """Return the condition on pay_payment_detail for a provider's payments."""
    return col(PaymentDetail.channel).in_(
        [channel for channel in Channel if channel.is_kaspi == (provider == "kaspi")]
    )
