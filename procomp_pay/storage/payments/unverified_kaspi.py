"""Kaspi payments that wait for a person at the desk."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import OPEN_STATUSES, PaymentMethod, PaymentStatus
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.payments.listing import Row

_ENDED = (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED, PaymentStatus.FAILED)


async def unsettled_kaspi(session: AsyncSession, *, ended_since: datetime, limit: int) -> list[Row]:
    """Kaspi payments of participants whose fee is not settled, oldest first: all that are open, and those
    that were started since then and ended without money that we know of."""
    query: Any = (
        select(Payment, PaymentDetail, Participant, Tournament)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id))
        .join(Tournament, col(Tournament.id) == col(Payment.tournament_id))
        .where(
            Payment.method == PaymentMethod.KASPI_QR,
            col(Participant.payment_id).is_(None),
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
