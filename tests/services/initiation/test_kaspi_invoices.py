"""Invoices to a phone (scheme enhanced): sent once, not polled on a timer, cancelled, recovered."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import AlreadyPaid, ConfigurationError, Conflict, OutcomeUnknown, Refused
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.reconciliation import Discrepancy
from tests.support.environment import CLERK, TOTAL_S, ServiceEnvironment

S = PaymentStatus
PHONE = "87071234567"


@pytest.fixture(autouse=True)
async def enhanced(environment: ServiceEnvironment) -> None:
    await environment.http.post("/_sandbox/kaspi/settings", json={"require_client_cert": False})
    info = environment.sandbox.info()["kaspi"]
    providers: Any = environment.ctx.providers
    await providers.kaspi.aclose()
    providers.kaspi = KaspiPaymentService(
        kaspi_http(environment.sandbox.url),
        scheme=KaspiScheme.ENHANCED,
        device_token=info["device_token"],
        organization_bin=info["organization_bin"],
        total_s=TOTAL_S,
    )


async def invoice(environment: ServiceEnvironment, participant_id: str) -> views.Opening:
    request = InitiateRequest(participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone=PHONE)
    return await views.opening(environment.ctx, (await initiate(environment.ctx, request, CLERK)).payment_id)


async def calls(environment: ServiceEnvironment, path: str) -> int:
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    return sum(path in line["path"] for line in lines)


async def act(environment: ServiceEnvironment, opened: views.Opening, action: str) -> None:
    headers = {"Accept": "application/json"}
    ref = opened.view.provider_ref
    answer = await environment.http.post(f"/pay/{ref}", json={"action": action}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_paid_invoice_is_polled_on_request(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    assert opened.qr_payload is None
    assert (await invoice(environment, opened.view.participant_id)).view.payment_id == opened.view.payment_id
    assert await calls(environment, "/remote/create") == 1
    for _ in range(5):
        await environment.maintain(after=3600)
    assert await calls(environment, "/payment/status/") == 0
    await act(environment, opened, "pay")
    await poll_payment(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is S.COMPLETED
    (detail,) = await environment.rows(PaymentDetail)
    assert PHONE not in str(detail.phone_enc)


async def test_an_expired_invoice_is_polled_once(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    await environment.maintain(after=24 * 3600 + 31)
    assert await calls(environment, "/payment/status/") == 1
    assert await environment.status(opened) is S.EXPIRED
    await environment.maintain(after=3600)
    assert await calls(environment, "/payment/status/") == 1


async def test_an_invoice_is_cancelled(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    assert await cancel(environment.ctx, opened.view.payment_id, CLERK) is S.CANCELLED
    control = await environment.http.get(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}")
    assert control.json()["Status"] == "RemotePaymentCanceled"


async def test_an_invoice_paid_during_the_cancellation_is_completed(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    await act(environment, opened, "pay")
    await cancel(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is S.COMPLETED


async def test_starting_a_qr_cancels_the_invoice_first(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    second = await environment.start(opened.view.participant_id)
    assert second.view.payment_id != opened.view.payment_id
    assert second.qr_payload
    assert await environment.status(opened) is S.CANCELLED


@pytest.mark.parametrize(("word", "ends"), [("RemotePaymentRejected", S.FAILED), ("Expired", S.EXPIRED)])
async def test_final_statuses_of_kaspi(
    environment: ServiceEnvironment, word: str, ends: PaymentStatus
) -> None:
    opened = await invoice(environment, await environment.participant())
    ref = opened.view.provider_ref
    await environment.http.post(f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": word})
    await poll_payment(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is ends


async def test_an_unknown_status_is_still_open(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    ref = opened.view.provider_ref
    await environment.http.post(
        f"/_sandbox/kaspi/payments/{ref}/status", json={"Status": "RemoteSomethingNew"}
    )
    await poll_payment(environment.ctx, opened.view.payment_id, CLERK)
    assert await environment.status(opened) is S.PENDING


async def test_no_second_invoice_after_a_lost_response(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown, match="phone may show it"):
        await invoice(environment, participant_id)
    environment.later(60)
    with pytest.raises(OutcomeUnknown, match="no second one was sent"):
        await invoice(environment, participant_id)
    (detail,) = await environment.rows(PaymentDetail)
    with pytest.raises(OutcomeUnknown, match="cannot be cancelled"):
        await cancel(environment.ctx, detail.payment_id, CLERK)
    for _ in range(3):
        await environment.maintain(after=3600)
    assert await calls(environment, "/remote/create") == 1
    await environment.maintain(after=24 * 3600)
    (detail,) = await environment.rows(PaymentDetail)
    assert detail.create_state is CreateState.NEVER
    assert [row.kind for row in await environment.rows(Discrepancy)] == ["STUCK"]
    assert "alert.stuck" in [row.topic for row in await environment.rows(OutboxMessage)]


async def test_a_qr_can_start_beside_a_lost_invoice(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await invoice(environment, participant_id)
    assert (await environment.start(participant_id)).qr_payload


async def test_other_schemes_reject_invoices(environment: ServiceEnvironment) -> None:
    providers: Any = environment.ctx.providers
    info = environment.sandbox.info()
    await providers.kaspi.aclose()
    providers.kaspi = KaspiPaymentService(
        kaspi_http(environment.sandbox.url, api_key=info["kaspi_api_key"]),
        scheme=KaspiScheme.BASIC,
        device_token=info["kaspi"]["device_token"],
    )
    with pytest.raises(Refused, match="no invoices"):
        await invoice(environment, await environment.participant())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("code", [-99000011, 990000018, 77])
async def test_a_paid_invoice_that_kaspi_refuses_to_cancel(
    environment: ServiceEnvironment, code: int
) -> None:
    """Kaspi's documentation does not say with which code it refuses to cancel a paid invoice."""
    opened = await invoice(environment, await environment.participant())
    await act(environment, opened, "pay")
    forced = {"path": "/remote/cancel", "code": code, "times": 99}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(AlreadyPaid):  # not a QR beside it
        await environment.start(opened.view.participant_id)
    assert await environment.status(opened) is S.COMPLETED


async def test_a_refused_cancellation_is_not_repeated_as_a_poll(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    forced = {"path": "/remote/cancel", "code": 990000018, "times": 99}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(ConfigurationError):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    for _ in range(20):
        await environment.maintain(after=60)
    assert await calls(environment, "/payment/status/") == 2
    assert await environment.status(opened) is S.PENDING


async def test_an_invoice_to_another_phone_cancels_the_first_one(environment: ServiceEnvironment) -> None:
    """The first number was wrong: the request with the right one must not return the wrong invoice."""
    first = await invoice(environment, await environment.participant())
    request = InitiateRequest(
        first.view.participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone="87019999999"
    )
    second = await initiate(environment.ctx, request, CLERK)
    assert second.payment_id != first.view.payment_id
    assert await environment.status(first) is S.CANCELLED
    assert await calls(environment, "/remote/create") == 2


async def test_a_lost_invoice_that_was_verified_opens_no_discrepancy(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    await environment.fault("/r3/v01/remote/create", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await invoice(environment, participant_id)
    (detail,) = await environment.rows(PaymentDetail)
    await verify(environment.ctx, VerificationRequest(detail.payment_id, "19000000001"), CLERK)
    await environment.maintain(after=25 * 3600)
    assert await environment.rows(Discrepancy) == []


async def test_no_second_invoice_beside_one_that_kaspi_does_not_cancel(
    environment: ServiceEnvironment,
) -> None:
    first = await invoice(environment, await environment.participant())
    forced = {"path": "/remote/cancel", "code": 77, "times": 99}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    request = InitiateRequest(
        first.view.participant_id, PaymentMethod.KASPI_QR, Channel.KASPI_REMOTE, phone="87019999999"
    )
    with pytest.raises(Conflict, match="a second one was not sent"):
        await initiate(environment.ctx, request, CLERK)
    assert await calls(environment, "/remote/create") == 1


async def test_an_invoice_that_is_never_cancelled_expires(environment: ServiceEnvironment) -> None:
    opened = await invoice(environment, await environment.participant())
    forced = {"path": "/remote/cancel", "code": 77, "times": 999}
    await environment.http.post("/_sandbox/kaspi/force", json=forced)
    with pytest.raises(Refused):
        await cancel(environment.ctx, opened.view.payment_id, CLERK)
    shown = {"Status": "RemotePaymentCreated"}
    await environment.http.post(f"/_sandbox/kaspi/payments/{opened.view.provider_ref}/status", json=shown)
    for _ in range(3):
        await environment.maintain(after=12 * 3600)
    view = await environment.view(opened)
    assert (view.status, view.provider_open) == (S.CANCELLED, False)
