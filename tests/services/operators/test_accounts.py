"""Accounts, changed after a question stood open: whoever may no longer act, adds and changes nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import pytest

from procomp_pay.domain.closing import Step
from procomp_pay.domain.entry_fees import FeeKind, FeePeriod
from procomp_pay.domain.errors import Refused, Unauthorized
from procomp_pay.domain.events import Source
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.operators import Credentials, Right, Role
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import Channel
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.closing import close_day
from procomp_pay.services.closing.closing import CloseRequest
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import accounts, authorize, logins
from procomp_pay.services.operators.authenticate import authenticate
from procomp_pay.services.receipts import receipt as receipts
from procomp_pay.services.registrations import changes, participants, person, terms, tournaments
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.import_participants import import_participants
from procomp_pay.services.registrations.reminders import remind
from procomp_pay.services.reports import letter
from procomp_pay.services.reports.period import report
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.operators import repository
from tests.support.environment import ServiceEnvironment
from tests.support.report_books import ALMATY


async def test_a_question_that_was_asked_before_the_first_operator(ctx: AppContext) -> None:
    asked = replace(ctx, credentials=Credentials("uid 1000", "uid 1000"))
    await accounts.add(ctx, "Marat", Role.ADMIN, by="root", pin="correct horse")
    with pytest.raises(Unauthorized, match="is not logged in"):
        await accounts.add(asked, "eve", Role.ADMIN, by="uid 1000", pin="640287")
    assert [view.name for view in await accounts.many(ctx)] == ["Marat"]


async def test_an_admin_who_was_disabled_meanwhile(ctx: AppContext, operators: dict[str, str]) -> None:
    await accounts.add(ctx, "eve", Role.ADMIN, by="Marat", pin="404142")
    await accounts.set_secret(ctx, "eve", by="eve", pin="640287")
    login = await logins.log_in(ctx, "eve", "640287", "uid 1000")
    eve = replace(ctx, operator=login.operator, credentials=Credentials("eve", "uid 1000", login.token))
    await accounts.disable(ctx, "eve", by="Marat")
    for change in (
        accounts.add(eve, "eve two", Role.ADMIN, by="eve", pin="917350"),
        accounts.change_secret(eve, "Marat", by="eve", pin="917350"),
        accounts.disable(eve, "Marat", by="eve"),
        accounts.change(eve, "Marat", by="eve", role=Role.DESK),
        accounts.enable(eve, "eve", by="eve"),
        person.erase(eve, "p1", Actor("eve", Source.PERSON), with_platform_rows=False),
    ):
        with pytest.raises(Unauthorized, match="was disabled"):
            await change
    assert "eve two" not in {view.name for view in await accounts.many(ctx)}


async def test_who_was_disabled_meanwhile_changes_no_registration_and_skips_no_step(
    ctx: AppContext, operators: dict[str, str]
) -> None:
    marat, dana = [Actor(name, Source.PERSON) for name in ("Marat", "dana")]
    cup = await tournaments.add_tournament(ctx, "Кубок", Money.parse(24000, "KZT"), ctx.clock(), marat)
    people = [
        await participants.add_participant(ctx, cup.tournament_id, name, marat) for name in ("Асан", "Үсен")
    ]
    [first, second] = [each.participant_id for each in people]
    today = ctx.clock().astimezone(ALMATY).date()
    closing = await close_day.begin(ctx, CloseRequest(Period(ALMATY, today, today)), marat)
    login = await logins.log_in(ctx, "dana", operators["dana"], "uid 1000")
    screen = replace(ctx, operator=login.operator, credentials=Credentials("dana", "uid 1000", login.token))
    await accounts.disable(ctx, "dana", by="Marat")
    for change in (
        changes.edit_participant(screen, first, dana, name="Асанов"),
        changes.remove_participant(screen, first, dana),
        changes.merge_participants(screen, first, second, dana),
        close_day.skip(screen, closing, Step.PAYOUTS, "no bank file", dana),
    ):
        with pytest.raises(Unauthorized, match="was disabled"):
            await change
    listed = await participants.list_participants(ctx, cup.tournament_id)
    assert {view.full_name for view in listed.items} == {"Асан", "Үсен"}


async def test_who_was_disabled_meanwhile_changes_no_tournament_and_writes_to_nobody(
    ctx: AppContext, operators: dict[str, str]
) -> None:
    """Also the choice among tournaments of one name is a question that may stand open."""
    marat, dana = [Actor(name, Source.PERSON) for name in ("Marat", "dana")]
    fee = Money.parse(24000, "KZT")
    cup = (await tournaments.add_tournament(ctx, "Кубок", fee, ctx.clock(), marat)).tournament_id
    closing = await close_day.begin(ctx, _today(ctx), marat)
    login = await logins.log_in(ctx, "dana", operators["dana"], "uid 1000")
    letters = SimpleNamespace(check_letters=lambda: None, language="ru")
    screen = replace(
        ctx,
        operator=login.operator,
        credentials=Credentials("dana", "uid 1000", login.token),
        senders=letters,  # type: ignore[arg-type]
    )
    await accounts.disable(ctx, "dana", by="Marat")
    row = RosterRow(2, "Асан")
    made = await report(ctx, Period(ALMATY))
    for change in (
        tournaments.add_tournament(screen, "Кубок 2", fee, ctx.clock(), dana),
        tournaments.set_fee(screen, cup, fee, dana),
        tournaments.remove_fee(screen, cup, Currency.USD, dana),
        tournaments.set_archived(screen, cup, dana, archived=True),
        changes.edit_tournament(screen, cup, dana, name="Кубок 3"),
        terms.set_fee_period(screen, cup, FeePeriod(FeeKind.EARLY, fee, Period(ALMATY)), dana),
        terms.remove_fee_period(screen, cup, FeeKind.EARLY, dana),
        terms.set_refund_policy(screen, cup, [], ALMATY, dana),
        participants.add_participant(screen, cup, "Асан", dana),
        import_participants(screen, cup, [row], dana),
        remind(screen, cup),
        letter.send(screen, made, "eve@example.com", subject="", text="", html=""),
        close_day.advance(screen, closing, _today(ctx), dana),
    ):
        with pytest.raises(Unauthorized, match="was disabled"):
            await change
    [view] = await tournaments.list_tournaments(ctx)
    assert (view.name, view.fees.main, view.registered) == ("Кубок", fee, 0)


async def test_who_was_disabled_meanwhile_writes_no_receipt(environment: ServiceEnvironment) -> None:
    ctx, participant = environment.ctx, await environment.participant()
    opened = await environment.start(participant, "apple_pay", channel=Channel.STRIPE_INTENT)
    payment_id = opened.view.payment_id
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.deliver()
    await environment.sql("""UPDATE "User" SET email = :mail""", mail="a@example.com")
    await accounts.add(ctx, "Marat", Role.ADMIN, by="root", pin="correct horse")
    await accounts.add(ctx, "dana", Role.DESK, by="Marat", pin="404142")
    await accounts.set_secret(ctx, "dana", by="dana", pin="258014")
    login = await logins.log_in(ctx, "dana", "258014", "uid 1000")
    screen = replace(ctx, operator=login.operator, credentials=Credentials("dana", "uid 1000", login.token))
    receipt = await receipts.of_payment(ctx, payment_id)
    await accounts.disable(ctx, "dana", by="Marat")
    with pytest.raises(Unauthorized, match="was disabled"):
        await receipts.record_fiscal_number(screen, payment_id, "77", Actor("dana", Source.PERSON))
    with pytest.raises(Unauthorized, match="was disabled"):
        await receipts.send(screen, receipt)
    assert (await receipts.of_payment(ctx, payment_id)).fiscal_number is None


def _today(ctx: AppContext) -> CloseRequest:
    today = ctx.clock().astimezone(ALMATY).date()
    return CloseRequest(Period(ALMATY, today, today))


async def test_another_role_and_other_tournaments(ctx: AppContext, operators: dict[str, str]) -> None:
    login = await logins.log_in(ctx, "dana", operators["dana"], "uid 1000")
    screen = replace(ctx, operator=login.operator, credentials=Credentials("dana", "uid 1000", login.token))
    view = await accounts.change(ctx, "DANA", by="Marat", role=Role.DESK, tournaments=["t2", "t1", "t1"])
    assert (view.role, view.tournaments) == (Role.DESK, ("t1", "t2"))
    async with ctx.db.reading() as session:
        with pytest.raises(Unauthorized, match="was logged out"):
            await authorize.check(screen, session, Right.FINANCE)
    with pytest.raises(Unauthorized):
        await logins.acting(ctx, Credentials("dana", "uid 1000", login.token))
    again = await logins.log_in(ctx, "dana", operators["dana"], "uid 1000")
    assert (again.operator.role, again.operator.tournaments) == (Role.DESK, frozenset({"t1", "t2"}))
    await accounts.change(ctx, "dana", by="Marat", role=Role.DESK)  # as it is: nothing ends
    assert await logins.acting(ctx, Credentials("dana", "uid 1000", again.token)) == again.operator
    view = await accounts.change(ctx, "dana", by="Marat", everywhere=True)
    assert (view.role, view.tournaments) == (Role.DESK, None)
    view = await accounts.change(ctx, "Айгерім", by="Marat", role=Role.ADMIN)  # of all tournaments, then
    assert (view.role, view.tournaments) == (Role.ADMIN, None)
    async with ctx.db.reading() as session:
        changes = await repository.entries_since(
            session, f"operator:{view.operator_id}", ["operator_changed"], view.created_at
        )
    assert [(each.actor, each.before, each.after) for each in changes] == [
        ("Marat", {"role": "desk", "tournaments": ["t1"]}, {"role": "admin", "tournaments": None}),
    ]
    assert (await verify(ctx)).is_sound


async def test_the_last_admin_stays_one(ctx: AppContext, operators: dict[str, str]) -> None:
    with pytest.raises(Refused, match="only admin"):
        await accounts.change(ctx, "Marat", by="Marat", role=Role.FINANCE)
    with pytest.raises(Refused, match="for all tournaments"):
        await accounts.change(ctx, "dana", by="Marat", role=Role.ADMIN, tournaments=["t1"])
    await accounts.change(ctx, "dana", by="Marat", role=Role.ADMIN)
    await accounts.change(ctx, "Marat", by="Marat", role=Role.FINANCE)
    with pytest.raises(Refused, match="only admin"):
        await accounts.disable(ctx, "dana", by="dana")


async def test_who_logs_in_twice_and_out_is_out_on_the_screen_of_the_first_login(
    ctx: AppContext, operators: dict[str, str]
) -> None:
    elsewhere = await logins.log_in(ctx, "dana", operators["dana"], "uid 1001")
    first, second = [await logins.log_in(ctx, "dana", operators["dana"], "uid 1000") for _ in range(2)]
    assert await logins.acting(ctx, Credentials("dana", "uid 1000", first.token))  # not by the new login
    await logins.log_out(ctx, second.token)
    screen = replace(ctx, operator=first.operator, credentials=Credentials("dana", "uid 1000", first.token))
    async with ctx.db.reading() as session:
        with pytest.raises(Unauthorized, match="was logged out"):
            await authorize.check(screen, session, Right.DESK)
    assert await logins.acting(ctx, Credentials("dana", "uid 1001", elsewhere.token))
    await logins.log_out(ctx, second.token)


@pytest.mark.parametrize("how", ["given another PIN", "disabled", "changed"])
async def test_a_question_for_a_new_pin_does_not_outlive_the_old_one(ctx: AppContext, how: str) -> None:
    """Who knows the PIN that was given to somebody must not keep the account by a question left open."""
    await accounts.add(ctx, "Marat", Role.ADMIN, by="root", pin="correct horse")
    await accounts.add(ctx, "dana", Role.FINANCE, by="Marat", pin="404142")

    async def meanwhile() -> None:
        db = PaymentDatabaseService(ctx.db.url)
        admins = replace(ctx, db=db)
        if how == "disabled":
            await accounts.disable(admins, "dana", by="Marat")
        elif how == "changed":
            await accounts.change(admins, "dana", by="Marat", role=Role.DESK)
        else:
            await accounts.set_secret(admins, "dana", by="Marat", pin="917350")
        await db.dispose()

    def asked(_other: str) -> str:
        other_process = Thread(target=lambda: asyncio.run(meanwhile()))
        other_process.start()
        other_process.join()
        return "640287"

    with pytest.raises(Unauthorized, match="was changed"):
        await logins.log_in(ctx, "dana", "404142", "uid 1000", new_pin=asked)
    [dana] = [view for view in await accounts.many(ctx) if view.name == "dana"]
    assert dana.login_until is None
    if how == "given another PIN":
        assert await authenticate(ctx, "dana", "917350", need=Right.DESK, may_be_given=True)
