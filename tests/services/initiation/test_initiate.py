"""Start a payment: one at a time, with the right charge, and recovered after every failure."""

import asyncio
from dataclasses import replace
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
    RetryLater,
    Unavailable,
)
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import Channel, CreateState, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.page_link import page_url
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment, Tournament
from procomp_pay.storage.payments.repository import load_payment
from procomp_pay.storage.registrations.terms import main_fee
from tests.support.environment import CLERK, ServiceEnvironment, usd

S = PaymentStatus


async def test_kaspi_charges_the_fee_in_tenge(environment: ServiceEnvironment) -> None:
    opened = await environment.start(requested=usd("50"))
    body = opened.seeded()
    assert (body["amount"], body["currency"]) == (Decimal("24000.00"), "KZT")
    assert opened.qr_payload is not None
    assert len(opened.qr_payload) == 41
    [row] = await environment.rows(Payment)
    assert (row.amount, row.currency, row.status) == (Decimal("24000.00"), "KZT", S.PENDING)
    [detail] = await environment.rows(PaymentDetail)
    assert (detail.requested_amount, detail.requested_currency) == (Decimal("50.00"), "USD")
    assert opened.qr_payload not in str(detail.qr_token_enc)


async def test_an_intent_without_a_page_returns_the_client_secret(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="google_pay", channel=Channel.STRIPE_INTENT)
    body = opened.seeded()
    assert body["client_secret"].startswith("pi_")
    [intent] = await environment.stripe_objects("payment_intents")
    assert (intent["amount"], intent["currency"]) == (5000, "usd")
    assert intent["metadata"]["payment_id"] == body["payment_id"]
    [detail] = await environment.rows(PaymentDetail)
    assert body["client_secret"] not in str(detail.client_secret_enc)


@pytest.mark.parametrize("method", ["kaspi_qr", "apple_pay"])
async def test_the_open_payment_is_returned(environment: ServiceEnvironment, method: str) -> None:
    participant_id = await environment.participant()
    first, second = (
        await environment.start(participant_id, method),
        await environment.start(participant_id, method),
    )
    assert second.view.payment_id == first.view.payment_id
    assert second.qr_payload == first.qr_payload
    assert len(await environment.rows(Payment)) == 1


async def test_ten_concurrent_starts_create_one_session(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await asyncio.gather(*(environment.start(participant_id, "apple_pay") for _ in range(10)))
    assert len({o.view.payment_id for o in opened}) == 1
    assert len({o.payment_url for o in opened}) == 1
    assert len(await environment.stripe_objects("checkout/sessions")) == 1


async def test_ten_concurrent_starts_create_one_qr(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await asyncio.gather(*(environment.start(participant_id) for _ in range(10)))
    assert len({o.qr_payload for o in opened}) == 1
    answer = await environment.http.get("/_sandbox/kaspi/payments")
    assert len(answer.json()["payments"] if isinstance(answer.json(), dict) else answer.json()) == 1


async def test_another_method_cancels_the_open_stripe_payment_first(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    apple = await environment.start(participant_id, "apple_pay")
    kaspi = await environment.start(participant_id, "kaspi_qr")
    assert await environment.status(apple) is S.CANCELLED
    assert await environment.status(kaspi) is S.PENDING
    [session] = await environment.stripe_objects("checkout/sessions")
    assert session["status"] == "expired"


async def test_an_open_qr_is_still_polled_after_another_method_starts(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    apple = await environment.paid(participant_id, "apple_pay")
    await environment.phone(kaspi)
    await environment.maintain(after=6)
    assert (await environment.read_participant(participant_id)).payment_id == apple.view.payment_id
    view = await environment.view(kaspi)
    assert (view.status, view.is_duplicate) == (S.COMPLETED, True)


async def test_a_paid_page_is_noticed_before_another_method_starts(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    apple = await environment.start(participant_id, "apple_pay")
    await environment.pay_page(apple)
    with pytest.raises(AlreadyPaid):
        await environment.start(participant_id, "kaspi_qr")
    assert await environment.status(apple) is S.COMPLETED
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


async def test_a_new_qr_can_start_after_the_first_expired(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    first = await environment.start(participant_id)
    environment.later(181)
    second = await environment.start(participant_id)
    assert second.qr_payload != first.qr_payload
    assert await environment.status(first) is S.EXPIRED
    assert await environment.status(second) is S.PENDING


async def test_a_paid_fee_is_rejected(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.phone(await environment.start(participant_id))
    await environment.maintain(after=6)
    with pytest.raises(AlreadyPaid):
        await environment.start(participant_id, "apple_pay")
    assert len(await environment.rows(Payment)) == 1


async def test_unknown_participant_cancelled_registration_and_wrong_amount(
    environment: ServiceEnvironment,
) -> None:
    with pytest.raises(NotFound):
        await environment.start("nobody")
    gone = await environment.participant(status=ParticipantStatus.CANCELLED)
    with pytest.raises(Conflict, match="cancelled"):
        await environment.start(gone)
    with pytest.raises(Refused, match="must match"):
        await environment.start(method="apple_pay", requested=usd("49.99"))
    assert await environment.rows(Payment) == []


async def test_an_idempotency_key_returns_the_same_result_and_rejects_another_request(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    request = InitiateRequest(
        participant_id, PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT, usd("50"), idempotency_key="k-1"
    )
    first = await initiate(environment.ctx, request, CLERK)
    assert (await initiate(environment.ctx, request, CLERK)).payment_id == first.payment_id
    other = InitiateRequest(
        participant_id, PaymentMethod.APPLE_PAY, Channel.STRIPE_CHECKOUT, usd("50"), idempotency_key="k-1"
    )
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await initiate(environment.ctx, other, CLERK)
    # after the payment, too: the same result, not "already paid"
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    await environment.deliver()
    assert (await initiate(environment.ctx, request, CLERK)).payment_id == first.payment_id


async def test_maintain_recovers_a_payment_after_a_stripe_outage(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable) as caught:
        await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    assert "stays PENDING" in caught.value.message
    [row] = await environment.rows(Payment)
    assert row.status is S.PENDING
    await environment.no_faults()
    await environment.maintain(after=60)
    [intent] = await environment.stripe_objects("payment_intents")
    [detail] = await environment.rows(PaymentDetail)
    assert (detail.provider_ref, detail.create_state) == (intent["id"], CreateState.OPEN)


async def test_a_lost_response_creates_no_second_intent(environment: ServiceEnvironment) -> None:
    """The connection breaks after Stripe created the intent: a retry with the key returns the same one."""
    await environment.fault("/v1/payment_intents", "cut_after", method="POST", times=1)
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    [intent] = await environment.stripe_objects("payment_intents")
    assert opened.view.provider_ref == intent["id"]


async def test_maintain_finds_the_same_intent_after_lost_responses(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/v1/payment_intents", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.no_faults()
    await environment.maintain(after=60)
    [intent] = await environment.stripe_objects("payment_intents")
    [detail] = await environment.rows(PaymentDetail)
    assert detail.provider_ref == intent["id"]


async def test_recovery_after_stripe_dropped_the_idempotency_key(environment: ServiceEnvironment) -> None:
    """After a day the same request would create a second session, so the first one is searched for."""
    participant_id = await environment.participant()
    await environment.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await environment.start(participant_id, "apple_pay")
    await environment.no_faults()
    await environment.maintain(after=23.5 * 3600)
    [session] = await environment.stripe_objects("checkout/sessions")
    [detail] = await environment.rows(PaymentDetail)
    assert (detail.provider_ref, detail.create_state) == (session["id"], CreateState.OPEN)
    await environment.maintain(after=700)
    [row] = await environment.rows(Payment)
    assert row.status is S.EXPIRED


@pytest.mark.parametrize(("status", "refusal"), [(401, ConfigurationError), (400, None)])
async def test_a_rejected_repetition_does_not_fail_the_first_request(
    environment: ServiceEnvironment, status: int, refusal: type[PaymentError] | None
) -> None:
    """The response was lost, then the API key was changed, or Stripe rejects the same request."""
    participant_id = await environment.participant()
    await environment.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1000)
    with pytest.raises(OutcomeUnknown):
        await environment.start(participant_id, "apple_pay")
    await environment.no_faults()
    environment.later(60)
    await environment.fault("/v1/checkout/sessions", "status", method="POST", status=status, times=1)
    if refusal is not None:
        with pytest.raises(refusal):
            await environment.start(participant_id, "apple_pay")
        [detail] = await environment.rows(PaymentDetail)
        assert (detail.create_state, detail.provider_open) == (CreateState.SENT, True)
        environment.later(60)
    opened = await environment.start(participant_id, "apple_pay")
    [session] = await environment.stripe_objects("checkout/sessions")
    assert (opened.view.provider_ref, opened.view.status) == (session["id"], S.PENDING)
    assert len(await environment.rows(Payment)) == 1


async def test_an_api_key_changed_after_a_lost_response_leaves_the_outcome_unknown(
    environment: ServiceEnvironment,
) -> None:
    await environment.fault("/v1/checkout/sessions", "cut_after", method="POST", times=1)
    await environment.fault("/v1/checkout/sessions", "status", method="POST", status=401, times=1)
    with pytest.raises(OutcomeUnknown):
        await environment.start(method="apple_pay")
    [detail] = await environment.rows(PaymentDetail)
    assert detail.create_state is CreateState.SENT


async def test_a_request_is_repeated_after_a_kaspi_outage(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/r1/", "status", status=503, times=1000)
    with pytest.raises(ProviderUnavailable):
        await environment.start(participant_id)
    await environment.no_faults()
    opened = await environment.start(participant_id)
    assert opened.qr_payload is not None
    assert len(await environment.rows(Payment)) == 1


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("channel", [Channel.KASPI_QR, Channel.KASPI_LINK])
async def test_a_new_qr_starts_at_once_after_a_lost_one(
    environment: ServiceEnvironment, channel: Channel, key: str | None
) -> None:
    """Nobody has seen the lost QR, so nobody can pay it."""
    participant = await environment.participant()
    await environment.fault("/r1/v01/qr/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown, match="Nobody has seen it") as caught:
        await environment.start(participant, channel=channel, idempotency_key=key)
    assert caught.value.retry_after == 1
    [lost] = await environment.rows(Payment)
    assert lost.status is S.CANCELLED
    opened = await environment.start(participant, channel=channel, idempotency_key=key)
    assert opened.qr_payload is not None
    assert opened.view.payment_id != lost.id
    again = await environment.start(participant, channel=channel, idempotency_key=key)
    assert again.view.payment_id == opened.view.payment_id
    assert (await environment.maintain(after=600)).looked_at == 1  # the lost one is not polled
    assert [row.payment_id for row in await environment.rows(OutboxMessage)] == [opened.view.payment_id]


async def test_a_qr_that_a_dead_process_asked_for(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process died before it read Kaspi's answer: a new QR starts once its request is certainly over."""
    monkeypatch.setattr("procomp_pay.services.initiation.initiate._PATIENCE_S", 0.5)
    participant = await environment.participant()
    opened = await environment.start(participant)
    async with environment.ctx.db.writing() as session:
        detail = await session.get(PaymentDetail, opened.view.payment_id)
        assert detail is not None
        detail.create_state, detail.provider_ref = CreateState.SENT, None
        detail.sent_at = environment.now()
    with pytest.raises(RetryLater) as caught:
        await environment.start(participant)
    assert 1 <= (caught.value.retry_after or 0) <= 35
    assert caught.value.http_status == 503
    environment.later(caught.value.retry_after or 0)
    assert (await environment.start(participant)).view.payment_id != opened.view.payment_id


async def test_a_rejected_payment_is_failed(environment: ServiceEnvironment) -> None:
    await environment.http.post(
        "/_sandbox/kaspi/force", json={"path": "/qr/create", "code": 990000028, "times": 1}
    )
    with pytest.raises(Refused, match="990000028"):
        await environment.start()
    [row] = await environment.rows(Payment)
    assert row.status is S.FAILED
    assert "990000028" in str(row.failure_reason)


async def test_retry_after_is_respected(environment: ServiceEnvironment) -> None:
    await environment.fault("/v1/payment_intents", "status", status=429, retry_after=1, times=1)
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    assert opened.client_secret


async def test_one_key_for_many_participants_at_once_starts_one_payment(
    environment: ServiceEnvironment,
) -> None:
    people = [await environment.participant() for _ in range(6)]
    results = await asyncio.gather(
        *(environment.start(participant_id, "apple_pay", idempotency_key="k") for participant_id in people),
        return_exceptions=True,
    )
    assert all(isinstance(r, views.Opening | Conflict) for r in results), results
    assert len(await environment.rows(Payment)) == 1


@pytest.mark.parametrize("fee", ["0", "24000.50", "-1"])
async def test_a_fee_that_cannot_be_charged_writes_nothing(environment: ServiceEnvironment, fee: str) -> None:
    participant = await environment.participant()
    async with environment.ctx.db.writing() as session:
        tournament = await session.get(Tournament, f"t-{participant}")
        assert tournament is not None
        tournament.entry_fee, tournament.currency = Decimal(fee), Currency.KZT
    with pytest.raises(Refused, match=r"entry fee to charge|whole tenge"):
        await environment.start(participant)
    assert await environment.rows(Payment) == []


async def test_a_missing_fee_of_the_platform_is_no_fee() -> None:
    row = Tournament(id="t1", entry_fee=None, currency=Currency.KZT)
    assert main_fee(row) == Money(Decimal(0), Currency.KZT)


@pytest.mark.parametrize("is_public", [True, False])
async def test_after_a_hosted_page_the_customer_sees_the_page_of_the_payment(
    environment: ServiceEnvironment, is_public: bool
) -> None:
    environment.ctx = replace(environment.ctx, is_public=is_public)
    opened = await environment.start(method="apple_pay")
    async with environment.ctx.db.reading() as session:
        address = (await load_payment(session, opened.view.payment_id)).detail.return_url
    thanks = f"{environment.ctx.base_url}/api/v1/payments/thanks"
    assert address == (page_url(environment.ctx, opened.view) if is_public else thanks)
