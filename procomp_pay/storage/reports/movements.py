"""Read each payment and each refund of a period with its names, fee and numbers, one row after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Text, case, func, literal, select, type_coerce
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import AnyMethod
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import UNKNOWN, Participant, Payment, Tournament
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.registrations import ParticipantDetail
from procomp_pay.storage.payments.refunds import named_by
from procomp_pay.storage.reports.attempts import Scope, rows

# the tables for SQL expressions, which the type checker does not understand
_payment: Any = Payment
_detail: Any = PaymentDetail
_participant: Any = Participant
_extra: Any = ParticipantDetail
_tournament: Any = Tournament
_refund: Any = Refund
_audit: Any = AuditEntry
_movement: Any = ProviderMovement


@dataclass(frozen=True, slots=True)
class MovementRow:
    """A payment or a refund.

    :param key: of the row, to recognise a second fee of the same movement.
    :param amount: what the customer paid or got back; always positive.
    :param fee, net: on the provider's balance, in ``fee_currency``; ``None`` while no source was read.
    :param source: where the payment was started.
    """

    key: str
    at: datetime
    payment_id: str
    status: str
    tournament_id: str
    tournament: str
    participant_id: str
    participant: str | None
    club: str | None
    method: AnyMethod | None
    amount: Decimal
    currency: str
    fee: Decimal | None
    net: Decimal | None
    fee_currency: str | None
    provider_number: str | None
    clerk: str
    source: str | None
    fiscal_number: Any


async def received(session: AsyncSession, scope: Scope) -> AsyncIterator[MovementRow]:
    """Yield the payments that were received in the scope, oldest first."""
    number = func.coalesce(
        _payment.kaspi_transaction_id, _payment.stripe_payment_id, _detail.provider_ref, type_=Text()
    )
    query = _query(
        _payment.id, _detail.completed_at, type_coerce(_payment.status, Text), _detail.charged_amount,
        _detail.charged_currency, number, _detail.started_by,
    )  # fmt: skip
    settled = (_movement.payment_id == _payment.id) & (_movement.kind == LineKind.PAYMENT)
    query = (
        query.join(_movement, settled, isouter=True)
        .where(_detail.completed_at.is_not(None), *scope.of(_detail.completed_at))
        .order_by(_detail.completed_at, _payment.id)
    )
    async for row in _folded(session, query):
        yield row


async def paid_back(session: AsyncSession, scope: Scope) -> AsyncIterator[MovementRow]:
    """Yield the successful refunds of the scope, oldest first."""
    query = _query(
        _refund.id, _refund.updated_at, type_coerce(_refund.state, Text), _refund.amount, _refund.currency,
        _refund.provider_refund_id, _refund.requested_by,
    )  # fmt: skip
    settled = (
        (_movement.payment_id == _payment.id) & (_movement.kind == LineKind.REFUND) & named_by(_movement.ref)
    )
    query = (
        query.join(_refund, _refund.payment_id == _payment.id)
        .join(_movement, settled, isouter=True)
        .where(_refund.state == RefundState.SUCCEEDED, *scope.of(_refund.updated_at))
        .order_by(_refund.updated_at, _refund.id)
    )
    async for row in _folded(session, query):
        yield row


def _query(key: Any, at: Any, status: Any, amount: Any, currency: Any, number: Any, clerk: Any) -> Any:
    # NULL where the participant was deleted, and not where the platform has no name
    name = func.coalesce(type_coerce(_participant.full_name, Text), UNKNOWN)
    fiscal = (
        select(_audit.after)
        .where(_audit.payment_id == _payment.id, _audit.action == "fiscal_receipt")
        .order_by(_audit.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    source = select(_audit.source).where(_audit.payment_id == _payment.id, _audit.seq == 1).scalar_subquery()
    return (
        select(
            key, at, _payment.id, status, _payment.tournament_id, type_coerce(_tournament.name, Text),
            _detail.participant_id,
            type_coerce(case((_participant.id.is_not(None), name), else_=literal(None)), Text),
            _extra.club, _payment.method, amount, type_coerce(currency, Text), _movement.fee,
            _movement.net, _movement.currency, number, clerk, source, fiscal,
        )
        .select_from(_payment)
        .join(_detail, _detail.payment_id == _payment.id)
        .join(_tournament, _tournament.id == _payment.tournament_id, isouter=True)
        .join(_participant, _participant.id == _detail.participant_id, isouter=True)
        .join(_extra, _extra.participant_id == _detail.participant_id, isouter=True)
    )  # fmt: skip


async def _folded(session: AsyncSession, query: Any) -> AsyncIterator[MovementRow]:
    """Yield each movement once: what a provider reports in several lines is added up."""
    last: MovementRow | None = None
    async for raw in rows(session, query):
        row = MovementRow(*raw)
        if last is not None and last.key == row.key:
            last = _added(last, row)
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last


def _added(first: MovementRow, second: MovementRow) -> MovementRow:
    known = None not in (first.fee, first.net, second.fee, second.net)
    if not known or first.fee_currency != second.fee_currency:
        return first if first.fee is not None else replace(second)
    return replace(
        first,
        fee=(first.fee or Decimal()) + (second.fee or Decimal()),
        net=(first.net or Decimal()) + (second.net or Decimal()),
    )
