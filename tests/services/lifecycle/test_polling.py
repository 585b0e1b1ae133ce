"""Polling: Kaspi sends no events, so payments are polled at its interval until they can no longer be paid."""

from dataclasses import replace
from datetime import timedelta

import pytest

from procomp_pay.cli.display import wording
from procomp_pay.config import KaspiScheme, ProviderMode
from procomp_pay.domain.errors import ConfigurationError, NotFound, OutcomeUnknown, Refused
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.providers.protocol import CreateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import poll_payment, refresh_payment
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.history import read_history
from procomp_pay.services.webhooks.kaspi_bill import pay
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.payments import repository as payments
from tests.support.environment import CLERK, ServiceEnvironment, usd
from tests.support.kaspi_bill import ask
from tests.support.kaspi_payments import paid
from tests.support.stripe_payments import paid as paid_by_stripe

S = PaymentStatus


async def test_scanned_then_confirmed(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.phone(opened, "scan")
    await environment.maintain(after=6)
    view = await environment.view(opened)
    assert (view.status, view.scanned_at is not None) == (S.PROCESSING, True)
    await environment.phone(opened, "confirm")
    await environment.maintain(after=6)
    view = await environment.view(opened)
    assert view.status is S.COMPLETED
    assert view.operation_number is not None
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    assert not view.provider_open


async def test_no_poll_before_kaspis_interval_or_after_the_end(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    assert (await environment.maintain()).looked_at == 0
    assert (await environment.maintain(after=5.1)).looked_at == 1
    assert (await environment.maintain()).looked_at == 0
    await environment.phone(opened)
    await environment.maintain(after=6)
    assert (await environment.maintain(after=600)).looked_at == 0


async def test_a_qr_that_is_never_scanned_expires_and_is_polled_once_more(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start()
    await environment.maintain(after=181)
    assert await environment.status(opened) is S.EXPIRED
    assert (await environment.maintain(after=300)).looked_at == 1
    assert not (await environment.view(opened)).provider_open
    assert (await environment.maintain(after=3600)).looked_at == 0


async def test_a_payment_processed_after_its_expiry_is_late(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.maintain(after=181)
    ref = opened.view.provider_ref
    answer = await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/late-process", json={})
    assert answer.status_code == 200
    await environment.maintain(after=300)
    view = await environment.view(opened)
    assert (view.status, view.is_late) == (S.COMPLETED, True)
    assert (await environment.read_participant(participant_id)).payment_id == view.payment_id
    assert {m.topic for m in await environment.rows(OutboxMessage)} >= {
        "alert.late_payment",
        "payment.received",
    }
    assert [d.kind for d in await environment.rows(Discrepancy)] == ["LATE_PAYMENT"]


async def test_a_payment_cancelled_in_the_app_fails_and_a_new_one_can_start(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.phone(opened, "scan")
    await environment.phone(opened, "cancel")
    await environment.maintain(after=6)
    view = await environment.view(opened)
    assert (view.status, view.provider_open) == (S.FAILED, False)
    assert (await environment.start(participant_id)).qr_payload != opened.qr_payload


async def test_an_unknown_status_is_still_open(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    ref = opened.view.provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "SomethingNew"})
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.PENDING


@pytest.mark.parametrize("date_form", ["+05", "fraction3", "fraction7", "unpadded-day"])
async def test_unusual_dates_without_v02(environment: ServiceEnvironment, date_form: str) -> None:
    await environment.http.post("/_sandbox/kaspi/settings", json={"date_form": date_form, "v02": False})
    opened = await environment.start()
    left = (opened.view.expires_at or environment.now()) - environment.now()
    assert timedelta(seconds=150) < left < timedelta(seconds=200)
    await environment.phone(opened)
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.COMPLETED


async def test_a_payment_stays_due_during_a_kaspi_outage(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    other = await environment.start()
    await environment.phone(opened)
    await environment.fault("/r1/", "status", status=503, times=1000)
    done = await environment.maintain(after=6)
    assert len(done.failures) == 2
    assert await environment.status(opened) is S.PENDING
    await environment.no_faults()
    await environment.maintain(after=30)
    assert await environment.status(opened) is S.COMPLETED
    assert await environment.status(other) is S.PENDING


async def test_concurrent_processes_poll_a_payment_once(environment: ServiceEnvironment) -> None:
    await environment.start()
    environment.later(6)
    async with environment.ctx.db.writing() as session:
        first = await payments.claim_due(session, environment.now(), Channel, lease_s=60, limit=10)
    async with environment.ctx.db.writing() as session:
        second = await payments.claim_due(session, environment.now(), Channel, lease_s=60, limit=10)
    assert (len(first), second) == (1, [])


async def test_polling_finds_a_lost_webhook(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id, "google_pay")
    await environment.pay_page(opened, "google_pay")
    await environment.maintain(after=601)
    view = await environment.view(opened)
    assert (view.status, view.wallet) == (S.COMPLETED, "google_pay")
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


async def test_an_unpaid_page_expires(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    for _ in range(8):
        await environment.maintain(after=601)
    assert await environment.status(opened) is S.EXPIRED
    assert not (await environment.view(opened)).provider_open


async def test_an_unpaid_intent_is_cancelled_after_a_day(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.maintain(after=24 * 3600 + 1)
    assert await environment.status(opened) is S.EXPIRED
    [intent] = await environment.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_an_open_intent_is_cancelled_after_another_payment(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    apple = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.phone(kaspi)
    await environment.maintain(after=6)
    assert (await environment.read_participant(participant_id)).payment_id == kaspi.view.payment_id
    await environment.maintain(after=601)
    assert await environment.status(apple) is S.CANCELLED
    [intent] = await environment.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_refresh_polls_at_once(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened)
    settled = await poll_payment(environment.ctx, opened.view.payment_id)
    assert settled is not None
    assert settled.status is S.COMPLETED


async def test_an_unknown_kaspi_device_is_a_configuration_error(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.http.post(
        "/_sandbox/kaspi/force", json={"path": "/payment/status", "code": -10000, "times": 9}
    )
    with pytest.raises(ConfigurationError, match="-10000"):
        await poll_payment(environment.ctx, opened.view.payment_id)


async def test_every_status_change_is_in_the_audit_trail(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.paid(participant_id)
    [(_, moves)] = await read_history(environment.ctx, participant_id)
    assert [(m.action, m.before, m.after) for m in moves] == [
        ("started", None, "PENDING"),
        ("opened:noted", "PENDING", "PENDING"),
        ("succeeded:moved", "PENDING", "COMPLETED"),
    ]
    entries = await environment.rows(AuditEntry)
    assert [e.seq for e in entries] == [1, 2, 3]
    assert opened.qr_payload not in str([e.after for e in entries])
    [detail] = await environment.rows(PaymentDetail)
    assert detail.completed_at is not None


async def test_a_newer_payment_does_not_hide_that_the_fee_is_paid(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    apple = await environment.start(participant_id, "apple_pay")
    assert (await views.latest(environment.ctx, participant_id)).payment_id == apple.view.payment_id
    await environment.phone(kaspi)
    await environment.maintain(after=6)
    assert (await views.latest(environment.ctx, participant_id)).payment_id == kaspi.view.payment_id


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("code", [-1601, -99000003, -1501])
async def test_a_payment_is_completed_although_its_details_belong_to_another_device(
    environment: ServiceEnvironment, code: int
) -> None:
    """After a change of the device Kaspi still reports the status of an old purchase, but not its amount."""
    await environment.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    await paid(environment, KaspiScheme.ENHANCED)
    opened = await environment.start()
    await environment.phone(opened)
    forced = {"path": "/payment/details", "code": code, "times": 99}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.COMPLETED


@pytest.mark.parametrize("ended", [S.EXPIRED, S.FAILED, S.CANCELLED])
async def test_a_refresh_finds_money_that_came_after_the_end(
    environment: ServiceEnvironment, ended: PaymentStatus
) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    if ended is S.FAILED:
        await environment.phone(opened, "cancel")
    elif ended is S.CANCELLED:
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    for _ in range(2):
        await environment.maintain(after=300)
    view = await environment.view(opened)
    assert (view.status, view.provider_open) == (ended, False)
    assert await refresh_payment(environment.ctx, view.payment_id, CLERK)
    assert await environment.status(opened) is ended
    ref = opened.view.provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/late-process", json={})
    assert await refresh_payment(environment.ctx, view.payment_id, CLERK)
    view = await environment.view(opened)
    assert (view.status, view.is_late) == (S.COMPLETED, ended is not S.FAILED)
    assert (await environment.read_participant(participant_id)).payment_id == view.payment_id
    assert await refresh_payment(environment.ctx, view.payment_id, CLERK)


async def test_a_refresh_of_a_bill_asks_nobody(environment: ServiceEnvironment) -> None:
    await pay(environment.ctx, ask(await environment.participant()))
    [payment] = await environment.rows(Payment)
    assert not await refresh_payment(environment.ctx, payment.id, CLERK)


async def test_a_refresh_of_a_payment_settled_by_hand_after_a_lost_answer(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    await environment.fault("/r1/v01/qr/create", "cut_after")
    with pytest.raises(OutcomeUnknown):
        await environment.start(participant_id)
    [payment] = await environment.rows(Payment)
    await verify(environment.ctx, VerificationRequest(payment.id, "777000333"), CLERK)
    for _ in range(2):
        await refresh_payment(environment.ctx, payment.id, CLERK)
        await environment.maintain(after=600)
    assert not await refresh_payment(environment.ctx, payment.id, CLERK)
    assert (await views.one(environment.ctx, payment.id)).status is S.COMPLETED


async def test_another_amount_is_told_and_settled_once_kaspi_corrects_it(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await environment.start()
    await environment.phone(opened)
    kaspi = environment.ctx.providers.of(Channel.KASPI_QR)._backend  # type: ignore[attr-defined]
    real = kaspi._status

    async def wrong(purchase: str) -> dict:
        return {**(await real(purchase)), "Amount": 20000}

    with monkeypatch.context() as patched:
        patched.setattr(kaspi, "_status", wrong)
        await environment.maintain(after=6)
    view = await environment.view(opened)
    [row] = await environment.rows(Discrepancy)
    assert view.status is S.PENDING
    sentence = wording.state(view).replace("\u00a0", " ")
    assert sentence.startswith("20 000.00 KZT came, but 24 000.00 KZT was due")
    assert wording.next_step(view) == f"procomp-pay discrepancies show {row.id}"
    await refresh_payment(environment.ctx, view.payment_id, CLERK)
    view = await environment.view(opened)
    assert (view.status, view.other_amount) == (S.COMPLETED, None)


async def test_the_other_payment_of_somebody_who_paid_says_so(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    page = await environment.start(participant, "apple_pay")
    opened = await environment.start(participant)
    await environment.phone(opened)
    for _ in range(3):
        await environment.maintain(after=300)
    view = await environment.view(page)
    assert view.status is S.CANCELLED
    assert view.settled_by is not None
    assert view.settled_by.payment_id == opened.view.payment_id
    assert wording.state(view).startswith("the fee is already paid: Kaspi QR, ")
    assert (await environment.view(opened)).settled_by is None


@pytest.mark.parametrize("method", ["pm_apple_pay", "pm_google_pay", "pm_card_visa"])
async def test_the_wallet_of_an_intent_is_learned_once(environment: ServiceEnvironment, method: str) -> None:
    opened = await paid_by_stripe(environment, method)
    assert (await environment.view(opened)).wallet is None, "the event names the charge by its id alone"

    async def asked() -> int:
        log = (await environment.http.get("/_sandbox/requests")).json()
        lines = log["requests"] if isinstance(log, dict) else log
        wanted = {f"/v1/payment_intents/{opened.view.provider_ref}", "/v1/refunds"}
        return sum(line["path"] in wanted and line["method"] == "GET" for line in lines)

    before = await asked()
    assert (await environment.maintain(after=30)).failures == []
    view = await environment.view(opened)
    assert view.wallet == (method.removeprefix("pm_") if "pay" in method else "card")
    assert await asked() == before + 1
    await environment.maintain(after=3600)
    assert await asked() == before + 1


async def test_no_wallet_is_asked_for_without_a_key(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may have the secret of the webhook alone."""
    mode = property(lambda _: ProviderMode.OFF)
    monkeypatch.setattr(type(environment.ctx.providers), "stripe_mode", mode)
    opened = await paid_by_stripe(environment)
    assert await environment.status(opened) is S.COMPLETED
    [detail] = await environment.rows(PaymentDetail)
    assert (detail.next_poll_at, detail.wallet) == (None, None)


async def test_a_wallet_is_learned_when_stripe_answers_again(environment: ServiceEnvironment) -> None:
    opened = await paid_by_stripe(environment, "pm_apple_pay")
    environment.later(30)
    await environment.fault("/v1/payment_intents", "status", status=503, method="GET", times=1000)
    assert len((await environment.maintain()).failures) == 1
    await environment.no_faults()
    await environment.maintain(after=90)
    assert (await environment.view(opened)).wallet == "apple_pay"


async def test_a_hint_at_a_refund_is_followed_while_the_wallet_is_unknown(
    environment: ServiceEnvironment,
) -> None:
    opened = await paid_by_stripe(environment, "pm_apple_pay")
    data = {"payment_intent": opened.view.provider_ref}
    await environment.http.post("/v1/refunds", data=data, headers=environment._stripe_auth())
    [hint] = [event for event in await environment.events() if event["type"] == "charge.refunded"]
    await environment.receive(hint)
    await environment.maintain()
    await environment.maintain(after=60)
    view = await environment.view(opened)
    assert (view.wallet, view.status) == ("apple_pay", PaymentStatus.REFUNDED)


async def test_an_intent_that_an_older_version_asked_for_is_found_again(
    environment: ServiceEnvironment,
) -> None:
    """Version 0.1.0 sent other parameters under the same idempotency key, and its answer was lost."""
    request = CreateRequest(
        payment_id="c000000000000000000000001",
        participant_id="c000000000000000000000002",
        channel=Channel.STRIPE_INTENT,
        money=usd("50.00"),
        description="Cup",
        idempotency_key="procomp-pay:create:c000000000000000000000001",
        created_at=environment.now(),
        return_url="https://app.example.com/paid",
    )
    form = (
        "amount=5000&currency=usd&automatic_payment_methods[enabled]=true&description=Cup"
        f"&metadata[payment_id]={request.payment_id}&metadata[participant_id]={request.participant_id}"
    )
    headers = environment._stripe_auth() | {
        "Idempotency-Key": request.idempotency_key,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    older = (await environment.http.post("/v1/payment_intents", content=form, headers=headers)).json()
    stripe = environment.ctx.providers.of(Channel.STRIPE_INTENT)
    assert (await stripe.create(request)).provider_ref == older["id"]
    with pytest.raises(Refused, match="idempotent"):
        await stripe.create(replace(request, money=usd("60.00")))


@pytest.mark.parametrize("error", [NotFound("no such intent"), ConfigurationError("no key")])
async def test_a_wallet_that_nobody_tells_is_given_up(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Another account's key, or none: it would be the same for every payment, for ever."""
    opened = await paid_by_stripe(environment)
    environment.later(30)

    async def fails(_: object) -> None:
        raise error

    stripe = environment.ctx.providers.of(Channel.STRIPE_INTENT)
    monkeypatch.setattr(stripe, "fetch", fails)
    monkeypatch.setattr(stripe, "list_refunds", fails)
    assert (await environment.maintain()).failures == []
    [detail] = await environment.rows(PaymentDetail)
    assert (detail.next_poll_at, detail.wallet) == (None, None)
    assert await environment.status(opened) is S.COMPLETED
