"""Lists of payments, newest first, by keyset: page 10,000 costs what page 1 costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import literal, tuple_
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament

#: Allowed difference between the platform's and our time of one payment.
_APART = timedelta(minutes=1)

Row = tuple[Payment, PaymentDetail, Participant | None, Tournament]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which payments; ``None`` means any. ``since`` is included, ``until`` is not."""

    participant_id: str | None = None
    payment_id: str | None = None
    status: PaymentStatus | None = None
    method: PaymentMethod | None = None
    tournament_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    disputed: bool | None = None


async def page(
    session: AsyncSession, wanted: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """One page and the cursor of the next one, ``None`` at the end.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    place = _place(wanted)
    query: Any = (
        select(Payment, PaymentDetail, Participant, Tournament)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .join(Tournament, col(Tournament.id) == col(Payment.tournament_id))
        .where(*_conditions(wanted))
        .order_by(*(column.desc() for column in place))
        .limit(limit + 1)
    )
    if cursor is not None:
        at, payment_id = read_cursor(cursor)
        # compared as a row: of an OR no database makes a place in the index
        query = query.where(tuple_(*place) < tuple_(literal(at, place[0].type), literal(payment_id)))
    rows = [tuple(row) for row in (await session.exec(query)).all()]
    if len(rows) <= limit:
        return rows, None
    payment, detail = rows[limit - 1][:2]
    at = payment.created_at if _by_platform(wanted) else detail.created_at
    return rows[:limit], write_cursor(at, payment.id)


def _by_platform(wanted: Filter) -> bool:
    """Return whether the platform's own indexes find the rows: those begin with the status or the
    tournament.
    """
    return wanted.status is not None or wanted.tournament_id is not None


def _place(wanted: Filter) -> tuple[Any, Any]:
    """Return the columns that order the list, and the start of a page."""
    if _by_platform(wanted):
        return col(Payment.created_at), col(Payment.id)
    return col(PaymentDetail.created_at), col(PaymentDetail.payment_id)


def _conditions(wanted: Filter) -> list[Any]:
    pairs: list[tuple[Any, Any]] = [
        (PaymentDetail.participant_id, wanted.participant_id),
        (PaymentDetail.payment_id, wanted.payment_id),
        (Payment.status, wanted.status),
        (Payment.method, wanted.method),
        (Payment.tournament_id, wanted.tournament_id),
    ]
    found = [column == value for column, value in pairs if value is not None]
    # the platform's times are cut to milliseconds and differ slightly from ours: they only end the search
    if wanted.since is not None:
        found.append(col(PaymentDetail.created_at) >= wanted.since)
        found.append(col(Payment.created_at) >= wanted.since - _APART)
    if wanted.until is not None:
        found.append(col(PaymentDetail.created_at) < wanted.until)
        found.append(col(Payment.created_at) < wanted.until + _APART)
    if wanted.disputed is not None:
        state = col(PaymentDetail.dispute_state)
        found.append(state.is_not(None) if wanted.disputed else state.is_(None))
    return found


async def count_by_status(session: AsyncSession, tournament_id: str) -> dict[PaymentStatus, int]:
    """Return the number of a tournament's payments by status."""
    found = await session.exec(
        select(Payment.status, func.count())
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(Payment.tournament_id == tournament_id)
        .group_by(col(Payment.status))
    )
    return {PaymentStatus(status): count for status, count in found.all()}
