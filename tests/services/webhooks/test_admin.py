"""Looking at the inbox and having events handled once more."""

from __future__ import annotations

import json

import pytest

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.redact import HIDDEN
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.services.webhooks import admin as events
from procomp_pay.services.webhooks import inbox
from procomp_pay.services.webhooks.admin import redacted
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.webhooks.inbox import EventFilter
from tests.support.environment import CLERK, ServiceEnvironment

E = EventState


async def paid(environment: ServiceEnvironment) -> tuple[str, list[dict[str, object]]]:
    """A payment by a bare intent; its id and the sandbox's events."""
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    return opened.view.payment_id, await environment.events()


async def test_the_list_says_why(environment: ServiceEnvironment) -> None:
    payment_id, sent = await paid(environment)
    for event in sent:
        await environment.receive(event)
    foreign = next(e for e in sent if e["type"] == "payment_intent.succeeded")
    foreign = json.loads(json.dumps(foreign).replace(payment_id, "elsewhere")) | {"id": "evt_foreign"}
    foreign["data"]["object"]["id"] = "pi_of_another"
    foreign["data"]["object"]["metadata"]["participant_id"] = "of_another"
    waits = foreign | {"id": "evt_waits", "type": "charge.refunded"}
    waits["type"] = "refund.created"
    waits["data"] = {"object": {"id": "re_1", "object": "refund", "status": "succeeded", "amount": 5,
                                "currency": "usd", "payment_intent": "pi_unknown"}}  # fmt: skip
    await environment.receive(foreign)
    await environment.receive(waits)
    await environment.maintain()
    listed, cursor = await events.many(environment.ctx, EventFilter(), limit=200)
    assert cursor is None
    by_id = {view.event_id: view for view in listed}
    assert by_id["evt_foreign"].state is E.FOREIGN
    assert "did not take" in by_id["evt_foreign"].why
    assert by_id["evt_waits"].state is E.PENDING
    assert "attempt 1 of 12 failed: RetryLater: No payment of ours" in by_id["evt_waits"].why
    done = [view for view in listed if view.state is E.DONE]
    assert {view.payment_id for view in done} == {payment_id}


async def test_pages_follow_each_other_and_filters_filter(environment: ServiceEnvironment) -> None:
    payment_id, sent = await paid(environment)
    for number in range(7):
        await environment.receive(sent[0] | {"id": f"evt_{number}"})
    seen, cursor = [], None
    for _ in range(10):
        page, cursor = await events.many(environment.ctx, EventFilter(), limit=3, cursor=cursor)
        seen += [view.event_id for view in page]
        if cursor is None:
            break
    assert sorted(seen) == [f"evt_{n}" for n in range(7)]
    await environment.receive(next(e for e in sent if e["type"] == "payment_intent.succeeded"))
    await environment.maintain()

    async def count(**wanted: object) -> int:
        return len((await events.many(environment.ctx, EventFilter(**wanted), limit=200))[0])  # type: ignore[arg-type]

    assert await count(type="payment_intent.*") == 8
    assert await count(type="payment_intent.succeeded") == 1
    assert await count(type="payment%") == 0
    assert await count(payment_id=payment_id) == 1
    assert await count(state=E.IGNORED) == 7
    assert await count(since=environment.now()) == 0
    assert await count(provider="kaspi") == 0
    with pytest.raises(Refused):
        await events.many(environment.ctx, EventFilter(), limit=201)


async def test_what_is_shown_hides_secrets_and_people(environment: ServiceEnvironment) -> None:
    _, sent = await paid(environment)
    event = next(e for e in sent if e["type"] == "charge.succeeded")
    text = json.dumps(event)
    await environment.receive(event)
    view, document = await events.one(environment.ctx, str(event["id"]))
    assert view.type == "charge.succeeded"
    shown = json.dumps(document, default=str)
    assert document["data"]["object"]["amount"] == 5000
    assert document["data"]["object"]["id"] == event["data"]["object"]["id"]  # type: ignore[index]
    card = document["data"]["object"]["payment_method_details"]["card"]
    assert (card["last4"], card["brand"]) == (HIDDEN, "visa")
    assert "Әсел" in json.loads(text)["data"]["object"]["description"]
    assert "Әсел" not in json.dumps(document, ensure_ascii=False, default=str)
    assert "_secret_" not in shown
    with pytest.raises(NotFound):
        await events.one(environment.ctx, "evt_none")


def test_by_key_and_by_shape() -> None:
    document = redacted(
        {
            "client_secret": "pi_1_secret_x", "amount": 5000, "created": 1795456615, "livemode": False,
            "receipt_email": "a@b.kz", "name": None, "phone": "", "billing_details": {"name": "A"},
            "note": "write to kid@example.kz or +7 701 123-45-67", "card": "4242 4242 4242 4242",
            "id": "pi_DqufPLvVQVwiMnlRm4vf605j", "list": ["sk_test_abc", "fine"], "shipping": {},
        }
    )  # fmt: skip
    assert document == {
        "client_secret": HIDDEN, "amount": 5000, "created": 1795456615, "livemode": False,
        "receipt_email": HIDDEN, "name": None, "phone": "", "billing_details": HIDDEN,
        "note": f"write to {HIDDEN} or {HIDDEN}", "card": HIDDEN,
        "id": "pi_DqufPLvVQVwiMnlRm4vf605j", "list": [HIDDEN, "fine"], "shipping": {},
    }  # fmt: skip


async def test_a_replay_applies_nothing_twice_and_is_in_the_audit(environment: ServiceEnvironment) -> None:
    payment_id, sent = await paid(environment)
    event = next(e for e in sent if e["type"] == "payment_intent.succeeded")
    await environment.receive(event)
    await environment.maintain()
    messages = len(await environment.rows(OutboxMessage))
    dry = await events.replay_one(environment.ctx, str(event["id"]), CLERK, dry_run=True)
    assert dry.state is None
    again = await events.replay_one(environment.ctx, str(event["id"]), CLERK, dry_run=False)
    assert (again.before.state, again.state) == (E.DONE, E.DONE)
    assert len(await environment.rows(OutboxMessage)) == messages
    async with environment.ctx.db.reading() as session:
        actions = [(e.action, e.actor) for e in await audit.entries(session, payment_id)]
    assert [a for a, _ in actions].count("succeeded:moved") == 1
    assert actions[-1] == ("event_replayed", "aigerim")


async def test_the_dead_come_back(environment: ServiceEnvironment) -> None:
    payment_id, sent = await paid(environment)
    event = next(e for e in sent if e["type"] == "payment_intent.succeeded")
    await environment.receive(event)
    async with environment.ctx.db.writing() as session:
        row = await session.get(WebhookEvent, (await environment.rows(WebhookEvent))[0].id)
        assert row is not None
        row.state, row.attempts, row.last_error = E.DEAD, inbox.ATTEMPTS, "RuntimeError at x:1"
    [view], _ = await events.many(environment.ctx, EventFilter(state=E.DEAD))
    assert view.why == "given up after 12 attempts: RuntimeError at x:1"
    assert await environment.maintain(), "maintain alone leaves it"
    [replayed] = await events.replay_many(
        environment.ctx, EventFilter(state=E.DEAD), CLERK, limit=100, dry_run=False
    )
    assert replayed.state is E.DONE
    async with environment.ctx.db.reading() as session:
        from procomp_pay.storage.payments.repository import load_payment

        assert (await load_payment(session, payment_id)).payment.status is PaymentStatus.COMPLETED
