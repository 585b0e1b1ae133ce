"""Read our payments for reconciliation: by id, by provider, by the time they began."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, case
from sqlalchemy.orm import load_only
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import KASPI_CHANNELS, OPEN_STATUSES, STRIPE_CHANNELS, PaymentMethod
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments.repository import OrmLockedPayment, mark_unpaid_links

#: The columns that `services.reconciliation.our_records` reads: a third of three rows of seventy columns.
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
    rows = {
        payment.id: OrmLockedPayment(payment, detail, participant)
        for payment, detail, participant in result.all()
    }
    await mark_unpaid_links(session, rows.values())
    return rows


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


#: The most that a payment is paid, or refunded, after its start, where a statement's days are compared.
_LONGEST = timedelta(days=60)


async def ids_moved_in(session: AsyncSession, provider: str, since: datetime, until: datetime) -> list[str]:
    """Return payments that were paid or refunded in a window, and started before it."""
    started_before = (
        of_channel(provider),
        PaymentDetail.created_at < since,
        PaymentDetail.created_at >= since - _LONGEST,
    )
    paid = select(PaymentDetail.payment_id).where(*started_before, *_within(_paid_at(), since, until))
    refunded = (
        select(PaymentDetail.payment_id)
        .join(Refund, col(Refund.payment_id) == col(PaymentDetail.payment_id))
        .where(*started_before, *_within(_sent_at(), since, until))
    )
    return sorted({*(await session.exec(paid)).all(), *(await session.exec(refunded)).all()})


async def sums_moved_in(
    session: AsyncSession, provider: str, since: datetime, until: datetime
) -> dict[tuple[LineKind, str], tuple[int, Decimal]]:
    """Return the number and sum of payments that were paid in a window, and of refunds, by currency."""
    payments: Any = (
        select(col(PaymentDetail.charged_currency), func.count(), func.sum(PaymentDetail.charged_amount))
        .where(of_channel(provider), *_within(_paid_at(), since, until))
        .group_by(col(PaymentDetail.charged_currency))
    )
    refunds: Any = (
        select(col(Refund.currency), func.count(), func.sum(Refund.amount))
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Refund.payment_id))
        .where(
            of_channel(provider),
            Refund.state == RefundState.SUCCEEDED,
            *_within(_sent_at(), since, until),
        )
        .group_by(col(Refund.currency))
    )
    return {
        (kind, str(currency)): (count, amount)
        for kind, query in ((LineKind.PAYMENT, payments), (LineKind.REFUND, refunds))
        for currency, count, amount in (await session.exec(query)).all()
    }


def _paid_at() -> ColumnElement[datetime]:
    """Return when a payment was paid: when its provider said so, if that is earlier than our record."""
    news_at, completed_at = col(PaymentDetail.news_at), col(PaymentDetail.completed_at)
    return case((news_at < completed_at, news_at), else_=completed_at)


def _sent_at() -> ColumnElement[datetime]:
    return func.coalesce(col(Refund.sent_at), col(Refund.created_at))


def _within(at: ColumnElement[datetime], since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    return at >= since, at < until


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
    return col(PaymentDetail.channel).in_(KASPI_CHANNELS if provider == "kaspi" else STRIPE_CHANNELS)
