"""Register, find and list participants."""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass
from typing import Any

from procomp_pay.domain.errors import ConfigurationError, Conflict
from procomp_pay.domain.name_search import matches, name_keys
from procomp_pay.domain.names import (
    birth_year,
    clean_category,
    clean_detail,
    clean_email,
    clean_person,
    clean_phone,
    is_placeholder,
    name_and_birth_year,
    placeholder_email,
    same_key,
    search_key,
)
from procomp_pay.domain.operators import Right
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import AnyParticipantStatus, ParticipantStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.checks import check_limit, check_not_archived
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.models.registrations import ParticipantDetail
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import search_keys

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ParticipantView:
    """A registration.

    :param email: ``None`` if the participant gave none.
    :param phone: ``None`` also if no key decrypts it.
    :param reminders: letters that remind of the fee may be sent.
    :param payment_id: the payment that the participant is linked to, which need not be paid.
    """

    participant_id: str
    user_id: str | None
    full_name: str
    category: str | None
    email: str | None
    status: AnyParticipantStatus
    payment_id: str | None
    dispute: DisputeState | None
    tournament_id: str
    tournament_name: str
    is_paid: bool
    club: str | None = None
    coach: str | None = None
    phone: str | None = None
    birth_year: int | None = None
    reminders: bool = True

    def full(self) -> dict[str, Any]:
        """Return all fields for ``--json``."""
        return {
            "participant_id": self.participant_id,
            "user_id": self.user_id,
            "full_name": self.full_name,
            "category": self.category,
            "email": self.email,
            "status": self.status.value,
            "paid": self.is_paid,
            "payment_id": self.payment_id,
            "dispute": self.dispute.value if self.dispute else None,
            "tournament_id": self.tournament_id,
            "tournament_name": self.tournament_name,
            "club": self.club,
            "coach": self.coach,
            "phone": self.phone,
            "birth_year": self.birth_year,
            "reminders": self.reminders,
        }


@dataclass(frozen=True, slots=True)
class Details:
    """What a roster or the desk knows about a participant. ``None`` leaves a field as it is, an empty text or
    a zero removes it."""

    club: str | None = None
    coach: str | None = None
    phone: str | None = None
    birth_year: int | None = None
    reminders: bool | None = None

    @classmethod
    def read(cls, club: str | None, coach: str | None, phone: str | None, birth: str | None) -> Details:
        """Return details that an operator typed; a dash removes one.

        :raises Refused: one of them cannot be kept.
        """
        return cls(
            None if club is None else clean_detail(club, "club") or "",
            None if coach is None else clean_detail(coach, "coach") or "",
            None if phone is None else clean_phone(phone) or "",
            None if birth is None else birth_year(birth) or 0,
        )

    def columns(self, ctx: AppContext) -> dict[str, Any]:
        """Return the columns to store."""
        values: dict[str, Any] = {
            "club": self.club,
            "coach": self.coach,
            "phone_enc": ctx.keyring.encrypt(self.phone) if self.phone else self.phone,
            "birth_year": self.birth_year,
        }
        values = {name: value or None for name, value in values.items() if value is not None}
        return values if self.reminders is None else values | {"no_reminders": not self.reminders}


#: Nothing new is known.
NOTHING_NEW = Details()


def readable_phone(ctx: AppContext, phone_enc: str | None) -> str | None:
    """Return a stored phone number; ``None`` if there is none, or no key decrypts it."""
    try:
        return ctx.keyring.decrypt(phone_enc) if phone_enc else None
    except ConfigurationError:
        return None


@dataclass(frozen=True, slots=True)
class ParticipantPage:
    """The first participants by name, and the number of all."""

    items: list[ParticipantView]
    total: int


async def add_participant(
    ctx: AppContext,
    tournament_id: str,
    full_name: str,
    actor: Actor,
    *,
    category: str | None = None,
    email: str | None = None,
    details: Details = NOTHING_NEW,
    namesake: bool = False,
) -> ParticipantView:
    """Register a participant for the user with this e-mail, who is added if there is none.

    Without an e-mail a user is added with a placeholder address
    (:func:`procomp_pay.domain.names.placeholder_email`).

    :param namesake: another participant of the same name: do not refuse.
    :raises NotFound: no such tournament. :raises Refused: an invalid name, category or e-mail.
    :raises Conflict: already registered.
    """
    name, kind, address = clean_person(full_name), clean_category(category), clean_email(email)
    participant_id, now = ctx.new_id(), ctx.clock()
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.DESK, row.id)
        await check_not_archived(session, row.id, row.name)
        if not namesake:
            _refuse_twice(find_same(await repository.registered(session, row.id), name, kind))
        login = address or placeholder_email(participant_id)
        users = await ensure_users(session, ctx, {login: name})
        session.add(
            Participant(
                id=participant_id,
                user_id=users[login],
                tournament_id=row.id,
                full_name=name,
                category=kind,
                created_at=now,
                updated_at=now,
            )
        )
        await session.flush()
        await search_keys.store(session, {participant_id: name})
        await repository.set_detail(session, participant_id, now, **details.columns(ctx))
        [view] = await views_of(session, ctx, [participant_id])
    _log.info("participant %s added to tournament %s by %s", participant_id, row.id, actor.name)
    return view


async def list_participants(
    ctx: AppContext,
    tournament_id: str | None = None,
    *,
    search: str | None = None,
    paid: bool | None = None,
    limit: int = 50,
) -> ParticipantPage:
    """Return participants by name, of one tournament or of all; those searched for, the best match first.

    :param search: parts of the name, in any order, as :mod:`procomp_pay.domain.name_search` reads them.
    :param paid: ``True`` for those who have paid, ``False`` for those whose fee is still due.
    :raises NotFound: no such tournament. :raises Refused: a limit outside 1 to 10,000.
    """
    check_limit(limit)
    async with ctx.db.reading() as session:
        if tournament_id is not None:
            await registrations.tournament(session, tournament_id)
        if (search or "").strip():
            return await _search(session, ctx, str(search), tournament_id, paid, limit)
        first: list[tuple[str, str, str]] = []
        total = 0
        async for participant_id, name, category in repository.names(session, tournament_id, paid):
            total += 1
            first.append((search_key(name), search_key(category or ""), participant_id))
            if len(first) >= 4 * limit + 1000:  # keeps memory flat
                first = heapq.nsmallest(limit, first)
        ids = [participant_id for *_, participant_id in heapq.nsmallest(limit, first)]
        return ParticipantPage(await views_of(session, ctx, ids), total)


async def participant_view(ctx: AppContext, participant_id: str) -> ParticipantView:
    """Return a participant.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        row = await registrations.participant(session, participant_id)
        return (await views_of(session, ctx, [row.id]))[0]


async def search_participants(
    ctx: AppContext, text: str, *, tournament_id: str | None = None, limit: int = 20
) -> list[ParticipantView]:
    """Return the participants whose names fit best, the best first (:mod:`procomp_pay.domain.name_search`).

    :param text: parts of the name as somebody types them: in Latin, or in the wrong keyboard layout, too.
    :raises NotFound: no such tournament. :raises Refused: a limit outside 1 to 10,000.
    """
    return (await list_participants(ctx, tournament_id, search=text, limit=limit)).items


async def _search(
    session: AsyncSession,
    ctx: AppContext,
    text: str,
    tournament_id: str | None,
    paid: bool | None,
    limit: int,
) -> ParticipantPage:
    ids, names, text = await names_like(session, text, tournament_id, paid)
    found = matches(names, text)
    best = [ids[match.number] for match in heapq.nsmallest(limit, found)]
    return ParticipantPage(await views_of(session, ctx, best), len(found))


async def names_like(
    session: AsyncSession, typed: str, tournament_id: str | None = None, paid: bool | None = None
) -> tuple[list[str], list[str], str]:
    """Return the ids and names of participants among which a typed name has its matches, and what of it to
    match: without the year of birth, where nobody has it in the name."""
    ids, names = await repository.all_names(session, tournament_id, paid, typed=typed)
    name, year = name_and_birth_year(typed)
    if year is None or matches(names, typed):
        return ids, names, typed
    return *await repository.all_names(session, tournament_id, paid, typed=name, born=year), name


async def views_of(
    session: AsyncSession, ctx: AppContext, participant_ids: list[str]
) -> list[ParticipantView]:
    """Return participants in the order of their ids, without those that are not there."""
    rows = await repository.registrations(session, participant_ids)
    return [_view(ctx, *rows[key]) for key in participant_ids if key in rows]


def find_same(
    registered: list[repository.Registration], name: str, category: str | None
) -> repository.Registration | None:
    """Return the registration of this name, in any spelling that the search takes for the same, and this
    category. An athlete may enter two categories."""
    rows = [row for row in registered if same_key(row.category) == same_key(category)]
    [key, *keys] = name_keys([name, *(row.full_name for row in rows)])
    return next((row for row, known in zip(rows, keys, strict=True) if known == key), None)


async def ensure_users(session: AsyncSession, ctx: AppContext, wanted: dict[str, str]) -> dict[str, str]:
    """Return the ids of users by address, after adding the missing ones. No user's name is changed.

    :param wanted: names by address in lower case.
    """
    users = await repository.users_by_email(session, wanted)
    # sorted, so that two imports with the same new addresses wait for each other and do not deadlock
    missing = [
        User(id=ctx.new_id(), email=email, name=wanted[email])
        for email in sorted(wanted.keys() - users.keys())
    ]
    if not missing:
        return users
    await repository.add_users(session, missing)
    # read again: another process may have added one of them at the same moment
    return users | await repository.users_by_email(session, (user.email for user in missing))


def _refuse_twice(same: repository.Registration | None) -> None:
    if same is None:
        return
    is_cancelled = same.status is ParticipantStatus.CANCELLED
    state = N_("registered, but cancelled") if is_cancelled else N_("already registered")
    raise Conflict(
        N_(
            "%(name)s is %(state)s: %(participant)s",
            name=same.full_name,
            state=state,
            participant=same.participant_id,
        ),
        next_step=N_("if this is another person of the same name, add --namesake"),
    )


def _view(
    ctx: AppContext,
    row: Participant,
    user: User | None,
    tournament: Tournament,
    detail: ParticipantDetail | None,
    dispute: DisputeState | None,
    is_paid: bool,
) -> ParticipantView:
    detail = detail or ParticipantDetail(participant_id=row.id, updated_at=row.updated_at)
    return ParticipantView(
        participant_id=row.id,
        user_id=row.user_id,
        full_name=row.full_name,
        category=row.category,
        email=user.email if user and user.email and not is_placeholder(user.email) else None,
        status=row.status,
        payment_id=row.payment_id,
        dispute=dispute,
        tournament_id=tournament.id,
        tournament_name=tournament.name,
        is_paid=is_paid,
        club=detail.club,
        coach=detail.coach,
        phone=readable_phone(ctx, detail.phone_enc),
        birth_year=detail.birth_year,
        reminders=not detail.no_reminders,
    )
