"""Count for a report, as aggregates of the database: memory does not grow with the number of payments.

Each function gives groups, streamed; ``services.reports.period`` adds them up. All of a report's
queries must see the same moment: see :func:`one_moment`. The money is in ``storage.reports.money``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.states import AnyMethod, AnyStatus, PaymentStatus
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.registrations.participants import Headcount, headcounts
from procomp_pay.storage.reports.dialect_sql import seconds_between

#: Rows of a result in memory at once.
_AT_ONCE = 1000
#: Statuses in which a payment ended without money.
_NOT_PAID = frozenset({PaymentStatus.FAILED, PaymentStatus.EXPIRED, PaymentStatus.CANCELLED})

#: PostgreSQL expects that only a tenth of a cursor's rows are read, and then prefers row-by-row lookups to a
#: join; a streamed result uses a cursor. Groups are counted in memory, and no query runs often enough to be
#: compiled.
_WHOLE = ("cursor_tuple_fraction = 1", "work_mem = '64MB'", "jit = off")

# the tables for SQL expressions, which the type checker does not understand
_payment: Any = Payment
_detail: Any = PaymentDetail
_discrepancy: Any = Discrepancy
_tournament: Any = Tournament


@dataclass(frozen=True, slots=True)
class Scope:
    """The payments of a report: of a tournament or of all; from ``since`` until before ``until``."""

    tournament_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def of(self, at: Any) -> list[Any]:
        """Return the conditions of a query that joins payments; ``at`` is the time of what is counted."""
        conditions = [] if self.tournament_id is None else [_payment.tournament_id == self.tournament_id]
        if self.since is not None:
            conditions.append(at >= self.since)
        if self.until is not None:
            conditions.append(at < self.until)
        return conditions


@dataclass(frozen=True, slots=True)
class TournamentRow:
    """A tournament with its present number of participants."""

    tournament_id: str
    name: str
    headcount: Headcount


async def one_moment(db: PaymentDatabaseService, session: AsyncSession) -> None:
    """Let every query of this transaction see the same state of the books; call it first."""
    if db.is_sqlite():  # there a transaction always sees one moment
        return
    connection = await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    for setting in _WHOLE:
        await connection.execute(text(f"SET LOCAL {setting}"))


async def rows(session: AsyncSession, query: Any) -> AsyncIterator[Any]:
    """Yield a query's rows, fetched a thousand at a time."""
    streamed = await session.stream(query.execution_options(yield_per=_AT_ONCE))
    async for row in streamed:
        yield row


async def first_and_last(session: AsyncSession, now: datetime) -> tuple[datetime, datetime]:
    """Return the first and last instant of our books, with a margin for clocks that differ."""
    first = (await session.exec(select(func.min(_detail.created_at)))).scalar()  # type: ignore[call-overload]
    return (first or now) - timedelta(days=2), now + timedelta(days=2)


async def attempts(
    session: AsyncSession, scope: Scope
) -> AsyncIterator[tuple[str, AnyMethod | None, AnyStatus, int]]:
    """Count payments started in the scope by tournament, method and status."""
    keys = (_payment.tournament_id, _payment.method, _payment.status)
    query = (
        select(*keys, func.count())
        .join(_detail, _detail.payment_id == _payment.id)
        .where(*scope.of(_detail.created_at))
        .group_by(*keys)
    )
    async for row in rows(session, query):
        yield row[0], row[1], row[2], row[3]


async def durations(session: AsyncSession, scope: Scope) -> AsyncIterator[tuple[int, AnyMethod | None, int]]:
    """Yield how long payments took from start to money, shortest first: whole seconds, method, count."""
    seconds_by_payment = (
        select(
            seconds_between(_detail.created_at, _detail.completed_at).label("seconds"),
            _payment.method.label("method"),
        )
        .join(_payment, _payment.id == _detail.payment_id)
        .where(_detail.completed_at.is_not(None), *scope.of(_detail.created_at))
        .subquery()
    )
    keys = (seconds_by_payment.c.seconds, seconds_by_payment.c.method)
    async for row in rows(session, select(*keys, func.count()).group_by(*keys).order_by(*keys)):
        yield row[0], row[1], row[2]


async def reasons(
    session: AsyncSession, scope: Scope, *, limit: int
) -> list[tuple[AnyStatus, str | None, int]]:
    """Return why payments failed, the most frequent first: status, reason, count."""
    keys = (_payment.status, _payment.failure_reason)
    count = func.count()
    query: Any = (
        select(*keys, count)
        .join(_detail, _detail.payment_id == _payment.id)
        .where(_payment.status.in_(_NOT_PAID), *scope.of(_detail.created_at))
        .group_by(*keys)
        .order_by(count.desc(), *keys)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in (await session.exec(query)).all()]


async def discrepancies(session: AsyncSession, scope: Scope) -> list[tuple[str, bool, int]]:
    """Count open discrepancies that were opened before the scope's end: kind, whether it is about
    one of our payments, number. Those without a payment belong to no tournament, and are in every report."""
    has_payment = _discrepancy.payment_id.is_not(None)
    query: Any = (
        select(_discrepancy.kind, has_payment, func.count())
        .join(_payment, _payment.id == _discrepancy.payment_id, isouter=True)
        .where(_discrepancy.state == DiscrepancyState.OPEN)
        .group_by(_discrepancy.kind, has_payment)
        .order_by(_discrepancy.kind, has_payment)
    )
    if scope.until is not None:
        query = query.where(_discrepancy.opened_at < scope.until)
    if scope.tournament_id is not None:
        query = query.where((_payment.tournament_id == scope.tournament_id) | ~has_payment)
    return [(row[0], bool(row[1]), row[2]) for row in (await session.exec(query)).all()]


async def tournaments(session: AsyncSession, ids: Collection[str]) -> list[TournamentRow]:
    """Return tournaments by id, the latest first."""
    pairs: list[tuple[float, TournamentRow]] = []
    for part in chunks(sorted(ids)):
        counts = await headcounts(session, part)
        query: Any = select(_tournament.id, _tournament.name, _tournament.starts_at)
        for key, name, starts_at in (await session.exec(query.where(_tournament.id.in_(part)))).all():
            row = TournamentRow(key, name, counts.get(key, Headcount()))
            pairs.append((-starts_at.timestamp() if starts_at else math.inf, row))
    return [row for _, row in sorted(pairs, key=lambda pair: (pair[0], pair[1].tournament_id))]
