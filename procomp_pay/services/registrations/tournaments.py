"""Add tournaments and change their entry fees, for an installation without the platform."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from procomp_pay.domain.entry_fees import EntryFees, checked_fee
from procomp_pay.domain.errors import Conflict, NotFound, Refused
from procomp_pay.domain.money import AnyCurrency, Money
from procomp_pay.domain.names import clean_name, same_key
from procomp_pay.domain.operators import Right
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.checks import check_limit
from procomp_pay.services.registrations.tournament_audit import record_change
from procomp_pay.services.views.timestamps import instant, local_day
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Tournament
from procomp_pay.storage.models.terms import TournamentFee
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import terms

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TournamentView:
    """A tournament with its fees. ``registered`` does not count cancelled participants."""

    tournament_id: str
    name: str
    starts_at: datetime | None
    fees: EntryFees
    registered: int
    paid: int
    is_archived: bool = False

    def full(self) -> dict[str, Any]:
        """Return all fields for ``--json``."""
        fees = [self.fees.main, *(m for c, m in self.fees.others.items() if c is not self.fees.main.currency)]
        return {
            "tournament_id": self.tournament_id,
            "name": self.name,
            "starts_at": instant(self.starts_at),
            "entry_fee": self.fees.main.amount,
            "currency": self.fees.main.currency.value,
            "fees": [{"amount": m.amount, "currency": m.currency.value} for m in fees],
            "participants": self.registered,
            "paid": self.paid,
            "archived": self.is_archived,
        }


@dataclass(frozen=True, slots=True)
class FeeChange:
    """A change of a fee.

    :param before: ``None`` if there was no fee in this currency.
    :param after: ``None`` if the fee was removed.
    :param open_payments: the number of open payments in this currency; they keep their amount.
    """

    tournament: TournamentView
    before: Money | None
    after: Money | None
    open_payments: int


async def add_tournament(
    ctx: AppContext, name: str, fee: Money, starts_at: datetime, actor: Actor
) -> TournamentView:
    """Add a tournament. ``fee`` is its main entry fee.

    :raises Refused: no name. :raises InvalidAmount: tenge with tiyn.
    :raises Conflict: another tournament has that name on that day.
    """
    now = ctx.clock()
    row = Tournament(
        id=ctx.new_id(),
        name=clean_name(name, "tournament's name"),
        entry_fee=_positive(fee).amount,
        currency=fee.currency,
        starts_at=starts_at,
        created_at=now,
        updated_at=now,
    )
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.FINANCE, None)
        await refuse_same_day(session, row)
        session.add(row)
        await session.flush()
        await record_change(session, ctx, row.id, actor, "tournament_added", None, _fee(fee))
        view = await _view(session, row)
    _log.info("tournament %s added by %s: %s", row.id, actor.name, fee)
    return view


async def refuse_same_day(session: AsyncSession, row: Tournament) -> None:
    """Refuse a tournament that nobody could tell from another one.

    :raises Conflict: another has its name and its day.
    """
    key, day = same_key(row.name), local_day(row.starts_at)
    for other in await repository.tournament_names(session):
        if other.id != row.id and same_key(other.name) == key and local_day(other.starts_at) == day:
            raise Conflict(
                N_(
                    "There is a tournament %(name)s on %(day)s: %(other)s",
                    name=repr(other.name),
                    day=day or N_("no known day"),
                    other=other.id,
                ),
                next_step=N_("give another day: --starts 2026-05-01"),
            )


async def set_fee(ctx: AppContext, tournament_id: str, fee: Money, actor: Actor) -> FeeChange:
    """Set the fee in one currency: the tournament's main currency or another one.

    Open payments keep the amount that they were started with.

    :raises NotFound: no such tournament. :raises InvalidAmount: not more than zero, or tenge with tiyn.
    """
    _positive(fee)
    now = ctx.clock()
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        before = (await terms.entry_fees(session, row)).in_currency(fee.currency)
        if fee.currency is row.currency:
            row.entry_fee, row.updated_at = fee.amount, now
        elif (other := await session.get(TournamentFee, (row.id, fee.currency))) is not None:
            other.amount, other.updated_at = fee.amount, now
        else:
            session.add(
                TournamentFee(
                    tournament_id=row.id,
                    currency=fee.known_currency,
                    amount=fee.amount,
                    created_at=now,
                    updated_at=now,
                )
            )
        await record_change(session, ctx, row.id, actor, "fee_set", _fee(before), _fee(fee))
        await session.flush()
        change = await _change(session, row, before, fee)
    _log.info("fee of tournament %s set by %s: %s, was %s", row.id, actor.name, fee, before)
    return change


async def remove_fee(ctx: AppContext, tournament_id: str, currency: AnyCurrency, actor: Actor) -> FeeChange:
    """Remove a fee that is not in the main currency.

    :raises NotFound: no such tournament, or no fee in this currency.
    :raises Refused: it is the main fee, which every tournament needs.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        if currency is row.currency:
            raise Refused(
                N_("%(currency)s is the tournament's main fee and cannot be removed", currency=currency),
                next_step=N_(
                    "change it: procomp-pay tournament fee %(row)s AMOUNT %(currency)s",
                    row=row.id,
                    currency=currency,
                ),
            )
        other = await session.get(TournamentFee, (row.id, currency))
        if other is None:
            raise NotFound(
                N_("The tournament has no fee in %(currency)s", currency=currency),
                next_step=f"procomp-pay tournament fee {row.id}",
            )
        before = Money(other.amount, currency)
        await session.delete(other)
        await terms.remove_fee_periods(session, row.id, currency=currency)
        await record_change(session, ctx, row.id, actor, "fee_removed", _fee(before), None)
        await session.flush()
        change = await _change(session, row, before, None)
    _log.info("fee of tournament %s removed by %s: %s", row.id, actor.name, before)
    return change


async def tournament_view(ctx: AppContext, tournament_id: str) -> TournamentView:
    """Return a tournament.

    :raises NotFound: no such tournament.
    """
    async with ctx.db.reading() as session:
        return await _view(session, await registrations.tournament(session, tournament_id))


async def set_archived(
    ctx: AppContext, tournament_id: str, actor: Actor, *, archived: bool
) -> TournamentView:
    """Archive a tournament that is over, or take it back. Payments that were started go on as before.

    :raises NotFound: no such tournament.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        if archived:
            await repository.archive(session, row.id, actor.name, ctx.clock())
        else:
            await repository.unarchive(session, row.id)
        view = await _view(session, row)
    _log.info("tournament %s %s by %s", row.id, "archived" if archived else "unarchived", actor.name)
    return view


async def list_tournaments(
    ctx: AppContext, *, limit: int = 50, archived: bool = False
) -> list[TournamentView]:
    """Return tournaments, the latest first: those in use, or the archived ones.

    :raises Refused: a limit outside 1 to 10,000.
    """
    check_limit(limit)
    async with ctx.db.reading() as session:
        return await _views(session, await repository.tournaments(session, limit=limit, archived=archived))


def _fee(fee: Money | None) -> dict[str, Any] | None:
    """Return a fee for the audit trail."""
    return None if fee is None else {"fee": f"{fee.amount} {fee.currency}"}


def _positive(fee: Money) -> Money:
    return checked_fee(Money.parse(fee.amount, fee.currency))


async def _change(
    session: AsyncSession, row: Tournament, before: Money | None, after: Money | None
) -> FeeChange:
    fee = after or before
    count = await repository.open_payments(session, row.id, fee.currency) if fee and before != after else 0
    return FeeChange(await _view(session, row), before, after, count)


async def _view(session: AsyncSession, row: Tournament) -> TournamentView:
    return (await _views(session, [row]))[0]


async def _views(session: AsyncSession, rows: list[Tournament]) -> list[TournamentView]:
    fees = await terms.all_fees(session, rows)
    counts = await repository.headcounts(session, list(fees))
    archived = await repository.archived_ids(session, list(fees))
    return [
        TournamentView(
            tournament_id=row.id,
            name=row.name,
            starts_at=row.starts_at,
            fees=fees[row.id],
            registered=counts.get(row.id, repository.Headcount()).registered,
            paid=counts.get(row.id, repository.Headcount()).paid,
            is_archived=row.id in archived,
        )
        for row in rows
    ]
