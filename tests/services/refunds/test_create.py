"""Money that goes back: once, never more than was paid, and found again after every kind of bad luck."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import (
    ConfigurationError,
    Conflict,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.reconciliation import discrepancies
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.create import RefundCommand, Refunded
from procomp_pay.services.registrations.participants import list_participants
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DiscrepancyState, EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_payments import Kaspi
from tests.support.stripe_payments import at_stripe, back, paid

S, R = PaymentStatus, RefundState


async def test_in_full_frees_the_place(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await paid(environment, participant_id=participant_id)
    done = await back(environment, opened)
    assert (done.state, done.money, done.payment_status) == (R.SUCCEEDED, usd("50"), S.REFUNDED)
    participant = await environment.read_participant(participant_id)
    assert (participant.status, participant.payment_id) == (ParticipantStatus.REGISTERED, None)
    assert (await environment.view(opened)).refunded == usd("50")
    await environment.deliver()  # the events that say the same change nothing
    assert await environment.status(opened) is S.REFUNDED
    assert len(await environment.rows(Refund)) == 1
    assert await at_stripe(environment) == 5000
    again = await environment.start(participant_id, "google_pay")
    assert again.view.payment_id != opened.view.payment_id


async def test_in_parts_up_to_the_rest(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await paid(environment, participant_id=participant_id)
    assert (await back(environment, opened, "20")).payment_status is S.COMPLETED
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    with pytest.raises(Refused, match=r"30\.00"):
        await back(environment, opened, "30.01")
    await back(environment, opened, "10")
    done = await back(environment, opened)
    assert (done.money, done.payment_status) == (usd("20"), S.REFUNDED)
    assert await at_stripe(environment) == 5000
    with pytest.raises(Conflict, match="in full"):
        await back(environment, opened)


async def test_what_cannot_go_back(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    with pytest.raises(Conflict, match="PENDING"):
        await back(environment, opened)
    with pytest.raises(NotFound):
        await use.refund(environment.ctx, RefundCommand("nothing", "why"), CLERK)
    done = await paid(environment)
    for request in (
        RefundCommand(done.view.payment_id, "why", Money.parse("50", "EUR")),
        RefundCommand(done.view.payment_id, "  "),
        RefundCommand(done.view.payment_id, "a\x1b[31m"),
        RefundCommand(done.view.payment_id, "x" * 501),
    ):
        with pytest.raises(Refused):
            await use.refund(environment.ctx, request, CLERK)
    assert await environment.rows(Refund) == []


async def test_a_plan_writes_nothing(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await back(environment, opened, "20")
    planned = await use.plan(environment.ctx, RefundCommand(opened.view.payment_id, "why"))
    assert (planned.paid, planned.before, planned.money) == (usd("50"), usd("20"), usd("30"))
    assert planned.rest.amount == Decimal(0)
    assert len(await environment.rows(Refund)) == 1


async def test_ten_clerks_at_once_pay_back_once(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    results = await asyncio.gather(*(back(environment, opened) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(r, Refunded) for r in results) == 1
    assert all(isinstance(r, Refunded | Conflict) for r in results)
    assert await at_stripe(environment) == 5000


async def test_an_idempotency_key_pays_back_once(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    first = await back(environment, opened, "20", idempotency_key="k")
    assert (await back(environment, opened, "20", idempotency_key="k")).refund_id == first.refund_id
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await back(environment, opened, "21", idempotency_key="k")
    assert await at_stripe(environment) == 2000


async def test_one_key_used_by_many_at_once_pays_back_once(environment: ServiceEnvironment) -> None:
    opened, other = await paid(environment), await paid(environment)
    results = await asyncio.gather(
        *(back(environment, opened, "10", idempotency_key="k") for _ in range(5)),
        *(back(environment, other, "10", idempotency_key="k") for _ in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(r, Refunded | Conflict) for r in results), results
    assert len({r.refund_id for r in results if isinstance(r, Refunded)}) == 1
    assert await at_stripe(environment) == 1000


async def test_a_part_is_not_asked_for_again_while_nobody_knows_what_became_of_it(
    environment: ServiceEnvironment,
) -> None:
    """No idempotency key tells a repeated request from another one."""
    opened = await paid(environment)
    await environment.fault("/v1/refunds", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown, match="kept"):
        await back(environment, opened, "10")
    await environment.no_faults()
    with pytest.raises(Conflict, match="in progress"):
        await back(environment, opened, "10")
    await environment.maintain(after=60)
    assert await at_stripe(environment) == 1000
    await back(environment, opened, "10")
    assert await at_stripe(environment) == 2000


async def test_a_lost_answer_is_found_and_pays_back_once(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/refunds", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown, match="kept"):
        await back(environment, opened)
    with pytest.raises(Conflict, match="refund of this payment is in progress"):
        await back(environment, opened)
    assert await environment.status(opened) is S.COMPLETED
    await environment.no_faults()
    await environment.maintain(after=60)
    assert await environment.status(opened) is S.REFUNDED
    assert await at_stripe(environment) == 5000


async def test_stripe_away_is_made_later(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await back(environment, opened, "20")
    await environment.no_faults()
    await environment.maintain(after=60)
    assert await at_stripe(environment) == 2000
    assert (await environment.view(opened)).refunded == usd("20")


async def test_one_from_the_dashboard_before_ours_could_be_sent(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/refunds", "cut_before", method="POST", times=1000)
    with pytest.raises(Unavailable):
        await back(environment, opened, "20")
    await environment.no_faults()
    form = {"payment_intent": opened.view.provider_ref}
    await environment.http.post("/v1/refunds", data=form, headers=environment._stripe_auth())
    await environment.deliver()
    await environment.maintain(after=60)
    ours, theirs = await environment.rows(Refund)
    assert (ours.state, theirs.state) == (R.FAILED, R.SUCCEEDED), "neither waits for the other for ever"
    assert await environment.status(opened) is S.REFUNDED
    assert await at_stripe(environment) == 5000


@pytest.mark.parametrize("fault", ["cut_before", "cut_after"])
async def test_after_stripe_forgot_the_key_nothing_is_sent_again(
    environment: ServiceEnvironment, fault: str
) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/", fault, method="POST", times=1000)
    with pytest.raises(Unavailable):
        await back(environment, opened)
    await environment.no_faults()
    await environment.maintain(after=24 * 3600)
    made = fault == "cut_after"
    assert await at_stripe(environment) == (5000 if made else 0)
    [row] = await environment.rows(Refund)
    assert row.state is (R.SUCCEEDED if made else R.FAILED)
    assert await environment.status(opened) is (S.REFUNDED if made else S.COMPLETED)


async def test_a_refund_from_the_dashboard_is_counted_once(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await paid(environment, participant_id=participant_id)
    await back(environment, opened, "20")
    made = await environment.http.post(
        "/v1/refunds",
        data={"payment_intent": opened.view.provider_ref, "amount": "1000"},
        headers=environment._stripe_auth(),
    )
    assert made.status_code == 200, made.text
    await environment.deliver()
    await environment.deliver()
    assert (await environment.view(opened)).refunded == usd("30")
    await back(environment, opened)
    assert (await environment.view(opened)).status is S.REFUNDED
    assert await at_stripe(environment) == 5000


async def test_a_dashboard_refund_whose_event_was_lost_is_found_by_the_sum(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid(environment)
    await environment.http.post(
        "/v1/refunds", data={"payment_intent": opened.view.provider_ref}, headers=environment._stripe_auth()
    )
    for event in await environment.events():
        if not event["type"].startswith("refund."):
            await environment.receive(event)
    await environment.maintain()
    assert await environment.status(opened) is S.COMPLETED
    await environment.maintain(after=60)
    assert await environment.status(opened) is S.REFUNDED


async def test_a_refund_that_fails_later_is_told_and_the_place_is_taken_again(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    opened = await paid(environment, "pm_card_visa", participant_id)
    done = await back(environment, opened)
    answer = await environment.http.post(f"/_sandbox/stripe/refunds/{done.provider_refund_id}/fail", json={})
    assert answer.status_code < 300, answer.text
    await environment.deliver()
    view = await environment.view(opened)
    assert (view.status, view.refunded.amount) == (S.COMPLETED, Decimal(0))
    participant = await environment.read_participant(participant_id)
    assert (participant.status, participant.payment_id) == (ParticipantStatus.PAID, view.payment_id)
    assert "alert.refund_failed" in {m.topic for m in await environment.rows(OutboxMessage)}
    await environment.deliver()
    assert await environment.status(opened) is S.COMPLETED


async def test_a_refund_that_takes_days(environment: ServiceEnvironment) -> None:
    opened = await paid(environment, "pm_card_pendingRefund")
    done = await back(environment, opened)
    assert (done.state, done.payment_status) == (R.PENDING, S.COMPLETED)
    with pytest.raises(Conflict):
        await back(environment, opened)


async def test_a_refund_event_before_its_payments_own(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_visa")
    await environment.http.post(
        "/v1/refunds", data={"payment_intent": opened.view.provider_ref}, headers=environment._stripe_auth()
    )
    for event in (await environment.events())[::-1]:  # newest first
        await environment.receive(event)
        await environment.maintain()
    await environment.maintain(after=30)
    assert await environment.status(opened) is S.REFUNDED
    assert len(await environment.rows(Refund)) == 1


@pytest.mark.parametrize("news", ["dispute", "refund"])
async def test_news_of_a_pages_intent_before_we_know_the_intent(
    environment: ServiceEnvironment, news: str
) -> None:
    """A hosted page's intent is learned with the payment; what comes before it must not pass for foreign."""
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened)
    [intent] = await environment.stripe_objects("payment_intents")
    if news == "dispute":
        await environment.http.post(f"/_sandbox/stripe/payment_intents/{intent['id']}/dispute", json={})
    else:
        data = {"payment_intent": intent["id"], "amount": "1000"}
        await environment.http.post("/v1/refunds", data=data, headers=environment._stripe_auth())
    late = ("charge.", "refund.") if news == "dispute" else ("refund.",)
    for event in sorted(await environment.events(), key=lambda e: not e["type"].startswith(late)):
        await environment.receive(event)
        await environment.maintain()
    await environment.maintain(after=30)
    [detail] = await environment.rows(PaymentDetail)
    if news == "dispute":
        assert detail.dispute_state is DisputeState.WITHDRAWN
    else:
        assert detail.refunded_amount == Decimal("10.00")


async def test_news_of_somebody_elses_intent_is_foreign_in_the_end(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.maintain(after=60)  # learns the wallet: later polls do not ask about the payment
    await environment.http.post(
        "/v1/refunds", data={"payment_intent": opened.view.provider_ref}, headers=environment._stripe_auth()
    )
    [event] = [e for e in await environment.events() if e["type"] == "refund.created"]
    event["id"], event["data"]["object"]["payment_intent"] = "evt_other", "pi_of_another_shop"
    await environment.receive(event)
    for _ in range(14):
        await environment.maintain(after=1300)
    states = {row.event_id: row.state for row in await environment.rows(WebhookEvent)}
    assert states["evt_other"] is EventState.FOREIGN
    assert await environment.status(opened) is S.COMPLETED


async def test_a_duplicate_payment_goes_back_and_the_place_stays(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id)
    apple = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.phone(kaspi)
    await environment.confirm(str(apple.view.provider_ref), "pm_card_visa")
    await environment.maintain(after=6)
    await environment.deliver()
    assert (await environment.view(apple)).is_duplicate
    await back(environment, apple)
    assert await environment.status(apple) is S.REFUNDED
    participant = await environment.read_participant(participant_id)
    assert (participant.status, participant.payment_id) == (
        ParticipantStatus.PAID,
        kaspi.view.payment_id,
    )


async def test_a_duplicate_that_settles_the_fee_after_a_refund_is_not_asked_back(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id)
    apple = await paid(environment, participant_id=participant_id)
    await environment.phone(kaspi)
    await environment.maintain(after=6)
    opened = await discrepancies.many(environment.ctx, discrepancies.Filter(state=DiscrepancyState.OPEN))
    assert [(view.kind, view.payment_id) for view in opened[0]] == [
        (DiscrepancyKind.DUPLICATE_PAYMENT, kaspi.view.payment_id)
    ]
    await back(environment, apple)
    participant = await environment.read_participant(participant_id)
    assert (participant.status, participant.payment_id) == (ParticipantStatus.PAID, kaspi.view.payment_id)
    view = await discrepancies.one(environment.ctx, opened[0][0].discrepancy_id)
    assert (view.state, view.resolution, view.resolved_by) == ("resolved", "gone", CLERK.name)


async def test_the_database_holds_it_too(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await back(environment, opened, "30")
    [row] = await environment.rows(Refund)

    async def beyond(state: RefundState) -> None:
        values = {name: getattr(row, name) for name in Refund.model_fields}
        values |= {"id": "more", "state": state, "provider_refund_id": None}
        async with environment.ctx.db.writing() as session:
            session.add(Refund(**values))

    for state in (R.PENDING, R.SUCCEEDED):
        with pytest.raises(IntegrityError, match="pay_refund_within_payment"):
            await beyond(state)
    await beyond(R.FAILED)
    assert len(await environment.rows(Refund)) == 2


async def test_disputes_are_flagged_and_hold_refunds_back(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await paid(environment, "pm_card_createDispute", participant_id)
    await environment.deliver()
    [listed] = (await list_participants(environment.ctx)).items
    assert (listed.participant_id, listed.is_paid) == (participant_id, True)
    assert listed.dispute in (DisputeState.OPEN, DisputeState.WITHDRAWN)
    [detail] = await environment.rows(PaymentDetail)
    assert detail.dispute_state in (DisputeState.OPEN, DisputeState.WITHDRAWN)
    assert detail.dispute_due_at is not None
    assert "alert.dispute" in {m.topic for m in await environment.rows(OutboxMessage)}
    with pytest.raises(Conflict, match="twice"):
        await back(environment, opened)
    closed = await environment.http.post(
        f"/_sandbox/stripe/disputes/{detail.dispute_id}/close", json={"won": False}
    )
    assert closed.status_code < 300, closed.text
    await environment.deliver()
    [detail] = await environment.rows(PaymentDetail)
    assert detail.dispute_state is DisputeState.LOST
    [row] = await environment.rows(Payment)
    assert row.status is S.COMPLETED


async def test_kaspi_in_parts(environment: ServiceEnvironment) -> None:
    kaspi = Kaspi(environment)
    opened = await kaspi.paid()
    await kaspi.back(opened, "4000")
    assert (await environment.view(opened)).refunded == Money.parse("4000", "KZT")
    await kaspi.back(opened)
    assert await environment.status(opened) is S.REFUNDED
    assert await kaspi.gone(opened) == Decimal("24000.00")


@pytest.mark.parametrize("fault", ["cut_before", "cut_after"])
async def test_kaspi_a_lost_answer_is_compared_before_a_second_try(
    environment: ServiceEnvironment, fault: str
) -> None:
    kaspi = Kaspi(environment)
    opened = await kaspi.paid()
    await kaspi.back(opened, "1000")
    await environment.fault("/r3/v01/payment/return", fault, times=1)
    with pytest.raises(OutcomeUnknown):
        await kaspi.back(opened, "4000")
    with pytest.raises(Conflict, match="in progress"):
        await kaspi.back(opened, "4000")
    await environment.maintain(after=60)
    assert await kaspi.gone(opened) == Decimal("5000.00")
    assert (await environment.view(opened)).refunded == Money.parse("5000", "KZT")


@pytest.mark.parametrize(
    ("fault", "by_cashier", "ours", "back"),
    [
        ("cut_before", "700", R.FAILED, "700"),
        ("cut_before", "4000", R.SUCCEEDED, "4000"),
        ("cut_before", "9000", R.SUCCEEDED, "9000"),
        ("cut_after", "700", R.SUCCEEDED, "4700"),
    ],
)
async def test_kaspi_a_cashiers_refund_while_ours_is_unknown_is_told_from_it(
    environment: ServiceEnvironment, fault: str, by_cashier: str, ours: R, back: str
) -> None:
    kaspi = Kaspi(environment)
    opened = await kaspi.paid()
    await environment.fault("/r3/v01/payment/return", fault, times=1)
    with pytest.raises(OutcomeUnknown):
        await kaspi.back(opened, "4000")
    ref = opened.view.provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/cashier-refund", json={"Amount": by_cashier})
    assert (await environment.maintain(after=60)).failures == []
    assert await kaspi.gone(opened) == Decimal(back)
    assert (await environment.view(opened)).refunded == Money.parse(back, "KZT")
    assert (await environment.rows(Refund))[0].state is ours
    await kaspi.back(opened, "1000")  # nothing stands in the way of the rest
    assert (await environment.view(opened)).refunded.amount == await kaspi.gone(opened)


async def test_kaspis_basic_scheme_says_how_a_refund_is_made(environment: ServiceEnvironment) -> None:
    opened = await environment.paid()
    with pytest.raises(Refused, match="basic scheme") as caught:
        await use.refund(environment.ctx, RefundCommand(opened.view.payment_id, "injured"), CLERK)
    assert "Kaspi Pay app" in str(caught.value.next_step)
    assert await environment.status(opened) is S.COMPLETED
    assert await environment.rows(Refund) == []
    assert not [m for m in await environment.rows(OutboxMessage) if m.topic.startswith("alert.")]


@pytest.mark.parametrize("trouble", ["not configured", "wrong key", "does not know it"])
async def test_a_refund_that_may_be_made_is_never_failed_by_our_own_settings(
    environment: ServiceEnvironment, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron without the key, or with another account's, proves nothing about the request before."""
    opened = await paid(environment)
    await environment.maintain(after=60)  # learns the wallet: later polls do not ask about the payment
    await environment.fault("/v1/refunds", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await back(environment, opened, "20")
    await environment.no_faults()
    environment.later(60)
    error = NotFound("no such intent") if trouble == "does not know it" else ConfigurationError(trouble)

    async def fails(_: object) -> Refunded:
        raise error

    def gives_none(_: Channel) -> None:
        raise error

    with monkeypatch.context() as patch:
        if trouble == "not configured":
            patch.setattr(type(environment.ctx.providers), "of", lambda _, channel: gives_none(channel))
        else:
            patch.setattr(environment.ctx.providers.of(Channel.STRIPE_INTENT), "refund", fails)
        done = await environment.maintain()
        assert len(done.failures) == (0 if trouble == "does not know it" else 1)
    [row] = await environment.rows(Refund)
    made = trouble == "does not know it"  # then the provider's own list of refunds is asked
    assert row.state is (R.SUCCEEDED if made else R.PENDING)
    await environment.maintain(after=200)
    assert (await environment.view(opened)).refunded == usd("20")
    assert await at_stripe(environment) == 2000


async def test_a_key_raced_by_many_waits_for_the_one_that_is_sent(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    await environment.fault("/v1/refunds", "delay", method="POST", seconds=0.5, times=1)
    results = await asyncio.gather(
        *(back(environment, opened, "10", idempotency_key="k") for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(r, Refunded) and r.provider_refund_id for r in results), results
    assert len({r.refund_id for r in results if isinstance(r, Refunded)}) == 1
    assert await at_stripe(environment) == 1000
