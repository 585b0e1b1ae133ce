"""Each discrepancy is resolved once, and a resolution is permanent."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import (
    Conflict,
    ManualReviewRequired,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unauthorized,
)
from procomp_pay.domain.events import Source
from procomp_pay.domain.operators import Credentials, Role
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.providers.protocol import ProviderRef, ProviderStatus
from procomp_pay.services.context import Actor
from procomp_pay.services.operators import accounts, logins
from procomp_pay.services.reconciliation import discrepancies as use
from procomp_pay.services.reconciliation.discrepancies import How
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DiscrepancyState
from tests.support import reconciliation, stripe_payments
from tests.support.environment import CLERK, ServiceEnvironment


async def only(environment: ServiceEnvironment, **wanted: Any) -> use.DiscrepancyView:
    [found], following = await use.many(environment.ctx, use.Filter(**wanted))
    assert following is None
    return found


async def test_an_accepted_discrepancy_stays_closed_until_it_changes(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.participant_gone(environment)
    await reconciliation.run(environment)
    found = await only(environment, state=DiscrepancyState.OPEN, payment_id=opened.view.payment_id)
    done = await use.resolve(
        environment.ctx, found.discrepancy_id, How.ACCEPT, "he withdrew, no refund", CLERK
    )
    assert (done.state, done.resolution, done.resolved_by) == ("resolved", "accept", "aigerim")
    assert done.resolved_at is not None
    entries: list[AuditEntry] = await environment.rows(AuditEntry)
    [entry] = [each for each in entries if each.action == "discrepancy_resolved"]
    assert (entry.payment_id, entry.actor, entry.note) == (
        opened.view.payment_id, "aigerim", "he withdrew, no refund",
    )  # fmt: skip
    with pytest.raises(Conflict, match="resolved by aigerim"):
        await use.resolve(environment.ctx, found.discrepancy_id, How.WRITE_OFF, "again", CLERK)
    report = await reconciliation.run(environment)
    assert reconciliation.kinds(report) == {("PARTICIPANT_MISMATCH", "accepted"): 1}
    assert not report.needs_person
    clear = """UPDATE "Participant" SET "paymentId" = NULL WHERE id = :id"""
    await environment.sql(clear, id=opened.view.participant_id)
    assert reconciliation.kinds(await reconciliation.run(environment)) == {
        ("PARTICIPANT_MISMATCH", "accepted"): 1
    }
    back = """UPDATE "Participant" SET "paymentId" = :other, status = 'PAID' WHERE id = :id"""
    other = await reconciliation.paid(environment)
    free = """UPDATE "Participant" SET "paymentId" = NULL, status = 'CANCELLED' WHERE id = :id"""
    await environment.sql(free, id=other.view.participant_id)
    await environment.sql(back, id=opened.view.participant_id, other=other.view.payment_id)
    assert ("DUPLICATE_PAYMENT", "opened") in reconciliation.kinds(await reconciliation.run(environment))


async def test_a_resolution_refunds_once(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.late(environment)
    await reconciliation.run(environment)
    found = await only(environment)
    for _ in range(2):  # as if the first process had been killed before it closed the row
        await use._give_back(environment.ctx, found, CLERK)
    await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "it came too late", CLERK)
    assert await environment.status(opened) is PaymentStatus.REFUNDED
    assert len(await environment.rows(Refund)) == 1
    assert len(await environment.stripe_objects("refunds")) == 1
    report = await reconciliation.run(environment)
    assert (report.found, report.still_open) == (0, 0)


async def test_a_fix_adopts_the_providers_status(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.never_paid(environment)
    await reconciliation.run(environment)
    found = await only(environment, kind=DiscrepancyKind.STATUS_MISMATCH)
    with pytest.raises(ManualReviewRequired, match="not paid at the provider"):
        await use.resolve(environment.ctx, found.discrepancy_id, How.FIX, "look again", CLERK)
    assert (await use.one(environment.ctx, found.discrepancy_id)).is_open
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    done = await use.resolve(environment.ctx, found.discrepancy_id, How.FIX, "it is paid by now", CLERK)
    assert done.resolution == "fix"


async def test_who_was_disabled_while_the_provider_answered_resolves_nothing(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await reconciliation.never_paid(environment)
    await reconciliation.run(environment)
    found = await only(environment, kind=DiscrepancyKind.STATUS_MISMATCH)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    ctx = environment.ctx
    await accounts.add(ctx, "Marat", Role.ADMIN, by="root", pin="correct horse")
    await accounts.add(ctx, "dana", Role.FINANCE, by="Marat", pin="404142")
    await accounts.set_secret(ctx, "dana", by="dana", pin="258014")
    login = await logins.log_in(ctx, "dana", "258014", "uid 1000")
    dana = replace(ctx, operator=login.operator, credentials=Credentials("dana", "uid 1000", login.token))
    stripe = ctx.providers.of(opened.view.channel)
    answer = stripe.fetch

    async def slowly(ref: ProviderRef) -> ProviderStatus:
        await accounts.disable(ctx, "dana", by="Marat")
        return await answer(ref)

    monkeypatch.setattr(stripe, "fetch", slowly)
    with pytest.raises(Unauthorized, match="was disabled"):
        await use.resolve(dana, found.discrepancy_id, How.FIX, "look again", Actor("dana", Source.PERSON))
    assert (await use.one(ctx, found.discrepancy_id)).is_open


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_payment_is_locked_before_its_discrepancy(environment: ServiceEnvironment) -> None:
    """By whoever locks both: in different orders they would wait for each other."""
    duplicates = []
    for _ in range(2):
        participant_id = await environment.participant()
        kaspi = await environment.start(participant_id)
        apple = await stripe_payments.paid(environment, participant_id=participant_id)
        await environment.phone(kaspi)
        environment.later(6)
        await environment.maintain()
        duplicates.append((apple, await only(environment, payment_id=kaspi.view.payment_id)))
    [(_, accepted), (refunded, settled)] = duplicates
    transactions = locked_tables(environment)
    await use.resolve(environment.ctx, accepted.discrepancy_id, How.ACCEPT, "he pays for two", CLERK)
    await stripe_payments.back(environment, refunded)
    assert (await use.one(environment.ctx, settled.discrepancy_id)).resolution == "gone"
    both = [tables for tables in transactions if "pay_discrepancy" in tables]
    assert [(tables[:2], tables[-1]) for tables in both] == [
        (["Payment", "Participant"], "pay_discrepancy")
    ] * 2


def locked_tables(environment: ServiceEnvironment) -> list[list[str]]:
    """Return the list that gets, from now on, the tables of which each transaction locks rows, in order."""
    transactions: list[list[str]] = [[]]
    engine: Any = environment.ctx.db._engine.sync_engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FOR UPDATE" in statement:
            transactions[-1] += re.findall(r'FROM "?(\w+)', statement)[:1]

    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "begin", lambda _connection: transactions.append([]))
    return transactions


async def test_invalid_resolutions_are_refused(environment: ServiceEnvironment) -> None:
    await reconciliation.not_ours(environment)
    await reconciliation.run(environment)
    found = await only(environment, provider="stripe")
    assert found.payment_id is None
    with pytest.raises(Refused, match="no payment of ours"):
        await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "whose?", CLERK)
    with pytest.raises(ManualReviewRequired):
        await use.resolve(environment.ctx, found.discrepancy_id, How.FIX, "whose?", CLERK)
    with pytest.raises(Refused, match="note"):
        await use.resolve(environment.ctx, found.discrepancy_id, How.ACCEPT, " ", CLERK)
    with pytest.raises(NotFound):
        await use.resolve(environment.ctx, "nothing", How.ACCEPT, "x", CLERK)
    assert (await use.one(environment.ctx, found.discrepancy_id)).is_open


async def test_a_second_intent_is_not_refunded_by_mistake(environment: ServiceEnvironment) -> None:
    opened = await reconciliation.paid_twice(environment)
    await reconciliation.run(environment)
    found = await only(environment)
    with pytest.raises(Refused, match="second payment at Stripe"):
        await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "paid twice", CLERK)
    assert await environment.status(opened) is PaymentStatus.COMPLETED


async def test_list_pages_and_filters(environment: ServiceEnvironment) -> None:
    for _ in range(3):
        await reconciliation.not_ours(environment)
    gone = await reconciliation.participant_gone(environment)
    await reconciliation.run(environment)
    first, cursor = await use.many(environment.ctx, use.Filter(), limit=3)
    second, end = await use.many(environment.ctx, use.Filter(), limit=3, cursor=cursor)
    assert len({each.discrepancy_id for each in first + second}) == 4
    assert end is None
    assert (await only(environment, tournament_id=gone.view.tournament_id)).payment_id == gone.view.payment_id
    assert await use.many(environment.ctx, use.Filter(provider="kaspi")) == ([], None)
    with pytest.raises(Refused, match="cursor"):
        await use.many(environment.ctx, use.Filter(), cursor="??")


async def test_a_refused_refund_does_not_resolve_a_discrepancy_at_the_second_attempt(
    environment: ServiceEnvironment,
) -> None:
    opened = await reconciliation.late(environment)
    await reconciliation.run(environment)
    found = await only(environment)
    await environment.fault("/v1/refunds", "status", method="POST", status=400, times=1)
    with pytest.raises(Refused):
        await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    done = await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    assert done.resolution == "refund"
    assert await environment.status(opened) is PaymentStatus.REFUNDED
    assert [row.state.value for row in await environment.rows(Refund)].count("SUCCEEDED") == 1


async def test_a_refund_with_unknown_outcome_does_not_resolve_a_discrepancy(
    environment: ServiceEnvironment,
) -> None:
    await reconciliation.late(environment)
    await reconciliation.run(environment)
    found = await only(environment)
    await environment.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
        assert (await only(environment)).is_open
    with pytest.raises(Conflict, match="aigerim is giving the money back"):
        await use.resolve(
            environment.ctx, found.discrepancy_id, How.ACCEPT, "it stays", replace(CLERK, name="aida")
        )
    await environment.no_faults()
    await environment.maintain(after=60)
    await use.resolve(environment.ctx, found.discrepancy_id, How.REFUND, "too late", CLERK)
    assert len(await environment.rows(Refund)) == 1
