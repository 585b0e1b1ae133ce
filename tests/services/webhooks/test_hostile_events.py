"""Stripe's events with values that nobody means: each ends in a state of its own and holds up no other."""

from __future__ import annotations

from hypothesis import strategies as st

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.audit.verify import verify
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.services.webhooks.test_inbox import a_whole_life, an_event
from tests.support.environment import ServiceEnvironment
from tests.support.hostile import altered, drawn


async def test_altered_events_of_a_payment_hold_up_no_other(environment: ServiceEnvironment) -> None:
    payment_id, life = await a_whole_life(environment)
    contents = st.sampled_from(life).flatmap(
        lambda event: altered(event["data"]).map(lambda data: event | {"data": data})
    )
    for number, event in enumerate(drawn(contents)):
        await environment.receive(event | {"id": f"evt_altered_{number}"})
        if number % 10 == 9:
            await environment.maintain()
    _, event = await an_event(environment)
    await environment.receive(event)
    await environment.maintain()
    events = await environment.rows(WebhookEvent)
    assert all(row.state is not EventState.PENDING or row.attempts for row in events)
    assert [row.state for row in events if row.event_id == event["id"]] == [EventState.DONE]
    statuses = {row.id: row.status for row in await environment.rows(Payment)}
    assert statuses.pop(event["data"]["object"]["metadata"]["payment_id"]) is PaymentStatus.COMPLETED
    assert payment_id in statuses
    assert (await verify(environment.ctx)).is_sound
