"""Find the ids of payments: by a code, by the provider's ids, of a participant."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain import payment_code
from procomp_pay.domain.events import ProviderIds
from procomp_pay.storage.models.columns import among
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment


async def find_id(session: AsyncSession, ids: ProviderIds) -> str | None:
    """Return our payment's id for a provider's ids; ``None`` if no payment has them."""
    conditions = [
        column == value
        for column, value in (
            (Payment.stripe_payment_id, ids.payment_intent),
            (Payment.stripe_session_id, ids.checkout_session),
            (Payment.kaspi_qr_code, ids.kaspi_payment),
        )
        if value is not None
    ]
    if not conditions:
        return None
    return (await session.exec(select(Payment.id).where(or_(*conditions)).limit(1))).first()


async def find_by_code(session: AsyncSession, code: str) -> str | None:
    """Return the payment with a short code, as :func:`procomp_pay.domain.payment_code.read` returns it."""
    query = select(PaymentDetail.payment_id).where(PaymentDetail.short_code == code)
    return (await session.exec(query)).first()


async def free_code(session: AsyncSession, payment_id: str) -> str:
    """Return the first candidate code of a new payment that no other payment has."""
    for code in payment_code.candidates(payment_id):
        if await find_by_code(session, code) is None:
            return code
    raise AssertionError("the candidates never end")


async def exists(session: AsyncSession, payment_id: str) -> bool:
    """Return whether the payment is one of ours: created or adopted by this desk."""
    return await session.get(PaymentDetail, payment_id) is not None


async def existing_ids(session: AsyncSession, payment_ids: Collection[str]) -> set[str]:
    """Return those of these ids that are our payments."""
    connection = await session.connection()
    key: Any = PaymentDetail.payment_id
    query = select(key).where(among(key, "payments", postgresql=connection.dialect.name == "postgresql"))
    return set((await connection.execute(query, {"payments": list(payment_ids)})).scalars())


async def open_ids(session: AsyncSession, participant_id: str) -> list[str]:
    """Return a participant's payments through which money can still arrive, newest first."""
    result = await session.exec(
        select(PaymentDetail.payment_id)
        .where(PaymentDetail.participant_id == participant_id, col(PaymentDetail.provider_open))
        .order_by(col(PaymentDetail.created_at).desc())
    )
    return list(result.all())


async def ids_by_stripe_ref(session: AsyncSession, intents: list[str], sessions: list[str]) -> dict[str, str]:
    """Return our payment's id for each of these PaymentIntents and Checkout Sessions that is known."""
    if not (intents or sessions):
        return {}
    result = await session.exec(
        select(Payment.id, Payment.stripe_payment_id, Payment.stripe_session_id).where(
            or_(col(Payment.stripe_payment_id).in_(intents), col(Payment.stripe_session_id).in_(sessions))
        )
    )
    return {ref: payment_id for payment_id, *refs in result for ref in refs if ref}
