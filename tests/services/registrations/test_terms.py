"""Fees that hold on some days, and refund policies, from every side that charges or refunds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.entry_fees import FeeKind, FeePeriod
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, NotFound, Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.refunds.create import RefundCommand, refund
from procomp_pay.services.refunds.policy import propose
from procomp_pay.services.registrations import terms
from procomp_pay.services.registrations.terms import fees_for
from procomp_pay.services.registrations.tournaments import remove_fee
from procomp_pay.services.settlement.move import move_payment
from procomp_pay.services.webhooks import admin as events
from procomp_pay.services.webhooks.kaspi_bill import check, pay
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.terms import FeePeriodRow
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_bill import ask
from tests.support.reconciliation import compare, line

ALMATY = ZoneInfo("Asia/Almaty")


def kzt(amount: str) -> Money:
    return Money.parse(amount, "KZT")


def today(environment: ServiceEnvironment) -> date:
    return environment.now().astimezone(ALMATY).date()


@pytest.fixture(autouse=True)
def _noon(environment: ServiceEnvironment) -> None:
    """Begin at noon: what is opened before midnight must not still be open after it by chance."""
    now = environment.now().astimezone(ALMATY)
    noon = (now + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    environment.later((noon - now).total_seconds())


async def set_early(environment: ServiceEnvironment, participant: str, **changes: Any) -> None:
    """Charge less until the end of today."""
    for fee in (kzt("20000"), usd("40")):
        values = {"fee": fee, "days": Period(ALMATY, None, today(environment))} | changes
        period = FeePeriod(FeeKind.EARLY, **values)
        await terms.set_fee_period(environment.ctx, f"t-{participant}", period, CLERK)


def until_tomorrow(environment: ServiceEnvironment) -> None:
    now = environment.now().astimezone(ALMATY)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    environment.later((midnight - now).total_seconds() + 1)


async def test_every_method_charges_the_fee_of_the_day(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await set_early(environment, participant)
    fees = await fees_for(environment.ctx, participant)
    assert (fees.main, fees.in_currency(Currency.KZT)) == (usd("40"), kzt("20000"))
    assert (await environment.start(participant)).view.charged == kzt("20000")
    for channel in (Channel.STRIPE_CHECKOUT, Channel.STRIPE_INTENT):
        opened = await environment.start(participant, "apple_pay", channel=channel)
        assert opened.view.charged == usd("40")
    answer = await check(environment.ctx, ask(participant, "777000111", "20000.00"))
    assert answer.money == kzt("20000")
    with pytest.raises(Refused, match="must match"):
        await environment.start(participant, requested=kzt("24000"))
    until_tomorrow(environment)
    assert (await environment.start(participant)).view.charged == kzt("24000")
    answer = await check(environment.ctx, ask(participant, "777000111", "24000.00"))
    assert answer.money == kzt("24000")


async def test_an_open_payment_keeps_its_price_until_it_expires(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await set_early(environment, participant)
    now = environment.now().astimezone(ALMATY)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    environment.later(max(0, (midnight - now).total_seconds() - 600))  # ten minutes before midnight
    opened = await environment.start(participant, "apple_pay")
    environment.later(700)
    again = await environment.start(participant, "apple_pay")
    assert (again.view.payment_id, again.view.charged) == (opened.view.payment_id, usd("40"))
    await environment.pay_page(opened)
    await environment.deliver()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    # it was paid in time: it also settles the fee of the one whom it was taken for
    other = await environment.participant(tournament_id=f"t-{participant}")
    await move_payment(
        environment.ctx, opened.view.payment_id, other, CLERK, reason="the brother", former_id=participant
    )
    assert (await environment.read_participant(other)).status is ParticipantStatus.PAID


async def test_a_bill_is_paid_at_the_fee_of_its_moment(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await set_early(environment, participant)
    await pay(environment.ctx, ask(participant, "777000222", "20000.00"))
    assert (await environment.read_participant(participant)).status is ParticipantStatus.PAID


async def test_a_bill_shown_before_midnight_is_paid_after_it(
    environment: ServiceEnvironment,
) -> None:
    slow, slower = await environment.participant(), await environment.participant()
    for participant in (slow, slower):
        await set_early(environment, participant)
    until_tomorrow(environment)
    await pay(environment.ctx, ask(slow, "777000223", "20000.00"))
    assert (await environment.read_participant(slow)).status is ParticipantStatus.PAID
    environment.later(3600)
    await pay(environment.ctx, ask(slower, "777000224", "20000.00"))
    assert (await environment.read_participant(slower)).status is ParticipantStatus.REGISTERED


async def test_a_replayed_bill_is_judged_by_the_fee_of_its_day(environment: ServiceEnvironment) -> None:
    known = await environment.participant()
    coming = f"p{int(known[1:]) + 1}"
    await pay(environment.ctx, ask(coming, "777000225", "20000.00"))
    assert await environment.participant() == coming
    await set_early(environment, coming)
    until_tomorrow(environment)
    environment.later(3600)
    await events.replay_one(environment.ctx, "777000225", CLERK, dry_run=False)
    assert (await environment.read_participant(coming)).status is ParticipantStatus.PAID


async def test_money_of_unknown_owner_counts_under_every_fee(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await set_early(environment, participant)
    lines = [line(5, "700000005", environment.now(), "20000.00 KZT")]
    await compare(environment, lines, "kaspi", is_ours=True, recover=True)
    until_tomorrow(environment)
    with pytest.raises(ManualReviewRequired, match="may have paid"):
        await environment.start(participant)
    assert (await check(environment.ctx, ask(participant, "777000226"))).result is not Result.OK


async def test_fees_of_some_days_are_set_replaced_and_removed(environment: ServiceEnvironment) -> None:
    ctx, participant = environment.ctx, await environment.participant()
    tournament = f"t-{participant}"
    await set_early(environment, participant)
    later = FeePeriod(FeeKind.LATE, kzt("30000"), Period(ALMATY, today(environment)))
    with pytest.raises(Refused, match="late fee and the early fee"):
        await terms.set_fee_period(ctx, tournament, later, CLERK)
    await set_early(environment, participant, days=Period(ALMATY, None, today(environment) - timedelta(1)))
    shown = await terms.set_fee_period(ctx, tournament, later, CLERK)
    assert [(one["kind"], one["holds"]) for one in shown.full()["periods"]] == [
        ("early", False), ("early", False), ("late", True),
    ]  # fmt: skip
    assert shown.now.in_currency(Currency.KZT) == kzt("30000")
    assert {row.set_by for row in await environment.rows(FeePeriodRow)} == {CLERK.name}
    await terms.remove_fee_period(ctx, tournament, FeeKind.EARLY, CLERK)
    with pytest.raises(NotFound, match="no early fee"):
        await terms.remove_fee_period(ctx, tournament, FeeKind.EARLY, CLERK)
    await remove_fee(ctx, tournament, Currency.KZT, CLERK)
    assert await environment.rows(FeePeriodRow) == []
    for work in (
        terms.read(ctx, "nope"),
        terms.set_fee_period(ctx, "nope", later, CLERK),
        terms.set_refund_policy(ctx, "nope", ["3d:50"], ALMATY, CLERK),
    ):
        with pytest.raises(NotFound, match="nope"):
            await work


async def paid(environment: ServiceEnvironment) -> tuple[str, str]:
    participant = await environment.participant()
    opened = await environment.paid(participant, "apple_pay")
    return participant, opened.view.payment_id


async def test_a_refund_proposes_what_the_policy_gives_back(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    participant, payment_id = await paid(environment)
    assert await propose(ctx, payment_id) is None
    day = today(environment)
    steps = [f"{day}:50:5", f"{day + timedelta(days=1)}:10"]
    shown = await terms.set_refund_policy(ctx, f"t-{participant}", steps[::-1], ALMATY, CLERK)
    assert [step["percent"] for step in shown.full()["refund_policy"]] == [50, 10]
    proposal = await propose(ctx, payment_id)
    assert proposal is not None
    assert (proposal.money, proposal.rule) == (usd("20"), f"50% until {day}, less {usd('5')} that is kept")
    refunded = await refund(ctx, RefundCommand(payment_id, "injured", proposed=proposal.money), CLERK)
    assert refunded.money == usd("20")
    await environment.maintain()
    # it went back: nothing is left to propose; another sum is recorded beside it
    proposal = await propose(ctx, payment_id)
    assert proposal is not None
    assert proposal.money.amount == 0
    with pytest.raises(Conflict, match="nothing goes back"):
        proposal.check(RefundCommand(payment_id, "injured"))
    other = RefundCommand(payment_id, "goodwill", usd("7"), proposed=proposal.money)
    proposal.check(other)
    await refund(ctx, other, CLERK)
    asked = [row for row in await environment.rows(AuditEntry) if row.action == "refund_requested"]
    assert [(row.after["amount"], row.after["proposed"], row.note) for row in asked] == [
        (20, 20, "injured"), (7, 0, "goodwill"),
    ]  # fmt: skip
    # a refund that names no proposal, as the API's, is of all that is left
    await environment.maintain()
    assert (await refund(ctx, RefundCommand(payment_id, "cancelled"), CLERK)).money == usd("23")
    await terms.set_refund_policy(ctx, f"t-{participant}", [], ALMATY, CLERK)
    assert (await terms.read(ctx, f"t-{participant}")).policy is None


async def test_a_deleted_registration_goes_by_the_policy(environment: ServiceEnvironment) -> None:
    ctx = environment.ctx
    participant, payment_id = await paid(environment)
    await terms.set_refund_policy(ctx, f"t-{participant}", ["2000-01-01:50"], ALMATY, CLERK)
    async with ctx.db.writing() as session:
        row = await session.get(Participant, participant)
        assert row is not None
        await session.delete(row)
    proposal = await propose(ctx, payment_id)
    assert proposal is not None
    assert proposal.money.amount == 0
    # neither does a caller that skips the check of the proposal refund nothing
    with pytest.raises(Conflict, match="nothing goes back"):
        await refund(ctx, RefundCommand(payment_id, "injured", proposed=proposal.money), CLERK)


async def test_money_that_settles_no_fee_goes_back_whatever_the_policy(
    environment: ServiceEnvironment,
) -> None:
    participant, payment_id = await paid(environment)
    await terms.set_refund_policy(environment.ctx, f"t-{participant}", ["2000-01-01:50"], ALMATY, CLERK)
    proposal = await propose(environment.ctx, payment_id)
    assert proposal is not None
    assert (proposal.money.amount, proposal.rule) == (0, "nothing after 2000-01-01")
    await pay(environment.ctx, ask(participant, "777000333", "24000.00"))
    known = (payment_id, f"tournament:t-{participant}")
    twice = [row.payment_id for row in await environment.rows(AuditEntry) if row.payment_id not in known]
    assert await propose(environment.ctx, twice[0]) is None


async def test_changes_of_fees_and_policies_are_in_the_audit_trail(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    tournament = f"t-{participant}"
    await set_early(environment, participant)
    await set_early(environment, participant, fee=kzt("19000"))
    await terms.remove_fee_period(environment.ctx, tournament, FeeKind.EARLY, CLERK)
    await terms.set_refund_policy(environment.ctx, tournament, ["14d:100"], ALMATY, CLERK)
    await terms.set_refund_policy(environment.ctx, tournament, [], ALMATY, CLERK)
    entries = [
        row for row in await environment.rows(AuditEntry) if row.payment_id == f"tournament:{tournament}"
    ]
    entries.sort(key=lambda row: row.seq)
    assert {row.actor for row in entries} == {CLERK.name}
    assert [row.action for row in entries] == [
        *["fee_by_day_set"] * 4, "fee_by_day_removed", "refund_policy_set", "refund_policy_set"
    ]  # fmt: skip
    fees = [(each or {})["early_kzt"].partition(",")[0] for each in (entries[2].before, entries[2].after)]
    assert fees == ["20000.00 KZT", "19000.00 KZT"]
    assert (entries[0].before, entries[4].after) == (None, None)
    assert entries[5].after == entries[6].before
    assert entries[5].after == {"steps": "14d:100", "timezone": "Asia/Almaty"}
    assert (await verify(environment.ctx)).is_sound
