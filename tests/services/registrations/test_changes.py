"""Corrections of registrations, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from procomp_pay.domain.errors import Conflict, NotFound, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.registrations import participants as roster
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.changes import (
    edit_participant,
    edit_tournament,
    merge_participants,
    remove_participant,
)
from procomp_pay.services.registrations.find import find_tournament
from procomp_pay.services.registrations.participants import Details, ParticipantView, participant_view
from procomp_pay.services.views.timestamps import local_day
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Participant, User
from procomp_pay.storage.models.registrations import ParticipantDetail
from tests.support.environment import CLERK, ServiceEnvironment


async def cup(environment: ServiceEnvironment, name: str = "Кубок", days: int = 0) -> str:
    starts = environment.now() + timedelta(days=days)
    view = await tournaments.add_tournament(environment.ctx, name, Money.parse(24000, "KZT"), starts, CLERK)
    return view.tournament_id


async def added(
    environment: ServiceEnvironment, tournament: str, name: str, **more: str | None
) -> ParticipantView:
    return await roster.add_participant(environment.ctx, tournament, name, CLERK, **more)  # type: ignore[arg-type]


async def test_name_category_and_email_are_corrected(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    kairat = (await added(environment, await cup(environment), "Кайрат", category="-60")).participant_id
    view = await edit_participant(ctx, kairat, CLERK, name="  Қайрат Асанов ", email="K@example.kz")
    assert (view.full_name, view.category, view.email) == ("Қайрат Асанов", "-60", "k@example.kz")
    assert (await edit_participant(ctx, kairat, CLERK, category="-")).category is None
    assert (await participant_view(ctx, kairat)).full_name == "Қайрат Асанов"
    with pytest.raises(Refused, match="empty"):
        await edit_participant(ctx, kairat, CLERK, name=" ")
    with pytest.raises(NotFound):
        await edit_participant(ctx, "nobody", CLERK, name="Қайрат")


async def test_payments_stay_with_their_user(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    tournament = await cup(environment)
    first = await added(environment, tournament, "Қайрат", email="a@example.kz")
    other = await added(environment, tournament, "Әсел", email="b@example.kz")
    moved = await edit_participant(ctx, first.participant_id, CLERK, email="b@example.kz")
    assert moved.user_id == other.user_id
    await environment.start(first.participant_id)
    with pytest.raises(Conflict, match="has payments"):
        await edit_participant(ctx, first.participant_id, CLERK, email="c@example.kz", name="Other")
    assert (await participant_view(ctx, first.participant_id)).full_name == "Қайрат"
    assert (await edit_participant(ctx, first.participant_id, CLERK, email="B@example.kz")).email


async def test_somebody_without_payments_is_removed(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    tournament = await cup(environment)
    wrong = await added(environment, tournament, "Қайрат")
    paying = await added(environment, tournament, "Әсел")
    users = len(await environment.rows(User))
    assert (await remove_participant(ctx, wrong.participant_id, CLERK)).full_name == "Қайрат"
    assert len(await environment.rows(User)) == users - 1
    with pytest.raises(NotFound):
        await participant_view(ctx, wrong.participant_id)
    await environment.start(paying.participant_id)
    with pytest.raises(Conflict, match="has payments"):
        await remove_participant(ctx, paying.participant_id, CLERK)
    assert (await participant_view(ctx, paying.participant_id)).full_name == "Әсел"


async def test_two_registrations_of_one_person_are_merged(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    tournament = await cup(environment)
    kept = await added(environment, tournament, "Қайрат")
    double = await added(environment, tournament, "Қайрат", category="-60", email="k@example.kz")
    await environment.start(kept.participant_id)
    with pytest.raises(Conflict, match="has payments"):
        await merge_participants(ctx, double.participant_id, kept.participant_id, CLERK)
    with pytest.raises(Refused, match="itself"):
        await merge_participants(ctx, kept.participant_id, kept.participant_id, CLERK)
    view, gone = await merge_participants(ctx, kept.participant_id, double.participant_id, CLERK)
    assert (view.participant_id, view.category, gone.participant_id) == (
        kept.participant_id,
        "-60",
        double.participant_id,
    )
    assert view.email is None  # another user would see the payments
    with pytest.raises(NotFound):
        await participant_view(ctx, double.participant_id)


async def test_email_of_the_second_is_kept_if_there_is_no_payment(environment: ServiceEnvironment) -> None:
    tournament = await cup(environment)
    kept = await added(environment, tournament, "Қайрат")
    double = await added(environment, tournament, "Қайрат", category="-60", email="k@example.kz")
    view, _ = await merge_participants(environment.ctx, kept.participant_id, double.participant_id, CLERK)
    assert view.email == "k@example.kz"


async def test_registrations_for_two_tournaments_are_not_merged(environment: ServiceEnvironment) -> None:
    first = await added(environment, await cup(environment), "Қайрат")
    second = await added(environment, await cup(environment, "Open"), "Қайрат")
    with pytest.raises(Refused, match="two tournaments"):
        await merge_participants(environment.ctx, first.participant_id, second.participant_id, CLERK)


async def test_namesakes_are_seen_as_the_search_sees_them(environment: ServiceEnvironment) -> None:
    tournament = await cup(environment)
    await added(environment, tournament, "Қайрат Асанов", category="-60")
    for name in ("Кайрат Асанов", "KAIRAT  ASANOV", "Qairat Asanov"):
        with pytest.raises(Conflict, match="already registered"):
            await added(environment, tournament, name, category="-60")
    await added(environment, tournament, "Кайрат Асанов", category="-66")


async def test_tournaments_of_one_name_have_different_days(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    first = await cup(environment)
    with pytest.raises(Conflict, match=first):
        await cup(environment, " КУБОК ")
    second = await cup(environment, days=7)
    day = local_day(environment.now() + timedelta(days=7))
    assert (await find_tournament(ctx, f"кубок {day}", whole_name=True)).id == second
    with pytest.raises(Conflict):
        await edit_tournament(ctx, second, CLERK, starts_at=environment.now())
    view = await edit_tournament(ctx, second, CLERK, name="Кубок 2", starts_at=environment.now())
    assert view.name == "Кубок 2"


async def test_a_place_is_not_removed_with_its_registration(environment: ServiceEnvironment) -> None:
    """The platform marks who paid in cash, without a payment."""
    tournament = await cup(environment)
    first, second = [
        (await added(environment, tournament, name)).participant_id for name in ("Асан Али", "Асан Алиев")
    ]
    async with environment.ctx.db.writing() as session:
        (await session.get_one(Participant, second)).status = ParticipantStatus.PAID
    with pytest.raises(Conflict, match="marks Асан Алиев"):
        await merge_participants(environment.ctx, first, second, CLERK)
    with pytest.raises(Conflict, match="marks Асан Алиев"):
        await remove_participant(environment.ctx, second, CLERK)
    async with environment.ctx.db.writing() as session:
        (await session.get_one(Participant, second)).status = ParticipantStatus.CANCELLED
    with pytest.raises(Conflict, match="is CANCELLED"):
        await merge_participants(environment.ctx, second, first, CLERK)


async def test_a_new_name_is_in_the_audit_trail_of_the_payments(environment: ServiceEnvironment) -> None:
    kairat = await environment.participant(full_name="Кайрат Асанов")
    payment_id = (await environment.start(kairat)).view.payment_id
    await edit_participant(environment.ctx, kairat, CLERK, name="Тимур Ким")
    entry = [row for row in await environment.rows(AuditEntry) if row.payment_id == payment_id][-1]
    assert (entry.action, entry.actor) == ("participant_edited", CLERK.name)
    assert (entry.before["full_name"], entry.after["full_name"]) == ("Кайрат Асанов", "Тимур Ким")
    assert (await audit_verify.verify(environment.ctx)).findings == []


async def test_details_that_change_are_in_the_audit_trail_without_phone_and_address(
    environment: ServiceEnvironment,
) -> None:
    ctx = environment.ctx
    kairat = await environment.participant(full_name="Кайрат Асанов")
    payment_id = (await environment.start(kairat)).view.payment_id
    details = Details.read("Барыс", None, "+7 707 123 45 67", "2014")
    await edit_participant(ctx, kairat, CLERK, details=details)
    await edit_participant(ctx, kairat, CLERK, details=details)  # nothing changes
    await edit_participant(ctx, kairat, CLERK, details=Details.read("-", None, "+7 707 999 99 67", None))
    asan = await roster.add_participant(
        ctx, f"t-{kairat}", "Асан", CLERK, details=Details.read("Арлан", "Ким", None, None)
    )
    await merge_participants(ctx, kairat, asan.participant_id, CLERK)
    edits = [row for row in await environment.rows(AuditEntry) if row.action == "participant_edited"]
    assert {row.payment_id for row in edits} == {payment_id}
    who = {"full_name": "Кайрат Асанов", "category": None}
    assert [(row.before, row.after) for row in edits] == [
        (
            who | {"club": None, "phone": None, "birth_year": None},
            who | {"club": "Барыс", "phone": "…67", "birth_year": 2014},
        ),
        (who | {"club": "Барыс", "phone": "…67"}, who | {"club": None, "phone": "…67 (another)"}),
        (who | {"club": None, "coach": None}, who | {"club": "Арлан", "coach": "Ким"}),
    ]
    assert (await audit_verify.verify(ctx)).findings == []


async def test_details_are_kept_changed_and_merged(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    tournament = await cup(environment)
    details = Details.read(" Барыс ", "Тренер А.", "+7 707 123 45 67", "12.03.2014")
    view = await roster.add_participant(ctx, tournament, "Қайрат", CLERK, details=details)
    assert (view.club, view.coach, view.phone, view.birth_year, view.reminders) == (
        "Барыс", "Тренер А.", "+7 707 123 45 67", 2014, True,
    )  # fmt: skip
    [stored] = await environment.rows(ParticipantDetail)
    assert "707" not in str(stored.phone_enc)
    kept = await roster.add_participant(ctx, tournament, "Қайрат А", CLERK, details=Details(club="Арлан"))
    edited = await edit_participant(
        ctx, view.participant_id, CLERK, details=replace(Details.read("-", None, None, "-"), reminders=False)
    )
    assert (edited.club, edited.phone, edited.birth_year, edited.reminders) == (
        None, "+7 707 123 45 67", None, False,
    )  # fmt: skip
    merged, _ = await merge_participants(ctx, kept.participant_id, view.participant_id, CLERK)
    assert (merged.club, merged.coach, merged.phone, merged.reminders) == (
        "Арлан", "Тренер А.", "+7 707 123 45 67", False,
    )  # fmt: skip
    assert len(await environment.rows(ParticipantDetail)) == 1  # it went with the registration
    unreadable = replace(ctx, keyring=Keyring([new_key()]))
    assert (await participant_view(unreadable, kept.participant_id)).phone is None
    for wrong in (("=1", None, None, None), (None, None, "12", None), (None, None, None, "14")):
        with pytest.raises(Refused):
            Details.read(*wrong)
