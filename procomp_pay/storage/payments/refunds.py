"""Read and claim refunds."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import inspect, literal
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.refunds import RefundEvent, RefundState, kaspi_refund_id
from procomp_pay.domain.states import Channel
from procomp_pay.domain.text import N_
from procomp_pay.storage.database import claim_due as claims
from procomp_pay.storage.models.columns import among
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.refunds import Refund


async def of_payment(session: AsyncSession, payment_id: str) -> list[Refund]:
    """Return a payment's refunds, oldest first. They do not change while the payment's row is locked."""
    rows = await session.exec(
        select(Refund).where(Refund.payment_id == payment_id).order_by(col(Refund.created_at), col(Refund.id))
    )
    return list(rows.all())


async def of_payments(session: AsyncSession, payment_ids: list[str]) -> dict[str, list[Refund]]:
    """Return the refunds of each payment that has any, oldest first; ``payment_ids`` are those of a page."""
    if not payment_ids:
        return {}
    postgresql = session.get_bind().dialect.name == "postgresql"
    query = (
        select(Refund)
        .where(among(inspect(Refund).columns.payment_id, "payments", postgresql=postgresql))
        .order_by(col(Refund.created_at), col(Refund.id))
    )
    rows = await session.exec(query, params={"payments": payment_ids})
    refunds: dict[str, list[Refund]] = {}
    for row in rows.all():
        refunds.setdefault(row.payment_id, []).append(row)
    return refunds


def amounts(refunds: list[Refund]) -> list[tuple[RefundState, Decimal]]:
    """State and amount of each, as the rules take them."""
    return [(refund.state, refund.amount) for refund in refunds]


def match(refunds: list[Refund], refund_event: RefundEvent) -> Refund | None:
    """Return the refund that an event is about: by our id, else by the provider's."""
    for refund in refunds:
        if refund.id == refund_event.refund_id:
            return refund
        if (
            refund_event.provider_refund_id is not None
            and refund.provider_refund_id == refund_event.provider_refund_id
        ):
            return refund
    return None


def named_by(ref: Any) -> Any:
    """Return the condition that a refund is the one of a provider's record; Kaspi's name their number alone.

    :param ref: the column with the record's id.
    """
    return col(Refund.provider_refund_id).in_((ref, literal(kaspi_refund_id("")).concat(ref)))


async def by_provider_id(session: AsyncSession, provider_refund_id: str) -> Refund | None:
    """Return the refund with a provider's id; Kaspi's in the form of :func:`kaspi_refund_id`."""
    query = select(Refund).where(Refund.provider_refund_id == provider_refund_id)
    return (await session.exec(query)).first()


async def one(session: AsyncSession, refund_id: str) -> Refund:
    """Return a refund.

    :raises NotFound: no such refund.
    """
    refund = await session.get(Refund, refund_id, populate_existing=True)
    if refund is None:
        raise NotFound(N_("There is no refund %(refund)s", refund=repr(refund_id[:64])))
    return refund


async def claim_due(
    session: AsyncSession,
    now: datetime,
    channels: Collection[Channel],
    *,
    lease_s: int,
    limit: int,
) -> list[str]:
    """Claim refunds through these channels that are due for polling, as ``claim_due.claim_due`` does."""
    due: Any = Refund.next_look_at
    payments = select(PaymentDetail.payment_id).where(
        col(PaymentDetail.payment_id) == col(Refund.payment_id), col(PaymentDetail.channel).in_(channels)
    )
    rows = await claims.claim_due(
        session, Refund, due, now, lease_s=lease_s, limit=limit, also=[payments.exists()]
    )
    return [row.id for row in rows]


async def claim(session: AsyncSession, refund_id: str, now: datetime, *, lease_s: int, early: bool) -> bool:
    """Lease one PENDING refund for ``lease_s`` seconds; False if it is leased elsewhere or not due.

    :param early: also before it is due. Only where two attempts at once do no harm: the provider honours
        idempotency keys.
    """
    rows = await session.exec(select(Refund).where(Refund.id == refund_id).with_for_update(skip_locked=True))
    row = rows.one_or_none()
    if row is None or row.state is not RefundState.PENDING:
        return False
    if not early and row.next_look_at is not None and row.next_look_at > now:
        return False
    row.next_look_at = now + timedelta(seconds=lease_s)
    return True
