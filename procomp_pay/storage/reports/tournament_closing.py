"""Read the data of a tournament's closing sheet: its payments, and whether their books were checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Text, case, func, or_, select, type_coerce
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.models.audit import AuditEntry, AuditSeal
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import UNKNOWN, Participant, Payment
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.reports.attempts import rows

# the tables for SQL expressions, which the type checker does not understand
_payment: Any = Payment
_detail: Any = PaymentDetail
_participant: Any = Participant
_refund: Any = Refund
_audit: Any = AuditEntry
_movement: Any = ProviderMovement
_discrepancy: Any = Discrepancy
_seal: Any = AuditSeal
_run: Any = ReconciliationRun


@dataclass(frozen=True, slots=True)
class ClosingPayment:
    """A payment with its rows: of :func:`select_payments`.

    :param full_name: ``None`` if the participant was removed.
    :param source: who started it: an operator at the desk, or the app.
    """

    payment: Payment
    detail: PaymentDetail
    full_name: str | None
    category: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Seal:
    """The newest seal of the audit."""

    merkle_root: str
    sealed_at: datetime
    sealed_by: str


async def payments(
    session: AsyncSession, tournament_id: str, as_of: datetime
) -> AsyncIterator[ClosingPayment]:
    """Return payments started by then, oldest first, in their present state."""
    query = select_payments().where(_payment.tournament_id == tournament_id, _detail.created_at <= as_of)
    async for row in rows(session, query.order_by(_detail.created_at, _detail.payment_id)):
        yield ClosingPayment(*row)


def select_payments() -> Any:
    """Select the fields of :class:`ClosingPayment`."""
    # NULL where the participant was deleted, and not where the platform has no name
    name = func.coalesce(type_coerce(_participant.full_name, Text), UNKNOWN)
    full_name = type_coerce(case((_participant.id.is_not(None), name)), Text)
    return (
        select(_payment, _detail, full_name, _participant.category, _audit.source)
        .join(_detail, _detail.payment_id == _payment.id)
        .join(_participant, _participant.id == _detail.participant_id, isouter=True)
        .join(_audit, (_audit.payment_id == _payment.id) & (_audit.seq == 1), isouter=True)
    )


async def snapshots(
    session: AsyncSession, payment_ids: Collection[str], as_of: datetime
) -> dict[str, dict[str, Any]]:
    """Return the audit snapshot of each payment at a time; a payment without one yet is left out."""
    by_payment: dict[str, dict[str, Any]] = {}
    for chunk in chunks(sorted(payment_ids)):
        query = (
            select(_audit.payment_id, _audit.after)
            .where(_audit.payment_id.in_(chunk), _audit.at <= as_of)
            .order_by(_audit.payment_id, _audit.seq)
        )
        async for key, after in rows(session, query):
            if after is not None and "refunded" in after:  # a snapshot of the payment, not of one request
                by_payment[key] = after
    return by_payment


async def refunds_under_way(
    session: AsyncSession, payment_ids: Collection[str], as_of: datetime
) -> dict[str, Decimal]:
    """Return by payment the refunds that were requested and not yet completed or rejected by then."""
    amounts: dict[str, Decimal] = {}
    for chunk in chunks(sorted(payment_ids)):
        is_pending = or_(_refund.state == "PENDING", _refund.updated_at > as_of)
        query: Any = (
            select(_refund.payment_id, func.sum(_refund.amount))
            .where(_refund.payment_id.in_(chunk), _refund.created_at <= as_of, is_pending)
            .group_by(_refund.payment_id)
        )
        amounts |= {row[0]: row[1] for row in (await session.exec(query)).all()}
    return amounts


async def fees(
    session: AsyncSession, tournament_id: str, as_of: datetime
) -> tuple[dict[str, Decimal], set[str]]:
    """Return the fees read by then, by currency, and the payments whose fee is known."""
    with_fee = (
        select(_movement)
        .join(_payment, _payment.id == _movement.payment_id)
        .where(_payment.tournament_id == tournament_id, _movement.recorded_at <= as_of)
        .where(_movement.fee.is_not(None))
    )
    sums: Any = with_fee.with_only_columns(_movement.currency, func.sum(_movement.fee)).group_by(
        _movement.currency
    )
    of_payments = with_fee.with_only_columns(_movement.payment_id).where(_movement.kind == LineKind.PAYMENT)
    amounts = {row[0]: row[1] for row in (await session.exec(sums)).all()}
    return amounts, {row[0] async for row in rows(session, of_payments)}


async def discrepancies(
    session: AsyncSession, tournament_id: str, as_of: datetime
) -> tuple[list[Discrepancy], int]:
    """Return the discrepancies that were open then for the tournament's payments, and the number without
    a payment.
    """
    was_open = or_(_discrepancy.state == DiscrepancyState.OPEN, _discrepancy.resolved_at > as_of)
    open_then = select(_discrepancy).where(was_open, _discrepancy.opened_at <= as_of)
    ours: Any = (
        open_then.join(_payment, _payment.id == _discrepancy.payment_id)
        .where(_payment.tournament_id == tournament_id)
        .order_by(_discrepancy.opened_at, _discrepancy.id)
    )
    without_payment: Any = open_then.where(_discrepancy.payment_id.is_(None)).with_only_columns(func.count())
    of_tournament = [row[0] for row in (await session.exec(ours)).all()]
    return of_tournament, int((await session.exec(without_payment)).scalar())


async def last_run(
    session: AsyncSession, provider: str, first: datetime, as_of: datetime
) -> ReconciliationRun | None:
    """Return the newest reconciliation with a provider whose window overlaps the time since ``first``."""
    query: Any = (
        select(_run)
        .where(_run.provider.in_((provider, "all")), _run.started_at <= as_of)
        .where(or_(_run.window_from.is_(None), _run.window_from <= as_of))
        .where(or_(_run.window_until.is_(None), _run.window_until >= first))
        .order_by(_run.started_at.desc(), _run.id.desc())
        .limit(1)
    )
    row = (await session.exec(query)).first()
    return None if row is None else row[0]


async def newest_seal(session: AsyncSession, as_of: datetime) -> Seal | None:
    """Return the newest seal by then; ``None`` if the audit was not sealed."""
    query: Any = (
        select(_seal.merkle_root, _seal.sealed_at, _seal.sealed_by)
        .where(_seal.sealed_at <= as_of)
        .order_by(_seal.sealed_at.desc(), _seal.id.desc())
        .limit(1)
    )
    row = (await session.exec(query)).first()
    return None if row is None else Seal(*row)
