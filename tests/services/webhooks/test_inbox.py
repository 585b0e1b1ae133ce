"""Stripe's events: stored, handled once each, in any order.

Their signatures: tests/server/api/test_stripe_webhooks.py.
"""

import json
import random
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import select

from procomp_pay.config import ProviderMode
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.services.webhooks import batch, inbox, stripe
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments import refunds
from procomp_pay.storage.payments.repository import load_payment
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.environment import ServiceEnvironment

S = PaymentStatus


async def an_event(environment: ServiceEnvironment) -> tuple[bytes, dict[str, Any]]:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    mine = [e for e in await environment.events() if opened.view.payment_id in json.dumps(e)]
    [event] = [e for e in mine if e["type"] == "payment_intent.succeeded"]
    return json.dumps(event).encode(), event


async def test_stored_once_and_encrypted(environment: ServiceEnvironment) -> None:
    body, event = await an_event(environment)
    assert [await environment.receive(event) for _ in range(3)] == [True, False, False]
    [row] = await environment.rows(WebhookEvent)
    assert (row.event_id, row.state) == (event["id"], EventState.PENDING)
    assert "payment_intent" not in row.payload_enc
    assert environment.ctx.keyring.unseal(row.payload_enc) == body


async def test_paid_by_webhook(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.paid(participant_id, "apple_pay")
    assert await environment.status(opened) is S.COMPLETED
    assert (await environment.read_participant(participant_id)).payment_id == opened.view.payment_id
    [session] = await environment.stripe_objects("checkout/sessions")
    view = await environment.view(opened)
    assert view.provider_ref == session["id"]


async def test_declined_then_paid_in_every_order(environment: ServiceEnvironment) -> None:
    """Whatever order and however often the events arrive, the end is the same."""
    for seed in range(6):
        participant_id = await environment.participant()
        opened = await environment.start(participant_id, "google_pay", channel=Channel.STRIPE_INTENT)
        intent = str(opened.view.provider_ref)
        await environment.confirm(intent, "pm_card_chargeDeclined")
        await environment.confirm(intent, "pm_google_pay")
        mine = [e for e in await environment.events() if opened.view.payment_id in json.dumps(e)]
        assert {e["type"] for e in mine} >= {"payment_intent.succeeded", "payment_intent.payment_failed"}
        random.Random(seed).shuffle(mine)
        for event in mine + mine[:2]:
            await environment.receive(event)
            await environment.maintain()
        view = await environment.view(opened)
        assert (view.status, view.failure_reason) == (S.COMPLETED, None)
        assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID


async def test_a_decline_alone_is_failed_with_stripes_reason(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_chargeDeclinedInsufficientFunds")
    await environment.deliver()
    view = await environment.view(opened)
    assert view.status is S.FAILED
    assert "insufficient_funds" in str(view.failure_reason)
    # the same intent can still be paid, so it is the one that is returned
    again = await environment.start(participant_id, "apple_pay", channel=Channel.STRIPE_INTENT)
    assert again.view.payment_id == view.payment_id


async def test_events_of_others_are_kept_and_touch_nothing(environment: ServiceEnvironment) -> None:
    auth = {"Authorization": f"Bearer {environment.sandbox.info()['stripe_secret_key']}"}
    data = {"amount": "700", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
            "payment_method_types[]": "card"}  # fmt: skip
    made = await environment.http.post("/v1/payment_intents", data=data, headers=auth)
    assert made.status_code == 200, made.text
    await environment.deliver()
    states = {r.type: r.state for r in await environment.rows(WebhookEvent)}
    assert states["payment_intent.succeeded"] is EventState.FOREIGN
    assert states["payment_intent.created"] is EventState.IGNORED


async def _handle(environment: ServiceEnvironment, at_once: bool) -> dict[str, EventState]:
    """Handle all events, in one batch or each alone; return their states by id."""
    if at_once:
        await batch.handle_due(environment.ctx)
    else:
        for row in await environment.rows(WebhookEvent):
            await inbox.handle_one(environment.ctx, row.id)
    return {row.event_id: row.state for row in await environment.rows(WebhookEvent)}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("message", ["Declined\x00 by the bank", "Declined\ud800 by the bank", "б" * 4000])
async def test_a_message_that_cannot_be_stored_fails_the_payment_all_the_same(
    environment: ServiceEnvironment, message: str, at_once: bool
) -> None:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_card_chargeDeclined")
    mine = [e for e in await environment.events() if opened.view.payment_id in json.dumps(e)]
    [event] = [e for e in mine if e["type"] == "payment_intent.payment_failed"]
    event["data"]["object"]["last_payment_error"]["message"] = message
    await environment.receive(event)
    assert await _handle(environment, at_once) == {event["id"]: EventState.DONE}
    view = await environment.view(opened)
    assert view.status is S.FAILED
    reason = view.failure_reason
    assert reason is not None
    assert len(reason) <= 500
    assert reason.startswith(("Declined\ufffd by the bank", "бббб"))


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"currency": "gbp"}, DiscrepancyKind.CURRENCY_MISMATCH),
        ({"currency": "x\x00\ud800"}, DiscrepancyKind.CURRENCY_MISMATCH),
        ({"currency": None}, DiscrepancyKind.CURRENCY_MISMATCH),
        ({"amount_received": None}, DiscrepancyKind.AMOUNT_MISMATCH),
        ({"amount_received": "5000"}, DiscrepancyKind.AMOUNT_MISMATCH),
        ({"amount_received": 10**30}, DiscrepancyKind.AMOUNT_MISMATCH),
    ],
)
async def test_money_that_cannot_be_read_opens_a_discrepancy(
    environment: ServiceEnvironment, changes: dict[str, Any], kind: DiscrepancyKind, at_once: bool
) -> None:
    _, event = await an_event(environment)
    event["data"]["object"] |= changes
    await environment.receive(event)
    assert await _handle(environment, at_once) == {event["id"]: EventState.DONE}
    [payment] = await environment.rows(Payment)
    assert payment.status is S.PENDING
    [row] = await environment.rows(Discrepancy)
    assert (row.kind, row.payment_id) == (kind, payment.id)


@pytest.mark.parametrize("at_once", [True, False])
async def test_foreign_events_that_cannot_be_read_stay_foreign(
    environment: ServiceEnvironment, at_once: bool
) -> None:
    _, event = await an_event(environment)
    for number, changes in enumerate(
        [
            {"currency": "gbp", "metadata": {}, "id": "pi_other"},
            {"metadata": {"payment_id": "c\x00"}, "id": "pi_other"},
            {"metadata": {"payment_id": 7}, "id": "pi_other"},
            {
                "metadata": {"payment_id": "c" * 400, "participant_id": "p1"},
                "id": "pi_other",
                "currency": "gbp",
            },
        ]
    ):
        made = json.loads(json.dumps(event)) | {"id": f"evt_other_{number}"}
        made["data"]["object"] |= changes
        await environment.receive(made)
    assert set((await _handle(environment, at_once)).values()) == {EventState.FOREIGN}


@pytest.mark.parametrize("kind", ["refund.created", "charge.dispute.created"])
async def test_a_refund_or_a_dispute_in_an_unknown_currency_opens_a_discrepancy(
    environment: ServiceEnvironment, kind: str
) -> None:
    _, event = await an_event(environment)
    await environment.receive(event)
    intent = event["data"]["object"]["id"]
    thing = {
        "id": "re_or_dp_1", "amount": 5000, "currency": "gbp", "status": "succeeded",
        "payment_intent": intent, "metadata": {}, "charge": "ch_1",
    }  # fmt: skip
    made = event | {"id": "evt_back", "type": kind, "data": {"object": thing}}
    total = thing | {"amount_refunded": 5000, "object": "charge", "id": "ch_1"}
    await environment.receive(made)
    await environment.receive(
        event | {"id": "evt_total", "type": "charge.refunded", "data": {"object": total}}
    )
    await environment.maintain()
    assert {row.state for row in await environment.rows(WebhookEvent)} == {EventState.DONE}
    [row] = await environment.rows(Discrepancy)
    assert (row.kind, row.detail["said"]) == (DiscrepancyKind.REFUND_MISMATCH, "5000 in 'gbp'")
    topics = [message.topic for message in await environment.rows(OutboxMessage)]
    assert topics.count("alert.refund_failed") == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_events_of_another_mode_or_account_are_foreign(
    environment: ServiceEnvironment, at_once: bool
) -> None:
    _, event = await an_event(environment)
    foreign: list[dict[str, Any]] = [{"livemode": True}, {"account": "acct_other"}, {"livemode": "no"}]
    for number, change in enumerate(foreign):
        await environment.receive(event | change | {"id": f"evt_foreign_{number}"})
    bad = {"type": "charge.dispute.created", "livemode": True, "id": "evt_foreign_bad", "data": {}}
    await environment.receive(event | bad)
    assert set((await _handle(environment, at_once)).values()) == {EventState.FOREIGN}
    payments = await environment.rows(Payment)
    assert [payment.status for payment in payments] == [S.PENDING]
    environment.ctx.providers.stripe_mode = ProviderMode.LIVE  # type: ignore[misc]
    await environment.receive(event | {"id": "evt_live", "livemode": True})
    await environment.receive(event | {"id": "evt_test"})
    await environment.maintain()
    states = {row.event_id: row.state for row in await environment.rows(WebhookEvent)}
    assert (states["evt_live"], states["evt_test"]) == (EventState.DONE, EventState.FOREIGN)
    assert [payment.status for payment in await environment.rows(Payment)] == [S.COMPLETED]


async def test_a_poison_event_waits_longer_each_time_then_is_a_dead_letter(
    environment: ServiceEnvironment,
) -> None:
    _, event = await an_event(environment)
    del event["data"]["object"]["status"]
    event["id"] = "evt_poison"
    await environment.receive(event)
    for attempt in range(1, inbox.ATTEMPTS + 1):
        assert (await environment.maintain()).events_failed == 1, attempt
        assert (await environment.maintain()).events_failed == 0, "it waits before it is tried again"
        environment.later(2500)
    [row] = await environment.rows(WebhookEvent)
    assert (row.state, row.attempts) == (EventState.DEAD, inbox.ATTEMPTS)
    assert "KeyError" in str(row.last_error)
    assert "alert.dead_letter" in {m.topic for m in await environment.rows(OutboxMessage)}


async def test_a_poison_event_does_not_hold_up_the_others(environment: ServiceEnvironment) -> None:
    _, event = await an_event(environment)
    poison = json.loads(json.dumps(event)) | {"id": "evt_poison"}
    poison["data"]["object"] = {"metadata": {}}
    await environment.receive(poison)
    await environment.receive(event)
    await environment.maintain()
    states = {r.event_id: r.state for r in await environment.rows(WebhookEvent)}
    assert states == {"evt_poison": EventState.PENDING, event["id"]: EventState.DONE}


async def a_whole_life(environment: ServiceEnvironment) -> tuple[str, list[dict[str, Any]]]:
    """Declined, checked, paid, half of it refunded in the dashboard, disputed and lost; its events."""
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    intent = str(opened.view.provider_ref)
    await environment.confirm(intent, "pm_card_chargeDeclined")
    await environment.confirm(intent, "pm_card_threeDSecure2Required")
    await environment.confirm(intent, "pm_apple_pay")
    auth = {"Authorization": f"Bearer {environment.sandbox.info()['stripe_secret_key']}"}
    refund = {"payment_intent": intent, "amount": "2000"}
    assert (await environment.http.post("/v1/refunds", data=refund, headers=auth)).status_code == 200
    path = f"/_sandbox/stripe/payment_intents/{intent}/dispute"
    disputed = await environment.http.post(path, json={"reason": "fraudulent"})
    assert disputed.status_code == 200, disputed.text
    mine = [e for e in await environment.events() if intent in json.dumps(e) and e["type"] in READERS]
    return opened.view.payment_id, mine


async def _end_of(environment: ServiceEnvironment, payment_id: str) -> dict[str, Any]:
    """Everything about a payment that the order of its events must not change."""
    async with environment.ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
        rows = [(r.amount, r.state) for r in await refunds.of_payment(session, payment_id)]
        messages = await session.exec(select(OutboxMessage).where(OutboxMessage.payment_id == payment_id))
        topics = sorted({row.topic for row in messages.all()} - {"payment.failed"})
    assert locked.participant is not None
    detail = locked.detail
    return {
        "status": locked.payment.status, "why": locked.payment.failure_reason, "open": detail.provider_open,
        "refunded": detail.refunded_amount, "refunds": rows, "dispute": detail.dispute_state,
        "place": (locked.participant.status, locked.participant.payment_id == payment_id), "topics": topics,
        "flags": (detail.is_late, detail.is_duplicate), "charge": detail.charge_id is not None,
    }  # fmt: skip


@pytest.mark.parametrize("at_once", [True, False], ids=["all at once", "one by one"])
async def test_a_whole_life_in_any_order(environment: ServiceEnvironment, at_once: bool) -> None:
    """Hypothesis draws orders and duplicates; all end in the same books, in one batch or each alone."""
    payment_id, life = await a_whole_life(environment)
    assert {e["type"] for e in life} >= {
        "payment_intent.succeeded",
        "refund.created",
        "charge.dispute.created",
    }
    for event in life:
        await environment.receive(event)
        await environment.maintain()
    await environment.maintain(after=3000)
    expected = await _end_of(environment, payment_id)
    assert expected["status"] is S.COMPLETED
    orders: list[list[int]] = []

    @settings(max_examples=6, derandomize=True, database=None)
    @given(st.permutations(range(len(life))), st.lists(st.integers(0, len(life) - 1), max_size=4))
    def draw(order: list[int], again: list[int]) -> None:
        orders.append([*order, *again])

    draw()
    for order in orders:
        payment_id, life = await a_whole_life(environment)
        for number in order:
            await environment.receive(life[number % len(life)])
            if not at_once:
                await environment.maintain()
        for _ in range(4):  # what came before what it builds on waits, and is tried again
            await environment.maintain()
            environment.later(200)
        states = {row.state for row in await environment.rows(WebhookEvent)}
        assert states == {EventState.DONE}, order
        assert await _end_of(environment, payment_id) == expected, order


async def test_one_that_fails_while_it_is_written_takes_no_other_with_it(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not readable poison, which is seen before anything is written, but one that breaks the transaction."""
    lives = [await an_event(environment) for _ in range(4)]
    for number, (_, event) in enumerate(lives):
        mine = json.loads(json.dumps(event))
        await environment.receive(mine | {"id": f"evt_{number}"})
    real, calls = batch.apply_event_in, 0

    async def breaks(session: Any, ctx: Any, payment_event: Any, locked: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            await session.exec(select(Payment).where(text("nonsense")))
        return await real(session, ctx, payment_event, locked)

    monkeypatch.setattr(batch, "apply_event_in", breaks)
    done = await environment.maintain()
    assert (done.events, done.events_failed) == (4, 0)
    assert {row.state for row in await environment.rows(WebhookEvent)} == {EventState.DONE}
    assert {row.attempts for row in await environment.rows(WebhookEvent)} == {1}
    topics = [m.topic for m in await environment.rows(OutboxMessage)]
    assert topics.count("payment.received") == 4


async def test_many_are_handled_in_one_transaction(
    environment: ServiceEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    """Falling back to one by one ends in the same books, and would hide that many at once never works."""
    for number in range(6):
        _, event = await an_event(environment)
        await environment.receive(event | {"id": f"evt_{number}"})
    done = await batch.handle_due(environment.ctx)
    assert [outcome.state for outcome in done] == [EventState.DONE] * 6
    assert len({row.handled_at for row in await environment.rows(WebhookEvent)}) == 1
    assert "one by one" not in caplog.text


async def test_a_process_reads_its_own_events_from_memory_and_all_others_from_their_rows(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(environment.ctx, intake=WebhookIntake(environment.ctx.db))
    for ctx, number in ((other, 1), (environment.ctx, 2)):
        _, event = await an_event(environment)
        body = json.dumps(event | {"id": f"evt_{number}"}).encode()
        await stripe.receive_stripe(ctx, body, environment.signed(body), [environment.webhook_secret])
    async with environment.ctx.db.writing() as session:
        mine = (await session.exec(select(WebhookEvent).where(WebhookEvent.event_id == "evt_2"))).one()
        mine.payload_enc = "unreadable"
    monkeypatch.setattr(environment.ctx.intake, "_scan_at", float("inf"))
    assert [done.event_id for done in await batch.handle_due(environment.ctx)] == ["evt_2"]
    assert [done.event_id for done in await batch.handle_due(environment.ctx)] == ["evt_1"]
    assert await batch.handle_due(other) == [], "it is done already, and there is no other"
    assert {row.state for row in await environment.rows(WebhookEvent)} == {EventState.DONE}


async def test_own_events_do_not_hold_up_those_of_others(environment: ServiceEnvironment) -> None:
    _, event = await an_event(environment)
    await environment.receive(event | {"id": "evt_other"})
    own = replace(environment.ctx, intake=WebhookIntake(environment.ctx.db))
    body = json.dumps(event | {"id": "evt_own"}).encode()
    await stripe.receive_stripe(own, body, environment.signed(body), [environment.webhook_secret])
    assert [done.event_id for done in await batch.handle_due(own, limit=1)] == ["evt_other"]


async def test_where_others_have_handled_all_own_events_the_rest_is_handled_at_once(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the loop would find nothing to do, and rest."""
    _, event = await an_event(environment)
    await environment.receive(event | {"id": "evt_own"})
    other = replace(environment.ctx, intake=WebhookIntake(environment.ctx.db))
    assert [done.event_id for done in await batch.handle_due(other)] == ["evt_own"]
    body = json.dumps(event | {"id": "evt_other"}).encode()
    await stripe.receive_stripe(other, body, environment.signed(body), [environment.webhook_secret])
    monkeypatch.setattr(environment.ctx.intake, "_scan_at", float("inf"))
    assert [done.event_id for done in await batch.handle_due(environment.ctx)] == ["evt_other"]


async def test_the_content_of_a_long_event_is_not_kept_in_memory(environment: ServiceEnvironment) -> None:
    body, event = await an_event(environment)
    assert stripe.arrival(environment.ctx, body).content == event
    assert stripe.arrival(environment.ctx, body + b" " * stripe._LONGEST_KEPT).content is None


async def test_an_event_with_an_unreadable_number_is_kept_all_the_same(
    environment: ServiceEnvironment,
) -> None:
    body, _ = await an_event(environment)
    body = body.replace(b'"amount": 5000,', b'"amount": 1e9999999999999999999,')
    assert b"1e99" in body
    header = environment.signed(body)
    assert await stripe.receive_stripe(environment.ctx, body, header, [environment.webhook_secret])
    assert (await environment.maintain()).events_failed == 1


@pytest.mark.parametrize("kind", ["v2.core.event_destination.ping", "v1.payment_intent.succeeded"])
async def test_thin_events_are_acknowledged_and_ignored(environment: ServiceEnvironment, kind: str) -> None:
    event = {"id": "evt_thin", "object": "v2.core.event", "type": kind, "created": "2026-11-28T10:00:00.000Z"}
    assert await environment.receive(event)
    await environment.maintain()
    [row] = await environment.rows(WebhookEvent)
    assert row.state is EventState.IGNORED
    assert row.occurred_at.isoformat() == "2026-11-28T10:00:00+00:00"


def test_a_time_without_a_zone_is_utc_whatever_the_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Almaty")
        time.tzset()
        seconds = stripe._created("2026-11-28T10:00:00")
    time.tzset()
    assert seconds == stripe._created("2026-11-28T10:00:00Z") == 1795860000


@pytest.mark.parametrize("created", ["yesterday", "2026-13-01T00:00:00Z", None, [], 1e30])
async def test_an_event_without_a_time_is_refused(environment: ServiceEnvironment, created: object) -> None:
    body = json.dumps({"id": "evt_1", "type": "x", "created": created}).encode()
    with pytest.raises(Refused):
        await stripe.receive_stripe(
            environment.ctx, body, environment.signed(body), [environment.webhook_secret]
        )
