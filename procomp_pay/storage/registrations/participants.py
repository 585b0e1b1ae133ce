"""Tournaments and their participants in bulk: lists, counts, who is registered, users by address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import case, func
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.fees import EntryFees
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import OPEN_STATUSES, ParticipantStatus
from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.models.payments import PaymentDetail, TournamentFee
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User

#: Values in one IN (…): both databases take more.
_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Headcount:
    """How many are registered (cancelled ones not counted), and how many of them have paid."""

    registered: int = 0
    paid: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """The fields that distinguish one registration of a tournament from another."""

    participant_id: str
    full_name: str
    category: str | None
    email: str
    status: ParticipantStatus


async def lock_tournament(session: AsyncSession, tournament_id: str) -> Tournament:
    """Lock the tournament's row until the transaction ends; payments may go on meanwhile.

    :raises NotFound: no such tournament.
    """
    found = await session.get(
        Tournament, tournament_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if found is None:
        raise NotFound(
            f"There is no tournament {tournament_id[:64]!r}", next_step="procomp-pay tournament list"
        )
    return found


async def tournaments(session: AsyncSession, *, limit: int) -> list[Tournament]:
    """The latest tournaments, by their start."""
    query = select(Tournament).order_by(col(Tournament.starts_at).desc(), col(Tournament.id)).limit(limit)
    return list((await session.exec(query)).all())


async def tournament_names(session: AsyncSession) -> list[tuple[str, str]]:
    """The id and the name of every tournament."""
    rows = await session.exec(select(Tournament.id, Tournament.name).order_by(col(Tournament.id)))
    return [(found[0], found[1]) for found in rows.all()]


async def all_fees(session: AsyncSession, rows: Collection[Tournament]) -> dict[str, EntryFees]:
    """The fees of several tournaments, by the tournament's id."""
    others: dict[str, dict[Currency, Money]] = {row.id: {} for row in rows}
    query = (
        select(TournamentFee)
        .where(col(TournamentFee.tournament_id).in_(list(others)))
        .order_by(col(TournamentFee.currency))
    )
    for fee in (await session.exec(query)).all():
        others[fee.tournament_id][fee.currency] = Money(fee.amount, fee.currency)
    return {row.id: EntryFees(row.id, Money(row.entry_fee, row.currency), others[row.id]) for row in rows}


async def headcounts(session: AsyncSession, tournament_ids: Collection[str]) -> dict[str, Headcount]:
    """Return the headcount by tournament id; a tournament without participants is left out."""
    query: Any = (
        select(Participant.tournament_id, func.count(), func.sum(case((_is_paid(), 1), else_=0)))
        .where(col(Participant.tournament_id).in_(list(tournament_ids)))
        .where(col(Participant.status) != ParticipantStatus.CANCELLED)
        .group_by(col(Participant.tournament_id))
    )
    return {key: Headcount(all_, int(paid)) for key, all_, paid in (await session.exec(query)).all()}


async def open_payments(session: AsyncSession, tournament_id: str, currency: Currency) -> int:
    """Return the number of the tournament's open payments in this currency."""
    query: Any = (
        select(func.count())
        .select_from(Payment)
        .where(col(Payment.tournament_id) == tournament_id, col(Payment.currency) == currency)
        .where(col(Payment.status).in_(OPEN_STATUSES))
    )
    return int((await session.exec(query)).one())


async def names(
    session: AsyncSession, tournament_id: str | None, paid: bool | None
) -> AsyncIterator[tuple[str, str, str | None]]:
    """Id, name and category of participants, streamed in no order.

    :param paid: only those who have paid, or only those from whom the fee is still due.
    """
    query: Any = select(Participant.id, Participant.full_name, Participant.category)
    if tournament_id is not None:
        query = query.where(col(Participant.tournament_id) == tournament_id)
    if paid is not None:
        due = col(Participant.status) == ParticipantStatus.REGISTERED
        query = query.where(_is_paid()) if paid else query.where(due, col(Participant.payment_id).is_(None))
    rows = await session.stream(query.execution_options(yield_per=1000))
    async for row in rows:
        yield row[0], row[1], row[2]


async def registrations(
    session: AsyncSession, participant_ids: list[str]
) -> dict[str, tuple[Participant, User, Tournament, DisputeState | None]]:
    """Participants by id, with user, tournament and a dispute over the payment that settled them."""
    found: dict[str, tuple[Participant, User, Tournament, DisputeState | None]] = {}
    for some in _batches(participant_ids):
        query: Any = (
            select(Participant, User, Tournament, PaymentDetail.dispute_state)
            .join(User, col(User.id) == col(Participant.user_id))
            .join(Tournament, col(Tournament.id) == col(Participant.tournament_id))
            .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Participant.payment_id), isouter=True)
            .where(col(Participant.id).in_(some))
        )
        found |= {row[0].id: (row[0], row[1], row[2], row[3]) for row in (await session.exec(query)).all()}
    return found


async def registered(session: AsyncSession, tournament_id: str) -> list[Registration]:
    """Everybody registered for a tournament, also the cancelled."""
    query: Any = (
        select(Participant.id, Participant.full_name, Participant.category, User.email)
        .add_columns(col(Participant.status))
        .join(User, col(User.id) == col(Participant.user_id))
        .where(col(Participant.tournament_id) == tournament_id)
        .order_by(col(Participant.created_at), col(Participant.id))
    )
    return [Registration(*row) for row in (await session.exec(query)).all()]


async def users_by_email(session: AsyncSession, emails: Iterable[str]) -> dict[str, str]:
    """Ids of users by address in lower case, however the platform wrote it. Addresses are ASCII."""
    found: dict[str, str] = {}
    for some in _batches(emails):
        query: Any = (
            select(func.lower(User.email), User.id)
            .where(func.lower(User.email).in_(some))
            # of two that differ in case, the one that is written in lower case comes last and wins
            .order_by(case((col(User.email).in_(some), 1), else_=0), col(User.id))
        )
        found |= {row[0]: row[1] for row in (await session.exec(query)).all()}
    return found


async def add_users(session: AsyncSession, users: list[User]) -> None:
    """Insert users; one whose address was taken meanwhile is left out: look it up again."""
    values = [{"id": u.id, "email": u.email, "name": u.name, "role": u.role} for u in users]
    await insert_all_once(session, User, values)


def _is_paid() -> Any:
    return or_(col(Participant.status) == ParticipantStatus.PAID, col(Participant.payment_id).is_not(None))


def _batches(values: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
