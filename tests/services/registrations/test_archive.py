"""Tournaments that are archived, on both databases."""

from __future__ import annotations

import pytest

from procomp_pay.domain.errors import Ambiguous, Conflict, ErrorCode, NotFound
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.registrations import participants as roster
from procomp_pay.services.registrations import tournaments
from procomp_pay.services.registrations.find import find_participant, find_tournament
from procomp_pay.services.registrations.import_participants import import_participants
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks import kaspi_bill_account as bill
from procomp_pay.storage.models.registrations import ArchivedTournament
from procomp_pay.storage.registrations import completion
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.reconciliation import open_rows, run


async def archive(environment: ServiceEnvironment, tournament: str, *, archived: bool = True) -> None:
    view = await tournaments.set_archived(environment.ctx, tournament, CLERK, archived=archived)
    assert view.is_archived is archived


async def test_it_leaves_lists_and_searches_and_comes_back(
    environment: ServiceEnvironment, database_url: str
) -> None:
    ctx = environment.ctx
    old, new = await environment.participant(), await environment.participant()
    await archive(environment, f"t-{old}")
    await archive(environment, f"t-{old}")
    [stored] = await environment.rows(ArchivedTournament)
    assert stored.archived_by == "aigerim"
    assert [view.tournament_id for view in await tournaments.list_tournaments(ctx)] == [f"t-{new}"]
    [listed] = await tournaments.list_tournaments(ctx, archived=True)
    assert (listed.tournament_id, listed.full()["archived"]) == (f"t-{old}", True)
    for search in (None, "әсел"):
        page = await roster.list_participants(ctx, search=search)
        assert [view.participant_id for view in page.items] == [new]
    assert (await roster.list_participants(ctx, f"t-{old}")).total == 1
    with pytest.raises(NotFound):
        await find_participant(ctx, f"Әсел {old}", whole_name=True)
    assert (await find_participant(ctx, old)).id == old
    if "postgresql" not in database_url:  # its URL here is SQLAlchemy's
        assert [row.id for row in completion.participants(database_url)] == [new]
        assert [row.id for row in completion.tournaments(database_url)] == [f"t-{new}"]
    await archive(environment, f"t-{old}", archived=False)
    assert (await roster.list_participants(ctx)).total == 2
    with pytest.raises(NotFound):
        await tournaments.set_archived(ctx, "none", CLERK, archived=True)


async def test_a_name_means_the_one_in_use(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    old, new = await environment.participant(), await environment.participant()
    with pytest.raises(Ambiguous):
        await find_tournament(ctx, "almaty open")
    await archive(environment, f"t-{old}")
    assert (await find_tournament(ctx, "almaty open")).id == f"t-{new}"
    assert (await find_tournament(ctx, f"t-{old}")).id == f"t-{old}"
    fee = Money.parse(1000, "KZT")
    cup = await tournaments.add_tournament(ctx, "Cup", fee, environment.now(), CLERK)
    other = await tournaments.add_tournament(ctx, "Cup Junior", fee, environment.now(), CLERK)
    await archive(environment, cup.tournament_id)
    assert (await find_tournament(ctx, "cup")).id == cup.tournament_id
    assert (await find_tournament(ctx, "juni")).id == other.tournament_id


async def test_nobody_is_charged_or_registered_and_payments_go_on(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    paying = await environment.participant()
    sibling = await environment.participant(tournament_id=f"t-{paying}")
    opened = await environment.start(paying, "apple_pay")
    await archive(environment, f"t-{paying}")
    for key in (paying, sibling):
        with pytest.raises(Conflict, match="archived") as refused:
            await environment.start(key)
        assert refused.value.code is ErrorCode.TOURNAMENT_ARCHIVED
        assert refused.value.next_step == f"procomp-pay tournament unarchive t-{paying}"
    with pytest.raises(Conflict, match="archived"):
        await roster.add_participant(ctx, f"t-{paying}", "Тимур", CLERK)
    with pytest.raises(Conflict, match="archived"):
        await import_participants(ctx, f"t-{paying}", [], CLERK)
    async with ctx.db.reading() as session:
        account = await bill.find(session, sibling, environment.now())
        assert (await bill.account_status(session, account)).result is bill.Result.CANCELLED
    await environment.pay_page(opened)
    await environment.deliver()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    await move_payment(ctx, opened.view.payment_id, sibling, CLERK, reason="the brother", former_id=paying)
    await run(environment)
    assert await open_rows(environment) == []
    await refund(ctx, RefundCommand(opened.view.payment_id, "rain", None), CLERK)
    assert await environment.status(opened) is PaymentStatus.REFUNDED
