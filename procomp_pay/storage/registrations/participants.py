"""Read tournaments and participants: one with its fee, lists, counts, registrations, users by address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Text, case, func, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.money import AnyCurrency
from procomp_pay.domain.names import placeholder_email
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import OPEN_STATUSES, AnyParticipantStatus, ParticipantStatus
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.models.paid import is_settled
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User
from procomp_pay.storage.models.registrations import ArchivedTournament, ParticipantDetail
from procomp_pay.storage.registrations import search_keys


@dataclass(frozen=True, slots=True)
class Headcount:
    """The number of registered participants without the cancelled ones, and of those who have paid."""

    registered: int = 0
    paid: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """The fields that tell the registrations of a tournament apart.

    :param email: ``None`` if the platform deleted the user, empty if the user has none.
    :param payment_id: the payment that the participant is linked to, which need not be ours, or paid.
    """

    participant_id: str
    full_name: str
    category: str | None
    email: str | None
    status: AnyParticipantStatus
    payment_id: str | None = None
    club: str | None = None
    coach: str | None = None
    phone_enc: str | None = None
    birth_year: int | None = None


def _latest_first() -> tuple[Any, Any]:
    return col(Tournament.starts_at).desc().nulls_last(), col(Tournament.id)


async def tournaments(session: AsyncSession, *, limit: int, archived: bool = False) -> list[Tournament]:
    """Return the latest tournaments, by their start: those in use, or the archived ones."""
    condition = _is_archived(Tournament.id)
    query = select(Tournament).where(condition if archived else ~condition)
    return list((await session.exec(query.order_by(*_latest_first()).limit(limit))).all())


async def archived_ids(session: AsyncSession, tournament_ids: Collection[str]) -> set[str]:
    """Return those of these tournaments that are archived."""
    archived = ArchivedTournament.tournament_id
    return set((await session.exec(select(archived).where(col(archived).in_(tournament_ids)))).all())


async def archive(session: AsyncSession, tournament_id: str, by: str, now: datetime) -> None:
    """Archive a tournament; one that is archived stays as it is."""
    if await session.get(ArchivedTournament, tournament_id) is None:
        session.add(ArchivedTournament(tournament_id=tournament_id, archived_by=by, archived_at=now))
        await session.flush()


async def unarchive(session: AsyncSession, tournament_id: str) -> None:
    """Take a tournament back from the archive."""
    row = await session.get(ArchivedTournament, tournament_id)
    if row is not None:
        await session.delete(row)
        await session.flush()


def _is_archived(tournament_id: Any) -> Any:
    return col(tournament_id).in_(select(ArchivedTournament.tournament_id))


class TournamentName(NamedTuple):
    """What tells a tournament from others."""

    id: str
    name: str
    starts_at: datetime | None
    is_archived: bool


async def tournament_names(session: AsyncSession) -> list[TournamentName]:
    """Return every tournament, the latest first."""
    query: Any = select(Tournament.id, Tournament.name, Tournament.starts_at, _is_archived(Tournament.id))
    rows = await session.exec(query.order_by(*_latest_first()))
    return [TournamentName(*row) for row in rows.all()]


async def headcounts(session: AsyncSession, tournament_ids: Collection[str]) -> dict[str, Headcount]:
    """Count participants by the tournament's id; a tournament without participants is left out."""
    query: Any = (
        select(Participant.tournament_id, func.count(), func.sum(case((_is_marked_paid(), 1), else_=0)))
        .where(col(Participant.tournament_id).in_(list(tournament_ids)))
        .where(_is_registered())
        .group_by(col(Participant.tournament_id))
    )
    counts = (await session.exec(query)).all()
    # few or none: counted apart, so that not every participant's payment is looked up
    linked: Any = (
        select(Participant.tournament_id, func.count())
        .where(
            col(Participant.tournament_id).in_(list(tournament_ids)), col(Participant.payment_id).is_not(None)
        )
        .where(_is_registered(), ~_is_marked_paid(), is_settled())
        .group_by(col(Participant.tournament_id))
    )
    others = dict((await session.exec(linked)).all())
    return {key: Headcount(all_, int(paid) + others.get(key, 0)) for key, all_, paid in counts}


async def open_payments(session: AsyncSession, tournament_id: str, currency: AnyCurrency) -> int:
    """Count the tournament's open payments in one currency."""
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
    """Stream id, name and category of participants, in no order.

    :param tournament_id: ``None`` for all tournaments that are not archived.
    :param paid: ``True`` for those who have paid, ``False`` for those whose fee is still due.
    """
    query: Any = select(Participant.id, Participant.full_name, Participant.category)
    rows = await session.stream(_chosen(query, tournament_id, paid).execution_options(yield_per=1000))
    async for row in rows:
        yield row[0], row[1], row[2]


async def all_names(
    session: AsyncSession,
    tournament_id: str | None = None,
    paid: bool | None = None,
    *,
    typed: str = "",
    born: int | None = None,
) -> tuple[list[str], list[str]]:
    """Return the ids and the names of participants as two lists, by their ids.

    The database joins each column into one text: as rows, 50,000 of them would take a second.

    :param tournament_id, paid: as in :func:`names`.
    :param typed: leave out names that cannot match it.
    :param born: leave out who is not known to be born in this year.
    """
    # an aggregate leaves out NULL: the ids would no longer stand beside their names
    plain = func.replace(func.coalesce(col(Participant.full_name), ""), _BETWEEN, " ")
    query: Any = select(
        func.aggregate_strings(col(Participant.id), _BETWEEN), func.aggregate_strings(plain, _BETWEEN)
    )
    query = search_keys.narrowed(query.select_from(Participant), typed)
    if born is not None:
        of_the_year = select(ParticipantDetail.participant_id).where(ParticipantDetail.birth_year == born)
        query = query.where(col(Participant.id).in_(of_the_year))
    ids, full_names = (await session.exec(_chosen(query, tournament_id, paid))).one()
    if ids is None:
        return [], []
    rows = sorted(zip(ids.split(_BETWEEN), full_names.split(_BETWEEN), strict=True))
    return [row[0] for row in rows], [row[1] for row in rows]


#: ASCII's record separator.
_BETWEEN = "\x1e"


def _chosen(query: Any, tournament_id: str | None, paid: bool | None) -> Any:
    if tournament_id is not None:
        query = query.where(col(Participant.tournament_id) == tournament_id)
    else:
        query = query.where(~_is_archived(Participant.tournament_id))
    if paid is not None:
        due = col(Participant.status) == ParticipantStatus.REGISTERED
        query = query.where(_has_paid()) if paid else query.where(due, ~is_settled())
    return query


#: A participant with user, if any, tournament, what the roster knows, a dispute over the payment of the fee,
#: and whether it is paid.
RegistrationRow = tuple[
    Participant, User | None, Tournament, ParticipantDetail | None, DisputeState | None, bool
]


async def registrations(session: AsyncSession, participant_ids: list[str]) -> dict[str, RegistrationRow]:
    """Return participants by id, with what belongs to them."""
    rows: dict[str, RegistrationRow] = {}
    for batch in chunks(participant_ids):
        query: Any = (
            select(Participant, User, Tournament, ParticipantDetail)
            .add_columns(col(PaymentDetail.dispute_state), _has_paid())
            .join(
                ParticipantDetail, col(ParticipantDetail.participant_id) == col(Participant.id), isouter=True
            )
            .join(User, col(User.id) == col(Participant.user_id), isouter=True)
            .join(Tournament, col(Tournament.id) == col(Participant.tournament_id))
            .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Participant.payment_id), isouter=True)
            .where(col(Participant.id).in_(batch))
        )
        rows |= {row[0].id: tuple(row) for row in (await session.exec(query)).all()}
    return rows


async def registered(session: AsyncSession, tournament_id: str) -> list[Registration]:
    """Return all registrations for a tournament, including cancelled ones."""
    query: Any = (
        select(Participant.id, Participant.full_name, Participant.category)
        .add_columns(
            # as the column's own type, the outer join's NULL would be read as an empty address
            type_coerce(case((col(User.id).is_not(None), func.coalesce(col(User.email), ""))), Text()),
            col(Participant.status),
            col(Participant.payment_id),
            col(ParticipantDetail.club),
            col(ParticipantDetail.coach),
            col(ParticipantDetail.phone_enc),
            col(ParticipantDetail.birth_year),
        )
        .join(ParticipantDetail, col(ParticipantDetail.participant_id) == col(Participant.id), isouter=True)
        .join(User, col(User.id) == col(Participant.user_id), isouter=True)
        .where(col(Participant.tournament_id) == tournament_id)
        .order_by(col(Participant.created_at), col(Participant.id))
    )
    return [Registration(*row) for row in (await session.exec(query)).all()]


async def set_detail(session: AsyncSession, participant_id: str, now: datetime, **values: Any) -> None:
    """Store what the roster or the desk knows about a participant, whose row the caller has locked or added.

    :param values: columns of :class:`ParticipantDetail`; those that are not given stay as they are.
    """
    if not values:
        return
    row = await session.get(ParticipantDetail, participant_id)
    if row is None:
        row = ParticipantDetail(participant_id=participant_id, updated_at=now)
        session.add(row)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = now
    await session.flush()


async def has_payments(session: AsyncSession, row: Participant) -> bool:
    """Return whether a participant has a payment in any state, or one of the platform's."""
    query = select(PaymentDetail.payment_id).where(PaymentDetail.participant_id == row.id).limit(1)
    return row.payment_id is not None or (await session.exec(query)).first() is not None


async def all_payment_ids(session: AsyncSession, participant_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the payments, in any state, of those of these participants who have any."""
    payments: dict[str, list[str]] = {}
    for batch in chunks(participant_ids):
        query = select(PaymentDetail.participant_id, PaymentDetail.payment_id).where(
            col(PaymentDetail.participant_id).in_(batch)
        )
        for participant_id, payment_id in (await session.exec(query)).all():
            payments.setdefault(participant_id, []).append(payment_id)
    return payments


async def payment_ids(session: AsyncSession, participant_id: str) -> list[str]:
    """Return the payments of a participant, in the order in which they are locked."""
    query = select(PaymentDetail.payment_id).where(PaymentDetail.participant_id == participant_id)
    return sorted((await session.exec(query)).all())


async def remove(session: AsyncSession, row: Participant) -> bool:
    """Delete a participant, and the user that was made for somebody without e-mail. Return False, with
    nothing deleted, if a table of the platform refers to them."""
    user = None if row.user_id is None else await session.get(User, row.user_id)
    try:
        async with session.begin_nested():
            await session.delete(row)
            await search_keys.forget(session, [row.id])
            await session.flush()
            if user is not None and user.email == placeholder_email(row.id):
                await session.delete(user)
                await session.flush()
    except IntegrityError:
        return False
    return True


async def users_by_email(session: AsyncSession, emails: Iterable[str]) -> dict[str, str]:
    """Return ids of users by address in lower case, whatever case is stored. Addresses are ASCII."""
    users: dict[str, str] = {}
    for batch in chunks(emails):
        query: Any = (
            select(func.lower(User.email), User.id)
            .where(func.lower(User.email).in_(batch))
            # if two differ in case only, the one in lower case comes last and is used
            .order_by(case((col(User.email).in_(batch), 1), else_=0), col(User.id))
        )
        users |= {row[0]: row[1] for row in (await session.exec(query)).all()}
    return users


async def add_users(session: AsyncSession, users: list[User]) -> None:
    """Insert users. One whose address another process inserted meanwhile is left out: look it up again."""
    values = [{"id": u.id, "email": u.email, "name": u.name, "role": u.role} for u in users]
    await write_all(session, [Write(Action.INSERT_ONCE, User, values)])


def _has_paid() -> Any:
    return or_(_is_marked_paid(), is_settled())


def _is_marked_paid() -> Any:
    # a platform's status may be NULL; the condition is not
    return and_(col(Participant.status).is_not(None), col(Participant.status) == ParticipantStatus.PAID)


def _is_registered() -> Any:
    return or_(col(Participant.status).is_(None), col(Participant.status) != ParticipantStatus.CANCELLED)
