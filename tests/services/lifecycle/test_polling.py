"""Polling: Kaspi sends no events, so payments are polled at its interval until they can no longer be paid."""

from datetime import timedelta

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.states import Channel, ParticipantStatus, PaymentStatus
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import AuditEntry, PaymentDetail
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage
from procomp_pay.storage.payments import repository as payments
from tests.support.environment import World
from tests.support.kaspi_payments import paid

S = PaymentStatus


async def test_scanned_then_confirmed(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened, "scan")
    world.later(6)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.scanned_at is not None) == (S.PROCESSING, True)
    await world.phone(opened, "confirm")
    world.later(6)
    await world.maintain()
    view = await world.view(opened)
    assert view.status is S.COMPLETED
    assert view.operation_number is not None
    assert (await world.who(who)).status is ParticipantStatus.PAID
    assert not view.provider_open


async def test_no_poll_before_kaspis_interval_or_after_the_end(world: World) -> None:
    opened = await world.start(await world.participant())
    assert (await world.maintain()).looked_at == 0
    world.later(5.1)
    assert (await world.maintain()).looked_at == 1
    assert (await world.maintain()).looked_at == 0
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    world.later(600)
    assert (await world.maintain()).looked_at == 0


async def test_a_qr_that_is_never_scanned_expires_and_is_polled_once_more(world: World) -> None:
    opened = await world.start(await world.participant())
    world.later(181)
    await world.maintain()
    assert await world.status(opened) is S.EXPIRED
    world.later(300)
    assert (await world.maintain()).looked_at == 1
    assert not (await world.view(opened)).provider_open
    world.later(3600)
    assert (await world.maintain()).looked_at == 0


async def test_a_payment_processed_after_its_expiry_is_late(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    world.later(181)
    await world.maintain()
    ref = opened.view.provider_ref
    answer = await world.http.post(f"/_sandbox/kaspi/payments/{ref}/late-process", json={})
    assert answer.status_code == 200
    world.later(300)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.is_late) == (S.COMPLETED, True)
    assert (await world.who(who)).payment_id == view.payment_id
    assert {m.topic for m in await world.rows(OutboxMessage)} >= {"alert.late_payment", "payment.received"}
    assert [d.kind for d in await world.rows(Discrepancy)] == ["LATE_PAYMENT"]


async def test_a_payment_cancelled_in_the_app_fails_and_a_new_one_can_start(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened, "scan")
    await world.phone(opened, "cancel")
    world.later(6)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.provider_open) == (S.FAILED, False)
    assert (await world.start(who)).qr_payload != opened.qr_payload


async def test_an_unknown_status_is_still_open(world: World) -> None:
    opened = await world.start(await world.participant())
    ref = opened.view.provider_ref
    await world.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "SomethingNew"})
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.PENDING


@pytest.mark.parametrize("date_form", ["+05", "fraction3", "fraction7", "unpadded-day"])
async def test_unusual_dates_without_v02(world: World, date_form: str) -> None:
    await world.http.post("/_sandbox/kaspi/settings", json={"date_form": date_form, "v02": False})
    opened = await world.start(await world.participant())
    left = (opened.view.expires_at or world.now()) - world.now()
    assert timedelta(seconds=150) < left < timedelta(seconds=200)
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.COMPLETED


async def test_a_payment_stays_due_during_a_kaspi_outage(world: World) -> None:
    opened = await world.start(await world.participant())
    other = await world.start(await world.participant())
    await world.phone(opened)
    await world.fault("/r1/", "status", status=503, times=1000)
    world.later(6)
    done = await world.maintain()
    assert len(done.failures) == 2
    assert await world.status(opened) is S.PENDING
    await world.no_faults()
    world.later(30)
    await world.maintain()
    assert await world.status(opened) is S.COMPLETED
    assert await world.status(other) is S.PENDING


async def test_concurrent_processes_poll_a_payment_once(world: World) -> None:
    await world.start(await world.participant())
    world.later(6)
    async with world.ctx.db.writing() as session:
        first = await payments.claim_due(session, world.now(), lease_s=60, limit=10)
    async with world.ctx.db.writing() as session:
        second = await payments.claim_due(session, world.now(), lease_s=60, limit=10)
    assert (len(first), second) == (1, [])


async def test_polling_finds_a_lost_webhook(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who, "google_pay")
    await world.pay_page(opened, "google_pay")
    world.later(601)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.wallet) == (S.COMPLETED, "google_pay")
    assert (await world.who(who)).status is ParticipantStatus.PAID


async def test_an_unpaid_page_expires(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    for _ in range(8):
        world.later(601)
        await world.maintain()
    assert await world.status(opened) is S.EXPIRED
    assert not (await world.view(opened)).provider_open


async def test_an_unpaid_intent_is_cancelled_after_a_day(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay", channel=Channel.STRIPE_INTENT)
    world.later(24 * 3600 + 1)
    await world.maintain()
    assert await world.status(opened) is S.EXPIRED
    [intent] = await world.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_an_open_intent_is_cancelled_after_another_payment(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    apple = await world.start(who, "apple_pay", channel=Channel.STRIPE_INTENT)
    await world.phone(kaspi)
    world.later(6)
    await world.maintain()
    assert (await world.who(who)).payment_id == kaspi.view.payment_id
    world.later(601)
    await world.maintain()
    assert await world.status(apple) is S.CANCELLED
    [intent] = await world.stripe_objects("payment_intents")
    assert intent["status"] == "canceled"


async def test_refresh_polls_at_once(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.phone(opened)
    settled = await poll_payment(world.ctx, opened.view.payment_id)
    assert settled is not None
    assert settled.status is S.COMPLETED


async def test_an_unknown_kaspi_device_is_a_configuration_error(world: World) -> None:
    opened = await world.start(await world.participant())
    await world.http.post(
        "/_sandbox/kaspi/force", json={"path": "/payment/status", "code": -10000, "times": 9}
    )
    with pytest.raises(ConfigurationError, match="-10000"):
        await poll_payment(world.ctx, opened.view.payment_id)


async def test_every_status_change_is_in_the_audit_trail(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    [(_, moves)] = await views.history(world.ctx, who)
    assert [(m.action, m.before, m.after) for m in moves] == [
        ("started", None, "PENDING"),
        ("opened:noted", "PENDING", "PENDING"),
        ("succeeded:moved", "PENDING", "COMPLETED"),
    ]
    entries = await world.rows(AuditEntry)
    assert [e.seq for e in entries] == [1, 2, 3]
    assert opened.qr_payload not in str([e.after for e in entries])
    [detail] = await world.rows(PaymentDetail)
    assert detail.completed_at is not None


async def test_a_newer_payment_does_not_hide_that_the_fee_is_paid(world: World) -> None:
    who = await world.participant()
    kaspi = await world.start(who, "kaspi_qr")
    apple = await world.start(who, "apple_pay")
    assert (await views.latest(world.ctx, who)).payment_id == apple.view.payment_id
    await world.phone(kaspi)
    world.later(6)
    await world.maintain()
    assert (await views.latest(world.ctx, who)).payment_id == kaspi.view.payment_id


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("code", [-1601, -99000003, -1501])
async def test_a_payment_is_completed_although_its_details_belong_to_another_device(
    world: World, code: int
) -> None:
    """After a change of the device Kaspi still reports the status of an old purchase, but not its amount."""
    await world.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    await paid(world, KaspiScheme.ENHANCED)
    opened = await world.start(await world.participant())
    await world.phone(opened)
    forced = {"path": "/payment/details", "code": code, "times": 99}
    await world.http.post("/_sandbox/kaspi/force", json=forced)
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.COMPLETED
