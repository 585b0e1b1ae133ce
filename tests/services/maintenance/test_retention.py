"""What is finished and old is pruned; what anybody may still need is not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.domain.errors import ManualReviewRequired, Refused
from procomp_pay.domain.operators import ApprovalAction, ApprovalRequest, Right, Role
from procomp_pay.domain.retention import Retention
from procomp_pay.domain.states import Channel
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.maintenance import key_rotation, retention
from procomp_pay.services.maintenance.retention import prune
from procomp_pay.services.maintenance.run import Pass, work_retention
from procomp_pay.services.operators import accounts, approvals
from procomp_pay.services.operators.authenticate import as_operator
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks import admin as events
from procomp_pay.storage.models.idempotency import IdempotencyKey
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.operators import Approval
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.operators import repository
from procomp_pay.storage.webhooks.inbox import EventFilter
from tests.support import stripe_payments
from tests.support.environment import CLERK, ServiceEnvironment

DAY = 86_400.0


async def paid(environment: ServiceEnvironment) -> Opening:
    opened = await stripe_payments.paid(environment, "pm_apple_pay")
    await environment.maintain()
    return opened


async def test_payloads_go_before_events_and_both_after_their_time(environment: ServiceEnvironment) -> None:
    await paid(environment)
    assert await prune(environment.ctx) is None, "the pass above was within the hour"
    before = await environment.rows(WebhookEvent)
    environment.later(91 * DAY)
    assert await prune(environment.ctx) == len(before)
    assert {row.payload_enc for row in await environment.rows(WebhookEvent)} == {""}
    assert (await key_rotation.count(environment.ctx)).unreadable == 0
    # the same event, once more: it is known
    assert await environment.receive((await environment.events())[0]) is False
    view, document = await events.one(environment.ctx, before[0].event_id)
    assert (view.state, document) == (before[0].state, None)
    with pytest.raises(Refused, match="RETAIN_PAYLOADS_DAYS"):
        await events.replay_one(environment.ctx, before[0].event_id, CLERK, dry_run=False)
    assert await events.replay_many(environment.ctx, EventFilter(), CLERK, limit=9, dry_run=False) == []
    environment.later(310 * DAY)
    assert await prune(environment.ctx) == len(before) + 1  # and a message
    assert await environment.rows(WebhookEvent) == []
    assert await environment.rows(OutboxMessage) == await environment.rows(Delivery) == []


@pytest.mark.parametrize("state", [EventState.PENDING, EventState.DEAD])
async def test_an_event_that_is_not_handled_is_kept(
    environment: ServiceEnvironment, state: EventState
) -> None:
    await paid(environment)
    await environment.sql("UPDATE pay_webhook_event SET state = :state", state=state.value)
    count = len(await environment.rows(WebhookEvent))
    environment.later(1000 * DAY)
    await prune(environment.ctx)
    rows = await environment.rows(WebhookEvent)
    assert len(rows) == count
    assert all(row.payload_enc for row in rows)


async def test_what_an_open_discrepancy_names_is_kept(environment: ServiceEnvironment) -> None:
    opened = await paid(environment)
    event = (await environment.events())[0]
    elsewhere = json.loads(json.dumps(event)) | {"id": "evt_nobodys", "type": "customer.created"}
    await environment.receive(elsewhere)
    await environment.maintain()
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        for row_id, fingerprint, payment_id in (
            ("d1", "STUCK:x", opened.view.payment_id),
            ("d2", "MISSING_LOCALLY:None:stripe:evt_nobodys", None),
        ):
            session.add(
                Discrepancy(
                    id=row_id, fingerprint=fingerprint, kind="STUCK", payment_id=payment_id, detail={},
                    opened_at=now, last_seen_at=now,
                )
            )  # fmt: skip
    kept = [await environment.rows(table) for table in (WebhookEvent, OutboxMessage)]
    named = {row.event_id for row in kept[0] if row.payment_id} | {"evt_nobodys"}
    environment.later(1000 * DAY)
    await prune(environment.ctx)
    rows = await environment.rows(WebhookEvent)
    assert {row.event_id for row in rows} == named
    assert all(row.payload_enc for row in rows)
    assert len(await environment.rows(OutboxMessage)) == len(kept[1]) > 0
    await environment.sql("UPDATE pay_discrepancy SET state = 'resolved'")
    environment.later(2 * 3600)
    await prune(environment.ctx)
    assert await environment.rows(WebhookEvent) == await environment.rows(OutboxMessage) == []


@pytest.mark.parametrize("state", ["waiting", "dead"])
async def test_a_message_that_did_not_arrive_is_kept(environment: ServiceEnvironment, state: str) -> None:
    await paid(environment)
    message = (await environment.rows(OutboxMessage))[0]
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        session.add(
            Delivery(
                id="d", message_id=message.id, destination="platform_webhook", state=state,
                next_attempt_at=now, created_at=now,
            )
        )  # fmt: skip
    environment.later(1000 * DAY)
    await prune(environment.ctx)
    assert [row.id for row in await environment.rows(OutboxMessage)] == [message.id]
    assert len(await environment.rows(Delivery)) == 1


async def test_an_idempotency_key_lives_as_long_as_its_payment_is_open(
    environment: ServiceEnvironment,
) -> None:
    opened = await environment.start(idempotency_key="k")
    request = InitiateRequest(
        opened.view.participant_id, opened.view.method, Channel.KASPI_QR, idempotency_key="k"
    )
    environment.later(91 * DAY)
    await prune(environment.ctx)
    assert len(await environment.rows(IdempotencyKey)) == 1
    assert (await initiate(environment.ctx, request, CLERK)).payment_id == opened.view.payment_id
    await environment.sql("UPDATE pay_payment_detail SET provider_open = false")
    environment.later(2 * 3600)
    assert await prune(environment.ctx) == 1
    assert await environment.rows(IdempotencyKey) == []


async def test_rounds_are_small_and_one_process_works_at_a_time(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid(environment)
    count = len(await environment.rows(WebhookEvent))
    assert count > 2
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(retention, "_MOST_BATCHES", 2)
    environment.later(100 * DAY)
    assert await prune(environment.ctx) == 2
    assert sum(row.payload_enc == "" for row in await environment.rows(WebhookEvent)) == 2
    monkeypatch.setattr(retention, "_MOST_BATCHES", 100)
    assert await prune(environment.ctx) == count - 2, "what is left does not wait an hour"
    assert await prune(environment.ctx) is None
    assert (await environment.maintain()).pruned == 0


async def test_a_request_for_approval_goes_when_it_is_over(environment: ServiceEnvironment) -> None:
    request = ApprovalRequest(ApprovalAction.OVERRIDE, {"payment": "p"}, {}, Right.DESK)
    await accounts.add(environment.ctx, "dana", Role.ADMIN, by="root", pin="258014")
    async with environment.ctx.db.reading() as session:
        dana = as_operator((await repository.every(session))[0])
    with pytest.raises(ManualReviewRequired):
        await approvals.approved(environment.ctx, dana, request)
    for days, left in ((0, 1), (90, 1), (2, 0)):
        environment.later(days * DAY)
        await prune(environment.ctx)
        assert len(await environment.rows(Approval)) == left


def test_the_defaults_are_above_the_floors() -> None:
    keep = Retention()
    assert keep.events > keep.payloads >= timedelta(days=30)


async def test_a_role_that_may_not_delete_is_a_failure_of_the_pass(
    environment: ServiceEnvironment,
) -> None:
    """Everything else of the pass is done, and the failure says what to grant."""
    if environment.ctx.db.is_sqlite():
        pytest.skip("SQLite has no roles")
    await paid(environment)
    environment.later(1000 * DAY)
    await environment.sql("CREATE ROLE pay_weak")
    try:
        await environment.sql("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO pay_weak")
        failures = (await _weakly(environment)).failures
        assert any("does not let this user" in failure for failure in failures), failures
    finally:
        await environment.sql("DROP OWNED BY pay_weak")
        await environment.sql("DROP ROLE pay_weak")


async def _weakly(environment: ServiceEnvironment) -> Pass:
    """Run the pruning as a role without the right to delete."""
    done, writing = Pass(), environment.ctx.db.writing

    @contextlib.asynccontextmanager
    async def weak(*given: Any, **more: Any) -> AsyncIterator[Any]:
        async with writing(*given, **more) as session:
            await (await session.connection()).execute(text("SET LOCAL ROLE pay_weak"))
            yield session

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(environment.ctx.db, "writing", weak)
        await work_retention(environment.ctx, done)
    return done
