"""Events that never reached the webhook are fetched from Stripe's list."""

from __future__ import annotations

from datetime import timedelta

import pytest

from procomp_pay.config import ProviderMode
from procomp_pay.domain.errors import Unavailable
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.services.webhooks import backfill
from procomp_pay.services.webhooks.backfill import fetch_missed
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import EventCursor, WebhookEvent
from procomp_pay.storage.webhooks import cursors
from tests.support.environment import ServiceEnvironment


async def paid(environment: ServiceEnvironment) -> str:
    opened = await environment.start(method="apple_pay", channel=Channel.STRIPE_INTENT)
    await environment.confirm(str(opened.view.provider_ref), "pm_apple_pay")
    return opened.view.payment_id


async def test_what_was_missed_is_fetched_and_handled_once(environment: ServiceEnvironment) -> None:
    assert await fetch_missed(environment.ctx) == 0, "nothing was started, nothing can be missed"
    environment.later(60)
    payment_id = await paid(environment)
    assert await fetch_missed(environment.ctx) == 1
    assert await fetch_missed(environment.ctx) is None, "not due: another process may have asked just now"
    await environment.maintain()
    async with environment.ctx.db.reading() as session:
        from procomp_pay.storage.payments.repository import load_payment

        assert (await load_payment(session, payment_id)).payment.status is PaymentStatus.COMPLETED
    environment.later(60)
    assert await fetch_missed(environment.ctx) == 0
    rows = await environment.rows(WebhookEvent)
    assert {row.type for row in rows} <= set(READERS), "what nobody acts on is not fetched"
    assert len({row.event_id for row in rows}) == len(rows) == 1


async def test_fetched_events_of_another_mode_are_foreign(environment: ServiceEnvironment) -> None:
    await paid(environment)
    environment.ctx.providers.stripe_mode = ProviderMode.LIVE  # type: ignore[misc]
    assert await fetch_missed(environment.ctx) == 1
    await environment.maintain()
    assert {row.state for row in await environment.rows(WebhookEvent)} == {EventState.FOREIGN}
    assert [row.status for row in await environment.rows(Payment)] == [PaymentStatus.PENDING]


async def test_what_came_by_webhook_is_not_fetched(environment: ServiceEnvironment) -> None:
    await paid(environment)
    for event in await environment.events():
        await environment.receive(event)
    stored = len(await environment.rows(WebhookEvent))
    assert await fetch_missed(environment.ctx) == 0
    assert len(await environment.rows(WebhookEvent)) == stored


async def test_a_crash_in_the_middle_skips_nothing(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Move the cursor only when everything before it is in the inbox."""
    monkeypatch.setattr(backfill, "PIECE", timedelta(minutes=30))
    monkeypatch.setattr(backfill, "_SKEW", timedelta(minutes=5))
    for _ in range(5):
        await paid(environment)
        environment.later(2000)
    real, calls = backfill._store_new, 0

    async def breaks(*arguments: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("the process dies here")
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backfill, "_store_new", breaks)
    with pytest.raises(RuntimeError):
        await fetch_missed(environment.ctx)
    half = len(await environment.rows(WebhookEvent))
    assert 0 < half < 5
    environment.later(60)
    assert await fetch_missed(environment.ctx) == 5 - half
    await environment.maintain()
    assert {row.state for row in await environment.rows(WebhookEvent)} == {"done"}


async def test_pages_are_read_to_the_end(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await paid(environment)
    provider = environment.ctx.providers.of(Channel.STRIPE_INTENT)
    whole_page, asked = provider._page, []  # type: ignore[attr-defined]

    async def small(kind: str, query: dict[str, object]) -> object:
        asked.append(query)
        return await whole_page(kind, {**query, "limit": 2})

    monkeypatch.setattr(provider, "_page", small)
    assert await fetch_missed(environment.ctx) == 3
    assert len(asked) == 2


async def test_a_provider_that_is_down_is_asked_again(environment: ServiceEnvironment) -> None:
    await paid(environment)
    await environment.fault("/v1/events", "status", status=503, times=None)
    with pytest.raises(Unavailable):
        await fetch_missed(environment.ctx)
    await environment.no_faults()
    environment.later(60)
    assert await fetch_missed(environment.ctx) == 1


async def test_a_process_that_died_while_reading_leaves_it_to_the_others(
    environment: ServiceEnvironment,
) -> None:
    await paid(environment)
    async with environment.ctx.db.writing() as session:
        assert await cursors.claim(session, backfill.FEED, environment.now(), lease_s=backfill.LEASE_S)
    assert await fetch_missed(environment.ctx) is None
    environment.later(backfill.LEASE_S + 1)
    assert await fetch_missed(environment.ctx) == 1
    [cursor] = await environment.rows(EventCursor)
    assert cursor.read_until is not None
