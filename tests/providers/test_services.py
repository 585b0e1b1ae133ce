"""The provider services against the sandbox: requests, retries and parsed answers."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.protocol import ProviderRef
from procomp_pay.providers.resilience import retry
from procomp_pay.providers.stripe.service import StripePaymentService
from tests.support.patience import PATIENCE_S
from tests.support.provider_services import ProviderServices, create_request, tenge_request


@pytest.mark.parametrize("scheme", ["basic", "enhanced"])
@pytest.mark.parametrize("channel", [Channel.KASPI_QR, Channel.KASPI_LINK])
async def test_kaspi_from_qr_to_paid(services: ProviderServices, scheme: str, channel: Channel) -> None:
    service: KaspiPaymentService = getattr(services, scheme)
    made = await service.create(tenge_request(channel))
    ref = ProviderRef(channel, made.provider_ref)
    assert (made.poll_interval_s, made.scan_timeout_s, made.confirm_timeout_s) == (5, 180, 65)
    assert (made.qr_token is None) is (channel is Channel.KASPI_LINK)
    assert (await service.fetch(ref)).event_type is None
    for action, event_type in (("scan", EventType.PROCESSING), ("confirm", EventType.SUCCEEDED)):
        body = {"qrPaymentId": made.provider_ref}
        headers = {
            "X-Request-ID": "6d8eac8a-3a3e-4d21-9f41-1b2c3d4e5f60",
            "Api-Key": services.sandbox.info()["kaspi_api_key"],
        }
        await services.http.post(f"/r1/v01/test/payment/{action}", json=body, headers=headers)
        status = await service.fetch(ref)
        assert status.event_type is event_type
    assert status.final
    assert status.money == Money.parse("24000", "KZT")
    assert status.ids.kaspi_operation


async def test_enhanced_reads_the_amount_from_details_if_the_status_lacks_it(
    services: ProviderServices,
) -> None:
    await services.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    made = await services.enhanced.create(tenge_request(Channel.KASPI_QR))
    await services.http.post(
        f"/pay/{made.qr_token}", json={"action": "pay"}, headers={"Accept": "application/json"}
    )
    status = await services.enhanced.fetch(ProviderRef(Channel.KASPI_QR, made.provider_ref))
    assert status.money == Money.parse("24000", "KZT")
    assert await services.calls(f"/r3/v01/payment/status/{made.provider_ref}") == 1
    basic = await services.basic.fetch(ProviderRef(Channel.KASPI_QR, made.provider_ref))
    assert (basic.event_type, basic.money) == (EventType.SUCCEEDED, None)


async def test_a_qr_request_with_a_lost_answer_is_not_repeated(services: ProviderServices) -> None:
    await services.fault("/r1/v01/qr/create", "cut_after", times=10)
    with pytest.raises(OutcomeUnknown):
        await services.basic.create(tenge_request(Channel.KASPI_QR))
    assert await services.calls("/qr/create") == 1


async def test_a_qr_request_is_repeated_after_http_503(services: ProviderServices) -> None:
    await services.fault("/r1/v01/qr/create", "status", status=503, retry_after=1, times=1)
    begun = time.monotonic()
    assert (await services.basic.create(tenge_request(Channel.KASPI_QR))).qr_token
    assert time.monotonic() - begun >= 1.0
    assert await services.calls("/qr/create") == 2


async def test_status_requests_are_retried_within_a_time_limit(services: ProviderServices) -> None:
    made = await services.basic.create(tenge_request(Channel.KASPI_QR))
    ref = ProviderRef(Channel.KASPI_QR, made.provider_ref)
    await services.fault("/r1/v02/payment/status", "cut_before", times=2)
    assert (await services.basic.fetch(ref)).event_type is None
    await services.fault("/r1/", "status", status=503, times=1000)
    begun = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        await services.basic.fetch(ref)
    assert time.monotonic() - begun < 60


async def test_kaspi_errors_map_to_error_classes(services: ProviderServices) -> None:
    with pytest.raises(NotFound, match="-1601"):
        await services.basic.fetch(ProviderRef(Channel.KASPI_QR, "99999999999"))
    stranger = KaspiPaymentService(
        kaspi_http(services.sandbox.url, api_key="wrong"), scheme=KaspiScheme.BASIC, device_token="none"
    )
    with pytest.raises(ConfigurationError):
        await stranger.check()
    await stranger.aclose()
    assert "ProComp" in await services.basic.check()


async def test_an_unreachable_provider_is_unavailable() -> None:
    nobody = StripePaymentService("sk_test_none", api_base="http://127.0.0.1:9", timeout_s=0.5, total_s=0.5)
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await nobody.check()
    await nobody.aclose()


async def test_stripe_from_session_to_paid(services: ProviderServices) -> None:
    made = await services.stripe.create(create_request(Channel.STRIPE_CHECKOUT))
    ref = ProviderRef(Channel.STRIPE_CHECKOUT, made.provider_ref)
    assert (await services.stripe.fetch(ref)).event_type is None
    headers = {"Accept": "application/json"}
    await services.http.post(str(made.payment_url), json={"wallet": "declined"}, headers=headers)
    failed = await services.stripe.fetch(ref)
    assert (failed.event_type, failed.final) == (EventType.FAILED, False)
    assert "card_declined" in str(failed.reason) or "generic_decline" in str(failed.reason)
    await services.http.post(str(made.payment_url), json={"wallet": "google_pay"}, headers=headers)
    status = await services.stripe.fetch(ref)
    assert (status.event_type, status.final) == (EventType.SUCCEEDED, True)
    assert status.money == Money.parse("50", "USD")
    assert status.ids.wallet == "google_pay"


async def test_stripe_amounts_in_tenge_are_sent_in_tiyn(services: ProviderServices) -> None:
    made = await services.stripe.create(tenge_request(Channel.STRIPE_INTENT))
    auth = {"Authorization": f"Bearer {services.sandbox.info()['stripe_secret_key']}"}
    intent = (await services.http.get(f"/v1/payment_intents/{made.provider_ref}", headers=auth)).json()
    assert (intent["amount"], intent["currency"]) == (2_400_000, "kzt")


async def test_stripe_idempotency_key_creates_one_intent_and_rejects_another_body(
    services: ProviderServices,
) -> None:
    first = await services.stripe.create(create_request(Channel.STRIPE_INTENT))
    assert (
        await services.stripe.create(create_request(Channel.STRIPE_INTENT))
    ).provider_ref == first.provider_ref
    with pytest.raises(Refused):
        await services.stripe.create(create_request(Channel.STRIPE_INTENT, "51"))


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
async def test_stripe_writes_are_retried_with_the_same_key(services: ProviderServices, kind: str) -> None:
    await services.fault("/v1/payment_intents", kind, method="POST", times=2)
    assert (await services.stripe.create(create_request(Channel.STRIPE_INTENT))).client_secret
    auth = {"Authorization": f"Bearer {services.sandbox.info()['stripe_secret_key']}"}
    made = (await services.http.get("/v1/payment_intents", headers=auth)).json()["data"]
    assert len(made) == 1


async def test_a_wrong_stripe_key_is_a_configuration_error(services: ProviderServices) -> None:
    stranger = StripePaymentService("sk_test_wrong", api_base=services.sandbox.url)
    with pytest.raises(ConfigurationError, match="key"):
        await stranger.check()
    await stranger.aclose()


async def test_stripe_rejects_unknown_ids_and_amounts(services: ProviderServices) -> None:
    with pytest.raises(NotFound):
        await services.stripe.fetch(ProviderRef(Channel.STRIPE_INTENT, "pi_none"))
    with pytest.raises(Refused):
        await services.stripe.create(create_request(Channel.STRIPE_INTENT, "0.10"))


async def test_stripe_finds_an_intent_on_a_later_page(services: ProviderServices) -> None:
    wanted = create_request(Channel.STRIPE_INTENT, payment_id="wanted")
    made = await services.stripe.create(wanted)
    for number in range(101):
        await services.stripe.create(create_request(Channel.STRIPE_INTENT, payment_id=f"other{number}"))
    intent = await services.stripe.find(wanted)
    assert intent is not None
    assert (intent.provider_ref, intent.client_secret) == (made.provider_ref, made.client_secret)
    assert await services.stripe.find(create_request(Channel.STRIPE_INTENT, payment_id="nothing")) is None


async def test_stripe_cancel_returns_the_final_status(services: ProviderServices) -> None:
    made = await services.stripe.create(create_request(Channel.STRIPE_INTENT))
    ref = ProviderRef(Channel.STRIPE_INTENT, made.provider_ref)
    assert (await services.stripe.cancel(ref)).event_type is EventType.CANCELLED
    assert (await services.stripe.cancel(ref)).event_type is EventType.CANCELLED
    paid = await services.stripe.create(create_request(Channel.STRIPE_CHECKOUT, payment_id="pay2"))
    headers = {"Accept": "application/json"}
    await services.http.post(str(paid.payment_url), json={"wallet": "apple_pay"}, headers=headers)
    assert (
        await services.stripe.cancel(ProviderRef(Channel.STRIPE_CHECKOUT, paid.provider_ref))
    ).event_type is EventType.SUCCEEDED


async def test_secrets_are_not_in_repr(services: ProviderServices) -> None:
    made = await services.stripe.create(create_request(Channel.STRIPE_INTENT))
    assert str(made.client_secret) not in repr(made)
    qr = await services.basic.create(tenge_request(Channel.KASPI_QR))
    assert str(qr.qr_token) not in repr(qr)


async def test_the_outcome_stays_unknown_if_a_later_attempt_is_not_sent(services: ProviderServices) -> None:
    """Reported as not sent, the payment would be cancelled although the customer can still pay it."""
    await services.fault("/v1/payment_intents", "cut_after", times=1)
    await services.fault("/v1/payment_intents", "status", status=429, times=1000)
    with pytest.raises(OutcomeUnknown):
        await services.stripe.create(create_request(Channel.STRIPE_INTENT))


async def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "ANSWER_S", 0.6)

    answering: set[asyncio.Task[None]] = set()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's of a connection that is gone
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(600):  # each read is quick: only the whole takes for ever
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    stripe = StripePaymentService("sk_test_" + "x", api_base=url, total_s=0.1)
    kaspi = KaspiPaymentService(
        kaspi_http(url, api_key="k"), scheme=KaspiScheme.BASIC, device_token="d", total_s=0.1
    )  # fmt: skip
    try:
        for asked in (
            stripe.fetch(ProviderRef(Channel.STRIPE_INTENT, "pi_1")),
            kaspi.fetch(ProviderRef(Channel.KASPI_QR, "1")),
            kaspi.create(tenge_request(Channel.KASPI_QR)),
        ):
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(OutcomeUnknown, match=r"did not end within 0\.6 s"):
                    await asked
    finally:
        await stripe.aclose()
        await kaspi.aclose()
        server.close()
        await asyncio.wait_for(asyncio.gather(*answering), PATIENCE_S)  # each ends when its client is gone


async def test_next_page_is_fetched_while_one_is_worked_on(services: ProviderServices) -> None:
    for number in range(4):
        await services.stripe.create(create_request(Channel.STRIPE_INTENT, payment_id=f"pay{number}"))
    log = services.sandbox.requests
    log.clear()
    seen = []
    async for page in services.stripe.pages("payment_intents", {"limit": 1}):
        seen += [intent["metadata"]["payment_id"] for intent in page]
        async with asyncio.timeout(PATIENCE_S):  # the request for the next page comes without the caller
            while len(log.to_json()) < min(len(seen) + 1, 4):
                await asyncio.sleep(0.01)
    assert seen == ["pay3", "pay2", "pay1", "pay0"]
    assert len(log.to_json()) == 4
    # nothing is left behind where the caller needs no more, or where Stripe does not answer
    before = asyncio.all_tasks()
    pages = services.stripe.pages("payment_intents", {"limit": 1})
    await anext(pages)
    await pages.aclose()
    assert asyncio.all_tasks() == before
    pages = services.stripe.pages("payment_intents", {"limit": 1})
    await anext(pages)
    await services.sandbox.stop()
    with pytest.raises((ProviderUnavailable, OutcomeUnknown)):
        async for _ in pages:
            pass
