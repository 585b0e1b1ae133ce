"""Tournaments, fees and participants, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import col, select

from procomp_pay.domain.errors import Conflict, InvalidAmount, NotFound, Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import Channel, ParticipantStatus
from procomp_pay.providers.protocol import PaymentProvider
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.registrations import participants as roster
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.import_participants import import_participants
from procomp_pay.services.registrations.import_report import ImportReport
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Participant, Payment, User
from procomp_pay.storage.registrations import lookup
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.environment import ServiceEnvironment
from tests.support.patience import PATIENCE_S

CLERK = Actor("aigerim", Source.PERSON)
STARTS = datetime(2026, 5, 1, 4, 0, tzinfo=UTC)
NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)


class NoProviders:
    """Fail on any use of a provider."""

    @property
    def circuits(self) -> list[Any]:
        return []

    def certificate(self, _now: datetime) -> None:
        return None

    def of(self, channel: Channel) -> PaymentProvider:
        raise AssertionError(channel)


@pytest.fixture
def ctx(db: PaymentDatabaseService) -> AppContext:
    return AppContext(
        db,
        NoProviders(),
        Keyring([new_key()]),
        lambda: NOW,
        new_id,
        "http://127.0.0.1:8080",
        WebhookIntake(db),
    )


@pytest.fixture
async def cup(ctx: AppContext) -> str:
    """Return a tournament with a fee of 24 000 KZT."""
    view = await tournaments.add_tournament(ctx, "Кубок Алматы", money("24000"), STARTS, CLERK)
    return view.tournament_id


def money(amount: str, currency: str = "KZT") -> Money:
    return Money.parse(amount, currency)


def rows(*people: tuple[str, str, str]) -> list[RosterRow]:
    """Return rows as lines 2, 3, … of a file."""
    return [RosterRow(line, *cells) for line, cells in enumerate(people, 2)]


async def everybody(ctx: AppContext) -> list[tuple[str, str | None, str]]:
    """Return name, category and e-mail of all participants from the database."""
    async with ctx.db.reading() as session:
        query: Any = select(Participant.full_name, Participant.category, User.email).where(
            User.id == Participant.user_id
        )
        return sorted(tuple(row) for row in (await session.exec(query)).all())


async def mark(ctx: AppContext, participant_id: str, status: ParticipantStatus) -> None:
    async with ctx.db.writing() as session:
        row = await session.get(Participant, participant_id)
        assert row is not None
        row.status = status


async def ids(ctx: AppContext, tournament_id: str | None = None, **wanted: Any) -> list[str]:
    return [v.full_name for v in (await roster.list_participants(ctx, tournament_id, **wanted)).items]


# Tournaments and fees


async def test_tournament_is_stored_with_its_fee_and_start(ctx: AppContext, cup: str) -> None:
    view = await tournaments.tournament_view(ctx, cup)
    assert (view.name, view.starts_at, view.fees.main) == ("Кубок Алматы", STARTS, money("24000"))
    assert view.full()["entry_fee"] == Decimal("24000.00")
    assert view.full()["starts_at"] == "2026-05-01T04:00:00Z"


async def test_fee_in_another_currency_is_added(ctx: AppContext, cup: str) -> None:
    first = await tournaments.set_fee(ctx, cup, money("50.00", "USD"), CLERK)
    again = await tournaments.set_fee(ctx, cup, money("55.50", "USD"), CLERK)
    assert (first.before, again.before, again.after) == (None, money("50", "USD"), money("55.50", "USD"))
    view = await tournaments.tournament_view(ctx, cup)
    assert view.fees.main == money("24000")
    assert view.fees.others == {Currency.USD: money("55.50", "USD")}


async def test_main_fee_changes_the_tournament(ctx: AppContext, cup: str) -> None:
    later = replace(ctx, clock=lambda: STARTS)
    change = await tournaments.set_fee(later, cup, money("25000"), CLERK)
    assert change.before == money("24000")
    view = await tournaments.tournament_view(ctx, cup)
    assert (view.fees.main, view.fees.others) == (money("25000"), {})


async def test_other_fee_can_be_removed_but_not_the_main_fee(ctx: AppContext, cup: str) -> None:
    await tournaments.set_fee(ctx, cup, money("50", "USD"), CLERK)
    change = await tournaments.remove_fee(ctx, cup, Currency.USD, CLERK)
    assert (change.before, change.after) == (money("50", "USD"), None)
    assert (await tournaments.tournament_view(ctx, cup)).fees.others == {}
    with pytest.raises(NotFound, match="no fee in USD"):
        await tournaments.remove_fee(ctx, cup, Currency.USD, CLERK)
    with pytest.raises(Refused, match="main fee"):
        await tournaments.remove_fee(ctx, cup, Currency.KZT, CLERK)


async def test_changes_of_fees_are_in_the_audit_trail(ctx: AppContext, cup: str) -> None:
    await tournaments.set_fee(ctx, cup, money("25000"), CLERK)
    await tournaments.set_fee(ctx, cup, money("50", "USD"), CLERK)
    await tournaments.remove_fee(ctx, cup, Currency.USD, CLERK)
    async with ctx.db.reading() as session:
        entries = (await session.exec(select(AuditEntry).order_by(col(AuditEntry.seq)))).all()
    fees = [{"fee": fee} for fee in ("24000.00 KZT", "25000.00 KZT", "50.00 USD")]
    assert [(entry.action, entry.before, entry.after) for entry in entries] == [
        ("tournament_added", None, fees[0]),
        ("fee_set", fees[0], fees[1]),
        ("fee_set", None, fees[2]),
        ("fee_removed", fees[2], None),
    ]
    assert {(entry.payment_id, entry.actor) for entry in entries} == {(f"tournament:{cup}", CLERK.name)}


async def test_unpayable_fees_are_refused(ctx: AppContext, cup: str) -> None:
    with pytest.raises(InvalidAmount, match="whole tenge"):
        await tournaments.set_fee(ctx, cup, money("24000.50"), CLERK)
    with pytest.raises(InvalidAmount, match="more than zero"):
        await tournaments.set_fee(ctx, cup, Money(Decimal(0), Currency.USD), CLERK)
    with pytest.raises(InvalidAmount, match="whole tenge"):
        await tournaments.add_tournament(ctx, "X", money("0.01"), STARTS, CLERK)
    with pytest.raises(NotFound):
        await tournaments.set_fee(ctx, "nope", money("1"), CLERK)
    assert (await tournaments.tournament_view(ctx, cup)).fees.main == money("24000")


async def test_open_payments_keep_their_amount_and_are_counted(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    change = await tournaments.set_fee(environment.ctx, opened.view.tournament_id, money("30000"), CLERK)
    assert change.open_payments == 1
    async with environment.ctx.db.reading() as session:
        payment = await session.get(Payment, opened.view.payment_id)
    assert payment is not None
    assert payment.amount == Decimal("24000.00")
    other = await tournaments.set_fee(environment.ctx, opened.view.tournament_id, money("60", "USD"), CLERK)
    assert other.open_payments == 0


async def test_list_counts_registered_and_paid_participants(ctx: AppContext, cup: str) -> None:
    later = await tournaments.add_tournament(ctx, "Later", money("10", "USD"), STARTS.replace(month=6), CLERK)
    for name, status in (("А", "PAID"), ("Б", "REGISTERED"), ("В", "CANCELLED")):
        added = await roster.add_participant(ctx, cup, name, CLERK)
        await mark(ctx, added.participant_id, ParticipantStatus(status))
    await tournaments.set_fee(ctx, cup, money("50", "USD"), CLERK)
    first, second = await tournaments.list_tournaments(ctx)
    assert (first.tournament_id, first.registered, first.paid) == (later.tournament_id, 0, 0)
    assert (second.registered, second.paid) == (2, 1)
    assert second.fees.others == {Currency.USD: money("50", "USD")}
    assert first.fees.others == {}
    assert len(await tournaments.list_tournaments(ctx, limit=1)) == 1


# Participants


async def test_participant_belongs_to_the_user_with_that_address(ctx: AppContext, cup: str) -> None:
    async with ctx.db.writing() as session:
        session.add(User(id="u1", email="Coach@Example.kz", name="Тренер"))
    one = await roster.add_participant(ctx, cup, "Аида", CLERK, email="coach@example.KZ", category="-50")
    await roster.add_participant(ctx, cup, "Бота", CLERK, email="new@example.kz")
    await roster.add_participant(ctx, cup, "Вера", CLERK, email="NEW@example.kz")
    async with ctx.db.reading() as session:
        users = {u.email: (u.id, u.name, u.role.value) for u in (await session.exec(select(User))).all()}
        aida = await session.get(Participant, one.participant_id)
    assert set(users) == {"Coach@Example.kz", "new@example.kz"}
    assert users["Coach@Example.kz"] == ("u1", "Тренер", "USER")
    assert users["new@example.kz"][1:] == ("Бота", "USER")
    assert aida is not None
    assert (aida.user_id, aida.category, aida.status) == ("u1", "-50", ParticipantStatus.REGISTERED)


async def test_participant_without_address_has_their_own_user(ctx: AppContext, cup: str) -> None:
    views = [await roster.add_participant(ctx, cup, name, CLERK) for name in ("Аида", "Бота")]
    assert [v.email for v in views] == [None, None]
    emails = [email for *_, email in await everybody(ctx)]
    assert emails == [f"{v.participant_id}@participants.invalid" for v in views]


async def test_same_person_is_refused_and_a_namesake_is_not(ctx: AppContext, cup: str) -> None:
    there = await roster.add_participant(ctx, cup, "Қайрат Асанов", CLERK, category="-60")
    with pytest.raises(Conflict, match=there.participant_id):
        await roster.add_participant(ctx, cup, "ҚАЙРАТ  асанов", CLERK, category="-60")
    await roster.add_participant(ctx, cup, "Қайрат Асанов", CLERK, category="-66")
    await roster.add_participant(ctx, cup, "Қайрат Асанов", CLERK, category="-60", namesake=True)
    assert len(await everybody(ctx)) == 3


async def test_participant_needs_a_tournament_and_a_name(ctx: AppContext, cup: str) -> None:
    with pytest.raises(NotFound):
        await roster.add_participant(ctx, "nope", "Аида", CLERK)
    with pytest.raises(Refused, match="empty"):
        await roster.add_participant(ctx, cup, "  ", CLERK)
    with pytest.raises(Refused, match="not an e-mail"):
        await roster.add_participant(ctx, cup, "Аида", CLERK, email="aida")
    assert await everybody(ctx) == []


@pytest.mark.parametrize("search", ["қайрат", "ҚАЙРАТ", "кайрат", "айра", "асанов қайрат", "  Қайрат  ас "])
async def test_search_ignores_case_of_cyrillic_and_kazakh(ctx: AppContext, cup: str, search: str) -> None:
    for name in ("Қайрат Асанов", "Айгүл Қайырова", "Асанов Пётр"):
        await roster.add_participant(ctx, cup, name, CLERK)
    assert await ids(ctx, cup, search=search) == ["Қайрат Асанов"]


async def test_search_ranks_and_reads_other_spellings(ctx: AppContext, cup: str) -> None:
    other = await tournaments.add_tournament(ctx, "Other", money("1"), STARTS, CLERK)
    for name in ("Асқайрат Ким", "Қайратов Ким", "Ким Қайрат", "Ким Пётр"):
        await roster.add_participant(ctx, cup, name, CLERK)
    await roster.add_participant(ctx, other.tournament_id, "Қайрат Әлиев", CLERK)
    for typed in ("kairat", "кайрат", "rfbhfn", "лфшкфе"):
        views = await roster.search_participants(ctx, typed, tournament_id=cup)
        assert [view.full_name for view in views] == ["Ким Қайрат", "Қайратов Ким", "Асқайрат Ким"], typed
    assert [view.full_name for view in await roster.search_participants(ctx, "aliyev")] == ["Қайрат Әлиев"]
    assert len(await roster.search_participants(ctx, "kairat", limit=2)) == 2
    assert len(await roster.search_participants(ctx, "")) == 5
    with pytest.raises(NotFound):
        await roster.search_participants(ctx, "kairat", tournament_id="nope")


@pytest.mark.parametrize("search", ["%", "_", "'", "\\", "қайрат%"])
async def test_search_has_no_wildcards(ctx: AppContext, cup: str, search: str) -> None:
    await roster.add_participant(ctx, cup, "Қайрат", CLERK)
    assert await ids(ctx, cup, search=search) == []


async def test_list_is_sorted_by_name_and_has_a_total(ctx: AppContext, cup: str) -> None:
    other = await tournaments.add_tournament(ctx, "Other", money("1"), STARTS, CLERK)
    for name in ("Яна", "әсел", "Бота"):
        await roster.add_participant(ctx, cup, name, CLERK)
    await roster.add_participant(ctx, other.tournament_id, "Гүл", CLERK)
    assert await ids(ctx) == ["әсел", "Бота", "Гүл", "Яна"]
    page = await roster.list_participants(ctx, cup, limit=2)
    assert ([v.full_name for v in page.items], page.total) == (["әсел", "Бота"], 3)
    with pytest.raises(NotFound):
        await roster.list_participants(ctx, "nope")
    with pytest.raises(Refused, match="limit"):
        await roster.list_participants(ctx, cup, limit=0)


async def test_paid_and_unpaid_filters_leave_out_cancelled(ctx: AppContext, cup: str) -> None:
    for name, status in (("А", "PAID"), ("Б", "REGISTERED"), ("В", "CANCELLED")):
        added = await roster.add_participant(ctx, cup, name, CLERK)
        await mark(ctx, added.participant_id, ParticipantStatus(status))
    assert await ids(ctx, cup, paid=True) == ["А"]
    assert await ids(ctx, cup, paid=False) == ["Б"]
    assert await ids(ctx, cup) == ["А", "Б", "В"]


async def test_a_settled_payment_counts_as_paid(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.paid(participant_id, "apple_pay")
    page = await roster.list_participants(environment.ctx, paid=True)
    assert [(v.participant_id, v.is_paid, v.payment_id) for v in page.items] == [
        (participant_id, True, opened.view.payment_id)
    ]
    assert (await roster.list_participants(environment.ctx, paid=False)).total == 0


async def test_first_by_name_of_thousands_are_listed(ctx: AppContext, cup: str) -> None:
    """Of more rows than are read at a time, and than are kept while they are read."""
    people = [(f"Спортсмен {n:04}", "", "") for n in range(1500, 0, -1)]
    await import_participants(ctx, cup, rows(*people), CLERK)
    page = await roster.list_participants(ctx, cup, search="спортсмен", limit=3)
    assert [v.full_name[-4:] for v in page.items] == ["0001", "0002", "0003"]
    assert page.total == 1500


# Import


GOOD = (("Қайрат Асанов", "-60", "kairat@example.kz"), ("Аида", "-50", ""), ("Бота", "", "KAIRAT@example.kz"))


async def test_import_registers_participants_and_users(ctx: AppContext, cup: str) -> None:
    report = await import_participants(ctx, cup, rows(*GOOD), CLERK)
    assert (report.written, len(report.added), report.skipped, report.problems) == (True, 3, [], [])
    aida = next(e for e in report.added if e.full_name == "Аида")
    assert await everybody(ctx) == [
        ("Аида", "-50", f"{aida.participant_id}@participants.invalid"),
        ("Бота", None, "kairat@example.kz"),
        ("Қайрат Асанов", "-60", "kairat@example.kz"),
    ]


async def test_importing_the_same_file_again_adds_nobody(ctx: AppContext, cup: str) -> None:
    first = await import_participants(ctx, cup, rows(*GOOD), CLERK)
    before = await everybody(ctx)
    again = await import_participants(ctx, cup, rows(*GOOD), CLERK)
    assert (again.written, again.added, [r.line for r in again.skipped]) == (False, [], [2, 3, 4])
    assert first.added[0].participant_id in again.skipped[0].what
    assert await everybody(ctx) == before


async def test_same_people_can_enter_another_tournament(ctx: AppContext, cup: str) -> None:
    other = await tournaments.add_tournament(ctx, "Other", money("1"), STARTS, CLERK)
    await import_participants(ctx, cup, rows(*GOOD), CLERK)
    report = await import_participants(ctx, other.tournament_id, rows(*GOOD), CLERK)
    assert len(report.added) == 3


async def test_one_bad_line_blocks_the_import_and_all_lines_are_checked(ctx: AppContext, cup: str) -> None:
    bad = rows(*GOOD, ("=cmd", "", "nomail"), ("", "", ""), ("Бота", "", ""))
    bad.append(RosterRow(9, problem="a quote is opened"))
    report = await import_participants(ctx, cup, bad, CLERK)
    assert (report.blocked, report.written, report.lines) == (True, False, 7)
    assert [(r.line, r.what) for r in report.problems] == [
        (5, "the name “=cmd” begins with '=' like a formula; “nomail” is not an e-mail address"),
        (6, "the name is empty"),
        (9, "a quote is opened"),
    ]
    assert [(r.line, r.what) for r in report.skipped] == [(7, "the same as line 4: same name and category")]
    assert await everybody(ctx) == []
    async with ctx.db.reading() as session:
        assert (await session.exec(select(User))).all() == []


async def test_skip_bad_imports_the_good_lines(ctx: AppContext, cup: str) -> None:
    report = await import_participants(ctx, cup, rows(*GOOD, ("", "", "")), CLERK, skip_bad=True)
    assert (report.blocked, report.written, len(report.added), len(report.problems)) == (False, True, 3, 1)
    assert len(await everybody(ctx)) == 3


async def test_dry_run_changes_nothing_and_predicts_the_import(ctx: AppContext, cup: str) -> None:
    dry = await import_participants(ctx, cup, rows(*GOOD), CLERK, dry_run=True)
    assert (dry.written, len(dry.added), await everybody(ctx)) == (False, 3, [])
    assert dry.full()["added"] == []
    assert [e["full_name"] for e in dry.full()["would_add"]] == ["Қайрат Асанов", "Аида", "Бота"]
    wet = await import_participants(ctx, cup, rows(*GOOD), CLERK)
    assert [e.full_name for e in wet.added] == [e.full_name for e in dry.added]


async def test_repetitions_are_found_by_name_and_category(ctx: AppContext, cup: str) -> None:
    there = await roster.add_participant(ctx, cup, "Аида", CLERK, category="-50", email="aida@example.kz")
    await mark(ctx, there.participant_id, ParticipantStatus.CANCELLED)
    report = await import_participants(
        ctx,
        cup,
        rows(
            ("АИДА ", " -50", "other@example.kz"),  # same name and category
            ("аида", "-55", "AIDA@example.kz"),  # she enters a second category
            ("Аида", "абсолют", ""),  # and a third one
            ("Аида", "-55", "x@example.kz"),  # the same as line 3
            ("Алия", "-50", "aida@example.kz"),  # a sister
        ),
        CLERK,
    )
    assert [e.line for e in report.added] == [3, 4, 6]
    assert [(r.line, r.what.rpartition(": ")[2]) for r in report.skipped] == [
        (2, "same name and category"),
        (5, "same name and category"),
    ]
    assert "cancelled" in report.skipped[0].what


async def test_concurrent_imports_register_everybody_once(ctx: AppContext, cup: str) -> None:
    people = [(f"Спортсмен {n}", "", f"a{n}@example.kz") for n in range(50)]

    async def one() -> ImportReport:
        return await import_participants(ctx, cup, rows(*people), CLERK)

    reports = await asyncio.gather(one(), one(), one())
    assert len(await everybody(ctx)) == 50
    assert sorted(len(r.added) for r in reports) == [0, 0, 50]
    assert sum(r.written for r in reports) == 1


async def test_concurrent_imports_with_the_same_new_users(ctx: AppContext, cup: str) -> None:
    other = await tournaments.add_tournament(ctx, "Other", money("1"), STARTS, CLERK)
    people = [(f"Спортсмен {n}", "", f"a{n}@example.kz") for n in range(500)]
    reports = await asyncio.gather(
        import_participants(ctx, cup, rows(*people), CLERK),
        import_participants(ctx, other.tournament_id, rows(*reversed(people)), CLERK),
    )
    assert [len(r.added) for r in reports] == [500, 500]
    async with ctx.db.reading() as session:
        assert len((await session.exec(select(User))).all()) == 500


async def test_payment_starts_while_an_import_locks_the_tournament(environment: ServiceEnvironment) -> None:
    if environment.ctx.db.is_sqlite():
        return  # one writer at a time, and an import is short
    participant_id = await environment.participant()
    async with environment.ctx.db.writing() as session:
        await lookup.tournament(session, f"t-{participant_id}", lock=True)
        opened = await asyncio.wait_for(environment.start(participant_id), PATIENCE_S)
    assert opened.view.participant_id == participant_id


async def test_failed_import_changes_nothing(
    ctx: AppContext, cup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> dict[str, str]:
        await users(*_)
        raise RuntimeError("power cut")

    from procomp_pay.services.registrations import import_participants as roster_import

    users = roster_import.ensure_users
    monkeypatch.setattr(roster_import, "ensure_users", fails)
    with pytest.raises(RuntimeError, match="power cut"):
        await import_participants(ctx, cup, rows(*GOOD), CLERK)
    async with ctx.db.reading() as session:
        assert (await session.exec(select(User))).all() == []


async def test_import_needs_a_tournament(ctx: AppContext) -> None:
    with pytest.raises(NotFound, match="nope"):
        await import_participants(ctx, "nope", rows(*GOOD), CLERK)


async def test_roster_sent_again_corrects_the_spelling_and_tells_who_is_gone(
    ctx: AppContext, cup: str
) -> None:
    first = rows(("Кайрат Асанов", "-60", ""), ("Асель Ким", "-50", ""), ("Бота", "", ""))
    await import_participants(ctx, cup, first, CLERK)
    again = rows(("Қайрат Асанов", "-60", ""), ("Бота", "", ""), ("Әсел Ким", "-52", ""))
    dry = await import_participants(ctx, cup, again, CLERK, dry_run=True)
    assert [(one.full_name, one.before) for one in dry.changed] == [("Қайрат Асанов", "Кайрат Асанов")]
    assert [one.full_name for one in dry.added] == ["Әсел Ким"]
    assert ([row.full_name for row in dry.gone], len(dry.skipped), dry.written) == (["Асель Ким"], 1, False)
    assert "Кайрат Асанов" in {name for name, *_ in await everybody(ctx)}
    real = await import_participants(ctx, cup, again, CLERK)
    assert (real.written, real.full()["changed"]) == (True, [one.full() for one in dry.changed])
    assert {name for name, *_ in await everybody(ctx)} == {"Қайрат Асанов", "Асель Ким", "Бота", "Әсел Ким"}
    same = await import_participants(ctx, cup, again, CLERK)
    assert (same.written, same.changed, same.added, len(same.skipped)) == (False, [], [], 3)


async def test_two_people_who_sound_alike_are_not_made_one(ctx: AppContext, cup: str) -> None:
    await import_participants(ctx, cup, rows(("Асель Ким", "-50", "")), CLERK)
    report = await import_participants(
        ctx, cup, rows(("Әсел Ким", "-50", ""), ("Асел Ким", "-50", "")), CLERK
    )
    # nor are they registered, and charged, beside one whom both may be
    assert (report.added, report.changed, len(report.skipped)) == ([], [], 2)
