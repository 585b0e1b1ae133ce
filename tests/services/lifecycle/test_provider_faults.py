"""Faults that could lose money: differing clocks, objects unknown to the provider, repeated keys."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.errors import (
    AlreadyPaid,
    Conflict,
    ManualReviewRequired,
    OutcomeUnknown,
    PaymentError,
    Unavailable,
)
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import Channel, CreateState, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.providers.stripe.http import StripeHttp
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import apply_provider_status, poll_payment
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.services.views import payment as views
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.terms import TournamentFee
from procomp_pay.storage.payments.repository import load_payment
from tests.support import stripe_payments
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.patience import PATIENCE_S

S = PaymentStatus


async def detail_of(environment: ServiceEnvironment, opened: views.Opening) -> PaymentDetail:
    async with environment.ctx.db.reading() as session:
        detail = await session.get(PaymentDetail, opened.view.payment_id)
        assert detail is not None
        return detail


async def force(environment: ServiceEnvironment, path: str, code: int, times: int = 1000) -> None:
    answer = await environment.http.post(
        "/_sandbox/kaspi/force", json={"path": path, "code": code, "times": times}
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("ahead_s", [290, 3600])
async def test_a_clock_ahead_of_kaspis_loses_no_money(environment: ServiceEnvironment, ahead_s: int) -> None:
    """By Kaspi's timestamp every QR expires before it is shown: only its time limits and our clock count."""
    environment.offset += timedelta(seconds=ahead_s)  # ours alone, not the sandbox's
    opened = await environment.start()
    await environment.maintain(after=6)
    await environment.phone(opened)  # Kaspi takes it: by Kaspi's clock the QR is 6 s old
    for _ in range(30):
        await environment.maintain(after=60)
    assert await environment.status(opened) is S.COMPLETED


async def test_a_status_that_is_not_final_at_kaspi_is_still_polled(environment: ServiceEnvironment) -> None:
    """With 'Wait' or an unknown status at the final poll the payment is open at Kaspi, so polling goes on."""
    opened = await environment.start()
    ref = opened.view.provider_ref
    await environment.phone(opened, "scan")
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "WaitBankApproval"})
    for _ in range(10):
        await environment.maintain(after=60)
    answer = await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/late-process", json={})
    assert answer.status_code == 200, answer.text
    for _ in range(10):
        await environment.maintain(after=600)
    kinds = [d.kind for d in await environment.rows(Discrepancy)]
    assert await environment.status(opened) is S.COMPLETED or kinds, (
        "money at Kaspi, EXPIRED here, nobody told"
    )


@pytest.mark.parametrize("amount", ["24 000,00", 24000.001])
async def test_an_unreadable_amount_is_left_for_manual_review(
    environment: ServiceEnvironment, amount: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi reports Processed with an invalid Amount: the money was received, so alert the operators."""
    opened = await environment.start()
    await environment.phone(opened)
    kaspi = environment.ctx.providers.of(Channel.KASPI_QR)._backend  # type: ignore[attr-defined]
    real = kaspi._status

    async def odd(purchase: str) -> dict:
        number = Decimal(str(amount)) if isinstance(amount, float) else amount
        return {**(await real(purchase)), "Amount": number}

    monkeypatch.setattr(kaspi, "_status", odd)
    for _ in range(10):
        await environment.maintain(after=60)
    kinds = [d.kind for d in await environment.rows(Discrepancy)]
    assert await environment.status(opened) is S.COMPLETED or kinds


@pytest.mark.parametrize("channel", [Channel.STRIPE_INTENT, Channel.STRIPE_CHECKOUT])
@pytest.mark.parametrize("work", [poll_payment, cancel])
async def test_an_answer_about_another_payment_changes_nothing(
    environment: ServiceEnvironment,
    channel: Channel,
    work: Callable[..., Awaitable[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that mixes up two answers must neither make an unpaid payment paid, nor end it."""
    opened, other = [
        await environment.start(await environment.participant(), "apple_pay", channel=channel)
        for _ in range(2)
    ]
    if channel is Channel.STRIPE_CHECKOUT:
        await environment.pay_page(other)
    else:
        await environment.confirm(str(other.view.provider_ref), "pm_card_visa")
    real = StripeHttp.request_async

    async def mixed_up(
        self: StripeHttp, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        other_url = url.replace(str(opened.view.provider_ref), str(other.view.provider_ref))
        return await real(self, method, other_url, headers, post_data)

    monkeypatch.setattr(StripeHttp, "request_async", mixed_up)
    with pytest.raises(OutcomeUnknown):
        await work(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is S.PENDING
    assert (await detail_of(environment, opened)).provider_open


async def test_a_stripe_outage_does_not_block_kaspi(environment: ServiceEnvironment) -> None:
    """Apple Pay was tried during the outage; a Kaspi payment can start."""
    participant_id = await environment.participant()
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await environment.start(participant_id, "apple_pay")
    async with (
        environment.ctx.db.writing() as session
    ):  # nothing reached Stripe: what ConnectError leaves behind
        [row] = (await session.exec(select(PaymentDetail))).all()
        row.create_state = CreateState.PLANNED
    opened = await environment.start(participant_id, "kaspi_qr")
    assert opened.qr_payload


async def test_a_stripe_outage_with_an_open_page_does_not_block_kaspi(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    await environment.start(participant_id, "apple_pay")
    await environment.fault("/v1/", "status", status=503, times=1000)
    opened = await environment.start(participant_id, "kaspi_qr")
    assert opened.qr_payload


@pytest.mark.parametrize("method", ["apple_pay", "google_pay", "kaspi_qr"])
@pytest.mark.parametrize("later_s", [60, 3601])
async def test_an_object_unknown_to_the_provider_does_not_block_a_participant(
    environment: ServiceEnvironment, method: str, later_s: int
) -> None:
    """After a change from test keys to live keys Stripe responds with 404 for the old page."""
    participant_id = await environment.participant()
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_CHECKOUT)
    async with environment.ctx.db.writing() as session:
        row = await session.get(PaymentDetail, opened.view.payment_id)
        assert row
        row.provider_ref = "cs_test_of_another_account"
    await environment.maintain(after=later_s)
    again = await environment.start(participant_id, method)
    if (method, later_s) != ("apple_pay", 60):  # within its life the same page is still given out
        assert again.view.payment_id != opened.view.payment_id
        assert "MISSING_AT_PROVIDER" in {d.kind for d in await environment.rows(Discrepancy)}


async def test_an_old_qr_unknown_to_kaspi_expires(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await force(environment, "/payment/status", -1601)
    for _ in range(20):
        await environment.maintain(after=600)
    await environment.http.delete("/_sandbox/kaspi/force")
    await force(environment, "/payment/status", -1601)
    again = await environment.start(participant_id)
    assert again.view.payment_id != opened.view.payment_id
    assert await environment.status(opened) is S.EXPIRED


async def test_an_expired_scanned_qr_is_not_returned_as_open(environment: ServiceEnvironment) -> None:
    """Without ``serve``: scanned, polled as PROCESSING an hour ago, never confirmed."""
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await environment.phone(opened, "scan")
    await poll_payment(environment.ctx, opened.view.payment_id)
    assert await environment.status(opened) is S.PROCESSING
    environment.later(3600)
    again = await environment.start(participant_id)
    assert again.view.payment_id != opened.view.payment_id, "a QR that died an hour ago is returned as open"


async def test_a_page_resumed_after_its_expiry_is_not_returned_as_open(
    environment: ServiceEnvironment,
) -> None:
    """A response lost an hour ago: the repeated request would return a page that has expired."""
    participant_id = await environment.participant()
    await environment.fault("/v1/checkout/sessions", "cut_after", times=1000)
    with pytest.raises(Unavailable):
        await environment.start(participant_id, "apple_pay")
    await environment.no_faults()
    environment.later(3700)
    again = await environment.start(participant_id, "apple_pay")
    sessions = {s["id"]: s["status"] for s in await environment.stripe_objects("checkout/sessions")}
    assert sessions[str(again.view.provider_ref)] == "open"


async def test_a_page_not_sent_for_31_minutes_is_replaced(environment: ServiceEnvironment) -> None:
    """Stripe creates no page that expires in less than 30 minutes: a new one is created instead."""
    participant_id = await environment.participant()
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await environment.start(participant_id, "apple_pay")
    await environment.no_faults()
    environment.later(35 * 60)
    assert (await environment.start(participant_id, "apple_pay")).payment_url


async def test_a_payment_being_cancelled_is_not_returned_as_open(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id, "apple_pay")
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    await environment.no_faults()
    again = await environment.start(participant_id, "apple_pay")
    await environment.maintain(after=30)
    assert await environment.status(again) is S.PENDING, "the page was closed under the customer"


async def test_a_final_status_of_kaspi_counts_even_if_it_looks_outdated(
    environment: ServiceEnvironment,
) -> None:
    """The clock is set back by some seconds (NTP, or two hosts) between Wait and Error."""
    opened = await environment.start()
    await environment.phone(opened, "scan")
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.PROCESSING
    await environment.phone(opened, "cancel")
    environment.offset -= timedelta(seconds=20)
    await poll_payment(environment.ctx, opened.view.payment_id)
    for _ in range(20):
        await environment.maintain(after=600)
    assert await environment.status(opened) is S.FAILED


async def paid_too_little(
    environment: ServiceEnvironment, participant_id: str | None = None
) -> views.Opening:
    """Start a payment of 50 USD, for which Stripe reports 40."""
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    for event in await environment.events():
        if event["type"] == "payment_intent.succeeded":
            event["data"]["object"]["amount_received"] = 4000
            await environment.receive(event)
    await environment.maintain()
    return opened


async def test_a_payment_with_a_wrong_amount_is_closed(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await paid_too_little(environment, participant_id)
    view = await environment.view(opened)
    assert (view.status, view.provider_open) == (S.PENDING, False)
    with pytest.raises(ManualReviewRequired, match="different amount was received"):
        await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)


async def test_cancel_after_a_wrong_amount(environment: ServiceEnvironment) -> None:
    opened = await paid_too_little(environment)
    with pytest.raises(ManualReviewRequired, match="different amount was received"):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)


async def test_a_key_repeated_after_the_fee_was_paid_creates_nothing(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    request = InitiateRequest(
        participant_id, PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT, idempotency_key="k"
    )
    await environment.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await initiate(environment.ctx, request, CLERK)
    await environment.phone(kaspi)
    await environment.maintain(after=6)
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    await environment.no_faults()
    environment.later(10)
    with contextlib.suppress(AlreadyPaid):
        await initiate(environment.ctx, request, CLERK)
    assert await environment.stripe_objects("payment_intents") == [], (
        "a second way to pay was opened for a paid fee"
    )


async def test_a_key_repeated_after_a_cancellation_creates_no_new_qr(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    request = InitiateRequest(participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_QR, idempotency_key="k")
    await environment.fault("/r1/", "status", status=503, times=1000)
    with pytest.raises(Unavailable):
        await initiate(environment.ctx, request, CLERK)
    [row] = await environment.rows(Payment)
    assert await cancel(environment.ctx, row.id, CLERK) is S.CANCELLED
    await environment.no_faults()
    try:
        started = await initiate(environment.ctx, request, CLERK)
    except PaymentError:
        return
    opened = await views.opening(environment.ctx, started.payment_id)
    assert opened.view.status is not S.CANCELLED or opened.qr_payload is None, (
        "a live QR for a CANCELLED payment"
    )


async def test_a_paid_qr_is_noticed_before_another_method_starts(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    await environment.phone(kaspi)
    with pytest.raises(AlreadyPaid):
        await environment.start(participant_id, "apple_pay")


async def test_another_method_cannot_start_while_the_customer_confirms(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    await environment.phone(kaspi, "scan")
    await environment.maintain(after=6)
    assert await environment.status(kaspi) is S.PROCESSING
    with pytest.raises(Conflict):
        await environment.start(participant_id, "apple_pay")


async def test_other_open_payments_are_closed_once_one_is_paid(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    kaspi = await environment.start(participant_id, "kaspi_qr")
    apple = await environment.start(participant_id, "apple_pay")
    environment.later(6)
    await environment.phone(kaspi)
    await environment.maintain()
    assert (await environment.read_participant(participant_id)).payment_id == kaspi.view.payment_id
    await environment.maintain(after=30)
    [session] = await environment.stripe_objects("checkout/sessions")
    assert session["status"] == "expired", "the page can be paid for ten more minutes"
    assert await environment.status(apple) is S.CANCELLED


async def move(environment: ServiceEnvironment, participant_id: str, fee: str) -> None:
    """Move a registration to another tournament, as the platform does."""
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        session.add(
            Tournament(
                id="t-other", name="Worlds", entry_fee=Decimal("500.00"), currency=Currency.USD,
                starts_at=now, created_at=now, updated_at=now,
            )
        )  # fmt: skip
        await session.flush()
        session.add(
            TournamentFee(
                tournament_id="t-other",
                currency=Currency.KZT,
                amount=Decimal(fee),
                created_at=now,
                updated_at=now,
            )
        )
        row = await session.get(Participant, participant_id)
        assert row
        row.tournament_id = "t-other"


async def test_a_failed_refund_takes_no_place_in_another_tournament(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await stripe_payments.paid(environment, participant_id=participant_id)
    done = await stripe_payments.back(environment, opened)
    await move(environment, participant_id, "240000.00")
    await environment.http.post(f"/_sandbox/stripe/refunds/{done.provider_refund_id}/fail", json={})
    await environment.deliver()
    assert await environment.status(opened) is S.COMPLETED
    participant = await environment.read_participant(participant_id)
    assert (participant.status, participant.payment_id) == (ParticipantStatus.REGISTERED, None)


async def test_a_low_fee_does_not_settle_an_expensive_tournament(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await move(environment, participant_id, "240000.00")
    await environment.phone(opened)
    await environment.maintain(after=6)
    assert (
        await environment.read_participant(participant_id)
    ).status is not ParticipantStatus.PAID or await environment.rows(Discrepancy)


async def test_an_open_payment_of_the_old_tournament_is_not_reused_for_the_new_one(
    environment: ServiceEnvironment,
) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    await move(environment, participant_id, "24000.00")
    again = await environment.start(participant_id)
    assert again.view.tournament_id == "t-other"
    assert opened


async def test_a_completed_payment_is_not_due_after_a_concurrent_poll(
    environment: ServiceEnvironment,
) -> None:
    """The webhook is processed during a poll: the poll must not make the payment due again."""
    opened = await environment.start(method="apple_pay")
    await environment.pay_page(opened)
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, opened.view.payment_id)
    status = await environment.ctx.providers.of(Channel.STRIPE_CHECKOUT).fetch(provider_ref_of(locked))
    await environment.deliver()
    assert await environment.status(opened) is S.COMPLETED
    await apply_provider_status(environment.ctx, opened.view.payment_id, status, CLERK)
    looked = 0
    for _ in range(10):
        looked += (await environment.maintain(after=601)).looked_at
    assert looked == 0, f"claimed {looked} times after its end"


async def test_two_concurrent_polls_of_a_paid_qr_leave_nothing_due(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await environment.phone(opened)
    await asyncio.gather(*(poll_payment(environment.ctx, opened.view.payment_id) for _ in range(3)))
    assert await environment.status(opened) is S.COMPLETED
    assert (await detail_of(environment, opened)).next_poll_at is None


async def test_a_key_repeated_after_a_rejection_is_rejected_again(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    request = InitiateRequest(participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_LINK, idempotency_key="k")
    await force(environment, "/qr/create-link", 990000028, times=1)
    for _ in range(2):
        with pytest.raises(PaymentError, match="990000028"):
            await initiate(environment.ctx, request, CLERK)


async def test_one_key_for_two_participants_at_once_is_a_conflict(
    environment: ServiceEnvironment, database_url: str
) -> None:
    """Two processes, one user, one key, two participants."""
    db2 = PaymentDatabaseService(database_url)
    desk2 = replace(environment.ctx, db=db2)
    errors = []
    try:
        for n in range(5):
            a, b = await environment.participant(), await environment.participant()
            key = f"k-{n}"
            got = await asyncio.gather(
                initiate(
                    environment.ctx,
                    InitiateRequest(a, PaymentMethod.KASPI_QR, Channel.KASPI_QR, idempotency_key=key),
                    CLERK,
                ),
                initiate(
                    desk2,
                    InitiateRequest(b, PaymentMethod.KASPI_QR, Channel.KASPI_QR, idempotency_key=key),
                    CLERK,
                ),
                return_exceptions=True,
            )
            errors += [e for e in got if isinstance(e, BaseException) and not isinstance(e, PaymentError)]
    finally:
        await db2.dispose()
    assert not errors, [type(e).__name__ for e in errors]


async def test_watch_ends_after_a_wrong_amount(environment: ServiceEnvironment) -> None:
    from procomp_pay.cli.payments.watch import follow

    opened = await paid_too_little(environment)
    environment.later(7200)
    async with asyncio.timeout(PATIENCE_S):
        await follow(environment.ctx, opened.view.payment_id, CLERK, lambda _s, _n: None)


async def test_a_deadlock_does_not_lose_the_qr(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi created the QR, and the commit that stores it hits a deadlock: it is retried."""
    from procomp_pay.services.lifecycle import create_at_provider
    from procomp_pay.storage.database.errors import DatabaseBusy

    real, calls = create_at_provider.store_created, []

    async def busy_once(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise DatabaseBusy("busy with another change")
        return await real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(create_at_provider, "store_created", busy_once)
    participant_id = await environment.participant()
    try:
        await environment.start(participant_id)
    except PaymentError:
        environment.later(20)
        await environment.start(participant_id)


async def test_an_event_before_our_commit_leaves_the_payment_closed(environment: ServiceEnvironment) -> None:
    """The webhook arrives before the response is committed."""
    participant_id = await environment.participant()
    real = environment.ctx.providers.of(Channel.STRIPE_INTENT).create

    async def slow(request):
        made = await real(request)
        await environment.confirm(made.provider_ref, "pm_apple_pay")
        await environment.deliver()
        return made

    environment.ctx.providers.of(Channel.STRIPE_INTENT).create = slow  # type: ignore[method-assign]
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    view = await environment.view(opened)
    assert view.status is S.COMPLETED
    assert not view.provider_open
