"""Remind those whose entry fee is still due: a letter each, at most one a day."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.domain.almaty import almaty_day
from procomp_pay.domain.money import Currency
from procomp_pay.domain.operators import Right
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.checks import check_not_archived
from procomp_pay.services.registrations.participants import ParticipantView, list_participants
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.reconciliation.discrepancies import unknown_money_after_restore
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations.terms import fee_schedule

#: The most participants of a tournament that are read.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Reminders:
    """Who is reminded, who has no address, who was reminded today already, and who wants no reminders.

    :param may_have_paid: not reminded, because books from a backup do not know who paid the fee at Kaspi.
    :param number: the operation number of that money.
    """

    reminded: list[ParticipantView]
    without_address: list[ParticipantView]
    already: list[ParticipantView]
    opted_out: list[ParticipantView]
    may_have_paid: list[ParticipantView]
    number: str | None


async def remind(ctx: AppContext, tournament_id: str, *, dry_run: bool = False) -> Reminders:
    """Enqueue a letter to each participant whose fee is still due.

    Whoever pays before the letter is sent gets none.

    :param dry_run: change nothing; only return who would be reminded.
    :raises NotFound: no such tournament. :raises ConfigurationError: no letters are sent.
    """
    ctx.senders.check_letters()
    now = ctx.clock()
    page = await list_participants(ctx, tournament_id, paid=False, limit=_MOST)
    keys = {view.participant_id: _key(view.participant_id, str(almaty_day(now))) for view in page.items}
    async with ctx.db.reading() as session:
        tournament = await registrations.tournament(session, tournament_id)
        await check_not_archived(session, tournament.id, tournament.name)
        sent = await outbox.existing_keys(session, list(keys.values()))
        schedule = await fee_schedule(session, tournament)
        number = await unknown_money_after_restore(session, schedule.ever(Currency.KZT))
    result = Reminders([], [], [], [], page.items if number else [], number)
    for view in page.items if number is None else []:
        if not view.reminders:
            result.opted_out.append(view)
        elif view.email is None:
            result.without_address.append(view)
        elif keys[view.participant_id] in sent:
            result.already.append(view)
        else:
            result.reminded.append(view)
    if dry_run:
        return result
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.FINANCE, tournament_id)
        for view in result.reminded:
            await outbox.enqueue(
                session,
                Topic.LETTER_REMINDER,
                {"participant_id": view.participant_id, "tournament_id": view.tournament_id},
                row_id=ctx.new_id(),
                now=now,
                dedup_key=keys[view.participant_id],
            )
    return result


def _key(participant_id: str, day: str) -> str:
    return f"{Topic.LETTER_REMINDER}:{participant_id}:{day}"
