"""Find the participant, payment or tournament that somebody names: by id, by a payment's code, or by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from procomp_pay.domain import payment_code
from procomp_pay.domain.almaty import almaty_time
from procomp_pay.domain.errors import Ambiguous, Choice, ErrorCode, NotFound
from procomp_pay.domain.identifiers import is_identifier
from procomp_pay.domain.name_search import Meant, meant, nearest
from procomp_pay.domain.names import name_and_birth_year, same_key, search_key
from procomp_pay.domain.states import method_name
from procomp_pay.domain.text import N_, joined
from procomp_pay.services.context import AppContext
from procomp_pay.services.views import payment as payment_views
from procomp_pay.services.views.timestamps import local_day
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.registrations import lookup as registrations

if TYPE_CHECKING:
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.services.registrations.participants import ParticipantView
    from procomp_pay.storage.registrations.participants import TournamentName

#: The most choices of an ambiguous name.
MOST_CHOICES = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The one that was named.

    :param description: name and facts if it was found by its name; ``None`` by an id or a code.
    """

    id: str
    description: str | None = None


async def find_participant(ctx: AppContext, wanted: str, *, whole_name: bool = False) -> Found:
    """Return the participant with this id, of the payment with this id or code, or with this name.

    :param whole_name: a part of a name is not enough: nobody sees who was found before it counts.
    :raises NotFound: nobody. :raises Ambiguous: several, or only a part of a name.
    """
    async with ctx.db.reading() as session:
        if is_identifier(wanted) and wanted in await registrations.existing_ids(session, [wanted]):
            return Found(wanted)
    if (payment := await find_by_id_or_code(ctx, wanted)) is not None:
        return Found(payment.participant_id)
    # the search has tables of its own, which an id or a code need not wait for
    from procomp_pay.services.registrations.participants import names_like, views_of
    from procomp_pay.storage.registrations import participants as repository

    async with ctx.db.reading() as session:
        ids, names, name = await names_like(session, wanted)
        found = meant(names, name)
        views = await views_of(session, ctx, [ids[number] for number in found.numbers[:MOST_CHOICES]])
        if not views:
            ids, names = await repository.all_names(session)
            close = await views_of(session, ctx, [ids[number] for number in nearest(names, wanted)])
            raise Nobody(wanted, joined([_described(_participant(view)) for view in close], "; "))
    return _only(name, found, [_participant(view) for view in views], whole_name)


async def find_payment(
    ctx: AppContext, wanted: str, *, whole_name: bool = False, method: PaymentMethod | None = None
) -> Found:
    """Return the payment with this id or code, or the only one of the participant with this id or name.

    :param whole_name: as in :func:`find_participant`.
    :param method: the participant's other payments are not meant, if there is one by this method.
    :raises NotFound: no payment. :raises Ambiguous: several participants or payments.
    """
    if (payment := await find_by_id_or_code(ctx, wanted)) is not None:
        return Found(payment.payment_id)
    try:
        participant = await find_participant(ctx, wanted, whole_name=whole_name)
    except Nobody as error:
        raise NotFound(
            _none_of(N_("There is no payment %(typed)s"), wanted, error.close),
            next_step="procomp-pay list",
            code=ErrorCode.PAYMENT_NOT_FOUND,
        ) from None
    views, _ = await payment_views.many(ctx, Filter(participant_id=participant.id), limit=MOST_CHOICES)
    views = [view for view in views if view.method is method] or views
    if not views:
        views = [await payment_views.latest(ctx, participant.id)]  # tells that there is none
    choices = [_payment(view) for view in views]
    if len(choices) > 1:
        raise Ambiguous(
            N_("%(name)s has %(n)s payments", name=views[0].participant_name, n=len(choices)),
            choices,
            next_step=N_("give the id or the code of one of them"),
        )
    return Found(choices[0].id, _described(choices[0]))


async def find_tournament(ctx: AppContext, wanted: str, *, whole_name: bool = False) -> Found:
    """Return the tournament with this id or name. A day after the name tells those of one name apart:
    ``Almaty Open 2026-05-01``.

    :param whole_name: as in :func:`find_participant`.
    :raises NotFound: none. :raises Ambiguous: several, or only a part of a name.
    """
    from procomp_pay.storage.registrations.participants import tournament_names

    async with ctx.db.reading() as session:
        rows = await tournament_names(session)
    wanted = wanted.strip()
    # an archived one is found by its id, its whole name, or by what fits none in use
    in_use = [row for row in rows if not row.is_archived]
    if not any(same_key(row.name) == same_key(wanted) for row in in_use):
        in_use = [
            row
            for row in rows
            if not row.is_archived or wanted == row.id or same_key(row.name) == same_key(wanted)
        ]
    try:
        return _tournament(in_use, wanted, whole_name)
    except NotFound:
        return _tournament(rows, wanted, whole_name)


def _tournament(rows: list[TournamentName], wanted: str, whole_name: bool) -> Found:
    if not any(same_key(row.name) == same_key(wanted) for row in rows) and (
        on_day := [row for row in rows if wanted.endswith(f" {local_day(row.starts_at)}")]
    ):
        rows, wanted = on_day, wanted[: -len(" 2026-05-01")]
    names = [row.name for row in rows]
    key = same_key(wanted)
    exact = [n for n, row in enumerate(rows) if row.id == wanted] or [
        n for n, name in enumerate(names) if same_key(name) == key
    ]
    found = Meant(exact, is_whole=True) if exact else meant(names, wanted)
    choices = [
        Choice(
            rows[n].id,
            names[n],
            (_day(rows[n].starts_at), *([N_("archived")] if rows[n].is_archived else [])),
        )
        for n in found.numbers[:MOST_CHOICES]
    ]
    if not choices:
        close = ", ".join(names[n] for n in nearest(names, wanted))
        raise NotFound(
            _none_of(N_("There is no tournament %(typed)s"), wanted, close),
            next_step="procomp-pay tournament list",
        )
    return Found(choices[0].id) if len(exact) == 1 else _only(wanted, found, choices, whole_name)


async def find_by_id_or_code(ctx: AppContext, wanted: str) -> payment_views.PaymentView | None:
    """Return the payment with this id or code; ``None`` if there is none.

    :raises NotFound: a mistyped code.
    """
    if not payment_code.looks_like_one(wanted):
        async with ctx.db.reading() as session:  # most often a participant is named: it costs the least
            if not await lookup.existing_ids(session, [wanted]):
                return None
    try:
        return await payment_views.one(ctx, wanted)
    except NotFound:
        if payment_code.looks_like_one(wanted) and payment_code.has_digit(name_and_birth_year(wanted)[0]):
            raise
        return None  # a name, or one with a year of birth: Асан 2008


class Nobody(NotFound):
    """No participant has this name.

    :param close: the nearest names, with facts.
    """

    def __init__(self, wanted: str, close: str) -> None:
        super().__init__(
            _none_of(N_("There is no participant %(typed)s"), wanted, close),
            next_step="procomp-pay participant list",
            code=ErrorCode.PARTICIPANT_NOT_FOUND,
        )
        self.close = close


def _none_of(template: str, wanted: str, close: str) -> str:
    """Return that nothing has a name, and the nearest names if there are any."""
    none = N_(template, typed=repr(wanted[:64]))
    return N_("%(none)s; the nearest names: %(names)s", none=none, names=close) if close else none


def _only(wanted: str, found: Meant, choices: list[Choice], whole_name: bool) -> Found:
    """Return the only choice.

    :raises Ambiguous: there are several, or it was named by a part of its name where that is not enough.
    """
    if len(found.numbers) > 1:
        raise Ambiguous(
            N_("%(typed)s may mean %(n)s", typed=repr(wanted[:64]), n=len(found.numbers)),
            choices,
            next_step=N_("type more of the name, or the id of one of them"),
        )
    [choice] = choices
    # names that only sound the same are two people's: Алия and Аля
    is_spelled_so = sorted(search_key(wanted).split()) == sorted(search_key(choice.name).split())
    if whole_name and not (found.is_whole and is_spelled_so):
        raise Ambiguous(
            N_(
                "%(typed)s is only a part of the name %(name)s",
                typed=repr(wanted[:64]),
                name=repr(choice.name),
            )
            if not found.is_whole
            else N_(
                "%(typed)s is not how the name %(name)s is written",
                typed=repr(wanted[:64]),
                name=repr(choice.name),
            ),
            choices,
            next_step=N_("where no question is asked, give the id or the whole name"),
        )
    return Found(choice.id, _described(choice))


def _day(at: datetime | None) -> str:
    day = local_day(at)
    return N_("day unknown") if day is None else str(day)


def _described(choice: Choice) -> str:
    return N_("%(name)s (%(facts)s)", name=choice.name, facts=joined([fact for fact in choice.facts if fact]))


def _participant(view: ParticipantView) -> Choice:
    is_cancelled = view.status.value == "CANCELLED"
    state = N_("paid") if view.is_paid else N_("cancelled") if is_cancelled else N_("unpaid")
    club = [view.club] if view.club else []
    facts = (view.category or "", *club, view.tournament_name, state)
    return Choice(view.participant_id, view.full_name, facts)


def _payment(view: payment_views.PaymentView) -> Choice:
    started = almaty_time(view.created_at)
    charged, method = N_("%(money)s", money=view.charged), method_name(view.method)
    facts = (view.code or "", charged, method, N_(view.status.value), started)
    return Choice(view.payment_id, view.participant_name, facts)
