"""Invoices to a phone (scheme enhanced): sent once, not polled on a timer, cancelled, recovered."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import AlreadyPaid, ConfigurationError, Conflict, OutcomeUnknown, Refused
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus
from procomp_pay.providers.kaspi.service import KaspiPaymentService, kaspi_http
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage
from tests.support.environment import CLERK, TOTAL_S, World

S = PaymentStatus
PHONE = "87071234567"


@pytest.fixture(autouse=True)
async def enhanced(world: World) -> None:
    await world.http.post("/_sandbox/kaspi/settings", json={"require_client_cert": False})
    info = world.sandbox.info()["kaspi"]
    providers: Any = world.ctx.providers
    await providers.kaspi.aclose()
    providers.kaspi = KaspiPaymentService(
        kaspi_http(world.sandbox.url),
        scheme=KaspiScheme.ENHANCED,
        device_token=info["device_token"],
        organization_bin=info["organization_bin"],
        total_s=TOTAL_S,
    )


async def invoice(world: World, who: str) -> views.Opening:
    order = InitiateRequest(who, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone=PHONE)
    return await views.opening(world.ctx, (await initiate(world.ctx, order, CLERK)).payment_id)


async def calls(world: World, path: str) -> int:
    lines = (await world.http.get("/_sandbox/requests")).json()["requests"]
    return sum(path in line["path"] for line in lines)


async def act(world: World, opened: views.Opening, action: str) -> None:
    headers = {"Accept": "application/json"}
    ref = opened.view.provider_ref
    answer = await world.http.post(f"/pay/{ref}", json={"action": action}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_paid_invoice_is_polled_on_request(world: World) -> None:
    opened = await invoice(world, await world.participant())
    assert opened.qr_payload is None
    assert (await invoice(world, opened.view.participant_id)).view.payment_id == opened.view.payment_id
    assert await calls(world, "/remote/create") == 1
    for _ in range(5):
        world.later(3600)
        await world.maintain()
    assert await calls(world, "/payment/status/") == 0
    await act(world, opened, "pay")
    await poll_payment(world.ctx, opened.view.payment_id, CLERK)
    assert await world.status(opened) is S.COMPLETED
    (detail,) = await world.rows(PaymentDetail)
    assert PHONE not in str(detail.phone_enc)


async def test_an_expired_invoice_is_polled_once(world: World) -> None:
    opened = await invoice(world, await world.participant())
    world.later(24 * 3600 + 31)
    await world.maintain()
    assert await calls(world, "/payment/status/") == 1
    assert await world.status(opened) is S.EXPIRED
    world.later(3600)
    await world.maintain()
    assert await calls(world, "/payment/status/") == 1


async def test_an_invoice_is_cancelled(world: World) -> None:
    opened = await invoice(world, await world.participant())
    assert await cancel(world.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    control = await world.http.get(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}")
    assert control.json()["Status"] == "RemotePaymentCanceled"


async def test_an_invoice_paid_during_the_cancellation_is_completed(world: World) -> None:
    opened = await invoice(world, await world.participant())
    await act(world, opened, "pay")
    await cancel(world.ctx, opened.view.payment_id, CLERK)
    assert await world.status(opened) is S.COMPLETED


async def test_starting_a_qr_cancels_the_invoice_first(world: World) -> None:
    opened = await invoice(world, await world.participant())
    second = await world.start(opened.view.participant_id)
    assert second.view.payment_id != opened.view.payment_id
    assert second.qr_payload
    assert await world.status(opened) is S.CANCELLED


@pytest.mark.parametrize(("word", "ends"), [("RemotePaymentRejected", S.FAILED), ("Expired", S.EXPIRED)])
async def test_final_statuses_of_kaspi(world: World, word: str, ends: PaymentStatus) -> None:
    opened = await invoice(world, await world.participant())
    ref = opened.view.provider_ref
    await world.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": word})
    await poll_payment(world.ctx, opened.view.payment_id, CLERK)
    assert await world.status(opened) is ends


async def test_an_unknown_status_is_still_open(world: World) -> None:
    opened = await invoice(world, await world.participant())
    ref = opened.view.provider_ref
    await world.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "RemoteSomethingNew"})
    await poll_payment(world.ctx, opened.view.payment_id, CLERK)
    assert await world.status(opened) is S.PENDING


async def test_no_second_invoice_after_a_lost_response(world: World) -> None:
    who = await world.participant()
    await world.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown, match="phone may show it"):
        await invoice(world, who)
    world.later(60)
    with pytest.raises(OutcomeUnknown, match="no second one was sent"):
        await invoice(world, who)
    (detail,) = await world.rows(PaymentDetail)
    with pytest.raises(OutcomeUnknown, match="cannot be cancelled"):
        await cancel(world.ctx, detail.payment_id, CLERK)
    for _ in range(3):
        world.later(3600)
        await world.maintain()
    assert await calls(world, "/remote/create") == 1
    world.later(24 * 3600)
    await world.maintain()
    (detail,) = await world.rows(PaymentDetail)
    assert detail.create_state is CreateState.NEVER
    assert [row.kind for row in await world.rows(Discrepancy)] == ["STUCK"]
    assert "alert.stuck" in [row.topic for row in await world.rows(OutboxMessage)]


async def test_a_qr_can_start_beside_a_lost_invoice(world: World) -> None:
    who = await world.participant()
    await world.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await invoice(world, who)
    assert (await world.start(who)).qr_payload


async def test_other_schemes_reject_invoices(world: World) -> None:
    providers: Any = world.ctx.providers
    info = world.sandbox.info()
    await providers.kaspi.aclose()
    providers.kaspi = KaspiPaymentService(
        kaspi_http(world.sandbox.url, api_key=info["kaspi_api_key"]),
        scheme=KaspiScheme.BASIC,
        device_token=info["kaspi"]["device_token"],
    )
    with pytest.raises(Refused, match="no invoices"):
        await invoice(world, await world.participant())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("code", [-99000011, 990000018, 77])
async def test_a_paid_invoice_that_kaspi_refuses_to_cancel(world: World, code: int) -> None:
    """Kaspi's documentation does not say with which code it refuses to cancel a paid invoice."""
    opened = await invoice(world, await world.participant())
    await act(world, opened, "pay")
    forced = {"path": "/remote/cancel", "code": code, "times": 99}
    await world.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(AlreadyPaid):  # not a QR beside it
        await world.start(opened.view.participant_id)
    assert await world.status(opened) is S.COMPLETED


async def test_a_refused_cancellation_is_not_repeated_as_a_poll(world: World) -> None:
    opened = await invoice(world, await world.participant())
    forced = {"path": "/remote/cancel", "code": 990000018, "times": 99}
    await world.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(ConfigurationError):
        await cancel(world.ctx, opened.view.payment_id, CLERK)
    for _ in range(20):
        world.later(60)
        await world.maintain()
    assert await calls(world, "/payment/status/") == 2
    assert await world.status(opened) is S.PENDING


async def test_an_invoice_to_another_phone_cancels_the_first_one(world: World) -> None:
    """The first number was wrong: the request with the right one must not return the wrong invoice."""
    first = await invoice(world, await world.participant())
    order = InitiateRequest(
        first.view.participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone="87019999999"
    )
    second = await initiate(world.ctx, order, CLERK)
    assert second.payment_id != first.view.payment_id
    assert await world.status(first) is S.CANCELLED
    assert await calls(world, "/remote/create") == 2


async def test_a_lost_invoice_that_was_verified_opens_no_discrepancy(world: World) -> None:
    who = await world.participant()
    await world.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await invoice(world, who)
    (detail,) = await world.rows(PaymentDetail)
    await verify(world.ctx, VerificationRequest(detail.payment_id, "19000000001"), CLERK)
    world.later(25 * 3600)
    await world.maintain()
    assert await world.rows(Discrepancy) == []


async def test_no_second_invoice_beside_one_that_kaspi_does_not_cancel(world: World) -> None:
    first = await invoice(world, await world.participant())
    forced = {"path": "/remote/cancel", "code": 77, "times": 99}
    await world.http.post("/_sandbox/kaspi/force", json=forced)
    order = InitiateRequest(
        first.view.participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone="87019999999"
    )
    with pytest.raises(Conflict, match="a second one was not sent"):
        await initiate(world.ctx, order, CLERK)
    assert await calls(world, "/remote/create") == 1


async def test_an_invoice_that_is_never_cancelled_expires(world: World) -> None:
    opened = await invoice(world, await world.participant())
    forced = {"path": "/remote/cancel", "code": 77, "times": 999}
    await world.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(Refused):
        await cancel(world.ctx, opened.view.payment_id, CLERK)
    shown = {"Status": "RemotePaymentCreated"}
    await world.http.post(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}/status", json=shown)
    for _ in range(3):
        world.later(12 * 3600)
        await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.provider_open) == (S.CANCELLED, False)
