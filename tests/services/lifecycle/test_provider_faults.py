"""Hard luck: clocks that differ, providers that forget, replays, switches of method. Each lost money once."""

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
async def test_a_clock_that_is_ahead_of_kaspis_loses_no_money(world: World, ahead_s: int) -> None:
    """By Kaspi's own date every QR is over before it is shown: only timers and our clock may say so."""
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


async def test_a_status_that_is_not_final_at_kaspi_is_never_final_here(world: World) -> None:
    """'Wait' or a word we do not know at the last look: Kaspi says that it is alive, so it is asked on."""
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
async def test_an_amount_we_cannot_read_is_told_to_a_person(
    world: World, amount: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi says Processed with an Amount that is none: the money is there, so a person is told."""
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


async def test_stripe_down_does_not_stop_kaspi(world: World) -> None:
    """Apple Pay was tried while Stripe is away. Kaspi works, so it is offered."""
    who = await world.participant()
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    async with world.ctx.db.writing() as session:  # nothing reached Stripe: what ConnectError leaves behind
        [row] = (await session.exec(select(PaymentDetail))).all()
        row.create_state = CreateState.PLANNED
    opened = await world.start(who, "kaspi_qr")
    assert opened.qr_payload


async def test_stripe_down_with_an_open_page_does_not_stop_kaspi(world: World) -> None:
    who = await world.participant()
    await world.start(who, "apple_pay")
    await world.fault("/v1/", "status", status=503, times=1000)
    opened = await world.start(who, "kaspi_qr")
    assert opened.qr_payload


@pytest.mark.parametrize("method", ["apple_pay", "google_pay", "kaspi_qr"])
@pytest.mark.parametrize("later_s", [60, 3601])
async def test_an_object_that_the_provider_does_not_know_does_not_block_a_participant(
    world: World, method: str, later_s: int
) -> None:
    """Rehearsed with test keys, then live keys: Stripe answers 404 for the old page."""
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


async def test_an_ended_qr_that_kaspi_does_not_know_any_more_expires(world: World) -> None:
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


async def test_a_scanned_qr_whose_life_is_over_is_not_returned_as_open(world: World) -> None:
    """A desk without ``serve``: scanned, seen as PROCESSING, never confirmed, an hour ago."""
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened, "scan")
    await poll_payment(world.ctx, opened.view.payment_id)
    assert await world.status(opened) is S.PROCESSING
    world.later(3600)
    again = await world.start(who)
    assert again.view.payment_id != opened.view.payment_id, "a QR that died an hour ago is returned as open"


async def test_a_page_taken_up_after_its_end_is_not_returned_as_open(world: World) -> None:
    """Answer lost, back after an hour: the replayed answer would be a page that has expired."""
    who = await world.participant()
    await world.fault("/v1/checkout/sessions", "cut_after", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(3700)
    again = await world.start(who, "apple_pay")
    sessions = {s["id"]: s["status"] for s in await world.stripe_objects("checkout/sessions")}
    assert sessions[str(again.view.provider_ref)] == "open"


async def test_a_page_never_sent_can_be_sent_after_31_minutes(world: World) -> None:
    """Stripe opens no page that ends in less than 30 minutes: a new one is made instead."""
    who = await world.participant()
    await world.fault("/v1/", "cut_before", times=1000)
    with pytest.raises(Unavailable):
        await world.start(who, "apple_pay")
    await world.no_faults()
    world.later(35 * 60)
    assert (await world.start(who, "apple_pay")).payment_url


async def test_asked_to_cancel_is_not_returned_as_open(world: World) -> None:
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


async def test_a_final_word_of_kaspi_counts_whatever_our_clocks_say(world: World) -> None:
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


async def test_a_mismatch_leaves_no_payment_that_nobody_can_end(world: World) -> None:
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


async def test_cancel_after_a_mismatch(world: World) -> None:
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


async def test_a_key_replayed_after_the_fee_was_paid_opens_nothing(world: World) -> None:
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


async def test_a_key_replayed_after_cancel_makes_no_new_qr(world: World) -> None:
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


async def test_a_qr_paid_a_moment_ago_is_found_before_another_method_starts(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    await world.phone(kaspi)
    with pytest.raises(AlreadyPaid):
        await world.start(who, "apple_pay")


async def test_another_method_is_not_opened_while_the_customer_confirms(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    await world.phone(kaspi, "scan")
    world.later(6)
    await world.maintain()
    assert await world.status(kaspi) is S.PROCESSING
    with pytest.raises(Conflict):
        await world.start(who, "apple_pay")


async def test_the_other_ways_to_pay_are_closed_at_once_when_one_is_paid(world: World) -> None:
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
    """The platform moves a registration to another tournament."""
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


async def test_a_small_fee_does_not_pay_for_a_dear_tournament(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await move(world, who, "240000.00")
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    assert (await world.who(who)).status is not ParticipantStatus.PAID or await world.rows(Discrepancy)


async def test_an_open_payment_of_the_old_tournament_is_not_taken_for_the_new_one(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await move(world, who, "24000.00")
    again = await world.start(who)
    assert again.view.tournament_id == "t-other"
    assert opened


async def test_a_payment_that_is_over_is_never_due_again(world: World) -> None:
    """The webhook is handled while a look is on its way: the look leaves nothing due behind."""
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


async def test_two_looks_at_one_paid_qr_leave_nothing_due(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened)
    await asyncio.gather(*(poll_payment(world.ctx, opened.view.payment_id) for _ in range(3)))
    assert await world.status(opened) is S.COMPLETED
    assert (await detail_of(world, opened)).next_poll_at is None


async def test_a_key_replayed_after_a_refusal_is_refused_again(world: World) -> None:
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


async def test_watch_ends_after_a_mismatch(world: World) -> None:
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


async def test_a_database_that_is_busy_once_does_not_lose_the_qr(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaspi made the QR, and the commit that keeps it meets a deadlock: it is tried again."""
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


async def test_news_before_our_commit_leaves_it_closed(world: World) -> None:
    """The webhook overtakes our own commit of the answer."""
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
