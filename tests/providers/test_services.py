"""The provider services against the sandbox: what they send, how often, and what they make of the answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
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
from procomp_pay.providers.kaspi.service import KaspiPaymentService, kaspi_http
from procomp_pay.providers.protocol import CreateRequest, ProviderRef
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox, SandboxOptions


@dataclass
class Bench:
    sandbox: Sandbox
    http: httpx.AsyncClient
    stripe: StripePaymentService
    basic: KaspiPaymentService
    enhanced: KaspiPaymentService

    async def fault(self, path: str, kind: str, **more: Any) -> None:
        answer = await self.http.post("/_sandbox/faults", json={"path": path, "kind": kind, **more})
        assert answer.status_code < 300, answer.text

    async def calls(self, path: str) -> int:
        """How many requests came in for a path."""
        log = (await self.http.get("/_sandbox/requests")).json()
        entries = log["requests"] if isinstance(log, dict) else log
        return sum(entry["path"].endswith(path) for entry in entries)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    sandbox = Sandbox(SandboxOptions())
    await sandbox.start()
    kaspi = sandbox.info()["kaspi"]
    key = sandbox.info()["kaspi_api_key"]
    basic = KaspiPaymentService(
        kaspi_http(sandbox.url, api_key=key),
        scheme=KaspiScheme.BASIC,
        device_token=kaspi["device_token"],
        total_s=2.0,
    )
    enhanced = KaspiPaymentService(
        kaspi_http(sandbox.url),
        scheme=KaspiScheme.ENHANCED,
        device_token=kaspi["device_token"],
        organization_bin=kaspi["organization_bin"],
        total_s=2.0,
    )
    stripe = StripePaymentService(
        sandbox.info()["stripe_secret_key"], api_base=sandbox.url, timeout_s=1.0, total_s=2.0
    )
    async with httpx.AsyncClient(verify=False, base_url=sandbox.url) as http:
        # over plain HTTP the sandbox cannot ask for a client certificate
        await http.post("/_sandbox/kaspi/settings", json={"require_client_cert": False})
        yield Bench(sandbox, http, stripe, basic, enhanced)
    for service in (stripe, basic, enhanced):
        await service.aclose()
    await sandbox.stop()


def order(
    channel: Channel, amount: str = "50", currency: str = "USD", payment_id: str = "pay1"
) -> CreateRequest:
    now = datetime.now(UTC)
    return CreateRequest(
        payment_id=payment_id,
        participant_id="p1",
        channel=channel,
        money=Money.parse(amount, currency),
        description="Almaty Open: Әсел",
        idempotency_key=f"create:{payment_id}",
        created_at=now,
        return_url="https://app.example.com/paid",
        expires_at=now + timedelta(minutes=60),
    )


def tenge(channel: Channel) -> CreateRequest:
    return order(channel, "24000", "KZT")


@pytest.mark.parametrize("scheme", ["basic", "enhanced"])
@pytest.mark.parametrize("channel", [Channel.KASPI_QR, Channel.KASPI_LINK])
async def test_kaspi_from_qr_to_paid(bench: Bench, scheme: str, channel: Channel) -> None:
    service: KaspiPaymentService = getattr(bench, scheme)
    made = await service.create(tenge(channel))
    handle = ProviderRef(channel, made.provider_ref)
    assert (made.poll_interval_s, made.scan_timeout_s, made.confirm_timeout_s) == (5, 180, 65)
    assert (made.qr_token is None) is (channel is Channel.KASPI_LINK)
    assert (await service.fetch(handle)).event_type is None
    for action, news in (("scan", EventType.PROCESSING), ("confirm", EventType.SUCCEEDED)):
        body = {"qrPaymentId": made.provider_ref}
        headers = {
            "X-Request-ID": "6d8eac8a-3a3e-4d21-9f41-1b2c3d4e5f60",
            "Api-Key": bench.sandbox.info()["kaspi_api_key"],
        }
        await bench.http.post(f"/r1/v01/test/payment/{action}", json=body, headers=headers)
        seen = await service.fetch(handle)
        assert seen.event_type is news
    assert seen.final
    assert seen.money == Money.parse("24000", "KZT")
    assert seen.ids.kaspi_operation


async def test_enhanced_asks_for_the_amount_where_the_status_lacks_it(bench: Bench) -> None:
    await bench.http.post("/_sandbox/kaspi/settings", json={"v02": False})
    made = await bench.enhanced.create(tenge(Channel.KASPI_QR))
    await bench.http.post(
        f"/pay/{made.qr_token}", json={"action": "pay"}, headers={"Accept": "application/json"}
    )
    seen = await bench.enhanced.fetch(ProviderRef(Channel.KASPI_QR, made.provider_ref))
    assert seen.money == Money.parse("24000", "KZT")
    assert await bench.calls(f"/r3/v01/payment/status/{made.provider_ref}") == 1
    basic = await bench.basic.fetch(ProviderRef(Channel.KASPI_QR, made.provider_ref))
    assert (basic.event_type, basic.money) == (EventType.SUCCEEDED, None)


async def test_a_qr_whose_answer_was_lost_is_not_sent_again(bench: Bench) -> None:
    await bench.fault("/r1/v01/qr/create", "cut_after", times=10)
    with pytest.raises(OutcomeUnknown):
        await bench.basic.create(tenge(Channel.KASPI_QR))
    assert await bench.calls("/qr/create") == 1


async def test_a_qr_that_kaspi_was_too_busy_for_is_sent_again(bench: Bench) -> None:
    await bench.fault("/r1/v01/qr/create", "status", status=503, retry_after=1, times=1)
    begun = time.monotonic()
    assert (await bench.basic.create(tenge(Channel.KASPI_QR))).qr_token
    assert time.monotonic() - begun >= 1.0
    assert await bench.calls("/qr/create") == 2


async def test_a_status_is_asked_again_and_bounded_in_time(bench: Bench) -> None:
    made = await bench.basic.create(tenge(Channel.KASPI_QR))
    handle = ProviderRef(Channel.KASPI_QR, made.provider_ref)
    await bench.fault("/r1/v02/payment/status", "cut_before", times=2)
    assert (await bench.basic.fetch(handle)).event_type is None
    await bench.fault("/r1/", "status", status=503, times=1000)
    begun = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        await bench.basic.fetch(handle)
    assert time.monotonic() - begun < 6


async def test_kaspis_refusals_keep_their_kind(bench: Bench) -> None:
    with pytest.raises(NotFound, match="-1601"):
        await bench.basic.fetch(ProviderRef(Channel.KASPI_QR, "99999999999"))
    stranger = KaspiPaymentService(
        kaspi_http(bench.sandbox.url, api_key="wrong"), scheme=KaspiScheme.BASIC, device_token="none"
    )
    with pytest.raises(ConfigurationError):
        await stranger.check()
    await stranger.aclose()
    assert "ProComp" in await bench.basic.check()


async def test_nobody_listens() -> None:
    nobody = StripePaymentService("sk_test_none", api_base="http://127.0.0.1:9", timeout_s=0.5, total_s=0.5)
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await nobody.check()
    await nobody.aclose()


async def test_stripe_from_session_to_paid(bench: Bench) -> None:
    made = await bench.stripe.create(order(Channel.STRIPE_CHECKOUT))
    handle = ProviderRef(Channel.STRIPE_CHECKOUT, made.provider_ref)
    assert (await bench.stripe.fetch(handle)).event_type is None
    headers = {"Accept": "application/json"}
    await bench.http.post(str(made.payment_url), json={"wallet": "declined"}, headers=headers)
    failed = await bench.stripe.fetch(handle)
    assert (failed.event_type, failed.final) == (EventType.FAILED, False)
    assert "card_declined" in str(failed.reason) or "generic_decline" in str(failed.reason)
    await bench.http.post(str(made.payment_url), json={"wallet": "google_pay"}, headers=headers)
    seen = await bench.stripe.fetch(handle)
    assert (seen.event_type, seen.final, seen.money) == (EventType.SUCCEEDED, True, Money.parse("50", "USD"))
    assert seen.ids.wallet == "google_pay"


async def test_stripe_tenge_are_counted_in_tiyn(bench: Bench) -> None:
    made = await bench.stripe.create(tenge(Channel.STRIPE_INTENT))
    auth = {"Authorization": f"Bearer {bench.sandbox.info()['stripe_secret_key']}"}
    intent = (await bench.http.get(f"/v1/payment_intents/{made.provider_ref}", headers=auth)).json()
    assert (intent["amount"], intent["currency"]) == (2_400_000, "kzt")


async def test_stripe_the_same_key_makes_one_and_another_body_is_refused(bench: Bench) -> None:
    first = await bench.stripe.create(order(Channel.STRIPE_INTENT))
    assert (await bench.stripe.create(order(Channel.STRIPE_INTENT))).provider_ref == first.provider_ref
    with pytest.raises(Refused):
        await bench.stripe.create(order(Channel.STRIPE_INTENT, "51"))


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
async def test_stripe_writes_are_sent_again_under_their_key(bench: Bench, kind: str) -> None:
    await bench.fault("/v1/payment_intents", kind, method="POST", times=2)
    assert (await bench.stripe.create(order(Channel.STRIPE_INTENT))).client_secret
    auth = {"Authorization": f"Bearer {bench.sandbox.info()['stripe_secret_key']}"}
    made = (await bench.http.get("/v1/payment_intents", headers=auth)).json()["data"]
    assert len(made) == 1


async def test_stripe_a_wrong_key_is_configuration(bench: Bench) -> None:
    stranger = StripePaymentService("sk_test_wrong", api_base=bench.sandbox.url)
    with pytest.raises(ConfigurationError, match="key"):
        await stranger.check()
    await stranger.aclose()


async def test_stripe_unknown_ids_and_amounts(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.stripe.fetch(ProviderRef(Channel.STRIPE_INTENT, "pi_none"))
    with pytest.raises(Refused):
        await bench.stripe.create(order(Channel.STRIPE_INTENT, "0.10"))


async def test_stripe_finds_an_intent_on_a_later_page(bench: Bench) -> None:
    wanted = order(Channel.STRIPE_INTENT, payment_id="wanted")
    made = await bench.stripe.create(wanted)
    for number in range(101):
        await bench.stripe.create(order(Channel.STRIPE_INTENT, payment_id=f"other{number}"))
    found = await bench.stripe.find(wanted)
    assert found is not None
    assert (found.provider_ref, found.client_secret) == (made.provider_ref, made.client_secret)
    assert await bench.stripe.find(order(Channel.STRIPE_INTENT, payment_id="nothing")) is None


async def test_stripe_cancel_says_how_it_ended(bench: Bench) -> None:
    made = await bench.stripe.create(order(Channel.STRIPE_INTENT))
    handle = ProviderRef(Channel.STRIPE_INTENT, made.provider_ref)
    assert (await bench.stripe.cancel(handle)).event_type is EventType.CANCELLED
    assert (await bench.stripe.cancel(handle)).event_type is EventType.CANCELLED
    paid = await bench.stripe.create(order(Channel.STRIPE_CHECKOUT, payment_id="pay2"))
    headers = {"Accept": "application/json"}
    await bench.http.post(str(paid.payment_url), json={"wallet": "apple_pay"}, headers=headers)
    assert (
        await bench.stripe.cancel(ProviderRef(Channel.STRIPE_CHECKOUT, paid.provider_ref))
    ).event_type is EventType.SUCCEEDED


async def test_secrets_do_not_show_in_repr(bench: Bench) -> None:
    made = await bench.stripe.create(order(Channel.STRIPE_INTENT))
    assert str(made.client_secret) not in repr(made)
    qr = await bench.basic.create(tenge(Channel.KASPI_QR))
    assert str(qr.qr_token) not in repr(qr)


async def test_a_lost_answer_stays_unknown_though_the_last_try_never_left(bench: Bench) -> None:
    """Said "nothing was made", a desk would call the payment off while the customer can still pay it."""
    await bench.fault("/v1/payment_intents", "cut_after", times=1)
    await bench.fault("/v1/payment_intents", "status", status=429, times=1000)
    with pytest.raises(OutcomeUnknown):
        await bench.stripe.create(order(Channel.STRIPE_INTENT))
