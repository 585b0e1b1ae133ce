"""Alerts about the lines to the providers, the order of looks, and many open payments at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from procomp_pay.domain.errors import OutcomeUnknown, ProviderUnavailable
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.providers.kaspi.tls import CertificateLife
from procomp_pay.providers.resilience.circuit_breaker import Circuit
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.maintenance.health_alerts import check_provider_health
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import lock_payment
from tests.support.environment import CLERK, ServiceEnvironment, TestProviders


def with_lines(environment: ServiceEnvironment) -> TestProviders:
    providers = environment.ctx.providers
    assert isinstance(providers, TestProviders)
    return providers


async def test_an_open_circuit_is_told_once(environment: ServiceEnvironment) -> None:
    circuit = Circuit("Kaspi", failures=1)
    with_lines(environment).tended.append(circuit)

    async def away() -> None:
        raise OutcomeUnknown("no answer")

    with pytest.raises(OutcomeUnknown):
        await circuit(away)
    await check_provider_health(environment.ctx)
    await check_provider_health(environment.ctx)
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic == "alert.circuit_open"]
    assert [row.payload["provider"] for row in alerts] == ["Kaspi"]


async def test_the_end_of_a_certificate_is_told_once_a_day(environment: ServiceEnvironment) -> None:
    end = datetime.now(UTC) + timedelta(days=20)
    with_lines(environment).life = CertificateLife(end, 20)
    for _ in range(3):
        await check_provider_health(environment.ctx)
    environment.later(24 * 3600)
    await check_provider_health(environment.ctx)
    alerts = [row for row in await environment.rows(OutboxMessage) if row.topic == "alert.certificate_ends"]
    assert [row.payload["days_left"] for row in alerts] == [20, 20]
    with_lines(environment).life = CertificateLife(end, 61)
    environment.later(24 * 3600)
    await check_provider_health(environment.ctx)
    assert len(await environment.rows(OutboxMessage)) == 2


async def test_a_second_try_that_never_left_says_nothing_of_the_first(
    environment: ServiceEnvironment,
) -> None:
    """The session exists at Stripe, and its answer was lost. Later Stripe cannot be reached: called PLANNED,
    it would be dropped by `cancel` while the customer can still pay it."""
    participant_id = await environment.participant()
    await environment.fault("/v1/checkout/sessions", "cut_after", times=100)
    with pytest.raises(OutcomeUnknown):
        await environment.start(participant_id, "apple_pay")
    await environment.no_faults()
    await environment.fault("/v1/checkout/sessions", "status", status=429, times=100)
    await environment.maintain(after=60)
    (detail,) = await environment.rows(PaymentDetail)
    assert detail.create_state is CreateState.SENT
    with pytest.raises(ProviderUnavailable):
        await cancel(environment.ctx, detail.payment_id, CLERK)
    await environment.no_faults()
    for _ in range(2):
        await environment.maintain(after=700)
    (session,) = await environment.stripe_objects("checkout/sessions")
    assert session["status"] == "expired"


async def test_the_oldest_deadline_is_looked_at_first_and_nobody_is_forgotten(
    environment: ServiceEnvironment,
) -> None:
    made = [await environment.start() for _ in range(6)]
    ids = [item.view.payment_id for item in made]
    now = environment.now()
    async with environment.ctx.db.writing() as session:
        for place, payment_id in enumerate(ids):
            detail = (await lock_payment(session, payment_id)).detail
            detail.expires_at = now + timedelta(seconds=100 - place)  # the last one ends first
            detail.next_poll_at = now - timedelta(seconds=60 - place)  # and has waited shortest
    async with environment.ctx.db.writing() as session:
        claimed = await payments.claim_due(session, now, Channel, lease_s=60, limit=3)
    assert claimed == [ids[5], ids[4], ids[0]]
    async with environment.ctx.db.writing() as session:
        assert await payments.claim_due(session, now, Channel, lease_s=60, limit=9) == [
            ids[3],
            ids[2],
            ids[1],
        ]
