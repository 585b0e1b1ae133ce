"""A roster that is sent again corrects registrations instead of doubling them, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from procomp_pay.domain.money import Money
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import Text
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.registrations import participants as roster
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.file import read_roster
from procomp_pay.services.registrations.import_participants import import_participants
from procomp_pay.services.registrations.import_report import ImportReport
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Participant, Payment, User
from tests.support.environment import CLERK, ServiceEnvironment

HEAD = "ФИО;Категория;Почта;Клуб;Тренер;Телефон;Дата рождения\n"
#: Two who stay as they are, in most files: such a file is sent again.
SAME = "Аида Серік;-50;aida@example.kz;Барыс;Ким;87010000001;2012\nБота Омар;-45;;Барыс;Ким;;\n"


@pytest.fixture
async def cup(environment: ServiceEnvironment) -> str:
    fee = Money.parse(24000, "KZT")
    view = await tournaments.add_tournament(environment.ctx, "Кубок", fee, environment.now(), CLERK)
    return view.tournament_id


@pytest.fixture
def send(environment: ServiceEnvironment, cup: str, tmp_path: Path) -> Any:
    async def send(text: str, **more: Any) -> ImportReport:
        path = tmp_path / "roster.csv"
        path.write_text(text, "utf-8")
        report = await import_participants(environment.ctx, cup, read_roster(path).rows, CLERK, **more)
        # each remark is told in the clerk's language
        assert all(isinstance(one.what, Text) for one in (*report.skipped, *report.left_out))
        return report

    return send


async def everybody(environment: ServiceEnvironment) -> list[tuple[Any, ...]]:
    page = await roster.list_participants(environment.ctx)
    return [(view.full_name, view.category, view.email, view.club) for view in page.items]


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return len(report.added), len(report.changed), len(report.unchanged), len(report.gone)


async def test_everything_that_is_given_is_kept(environment: ServiceEnvironment, send: Any) -> None:
    assert counts(await send(HEAD + SAME)) == (2, 0, 0, 0)
    [aida, bota] = (await roster.list_participants(environment.ctx)).items
    assert (aida.club, aida.coach, aida.phone, aida.birth_year) == ("Барыс", "Ким", "87010000001", 2012)
    assert (bota.club, bota.phone, bota.birth_year) == ("Барыс", None, None)
    again = await send(HEAD + SAME)
    assert (counts(again), again.written) == ((0, 0, 2, 0), False)
    assert [remark.line for remark in again.skipped] == [2, 3]


async def test_corrections_are_told_first_and_then_made(environment: ServiceEnvironment, send: Any) -> None:
    await send(HEAD + SAME + "Қайрат Асанов;-60;;;;;\nГүл Сапар;-40;;;;;\n")
    before = await everybody(environment)
    # a category, an e-mail, a phone and a club come; one comes anew; one is not there any more
    text = (
        HEAD
        + SAME.replace("87010000001", "+7 701 999 99 99")
        + "ҚАЙРАТ асанов;-66;k@example.kz;Арлан;;;12.03.2011\nЖаңа Адам;-30;;;;;\n"
    )
    dry = await send(text, dry_run=True)
    assert (counts(dry), dry.written, await everybody(environment)) == ((1, 2, 1, 1), False, before)
    phone, kairat = sorted(dry.changed, key=lambda one: one.line)
    assert phone.changes == {"phone": ("87010000001", "+7 701 999 99 99")}
    assert kairat.full()["changes"] == {
        "category": {"before": "-60", "after": "-66"},
        "email": {"before": None, "after": "k@example.kz"},
        "club": {"before": None, "after": "Арлан"},
        "birth_year": {"before": None, "after": "2011"},
    }
    assert [row.full_name for row in dry.gone] == ["Гүл Сапар"]
    real = await send(text)
    assert (counts(real), real.written) == ((1, 2, 1, 1), True)
    assert await everybody(environment) == [
        ("Аида Серік", "-50", "aida@example.kz", "Барыс"),
        ("Бота Омар", "-45", None, "Барыс"),
        ("Гүл Сапар", "-40", None, None),  # nobody is removed
        ("Жаңа Адам", "-30", None, None),
        ("Қайрат Асанов", "-66", "k@example.kz", "Арлан"),
    ]
    assert counts(await send(text)) == (0, 0, 4, 1)


async def test_an_emptied_cell_and_a_missing_column_erase_nothing(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + SAME)
    before = await everybody(environment)
    for text in (
        HEAD + "Аида Серік;;;;;;\nБота Омар;-;-;-;-;-;-\n",
        "ФИО\nАида Серік\nБота Омар\n",
        "ФИО;Клуб\nАида Серік;барыс\nБота Омар;\n",
    ):
        report = await send(text)
        assert (counts(report), report.written) == ((0, 0, 2, 0), False)
    assert await everybody(environment) == before
    [aida, _] = (await roster.list_participants(environment.ctx)).items
    assert (aida.coach, aida.phone, aida.birth_year) == ("Ким", "87010000001", 2012)


async def test_two_children_of_one_name_are_told_apart_by_club(
    environment: ServiceEnvironment, send: Any
) -> None:
    twins = HEAD + "Иван Ли;-40;;Барыс;;;\nИван Ли;-40;;Арлан;;;\nИван Ли;-40;;Барыс;;;\nИван Ли;-40;;;;;\n"
    report = await send(twins)
    assert counts(report) == (2, 0, 0, 0)
    assert [(remark.line, remark.what.split(":")[0]) for remark in report.skipped] == [
        (4, "the same as line 2"),
        (5, "the same as line 2"),
    ]
    assert counts(await send(twins)) == (0, 0, 2, 0)
    # each club sends its own list, and the other club's child is neither changed nor gone
    report = await send(HEAD + "Иван Ли;-40;i@example.kz;Арлан;;;\n")
    assert (counts(report), report.changed[0].changes) == ((0, 1, 0, 0), {"email": (None, "i@example.kz")})
    assert sorted(club for *_, club in await everybody(environment)) == ["Арлан", "Барыс"]
    # a third club may be one of these in another spelling: nobody is registered, and charged, twice
    report = await send(HEAD + "Иван Ли;-40;;СК Барыс;;;\n")
    assert counts(report)[:3] == (0, 0, 0)
    assert [remark.what.split(" (")[0] for remark in report.skipped] == ["registered in another club"]
    # whichever line comes first, and also without a category
    for text in (
        HEAD + "Иван Ли;-40;;Барыс;;;\nИван Ли;-40;;Сұңқар;;;\nИван Ли;-40;;СК Арлан;;;\n",
        HEAD + "Иван Ли;;;СК Барыс;;;\n",
    ):
        report = await send(text)
        assert counts(report)[:2] == (0, 0)
        assert {remark.what.split(" (")[0] for remark in report.skipped[-2:]} == {
            "registered in another club"
        }
    # beside the lines of both it is a third person
    assert counts(await send(twins + "Иван Ли;-40;;Сұңқар;;;\n"))[0] == 1


async def test_a_list_of_further_entries_changes_no_category(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send("ФИО;Категория\nАида Серік;Ката\nБота Омар;Ката\nИван Ли;Ката\n")
    report = await send("ФИО;Категория\nАида Серік;Кумитэ\nБота Омар;Кумитэ\nИван Ли;Ката\n")
    assert counts(report) == (2, 0, 1, 2)
    # both lists in one file, one of them corrected: it is clear which
    text = (
        "ФИО;Категория\nАида Серік;Ката\nБота Омар;Ката\nИван Ли;Ката\nАида Серік;Кумитэ -40\n"
        "Бота Омар;Кумитэ\n"
    )
    report = await send(text)
    assert (counts(report), report.changed[0].changes) == (
        (0, 1, 4, 0),
        {"category": ("Кумитэ", "Кумитэ -40")},
    )


async def test_a_change_that_may_be_of_two_registrations_is_not_guessed(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + SAME + "Иван Ли;-40;;;;;\nИван Ли;-50;;;;;\n")
    report = await send(HEAD + SAME + "Иван Ли;-44;;;;;\nИван Ли;-55;;;;;\n")
    assert counts(report)[:3] == (0, 0, 2)
    assert ["not clear whose category" in remark.what for remark in report.skipped if remark.line > 3] == [
        True,
        True,
    ]
    assert len(await everybody(environment)) == 4
    report = await send(HEAD + "Иван Ли;;;;;;\n")
    assert (counts(report)[:2], report.skipped[0].what[:26]) == ((0, 0), "already registered 2 times")


async def test_one_address_for_two_children_with_payments(environment: ServiceEnvironment, send: Any) -> None:
    """The first one's user has it; the other one's payments stay with their own user."""
    ctx = environment.ctx
    await send("ФИО;Категория\nАсан Ли;-40\nҮсен Ли;-44\n")
    children = (await roster.list_participants(ctx)).items
    for view in children:
        await environment.start(view.participant_id)
    report = await send("ФИО;Категория;E-mail\nАсан Ли;-40;ata@example.kz\nҮсен Ли;-44;ata@example.kz\n")
    assert (counts(report)[:3], len(report.left_out)) == ((0, 1, 1), 1)
    assert "there are payments" in report.left_out[0].what
    after = {view.participant_id: view.user_id for view in (await roster.list_participants(ctx)).items}
    assert after == {view.participant_id: view.user_id for view in children}


async def test_who_has_paid_keeps_name_user_and_place(environment: ServiceEnvironment, send: Any) -> None:
    ctx = environment.ctx
    await send(HEAD + SAME + "Кайрат Асанов;-60;;;;;\n")
    [aida, bota, kairat] = (await roster.list_participants(ctx)).items
    for view in (aida, kairat):
        opened = await environment.start(view.participant_id)
        await environment.phone(opened)
    await environment.maintain(after=10)
    text = (
        HEAD
        + SAME.replace("aida@example.kz", "other@example.kz").replace("-50", "-52")
        + "Қайрат Асанов;-60;;;;;\n"
    )
    report = await send(text)
    assert "there are payments" in report.left_out[0].what
    # a name that only sounds the same gets nobody's place, and is not charged once more
    assert report.added == []
    assert "a name that sounds the same is registered" in report.skipped[-1].what
    after = await roster.participant_view(ctx, aida.participant_id)
    assert (after.category, after.email, after.is_paid) == ("-52", "aida@example.kz", True)
    edits = [row for row in await environment.rows(AuditEntry) if row.action == "participant_edited"]
    assert [(row.before["category"], row.after["category"], row.actor) for row in edits] == [
        ("-50", "-52", "aigerim")
    ]
    assert (await verify(ctx)).is_sound
    # who had no address gets one, also with payments: it is nobody else's
    report = await send(HEAD + "Кайрат Асанов;-60;new@example.kz;;Ли;;\n")
    assert report.changed[0].changes == {"email": (None, "new@example.kz"), "coach": (None, "Ли")}
    edit = [row for row in await environment.rows(AuditEntry) if row.action == "participant_edited"][-1]
    who = {"full_name": "Кайрат Асанов", "category": "-60"}
    assert edit.before == who | {"email": None, "coach": None}
    assert edit.after == who | {"email": "n…@example.kz", "coach": "Ли"}
    assert [row.participant_id for row in report.gone].count(kairat.participant_id) == 0
    assert (await roster.participant_view(ctx, kairat.participant_id)).user_id == kairat.user_id
    # but not another user's
    report = await send(HEAD + "Бота Омар;-45;new@example.kz;;;;\n")
    assert (await roster.participant_view(ctx, bota.participant_id)).user_id == kairat.user_id
    assert len({row.email for row in await environment.rows(User)}) == len(await environment.rows(User))


async def test_a_cancelled_registration_stays_as_it_is(environment: ServiceEnvironment, send: Any) -> None:
    await send(HEAD + SAME)
    [aida, _] = (await roster.list_participants(environment.ctx)).items
    async with environment.ctx.db.writing() as session:
        row = await session.get(Participant, aida.participant_id)
        assert row is not None
        row.status = ParticipantStatus.CANCELLED
    report = await send(HEAD + SAME.replace("aida@", "new@"))
    assert (counts(report), "cancelled" in report.unchanged[0].what) == ((0, 0, 2, 0), True)


async def test_cells_that_cannot_be_kept_are_told_and_stop_nobody(
    environment: ServiceEnvironment, send: Any
) -> None:
    report = await send(HEAD + "Аида Серік;-50;;=cmd;;12;вчера\n")
    assert (counts(report), [remark.line for remark in report.left_out]) == ((1, 0, 0, 0), [2, 2, 2])
    [aida] = (await roster.list_participants(environment.ctx)).items
    assert (aida.club, aida.phone, aida.birth_year) == (None, None, None)
    several = await send("ФИО;Тренер;Тренеры;Телефон;Тел\nАида Серік;Ким;Ли;87010000001;2\n")
    assert several.changed[0].changes == {"coach": (None, "Ким"), "phone": (None, "87010000001")}


async def test_files_at_the_same_moment_and_payments_change_everything_once(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + SAME)
    ids = [view.participant_id for view in (await roster.list_participants(environment.ctx)).items]
    text = HEAD + SAME.replace("-45", "-48") + "Жаңа Адам;-30;;;;;\n"
    reports = await asyncio.gather(send(text), send(text), *(environment.start(key) for key in ids))
    assert sorted(counts(report)[:2] for report in reports[:2]) == [(0, 0), (1, 1)]
    assert [name for name, *_ in await everybody(environment)] == ["Аида Серік", "Бота Омар", "Жаңа Адам"]
    assert (await verify(environment.ctx)).is_sound


async def pay(environment: ServiceEnvironment, participant_id: str) -> None:
    await environment.paid(participant_id)


async def test_a_name_and_a_club_in_another_spelling_are_the_same(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + "Қайрат Нұрланов;-60;;Барыс;;;\n")
    other = HEAD + "Kairat Nurlanov;-60;;Barys;;;\n"
    dry = await send(other, dry_run=True)
    assert (counts(dry), dry.changed[0].before) == ((0, 1, 0, 0), "Қайрат Нұрланов")
    assert dry.changed[0].changes == {
        "name": ("Қайрат Нұрланов", "Kairat Nurlanov"),
        "club": ("Барыс", "Barys"),
    }
    assert counts(await send(other)) == (0, 1, 0, 0)
    assert await everybody(environment) == [("Kairat Nurlanov", "-60", None, "Barys")]
    # one file with both is of one person
    report = await send(HEAD + "Әсел Ким;-50;;Барыс;;;\nAsel Kim;-50;;Barys;;;\nАсель Ким;-50;;Арлан;;;\n")
    assert [one.line for one in report.added] == [2, 4]
    assert report.skipped[0].what.startswith("sounds like Әсел Ким in line 2")


@pytest.mark.parametrize(
    "line",
    [
        "Kairat Nurlanov;-60;;Barys;;;\n",  # has paid: the place is not handed on
        "Kairat Nurlanov;-60;;СК Барыс;;;\n",
        "Kairat Nurlanov;;;;;;\n",
    ],
)
async def test_nobody_is_registered_twice_who_sounds_like_one_who_has_paid(
    environment: ServiceEnvironment, send: Any, line: str
) -> None:
    await send(HEAD + "Қайрат Нұрланов;-60;;Барыс;;;\n")
    [kairat] = (await roster.list_participants(environment.ctx)).items
    await pay(environment, kairat.participant_id)
    report = await send(HEAD + line)
    assert counts(report) == (0, 0, 0, 0)
    assert report.skipped[0].what.startswith("a name that sounds the same is registered")
    assert kairat.participant_id in report.skipped[0].what
    assert len(await everybody(environment)) == 1


async def test_a_club_in_another_script_is_no_other_club(environment: ServiceEnvironment, send: Any) -> None:
    await send(HEAD + "Қайрат Нұрланов;-60;;Барыс;;;\n")
    report = await send(HEAD + "Қайрат Нұрланов;-60;;Barys;;;\n")
    assert (counts(report), report.changed[0].changes) == ((0, 1, 0, 0), {"club": ("Барыс", "Barys")})


@pytest.mark.parametrize("category", ["-40", ""])
async def test_who_has_paid_is_not_guessed_among_namesakes(
    environment: ServiceEnvironment, send: Any, category: str
) -> None:
    """A child without a club has paid; the roster has two of the name."""
    await send(HEAD + SAME + "Иван Ли;-40;;;;;\n")
    ivan = (await roster.list_participants(environment.ctx, search="Иван")).items[0]
    await pay(environment, ivan.participant_id)
    lines = [f"Иван Ли;{category};;Барыс;;;\n", f"Иван Ли;{category};;Арлан;;;\n"]
    for ordered in (lines, lines[::-1]):
        report = await send(HEAD + SAME + "".join(ordered))
        assert counts(report) == (0, 0, 2, 0)
        remarks = [remark.what for remark in report.skipped if remark.name == "Иван Ли"]
        assert len(remarks) == 2
        assert all(what.startswith("not clear whose") and ivan.participant_id in what for what in remarks)
    assert len(await everybody(environment)) == 3


async def test_one_line_does_not_guess_among_two_who_have_paid(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + "Иван Ли;-40;;Барыс;;;\nИван Ли;-40;;Арлан;;;\n")
    for view in (await roster.list_participants(environment.ctx)).items:
        await pay(environment, view.participant_id)
    report = await send(HEAD + "Иван Ли;-40;i@example.kz;;;;\n")
    assert counts(report)[:3] == (0, 0, 0)
    assert report.skipped[0].what.startswith("not clear whose")


async def test_two_years_of_birth_are_two_people(environment: ServiceEnvironment, send: Any) -> None:
    await send(HEAD + SAME + "Иван Ли;-60;;;;;2010\n")
    ivan = (await roster.list_participants(environment.ctx, search="Иван")).items[0]
    await pay(environment, ivan.participant_id)
    before = await everybody(environment)
    # in the same category nobody is guessed, nor charged twice
    report = await send(HEAD + SAME + "Иван Ли;-60;;Самрук;Ли;;2014\n")
    assert (counts(report), report.written) == ((0, 0, 2, 0), False)
    assert report.skipped[-1].what.startswith("registered with another year of birth")
    assert f"{ivan.participant_id}: 2010" in report.skipped[-1].what
    assert await everybody(environment) == before
    # in another category it is another person
    report = await send(HEAD + SAME + "Иван Ли;-81;;Самрук;Ли;;2014\n")
    assert counts(report)[:3] == (1, 0, 2)
    after = await roster.participant_view(environment.ctx, ivan.participant_id)
    assert (after.category, after.club, after.coach, after.birth_year) == ("-60", None, None, 2010)
    # a file that has two of one category says that they are two
    both = HEAD + SAME + "Иван Ли;-60;;;;;2016\nИван Ли;-60;;;;;2010\n"
    assert counts(await send(both))[:3] == (1, 0, 3)
    assert counts(await send(both))[:3] == (0, 0, 4)


async def test_the_category_of_one_who_has_paid_changes_only_in_a_known_club(
    environment: ServiceEnvironment, send: Any
) -> None:
    await send(HEAD + SAME + "Иван Ли;-60;;;;;\nОлег Пак;-60;;Самрук;;;\n")
    for name in ("Иван", "Олег"):
        view = (await roster.list_participants(environment.ctx, search=name)).items[0]
        await pay(environment, view.participant_id)
    report = await send(HEAD + SAME + "Иван Ли;-81;;Самрук;;;\nОлег Пак;-66;;самрук;;;\n")
    assert (counts(report)[:3], report.changed[0].changes) == ((0, 1, 2), {"category": ("-60", "-66")})
    assert [one.what.split(" (")[0] for one in report.skipped if one.name == "Иван Ли"] == [
        "not clear whose category changed"
    ]


async def test_a_user_whom_the_platform_deleted_is_not_made_again(
    environment: ServiceEnvironment, send: Any
) -> None:
    if environment.ctx.db.is_sqlite():
        return  # there the tables are our own, and a participant has a user
    await send(HEAD + SAME)
    [_, bota] = (await roster.list_participants(environment.ctx)).items
    async with environment.ctx.db.writing() as session:
        connection = await session.connection()
        await connection.execute(sql('ALTER TABLE "Participant" ALTER "userId" DROP NOT NULL'))
        row = await session.get(Participant, bota.participant_id)
        assert row is not None
        user = await session.get(User, row.user_id)
        row.user_id = None
        await session.flush()
        await session.delete(user)
    report = await send(HEAD + SAME.replace("-45;;", "-45;bota@example.kz;"))
    assert counts(report)[:3] == (0, 0, 2)
    assert (await roster.participant_view(environment.ctx, bota.participant_id)).user_id is None
    assert "bota@example.kz" not in {row.email for row in await environment.rows(User)}


async def test_a_payment_of_the_platforms_counts_as_one(environment: ServiceEnvironment, send: Any) -> None:
    """It is not adopted, so that no details are known; its user and its place stay all the same."""
    await send(HEAD + SAME.replace("aida@example.kz", "") + "Үсен Ли;-44;ata@example.kz;;;;\n")
    aida = (await roster.list_participants(environment.ctx, search="Аида")).items[0]
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        row = await session.get(Participant, aida.participant_id)
        assert row is not None
        payment = Payment(
            id="platforms", amount=24000, currency="KZT", user_id=row.user_id, meta=None,
            tournament_id=row.tournament_id, created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(payment)
        await session.flush()
        row.payment_id = "platforms"
    report = await send(HEAD + SAME.replace("aida@example.kz", "ata@example.kz"))
    assert (counts(report)[1], "there are payments" in report.left_out[0].what) == (0, True)
    assert (await roster.participant_view(environment.ctx, aida.participant_id)).user_id == aida.user_id
