"""Start a payment: one at a time, with the right charge, and recovered after every failure."""

import asyncio
from decimal import Decimal

import pytest

from procomp_pay.domain.errors import (
    AlreadyPaid,
    ConfigurationError,
    Conflict,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
    Unavailable,
)
from procomp_pay.domain.states import Channel, CreateState, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from tests.support.environment import CLERK, World, usd

S = PaymentStatus


async def test_kaspi_charges_the_fee_in_tenge(world: World) -> None:
    opened = await world.start(await world.participant(), requested=usd("50"))
    body = opened.seeded()
    assert (body["amount"], body["currency"]) == (Decimal("24000.00"), "KZT")
    assert opened.qr_payload is not None
    assert len(opened.qr_payload) == 41
    [row] = await world.rows(Payment)
    assert (row.amount, row.currency, row.status) == (Decimal("24000.00"), "KZT", S.PENDING)
    [detail] = await world.rows(PaymentDetail)
    assert (detail.requested_amount, detail.requested_currency) == (Decimal("50.00"), "USD")
    assert opened.qr_payload not in str(detail.qr_token_enc)


async def test_an_intent_without_a_page_returns_the_client_secret(world: World) -> None:
    opened = await world.start(await world.participant(), "google_pay", channel=Channel.STRIPE_INTENT)
    body = opened.seeded()
    assert body["client_secret"].startswith("pi_")
    [intent] = await world.stripe_objects("payment_intents")
    assert (intent["amount"], intent["currency"]) == (5000, "usd")
    assert intent["metadata"]["payment_id"] == body["payment_id"]
    [detail] = await world.rows(PaymentDetail)
    assert body["client_secret"] not in str(detail.client_secret_enc)


@pytest.mark.parametrize("method", ["kaspi_qr", "apple_pay"])
async def test_the_open_payment_is_returned(world: World, method: str) -> None:
    who = await world.participant()
    first, second = await world.start(who, method), await world.start(who, method)
    assert second.view.payment_id == first.view.payment_id
    assert second.qr_payload == first.qr_payload
    assert len(await world.rows(Payment)) == 1


async def test_ten_concurrent_starts_create_one_session(world: World) -> None:
    who = await world.participant()
    opened = await asyncio.gather(*(world.start(who, "apple_pay") for _ in range(10)))
    assert len({o.view.payment_id for o in opened}) == 1
    assert len({o.payment_url for o in opened}) == 1
    assert len(await world.stripe_objects("checkout/sessions")) == 1


async def test_ten_concurrent_starts_create_one_qr(world: World) -> None:
    who = await world.participant()
    opened = await asyncio.gather(*(world.start(who) for _ in range(10)))
    assert len({o.qr_payload for o in opened}) == 1
    answer = await world.http.get("/_sandbox/kaspi/payments")
    assert len(answer.json()["payments"] if isinstance(answer.json(), dict) else answer.json()) == 1


async def test_another_method_cancels_the_open_stripe_payment_first(world: World) -> None:
    who = await world.participant()
    apple = await world.start(who, "apple_pay")
    kaspi = await world.start(who, "kaspi_qr")
    assert await world.status(apple) is S.CANCELLED
    assert await world.status(kaspi) is S.PENDING
    [session] = await world.stripe_objects("checkout/sessions")
    assert session["status"] == "expired"


async def test_an_open_qr_is_still_polled_after_another_method_starts(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    apple = await world.start(who, "apple_pay")
    await world.pay_page(apple)
    await world.deliver()
    await world.phone(kaspi)
    world.later(6)
    await world.maintain()
    assert (await world.who(who)).payment_id == apple.view.payment_id
    view = await world.view(kaspi)
    assert (view.status, view.is_duplicate) == (S.COMPLETED, True)


async def test_a_paid_page_is_noticed_before_another_method_starts(world: World) -> None:
    who = await world.participant()
    apple = await world.start(who, "apple_pay")
    await world.pay_page(apple)
    with pytest.raises(AlreadyPaid):
        await world.start(who, "kaspi_qr")
    assert await world.status(apple) is S.COMPLETED
    assert (await world.who(who)).status is ParticipantStatus.PAID


async def test_a_new_qr_can_start_after_the_first_expired(world: World) -> None:
    who = await world.participant()
    first = await world.start(who)
    world.later(181)
    second = await world.start(who)
    assert second.qr_payload != first.qr_payload
    assert await world.status(first) is S.EXPIRED
    assert await world.status(second) is S.PENDING


async def test_a_paid_fee_is_rejected(world: World) -> None:
    who = await world.participant()
    await world.phone(await world.start(who))
    world.later(6)
    await world.maintain()
    with pytest.raises(AlreadyPaid):
        await world.start(who, "apple_pay")
    assert len(await world.rows(Payment)) == 1


async def test_unknown_participant_cancelled_registration_and_wrong_amount(world: World) -> None:
    with pytest.raises(NotFound):
        await world.start("nobody")
    gone = await world.participant(status=ParticipantStatus.CANCELLED)
    with pytest.raises(Conflict, match="cancelled"):
        await world.start(gone)
    with pytest.raises(Refused, match="must match"):
        await world.start(await world.participant(), "apple_pay", requested=usd("49.99"))
    assert await world.rows(Payment) == []


async def test_an_idempotency_key_returns_the_same_result_and_rejects_another_request(world: World) -> None:
    who = await world.participant()
    order = InitiateRequest(
        who, PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT, usd("50"), idempotency_key="k-1"
    )
    first = await initiate(world.ctx, order, CLERK)
    assert (await initiate(world.ctx, order, CLERK)).payment_id == first.payment_id
    other = InitiateRequest(
        who, PaymentMethod.APPLE_PAY, Channel.STRIPE_CHECKOUT, usd("50"), idempotency_key="k-1"
    )
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await initiate(world.ctx, other, CLERK)
    # after the payment, too: the same result, not "already paid"
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    await world.deliver()
    assert (await initiate(world.ctx, order, CLERK)).payment_id == first.payment_id


async def test_maintain_recovers_a_payment_after_a_stripe_outage(world: World) -> None:
    who = await world.participant()
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable) as caught:
        await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    assert "stays PENDING" in caught.value.message
    [row] = await world.rows(Payment)
    assert row.status is S.PENDING
    await world.no_faults()
    world.later(60)
    await world.maintain()
    [intent] = await world.stripe_objects("payment_intents")
    [detail] = await world.rows(PaymentDetail)
    assert (detail.provider_ref, detail.create_state) == (intent["id"], CreateState.OPEN)


async def test_a_lost_response_creates_no_second_intent(world: World) -> None:
    """The connection breaks after Stripe created the intent: a retry with the key returns the same one."""
    await world.fault("/v1/payment_intents", "cut_after", method="POST", times=1)
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    [intent] = await world.stripe_objects("payment_intents")
    assert opened.view.provider_ref == intent["id"]


async def test_maintain_finds_the_same_intent_after_lost_responses(world: World) -> None:
    who = await world.participant()
    await world.fault("/v1/payment_intents", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.no_faults()
    world.later(60)
    await world.maintain()
    [intent] = await world.stripe_objects("payment_intents")
    [detail] = await world.rows(PaymentDetail)
    assert detail.provider_ref == intent["id"]


async def test_recovery_after_stripe_dropped_the_idempotency_key(world: World) -> None:
    """After a day the same request would create a second session, so the first one is searched for."""
    who = await world.participant()
    await world.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(23.5 * 3600)
    await world.maintain()
    [session] = await world.stripe_objects("checkout/sessions")
    [detail] = await world.rows(PaymentDetail)
    assert (detail.provider_ref, detail.create_state) == (session["id"], CreateState.OPEN)
    world.later(700)
    await world.maintain()
    [row] = await world.rows(Payment)
    assert row.status is S.EXPIRED


@pytest.mark.parametrize(("status", "refusal"), [(401, ConfigurationError), (400, None)])
async def test_a_rejected_repetition_does_not_fail_the_first_request(
    world: World, status: int, refusal: type[PaymentError] | None
) -> None:
    """The response was lost, then the API key was changed, or Stripe rejects the same request."""
    who = await world.participant()
    await world.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(60)
    await world.fault("/v1/checkout/sessions", "status", method="POST", status=status, times=1)
    if refusal is not None:
        with pytest.raises(refusal):
            await world.start(who, "apple_pay")
        [detail] = await world.rows(PaymentDetail)
        assert (detail.create_state, detail.provider_open) == (CreateState.SENT, True)
        world.later(60)
    opened = await world.start(who, "apple_pay")
    [session] = await world.stripe_objects("checkout/sessions")
    assert (opened.view.provider_ref, opened.view.status) == (session["id"], S.PENDING)
    assert len(await world.rows(Payment)) == 1


async def test_an_api_key_changed_after_a_lost_response_leaves_the_outcome_unknown(world: World) -> None:
    await world.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1)
    await world.fault("/v1/checkout/sessions", "status", method="POST", status=401, times=1)
    with pytest.raises(OutcomeUnknown):
        await world.start(await world.participant(), "apple_pay")
    [detail] = await world.rows(PaymentDetail)
    assert detail.create_state is CreateState.SENT


async def test_a_request_is_repeated_after_a_kaspi_outage(world: World) -> None:
    who = await world.participant()
    await world.fault("/r1/", "status", status=503, times=1000)
    with pytest.raises(ProviderUnavailable):
        await world.start(who)
    await world.no_faults()
    opened = await world.start(who)
    assert opened.qr_payload is not None
    assert len(await world.rows(Payment)) == 1


async def test_a_new_qr_waits_until_a_lost_one_expires(world: World) -> None:
    """Kaspi has no idempotency: a second QR is created only after the first one expired."""
    who = await world.participant()
    await world.fault("/r1/v01/qr/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await world.start(who)
    world.later(40)
    with pytest.raises(OutcomeUnknown, match="did not confirm") as caught:
        await world.start(who)
    assert 200 < (caught.value.retry_after or 0) <= 340
    world.later(400)
    await world.maintain()
    [row] = await world.rows(Payment)
    assert row.status is S.EXPIRED
    assert (await world.start(who)).qr_payload is not None


async def test_a_rejected_payment_is_failed(world: World) -> None:
    await world.http.post("/_sandbox/kaspi/force", json={"path": "/qr/create", "code": 990000028, "times": 1})
    with pytest.raises(Refused, match="990000028"):
        await world.start(await world.participant())
    [row] = await world.rows(Payment)
    assert row.status is S.FAILED
    assert "990000028" in str(row.failure_reason)


async def test_retry_after_is_respected(world: World) -> None:
    await world.fault("/v1/payment_intents", "status", status=429, retry_after=1, times=1)
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    assert opened.client_secret


async def test_one_key_for_many_participants_at_once_starts_one_payment(world: World) -> None:
    people = [await world.participant() for _ in range(6)]
    results = await asyncio.gather(
        *(world.start(who, "apple_pay", idempotency_key="k") for who in people), return_exceptions=True
    )
    assert all(isinstance(r, views.Opening | Conflict) for r in results), results
    assert len(await world.rows(Payment)) == 1
