"""Finding the participant, payment or tournament that was typed, on both databases."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import Ambiguous, NotFound
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.find import find_participant, find_payment, find_tournament
from procomp_pay.translations import Translation
from tests.support.environment import CLERK, ServiceEnvironment


async def people(environment: ServiceEnvironment, *names: str) -> list[str]:
    """Add participants with these names, each in a tournament of their own."""
    return [await environment.participant(full_name=name, category="-60 кг") for name in names]


async def test_participant_is_found_by_id_code_and_name(environment: ServiceEnvironment) -> None:
    kairat, _ = await people(environment, "Қайрат Асанов", "Әсел Нұрланова")
    view = (await environment.start(kairat)).view
    for typed in (kairat, view.payment_id, view.code, "kairat", "асанов қайрат", "rfbhfn"):
        assert (await find_participant(environment.ctx, str(typed))).id == kairat, typed
    assert (await find_participant(environment.ctx, kairat)).description is None
    named = await find_participant(environment.ctx, "kairat")
    assert named.description == "Қайрат Асанов (-60 кг, Almaty Open, unpaid)"


async def test_id_wins_over_a_name(environment: ServiceEnvironment) -> None:
    first, _ = await people(environment, "Қайрат", "P1 Әсел")
    assert first == "p1"
    assert (await find_participant(environment.ctx, "p1")).id == first


async def test_several_are_told_and_none_is_picked(environment: ServiceEnvironment) -> None:
    ids = await people(environment, "Қайратов Тимур", "Қайрат Асанов", "Асқайрат Ким")
    with pytest.raises(Ambiguous, match="'kairat' may mean 3") as several:
        await find_participant(environment.ctx, "kairat")
    assert [choice.id for choice in several.value.choices] == [ids[1], ids[0], ids[2]]
    assert several.value.choices[0].facts == ("-60 кг", "Almaty Open", "unpaid")
    assert several.value.exit_code == 2


async def test_whole_name_means_itself_but_a_first_name_does_not(environment: ServiceEnvironment) -> None:
    first, _, timur = await people(environment, "Асан Али", "Асан Алиев", "Тимур")
    assert (await find_participant(environment.ctx, "асан али", whole_name=True)).id == first
    assert (await find_participant(environment.ctx, "тимур", whole_name=True)).id == timur
    assert (await find_participant(environment.ctx, "asan ali")).id == first
    await people(environment, "Тимур Ахметов")
    with pytest.raises(Ambiguous):
        await find_participant(environment.ctx, "timur")


async def test_namesakes_are_told_apart_by_the_clerk(environment: ServiceEnvironment) -> None:
    ids = await people(environment, "Асан Али", "Асан Али")
    with pytest.raises(Ambiguous) as several:
        await find_participant(environment.ctx, "Асан Али")
    assert {choice.id for choice in several.value.choices} == set(ids)


async def test_part_of_a_name_is_not_enough_where_nobody_is_asked(environment: ServiceEnvironment) -> None:
    [asan] = await people(environment, "Асан Алиев")
    assert (await find_participant(environment.ctx, "asan")).id == asan
    with pytest.raises(Ambiguous, match="only a part of the name 'Асан Алиев'"):
        await find_participant(environment.ctx, "asan", whole_name=True)
    assert (await find_participant(environment.ctx, "алиев асан", whole_name=True)).id == asan


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Ким Алия", "Ким Аля"),
        ("Ким Дан", "Ким Дани"),
        ("Ким Дениш", "Ким Денис"),
        ("Алия Ким", "Ким Ким"),
        ("Алия Ким", "alia kim"),
    ],
)
async def test_a_name_that_only_sounds_the_same_is_not_the_whole_name(
    environment: ServiceEnvironment, name: str, typed: str
) -> None:
    """Where no question is asked, it may be another athlete's."""
    await people(environment, name)
    with pytest.raises((Ambiguous, NotFound)):
        await find_participant(environment.ctx, typed, whole_name=True)


async def test_nearest_names_are_told(environment: ServiceEnvironment) -> None:
    await people(environment, "Қайрат Асанов", "Әсел Ким")
    with pytest.raises(NotFound, match="no participant 'кайрад'; the nearest names: Қайрат Асанов"):
        await find_participant(environment.ctx, "кайрад")
    with pytest.raises(NotFound, match="no payment 'кайрад'; the nearest names: Қайрат Асанов"):
        await find_payment(environment.ctx, "кайрад")
    with pytest.raises(NotFound, match=r"no participant 'xyzxyz'$"):
        await find_participant(environment.ctx, "xyzxyz")


async def test_payment_is_found_by_name_if_there_is_one(environment: ServiceEnvironment) -> None:
    kairat, _ = await people(environment, "Қайрат Асанов", "Әсел Ким")
    first = (await environment.start(kairat)).view
    for typed in (first.payment_id, first.code, kairat, "kairat"):
        assert (await find_payment(environment.ctx, str(typed))).id == first.payment_id
    second = (await environment.start(kairat, "apple_pay")).view
    with pytest.raises(Ambiguous, match="Қайрат Асанов has 2 payments") as several:
        await find_payment(environment.ctx, "kairat")
    assert {choice.id for choice in several.value.choices} == {first.payment_id, second.payment_id}
    told = {tuple(map(Translation("ru").shown, choice.facts[1:4])) for choice in several.value.choices}
    assert told == {
        ("24\xa0000\xa0₸", "Kaspi QR", "ЖДЁТ"),
        ("50\xa0$", "Apple Pay", "ЖДЁТ"),
    }
    for method, meant in ((PaymentMethod.KASPI_QR, first), (PaymentMethod.APPLE_PAY, second)):
        assert (await find_payment(environment.ctx, "kairat", method=method)).id == meant.payment_id
    with pytest.raises(Ambiguous):
        await find_payment(environment.ctx, "kairat", method=PaymentMethod.GOOGLE_PAY)
    with pytest.raises(NotFound, match="Әсел Ким has no payment yet"):
        await find_payment(environment.ctx, "asel")


async def test_payment_of_one_of_several_participants_is_not_picked(environment: ServiceEnvironment) -> None:
    """The other one has no payment, and may be the one who is meant."""
    kairat, other = await people(environment, "Қайрат Асанов", "Қайрат Ким")
    await environment.start(kairat)
    with pytest.raises(Ambiguous) as several:
        await find_payment(environment.ctx, "kairat")
    assert {choice.id for choice in several.value.choices} == {kairat, other}


async def test_mistyped_code_is_told(environment: ServiceEnvironment) -> None:
    [kairat] = await people(environment, "Қайрат Асанов")
    code = str((await environment.start(kairat)).view.code)
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")
    for find in (find_participant, find_payment):
        with pytest.raises(NotFound, match="mistyped"):
            await find(environment.ctx, wrong)
    for name in ("Махметов", "mahmetov"):  # eight letters of a code
        for find in (find_participant, find_payment):
            with pytest.raises(NotFound, match=f"There is no (participant|payment) '{name}'"):
                await find(environment.ctx, name)


async def test_tournament_is_found_by_id_and_name(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    cup, opened = await add(ctx, "Кубок Алматы"), await add(ctx, "Almaty Open")
    for typed in (cup, " кубок  АЛМАТЫ ", "kubok", "re,jr"):
        assert (await find_tournament(ctx, typed)).id == cup, typed
    assert (await find_tournament(ctx, "open", whole_name=False)).id == opened
    with pytest.raises(Ambiguous, match="only a part"):
        await find_tournament(ctx, "open", whole_name=True)
    with pytest.raises(Ambiguous, match="may mean 2"):
        await find_tournament(ctx, "almaty")
    with pytest.raises(NotFound, match="no tournament 'алмата'; the nearest names: "):
        await find_tournament(ctx, "алмата")
    short = await add(ctx, "Open")
    assert (await find_tournament(ctx, "open", whole_name=True)).id == short


async def test_tournaments_of_one_name_are_told_apart_by_their_day(environment: ServiceEnvironment) -> None:
    cup = await add(environment.ctx, "Кубок Алматы")
    environment.offset -= timedelta(days=7)
    other = await add(environment.ctx, "Кубок Алматы")
    environment.offset += timedelta(days=7)
    with pytest.raises(Ambiguous, match="may mean 2") as several:
        await find_tournament(environment.ctx, "Кубок Алматы")
    assert {choice.id for choice in several.value.choices} == {cup, other}
    day = environment.now().astimezone(ZoneInfo("Asia/Almaty")).date()
    assert several.value.choices[0].facts == (day.isoformat(),)


async def add(ctx: AppContext, name: str) -> str:
    """Add a tournament and return its id."""
    view = await tournaments.add_tournament(ctx, name, Money.parse("24000", "KZT"), ctx.clock(), CLERK)
    return view.tournament_id
