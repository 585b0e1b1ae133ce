"""List payments, newest first, by keyset: page 10,000 is as fast as page 1."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, cast

from sqlalchemy import and_, bindparam, literal, or_, tuple_
from sqlalchemy.orm import aliased, join, outerjoin
from sqlmodel import SQLModel, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import (
    AnyMethod,
    AnyParticipantStatus,
    AnyStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.domain.text import N_
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.paid import is_paid
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DiscrepancyState

#: The most that the platform's and our time of one payment differ.
_APART = timedelta(minutes=1)

#: Named tuples with these attributes of the models: objects of the ORM take four times as long.
Row = tuple[Payment, PaymentDetail, Participant | None, Tournament]
_SHOWN: dict[type[SQLModel], tuple[str, ...]] = {
    Payment: (
        "id", "status", "method", "kaspi_transaction_id", "failure_reason", "created_at", "updated_at",
    ),
    PaymentDetail: (
        "participant_id", "channel", "provider_open", "provider_ref", "short_code", "wallet", "payment_url",
        "client_secret_enc", "qr_token_enc", "requested_amount", "requested_currency", "charged_amount",
        "charged_currency", "refunded_amount", "is_late", "is_duplicate", "scanned_at", "expires_at",
        "completed_at", "dispute_id", "dispute_state", "dispute_amount", "dispute_reason", "dispute_due_at",
        "started_by", "created_at",
    ),
    Participant: ("id", "full_name", "category", "status", "payment_id"),
    Tournament: ("id", "name"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on payments; ``None`` means any. ``since`` is inclusive, ``until`` exclusive."""

    participant_id: str | None = None
    payment_id: str | None = None
    status: PaymentStatus | None = None
    method: PaymentMethod | None = None
    tournament_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    disputed: bool | None = None


async def page(
    session: AsyncSession, filters: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """Return a page, and the cursor of the next one; ``None`` at the end.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(N_("limit is 1 to %(most)s, not %(limit)s", most=MOST, limit=limit))
    order_by = _order_columns(filters)
    query = (
        _source()
        .where(*_conditions(filters))
        .order_by(*(column.desc() for column in order_by))
        .limit(limit + 1)
    )
    if cursor is not None:
        at, payment_id = read_cursor(cursor)
        # compared as a row, because the databases cannot seek in the index by an OR
        query = query.where(tuple_(*order_by) < tuple_(literal(at, order_by[0].type), literal(payment_id)))
    rows = [_named(row) for row in (await session.exec(query)).all()]
    if len(rows) <= limit:
        return rows, None
    payment, detail = rows[limit - 1][:2]
    at = payment.created_at if _by_platform(filters) else detail.created_at
    return rows[:limit], write_cursor(at, payment.id)


@cache
def _source() -> Any:
    columns = [getattr(model, name) for model, names in _SHOWN.items() for name in names]
    return (
        select(*columns)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .join(Tournament, col(Tournament.id) == col(Payment.tournament_id))
    )


def _named(row: Sequence[Any]) -> Row:
    """Return a row as one named tuple for each model; ``None`` for a participant that is gone."""
    payment, detail, participant, tournament = (make(*row[start:end]) for make, start, end in _NAMED)
    return cast(Row, (payment, detail, None if participant.id is None else participant, tournament))


_ENDS = list(accumulate(map(len, _SHOWN.values()), initial=0))
_NAMED: list[tuple[Any, int, int]] = [
    (namedtuple(model.__name__, names), start, end)
    for (model, names), (start, end) in zip(_SHOWN.items(), pairwise(_ENDS), strict=True)
]


class Standing(NamedTuple):
    """A participant, and the payment that settled the fee, else the newest one.

    :param settled_by: the paid payment that the participant is linked to, which may be none of ours.
    :param payment: id, participant, status, method, charged amount and currency, the platform's times of its
        creation and last change, reason of a failure; ``None`` if there is none.
    """

    owner_id: str | None
    id: str
    full_name: str
    status: AnyParticipantStatus
    settled_by: str | None
    payment: tuple[Any, ...] | None


async def standing(session: AsyncSession, participant_id: str) -> Standing | None:
    """Return how a participant stands, by one SELECT; ``None`` if there is no such participant."""
    row: Any = (await session.exec(_standing(), params={"participant_id": participant_id})).first()
    if row is None:
        return None
    payment = None if row[5] is None else tuple(row[5:])
    return Standing._make((*row[:5], payment))


@cache
def _standing() -> Any:
    settled = aliased(Payment)
    ours = join(PaymentDetail, Payment, col(Payment.id) == col(PaymentDetail.payment_id))
    is_it = or_(col(settled.id).is_(None), col(PaymentDetail.payment_id) == col(settled.id))
    source = outerjoin(
        outerjoin(
            Participant, settled, and_(col(settled.id) == col(Participant.payment_id), is_paid(settled))
        ),
        ours,
        and_(col(PaymentDetail.participant_id) == col(Participant.id), is_it),
    )
    columns: list[Any] = [
        Participant.user_id, Participant.id, Participant.full_name, Participant.status, settled.id,
        Payment.id, PaymentDetail.participant_id, Payment.status, Payment.method,
        PaymentDetail.charged_amount, PaymentDetail.charged_currency, Payment.created_at,
        Payment.updated_at, Payment.failure_reason,
    ]  # fmt: skip
    return (
        select(*columns)
        .select_from(source)
        .where(col(Participant.id) == bindparam("participant_id"))
        .order_by(col(PaymentDetail.created_at).desc(), col(PaymentDetail.payment_id).desc())
        .limit(1)
    )


def _by_platform(filters: Filter) -> bool:
    """Return whether the platform's indexes are used, which begin with the status or the tournament."""
    return filters.status is not None or filters.tournament_id is not None


def _order_columns(filters: Filter) -> tuple[Any, Any]:
    """Return the columns that order the list and mark the start of a page."""
    if _by_platform(filters):
        return col(Payment.created_at), col(Payment.id)
    return col(PaymentDetail.created_at), col(PaymentDetail.payment_id)


def _conditions(filters: Filter) -> list[Any]:
    pairs: list[tuple[Any, Any]] = [
        (PaymentDetail.participant_id, filters.participant_id),
        (PaymentDetail.payment_id, filters.payment_id),
        (Payment.status, filters.status),
        (Payment.method, filters.method),
        (Payment.tournament_id, filters.tournament_id),
    ]
    conditions = [column == value for column, value in pairs if value is not None]
    # the platform's times are cut to milliseconds and differ slightly from ours: they only narrow the search
    if filters.since is not None:
        conditions.append(col(PaymentDetail.created_at) >= filters.since)
        conditions.append(col(Payment.created_at) >= filters.since - _APART)
    if filters.until is not None:
        conditions.append(col(PaymentDetail.created_at) < filters.until)
        conditions.append(col(Payment.created_at) < filters.until + _APART)
    if filters.disputed is not None:
        state = col(PaymentDetail.dispute_state)
        conditions.append(state.is_not(None) if filters.disputed else state.is_(None))
    return conditions


async def settling(
    session: AsyncSession, payment_ids: Collection[str]
) -> dict[str, tuple[AnyMethod, datetime]]:
    """Return how and when these payments were paid, by payment; those that are unpaid are left out."""
    result = await session.exec(
        select(Payment.id, Payment.method, PaymentDetail.completed_at, Payment.updated_at)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(col(Payment.id).in_(payment_ids), is_paid())
    )
    rows: Sequence[Any] = result.all()
    return {
        payment_id: (method or PaymentMethod.KASPI_QR, completed_at or updated_at)
        for payment_id, method, completed_at, updated_at in rows
    }


async def count_by_status(session: AsyncSession, tournament_id: str) -> dict[AnyStatus, int]:
    """Return the number of a tournament's payments by status."""
    result = await session.exec(
        select(Payment.status, func.count())
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(Payment.tournament_id == tournament_id)
        .group_by(col(Payment.status))
    )
    rows: Sequence[Any] = result.all()
    return dict(rows)


async def other_amounts(session: AsyncSession, payment_ids: Collection[str]) -> dict[str, Discrepancy]:
    """Return the open discrepancies about another amount that came for these payments, by payment."""
    kinds = [kind.value for kind in ABOUT_AMOUNT]
    result = await session.exec(
        select(Discrepancy)
        .where(
            col(Discrepancy.payment_id).in_(payment_ids),
            Discrepancy.state == DiscrepancyState.OPEN,
            col(Discrepancy.kind).in_(kinds),
        )
        .order_by(col(Discrepancy.opened_at))
    )
    return {row.payment_id: row for row in result.all() if row.payment_id is not None}
