"""Faults that could lose money: differing clocks, objects unknown to the provider, repeated keys."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlmodel import select

from procomp_pay.domain.errors import AlreadyPaid, Conflict, ManualReviewRequired, PaymentError, Unavailable
from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import Channel, CreateState, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import apply_provider_status, poll_payment
from procomp_pay.services.settlement.provider_handle import provider_ref_of
from procomp_pay.services.views import payment as views
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import PaymentDetail, TournamentFee
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.queues import Discrepancy
from procomp_pay.storage.payments.repository import load_payment
from tests.support.environment import CLERK, World

S = PaymentStatus


async def detail_of(world: World, opened: views.Opening) -> PaymentDetail:
    async with world.ctx.db.reading() as session:
        found = await session.get(PaymentDetail, opened.view.payment_id)
        assert found is not None
        return found


async def force(world: World, path: str, code: int, times: int = 1000) -> None:
    answer = await world.http.post("/_sandbox/kaspi/force", json={"path": path, "code": code, "times": times})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("ahead_s", [290, 3600])
async def test_a_clock_ahead_of_kaspis_loses_no_money(world: World, ahead_s: int) -> None:
    """By Kaspi's timestamp every QR expires before it is shown: only its time limits and our clock count."""
    world.offset += timedelta(seconds=ahead_s)  # ours alone, not the sandbox's
    who = await world.participant()
    opened = await world.start(who)
    world.later(6)
    await world.maintain()
    await world.phone(opened)  # Kaspi takes it: by Kaspi's clock the QR is 6 s old
    for _ in range(30):
        world.later(60)
        await world.maintain()
    assert await world.status(opened) is S.COMPLETED


async def test_a_status_that_is_not_final_at_kaspi_is_still_polled(world: World) -> None:
    """With 'Wait' or an unknown status at the final poll the payment is open at Kaspi, so polling goes on."""
    who = await world.participant()
    opened = await world.start(who)
    ref = opened.view.provider_ref
    await world.phone(opened, "scan")
    await world.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "WaitBankApproval"})
    for _ in range(10):
        world.later(60)
        await world.maintain()
    answer = await world.http.post(f"/_sandbox/kaspi/payments/{ref}/late-process", json={})
    assert answer.status_code == 200, answer.text
    for _ in range(10):
        world.later(600)
        await world.maintain()
    told = [d.kind for d in await world.rows(Discrepancy)]
    assert await world.status(opened) is S.COMPLETED or told, "money at Kaspi, EXPIRED here, nobody told"


@pytest.mark.parametrize("amount", ["24 000,00", 24000.001])
async def test_an_unreadable_amount_is_left_for_manual_review(
    world: World, amount: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi reports Processed with an invalid Amount: the money was received, so alert the operators."""
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened)
    kaspi = world.ctx.providers.of(Channel.KASPI_QR)._backend  # type: ignore[attr-defined]
    real = kaspi._status

    async def odd(purchase: str) -> dict:
        number = Decimal(str(amount)) if isinstance(amount, float) else amount
        return {**(await real(purchase)), "Amount": number}

    monkeypatch.setattr(kaspi, "_status", odd)
    for _ in range(10):
        world.later(60)
        await world.maintain()
    told = [d.kind for d in await world.rows(Discrepancy)]
    assert await world.status(opened) is S.COMPLETED or told


async def test_a_stripe_outage_does_not_block_kaspi(world: World) -> None:
    """Apple Pay was tried during the outage; a Kaspi payment can start."""
    who = await world.participant()
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    async with world.ctx.db.writing() as session:  # nothing reached Stripe: what ConnectError leaves behind
        [row] = (await session.exec(select(PaymentDetail))).all()
        row.create_state = CreateState.PLANNED
    opened = await world.start(who, "kaspi_qr")
    assert opened.qr_payload


async def test_a_stripe_outage_with_an_open_page_does_not_block_kaspi(world: World) -> None:
    who = await world.participant()
    await world.start(who, "apple_pay")
    await world.fault("/v1/", "status", status=503, times=1000)
    opened = await world.start(who, "kaspi_qr")
    assert opened.qr_payload


@pytest.mark.parametrize("method", ["apple_pay", "google_pay", "kaspi_qr"])
@pytest.mark.parametrize("later_s", [60, 3601])
async def test_an_object_unknown_to_the_provider_does_not_block_a_participant(
    world: World, method: str, later_s: int
) -> None:
    """After a change from test keys to live keys Stripe responds with 404 for the old page."""
    who = await world.participant()
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_CHECKOUT)
    async with world.ctx.db.writing() as session:
        row = await session.get(PaymentDetail, opened.view.payment_id)
        assert row
        row.provider_ref = "cs_test_of_another_account"
    world.later(later_s)
    await world.maintain()
    again = await world.start(who, method)
    if (method, later_s) != ("apple_pay", 60):  # within its life the same page is still given out
        assert again.view.payment_id != opened.view.payment_id
        assert "MISSING_AT_PROVIDER" in {d.kind for d in await world.rows(Discrepancy)}


async def test_an_old_qr_unknown_to_kaspi_expires(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await force(world, "/payment/status", -1601)
    for _ in range(20):
        world.later(600)
        await world.maintain()
    await world.http.delete("/_sandbox/kaspi/force")
    await force(world, "/payment/status", -1601)
    again = await world.start(who)
    assert again.view.payment_id != opened.view.payment_id
    assert await world.status(opened) is S.EXPIRED


async def test_an_expired_scanned_qr_is_not_returned_as_open(world: World) -> None:
    """Without ``serve``: scanned, polled as PROCESSING an hour ago, never confirmed."""
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened, "scan")
    await poll_payment(world.ctx, opened.view.payment_id)
    assert await world.status(opened) is S.PROCESSING
    world.later(3600)
    again = await world.start(who)
    assert again.view.payment_id != opened.view.payment_id, "a QR that died an hour ago is returned as open"


async def test_a_page_resumed_after_its_expiry_is_not_returned_as_open(world: World) -> None:
    """A response lost an hour ago: the repeated request would return a page that has expired."""
    who = await world.participant()
    await world.fault("/v1/checkout/sessions", "cut_after", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(3700)
    again = await world.start(who, "apple_pay")
    sessions = {s["id"]: s["status"] for s in await world.stripe_objects("checkout/sessions")}
    assert sessions[str(again.view.provider_ref)] == "open"


async def test_a_page_not_sent_for_31_minutes_is_replaced(world: World) -> None:
    """Stripe creates no page that expires in less than 30 minutes: a new one is created instead."""
    who = await world.participant()
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(35 * 60)
    assert (await world.start(who, "apple_pay")).payment_url


async def test_a_payment_being_cancelled_is_not_returned_as_open(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who, "apple_pay")
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await cancel(world.ctx, opened.view.payment_id, CLERK)
    await world.no_faults()
    again = await world.start(who, "apple_pay")
    world.later(30)
    await world.maintain()
    assert await world.status(again) is S.PENDING, "the page was closed under the customer"


async def test_a_final_status_of_kaspi_counts_even_if_it_looks_outdated(world: World) -> None:
    """The clock is set back by some seconds (NTP, or two hosts) between Wait and Error."""
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened, "scan")
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.PROCESSING
    await world.phone(opened, "cancel")
    world.offset -= timedelta(seconds=20)
    await poll_payment(world.ctx, opened.view.payment_id)
    for _ in range(20):
        world.later(600)
        await world.maintain()
    assert await world.status(opened) is S.FAILED


async def test_a_payment_with_a_wrong_amount_is_closed(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    for event in await world.events():
        if event["type"] == "payment_intent.succeeded":
            event["data"]["object"]["amount_received"] = 4000
            await world.receive(event)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.provider_open) == (S.PENDING, False)
    with pytest.raises(ManualReviewRequired, match="different amount was received"):
        await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)


async def test_cancel_after_a_wrong_amount(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    for event in await world.events():
        if event["type"] == "payment_intent.succeeded":
            event["data"]["object"]["amount_received"] = 4000
            await world.receive(event)
    await world.maintain()
    with pytest.raises(ManualReviewRequired, match="different amount was received"):
        await cancel(world.ctx, opened.view.payment_id, CLERK)


async def test_a_key_repeated_after_the_fee_was_paid_creates_nothing(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    order = InitiateRequest(who, PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT, idempotency_key="k")
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await initiate(world.ctx, order, CLERK)
    await world.phone(kaspi)
    world.later(6)
    await world.maintain()
    assert (await world.who(who)).status is ParticipantStatus.PAID
    await world.no_faults()
    world.later(10)
    with contextlib.suppress(AlreadyPaid):
        await initiate(world.ctx, order, CLERK)
    assert await world.stripe_objects("payment_intents") == [], (
        "a second way to pay was opened for a paid fee"
    )


async def test_a_key_repeated_after_a_cancellation_creates_no_new_qr(world: World) -> None:
    who = await world.participant()
    order = InitiateRequest(who, PaymentMethod.KASPI_QR, Channel.KASPI_QR, idempotency_key="k")
    await world.fault("/r1/", "status", status=503, times=1000)
    with pytest.raises(Unavailable):
        await initiate(world.ctx, order, CLERK)
    [row] = await world.rows(Payment)
    assert await cancel(world.ctx, row.id, CLERK) is S.CANCELLED
    await world.no_faults()
    try:
        started = await initiate(world.ctx, order, CLERK)
    except PaymentError:
        return
    opened = await views.opening(world.ctx, started.payment_id)
    assert opened.view.status is not S.CANCELLED or opened.qr_payload is None, (
        "a live QR for a CANCELLED payment"
    )


async def test_a_paid_qr_is_noticed_before_another_method_starts(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    await world.phone(kaspi)
    with pytest.raises(AlreadyPaid):
        await world.start(who, "apple_pay")


async def test_another_method_cannot_start_while_the_customer_confirms(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    await world.phone(kaspi, "scan")
    world.later(6)
    await world.maintain()
    assert await world.status(kaspi) is S.PROCESSING
    with pytest.raises(Conflict):
        await world.start(who, "apple_pay")


async def test_other_open_payments_are_closed_once_one_is_paid(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    apple = await world.start(who, "apple_pay")
    world.later(6)
    await world.phone(kaspi)
    await world.maintain()
    assert (await world.who(who)).payment_id == kaspi.view.payment_id
    world.later(30)
    await world.maintain()
    [session] = await world.stripe_objects("checkout/sessions")
    assert session["status"] == "expired", "the page can be paid for ten more minutes"
    assert await world.status(apple) is S.CANCELLED


async def move(world: World, who: str, fee: str) -> None:
    """Move a registration to another tournament, as the platform does."""
    now = world.now()
    async with world.ctx.db.writing() as session:
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
        row = await session.get(Participant, who)
        assert row
        row.tournament_id = "t-other"


async def test_a_low_fee_does_not_settle_an_expensive_tournament(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await move(world, who, "240000.00")
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    assert (await world.who(who)).status is not ParticipantStatus.PAID or await world.rows(Discrepancy)


async def test_an_open_payment_of_the_old_tournament_is_not_reused_for_the_new_one(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await move(world, who, "24000.00")
    again = await world.start(who)
    assert again.view.tournament_id == "t-other"
    assert opened


async def test_a_completed_payment_is_not_due_after_a_concurrent_poll(world: World) -> None:
    """The webhook is processed during a poll: the poll must not make the payment due again."""
    who = await world.participant()
    opened = await world.start(who, "apple_pay")
    await world.pay_page(opened)
    async with world.ctx.db.reading() as session:
        locked = await load_payment(session, opened.view.payment_id)
    seen = await world.ctx.providers.of(Channel.STRIPE_CHECKOUT).fetch(provider_ref_of(locked))
    await world.deliver()
    assert await world.status(opened) is S.COMPLETED
    await apply_provider_status(world.ctx, opened.view.payment_id, seen, CLERK)
    looked = 0
    for _ in range(10):
        world.later(601)
        looked += (await world.maintain()).looked_at
    assert looked == 0, f"claimed {looked} times after its end"


async def test_two_concurrent_polls_of_a_paid_qr_leave_nothing_due(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened)
    await asyncio.gather(*(poll_payment(world.ctx, opened.view.payment_id) for _ in range(3)))
    assert await world.status(opened) is S.COMPLETED
    assert (await detail_of(world, opened)).next_poll_at is None


async def test_a_key_repeated_after_a_rejection_is_rejected_again(world: World) -> None:
    who = await world.participant()
    order = InitiateRequest(who, PaymentMethod.KASPI_QR, Channel.KASPI_LINK, idempotency_key="k")
    await force(world, "/qr/create-link", 990000028, times=1)
    for _ in range(2):
        with pytest.raises(PaymentError, match="990000028"):
            await initiate(world.ctx, order, CLERK)


async def test_one_key_for_two_participants_at_once_is_a_conflict(world: World, database_url: str) -> None:
    """Two processes, one user, one key, two participants."""
    db2 = PaymentDatabaseService(database_url)
    desk2 = replace(world.ctx, db=db2)
    errors = []
    try:
        for n in range(5):
            a, b = await world.participant(), await world.participant()
            key = f"k-{n}"
            got = await asyncio.gather(
                initiate(
                    world.ctx,
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


async def test_watch_ends_after_a_wrong_amount(world: World) -> None:
    from procomp_pay.cli.payments.watch import follow

    who = await world.participant()
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    for event in await world.events():
        if event["type"] == "payment_intent.succeeded":
            event["data"]["object"]["amount_received"] = 4000
            await world.receive(event)
    await world.maintain()
    world.later(7200)
    async with asyncio.timeout(5):
        await follow(world.ctx, opened.view.payment_id, CLERK, lambda _s, _n: None)


async def test_a_deadlock_does_not_lose_the_qr(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaspi created the QR, and the commit that stores it hits a deadlock: it is retried."""
    from procomp_pay.services.lifecycle import create_at_provider
    from procomp_pay.storage.database.errors import DatabaseBusy

    real, calls = create_at_provider.store_created_in, []

    async def busy_once(*args: object, **kwargs: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise DatabaseBusy("busy with another change")
        await real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(create_at_provider, "store_created_in", busy_once)
    who = await world.participant()
    try:
        await world.start(who)
    except PaymentError:
        world.later(20)
        await world.start(who)


async def test_an_event_before_our_commit_leaves_the_payment_closed(world: World) -> None:
    """The webhook arrives before the response is committed."""
    who = await world.participant()
    real = world.ctx.providers.of(Channel.STRIPE_INTENT).create

    async def slow(request):
        made = await real(request)
        await world.confirm(made.provider_ref, "pm_apple_pay")
        await world.deliver()
        return made

    world.ctx.providers.of(Channel.STRIPE_INTENT).create = slow  # type: ignore[method-assign]
    opened = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    view = await world.view(opened)
    assert view.status is S.COMPLETED
    assert not view.provider_open
