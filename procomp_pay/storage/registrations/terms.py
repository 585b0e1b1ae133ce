"""Read and write the terms of a tournament: fees that hold on some days, and the refund policy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.entry_fees import EntryFees, FeeKind, FeePeriod, FeeSchedule
from procomp_pay.domain.money import AnyCurrency, Currency, Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.refund_policy import RefundPolicy, RefundStep
from procomp_pay.storage.models.platform import Tournament
from procomp_pay.storage.models.terms import FeePeriodRow, RefundStepRow, TournamentFee


async def entry_fees(session: AsyncSession, row: Tournament) -> EntryFees:
    """Return a tournament's fees in all currencies."""
    further = await session.exec(
        select(TournamentFee)
        .where(TournamentFee.tournament_id == row.id)
        .order_by(col(TournamentFee.currency))
    )
    others = {fee.currency: Money(fee.amount, fee.currency) for fee in further.all()}
    return EntryFees(row.id, main_fee(row), others)


def main_fee(row: Tournament) -> Money:
    """Return the fee of the platform's own column."""
    # the platform's column may be nullable: no fee is zero, which nothing can be charged for
    fee: Decimal | None = row.entry_fee
    return Money(Decimal(0) if fee is None else fee, row.currency)


async def all_fees(session: AsyncSession, rows: Collection[Tournament]) -> dict[str, EntryFees]:
    """Return the fees of several tournaments, by the tournament's id."""
    others: dict[str, dict[Currency, Money]] = {row.id: {} for row in rows}
    query = (
        select(TournamentFee)
        .where(col(TournamentFee.tournament_id).in_(list(others)))
        .order_by(col(TournamentFee.currency))
    )
    for fee in (await session.exec(query)).all():
        others[fee.tournament_id][fee.currency] = Money(fee.amount, fee.currency)
    return {row.id: EntryFees(row.id, main_fee(row), others[row.id]) for row in rows}


async def fee_schedule(session: AsyncSession, row: Tournament) -> FeeSchedule:
    """Return a tournament's fees with those of some days, the earliest first."""
    query = select(FeePeriodRow).where(FeePeriodRow.tournament_id == row.id)
    rows = (await session.exec(query.order_by(col(FeePeriodRow.currency)))).all()
    periods = [
        FeePeriod(
            one.kind,
            Money(one.amount, one.currency),
            Period(ZoneInfo(one.timezone), one.since_day, one.until_day),
        )
        for one in rows
    ]
    periods.sort(key=lambda one: one.days.since or date.min)
    return FeeSchedule(await entry_fees(session, row), periods)


async def set_fee_period(
    session: AsyncSession, tournament_id: str, period: FeePeriod, by: str, now: datetime
) -> None:
    """Store a period in place of the one of its kind and currency."""
    row = FeePeriodRow(
        tournament_id=tournament_id,
        currency=period.fee.known_currency,
        kind=period.kind,
        amount=period.fee.amount,
        since_day=period.days.since,
        until_day=period.days.until,
        timezone=period.days.zone.key,
        set_by=by,
        set_at=now,
    )
    await session.merge(row)
    await session.flush()


async def remove_fee_periods(
    session: AsyncSession,
    tournament_id: str,
    *,
    kind: FeeKind | None = None,
    currency: AnyCurrency | None = None,
) -> int:
    """Delete the periods of a kind, or of a currency; return how many there were."""
    query = delete(FeePeriodRow).where(col(FeePeriodRow.tournament_id) == tournament_id)
    if kind is not None:
        query = query.where(col(FeePeriodRow.kind) == kind)
    if currency is not None:
        query = query.where(col(FeePeriodRow.currency) == currency)
    return int((await session.exec(query)).rowcount)


async def refund_policy(session: AsyncSession, tournament_id: str) -> RefundPolicy | None:
    """Return the refund policy of a tournament; ``None`` if it has none."""
    query = select(RefundStepRow).where(RefundStepRow.tournament_id == tournament_id)
    rows = (await session.exec(query.order_by(col(RefundStepRow.number)))).all()
    if not rows:
        return None
    steps = [
        RefundStep(
            row.percent,
            Money(row.kept, row.currency) if row.kept is not None and row.currency is not None else None,
            row.until_day,
            row.days_before,
        )
        for row in rows
    ]
    return RefundPolicy(steps, ZoneInfo(rows[0].timezone))


async def set_refund_policy(
    session: AsyncSession,
    tournament_id: str,
    steps: Sequence[RefundStep],
    zone: ZoneInfo,
    by: str,
    now: datetime,
) -> None:
    """Store the steps of a refund policy in place of the former ones; no steps remove it."""
    await session.exec(delete(RefundStepRow).where(col(RefundStepRow.tournament_id) == tournament_id))
    session.add_all(
        RefundStepRow(
            tournament_id=tournament_id,
            number=number,
            percent=step.percent,
            kept=step.kept.amount if step.kept else None,
            currency=step.kept.known_currency if step.kept else None,
            until_day=step.until,
            days_before=step.days_before,
            timezone=zone.key,
            set_by=by,
            set_at=now,
        )
        for number, step in enumerate(steps, 1)
    )
    await session.flush()
