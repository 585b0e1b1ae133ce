"""Tournaments with their fees, participants, users."""

from __future__ import annotations

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.fees import EntryFees
from procomp_pay.domain.money import Money
from procomp_pay.storage.models.payments import TournamentFee
from procomp_pay.storage.models.platform import Participant, Tournament


async def participant(session: AsyncSession, participant_id: str, *, lock: bool = False) -> Participant:
    """
    :raises NotFound: no such participant.
    """
    found = await session.get(
        Participant, participant_id, with_for_update=lock or None, populate_existing=lock
    )
    if found is None:
        raise NotFound(
            f"There is no participant {participant_id[:64]!r}", next_step="procomp-pay participant list"
        )
    return found


async def tournament(session: AsyncSession, tournament_id: str) -> Tournament:
    """
    :raises NotFound: no such tournament.
    """
    found = await session.get(Tournament, tournament_id)
    if found is None:
        raise NotFound(
            f"There is no tournament {tournament_id[:64]!r}", next_step="procomp-pay tournament list"
        )
    return found


async def entry_fees(session: AsyncSession, row: Tournament) -> EntryFees:
    """A tournament's fees in every currency."""
    further = await session.exec(
        select(TournamentFee)
        .where(TournamentFee.tournament_id == row.id)
        .order_by(col(TournamentFee.currency))
    )
    others = {fee.currency: Money(fee.amount, fee.currency) for fee in further.all()}
    return EntryFees(row.id, Money(row.entry_fee, row.currency), others)
