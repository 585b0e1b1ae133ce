"""A search finds the same with keys, without, and with those of names that the platform has changed since."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import text

from procomp_pay.domain.name_search import KEY_VERSION, matches, meant
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations import search_keys as service
from procomp_pay.services.registrations.changes import edit_participant, remove_participant
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.find import find_participant
from procomp_pay.services.registrations.import_participants import import_participants
from procomp_pay.services.registrations.participants import (
    add_participant,
    list_participants,
    search_participants,
)
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.registrations import ParticipantSearch
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import search_keys
from tests.support.environment import CLERK, ServiceEnvironment

GIVEN = [
    "Қайрат", "Kairat", "Кайрат", "Әсел", "Асель", "Шыңғыс", "Shyngys", "Юлия", "Julia", "Щербан",
    "Анна-Мария", "О'Нил", "Ғалым", "J", "100%_",
]  # fmt: skip
SURNAMES = [
    "Асанов", "Assanov", "Нұрланұлы", "Жұмабаев", "Zhumabayev", "Хасен", "Khassen", "Максимов", "Maximov",
    "Ли", "Li", "A.B.", "e\u0308", "\\",
]  # fmt: skip
TYPED = [
    "kairat", "қайр", "rfbhfn", "лфшкфе", "asan kai", "k", "ж", "j", "zh", "ais", "maks", "o'nil", "онил",
    "anna-mar", "мария анна", "a.b", "100%", "_", "%", "\\", "-", " ", "li", "shyn", "s", "khas hasen", "щ",
    "julia li", "a b c d e f g h", "нет такого",
]  # fmt: skip


async def sql(ctx: AppContext, statement: str, **values: str) -> None:
    async with ctx.db.writing() as session:
        await (await session.connection()).execute(text(statement), values)


async def keys(environment: ServiceEnvironment) -> dict[str, str]:
    return {row.participant_id: row.full_name for row in await environment.rows(ParticipantSearch)}


async def register(environment: ServiceEnvironment, names: list[str]) -> None:
    """Add participants as the platform does: without keys."""
    first = await environment.participant(full_name="Бөтен Біреу")
    row = await environment.read_participant(first)
    async with environment.ctx.db.writing() as session:
        session.add_all(
            Participant(
                id=f"x{n:05}", user_id=row.user_id, tournament_id=row.tournament_id, full_name=name,
                created_at=row.created_at, updated_at=row.updated_at,
            )
            for n, name in enumerate(names)
        )  # fmt: skip


async def test_results_and_ranks_are_those_of_all_names(environment: ServiceEnvironment) -> None:
    names = [" ".join(pair) for pair in itertools.product(GIVEN, SURNAMES)]
    names += [f"{one} {two}" for one, two in itertools.product(SURNAMES[:5], GIVEN[:5])]
    await register(environment, names)
    ctx, chance = environment.ctx, random.Random(5)

    async def check(stage: str) -> None:
        async with ctx.db.reading() as session:
            ids, every = await repository.all_names(session)
        for typed in TYPED:
            found = sorted(matches(every, typed))
            async with ctx.db.reading() as session:
                some_ids, some = await repository.all_names(session, typed=typed)
            best = [some_ids[number] for number in meant(some, typed).numbers]
            assert best == [ids[number] for number in meant(every, typed).numbers], (stage, typed)
            if not typed.strip():
                continue
            page = await list_participants(ctx, search=typed, limit=30)
            assert page.total == len(found), (stage, typed)
            shown = [view.participant_id for view in page.items]
            assert shown == [ids[match.number] for match in found[:30]], (stage, typed)

    await check("no keys")
    assert await service.catch_up(ctx) == len(names) + 1
    await check("keys")
    async with ctx.db.reading() as session:
        narrowed, _ = await repository.all_names(session, typed="rfbhfn")
    assert 0 < len(narrowed) < len(names) / 4
    # behind our back: renamed, deleted, keys of another version and none
    for number in chance.sample(range(len(names)), 60):
        new = f"{chance.choice(GIVEN)} {chance.choice(SURNAMES)}"
        await sql(
            ctx, 'UPDATE "Participant" SET "fullName" = :new WHERE id = :id', new=new, id=f"x{number:05}"
        )
    await sql(ctx, """DELETE FROM "Participant" WHERE id LIKE 'x%7'""")
    await sql(
        ctx,
        "UPDATE pay_participant_search SET key_version = 0, search_key = '' WHERE participant_id LIKE '%3'",
    )
    await sql(ctx, "DELETE FROM pay_participant_search WHERE participant_id LIKE '%5'")
    await check("stale keys")
    environment.later(3600)
    assert await service.catch_up(ctx)
    await check("keys again")
    everybody = {row.id: row.full_name for row in await environment.rows(Participant)}
    assert await keys(environment) == everybody
    assert {row.key_version for row in await environment.rows(ParticipantSearch)} == {KEY_VERSION}


async def test_new_name_is_found_at_once_and_the_old_one_no_more(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    participant = await environment.participant(full_name="Қайрат Асанов")
    await environment.maintain()
    assert await keys(environment) == {participant: "Қайрат Асанов"}
    await sql(ctx, """UPDATE "Participant" SET "fullName" = 'Әсел Ким'""")
    assert (await find_participant(ctx, "asel")).id == participant
    assert await search_participants(ctx, "kairat") == []
    await sql(ctx, 'DELETE FROM "Participant"')
    assert await search_participants(ctx, "asel") == []


async def test_keys_follow_what_is_done_here(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    cup = (await environment.read_participant(await environment.participant(full_name="Бөтен"))).tournament_id
    kairat = (await add_participant(ctx, cup, "Қайрат Асанов", CLERK)).participant_id
    assert await keys(environment) == {kairat: "Қайрат Асанов"}
    await edit_participant(ctx, kairat, CLERK, name="Қайрат Ли", category="-60 кг")
    await edit_participant(ctx, kairat, CLERK, category="-66 кг")
    assert await keys(environment) == {kairat: "Қайрат Ли"}
    rows = [RosterRow(1, "Kairat Li", "-66 кг"), RosterRow(2, "Әсел Ким", None)]
    await import_participants(ctx, cup, rows, CLERK)
    assert sorted((await keys(environment)).values()) == ["Kairat Li", "Әсел Ким"]
    await remove_participant(ctx, kairat, CLERK)
    assert list((await keys(environment)).values()) == ["Әсел Ким"]


async def test_one_round_at_a_time_and_ten_minutes_between(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    await environment.participant(full_name="Қайрат Асанов")
    assert await service.catch_up(ctx) == 1
    assert await service.catch_up(ctx) is None
    environment.later(11 * 60)
    assert await service.catch_up(ctx) == 0


async def test_all_are_stored_in_more_than_one_statement_and_transaction(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_keys, "_AT_ONCE", 2)
    monkeypatch.setattr(service, "BATCH", 5)
    await register(environment, [f"Kairat {chr(97 + number)}" for number in range(11)])
    assert await service.catch_up(environment.ctx) == 12
    assert await keys(environment) == {row.id: row.full_name for row in await environment.rows(Participant)}


async def test_missing_name_of_the_platform_has_a_key(environment: ServiceEnvironment) -> None:
    async with environment.ctx.db.writing() as session:
        await search_keys.store(session, {"a": "", "b": "\x1e"})
    rows = {row.participant_id: row.search_key for row in await environment.rows(ParticipantSearch)}
    assert rows == {"a": "", "b": ""}


async def test_typed_text_that_no_database_takes_finds_nobody(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    await environment.participant(full_name="Қайрат Асанов")
    await environment.maintain()
    for typed in ("kai\x00rat", "kai\udcffrat", "ka" * 30_000):
        assert await search_participants(ctx, typed) == []
        assert (await list_participants(ctx, search=typed, limit=30)).total == 0
