"""The circuit breaker and the rate limit, against a sandbox that is unavailable, busy or slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import NotFound, OutcomeUnknown, ProviderUnavailable, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.protocol import ProviderRef, RefundRequest
from procomp_pay.providers.resilience.circuit_breaker import Circuit, CircuitOpen
from procomp_pay.providers.resilience.rate_limit import RateLimit, background_priority
from procomp_pay.providers.stripe.service import StripePaymentService
from tests.support.provider_services import ProviderServices, create_request, tenge_request


def kaspi(services: ProviderServices, circuit: Circuit, **more: Any) -> KaspiPaymentService:
    info = services.sandbox.info()
    return KaspiPaymentService(
        kaspi_http(services.sandbox.url, api_key=info["kaspi_api_key"]),
        scheme=more.pop("scheme", KaspiScheme.BASIC),
        device_token=info["kaspi"]["device_token"],
        organization_bin=info["kaspi"]["organization_bin"],
        total_s=more.pop("total_s", 0.05),
        circuit=circuit,
        **more,
    )


async def test_the_circuit_opens_after_failures_in_a_row_and_lets_one_attempt_through_later(
    services: ProviderServices,
) -> None:
    circuit = Circuit("Kaspi", failures=3, open_s=2)
    service = kaspi(services, circuit)
    made = await service.create(tenge_request(Channel.KASPI_QR))
    ref = ProviderRef(Channel.KASPI_QR, made.provider_ref)
    await services.fault("/r1/", "status", status=503, times=1000)
    for _ in range(3):
        assert circuit.pop_outage() is None
        with pytest.raises(ProviderUnavailable):
            await service.fetch(ref)
    assert circuit.is_open
    since = circuit.pop_outage()
    assert since is not None
    assert circuit.pop_outage() is None
    sent = await services.calls(f"/status/{made.provider_ref}")
    with pytest.raises(CircuitOpen) as error:
        await service.fetch(ref)
    assert error.value.retry_after in (1, 2)
    assert await services.calls(f"/status/{made.provider_ref}") == sent
    await asyncio.sleep(2.05)
    with pytest.raises(ProviderUnavailable):  # one attempt goes through, and it is the same outage
        await service.fetch(ref)
    assert await services.calls(f"/status/{made.provider_ref}") == sent + 1
    assert circuit.pop_outage() is None
    await services.http.delete("/_sandbox/faults")
    await asyncio.sleep(2.05)
    assert (await service.fetch(ref)).event_type is None
    assert circuit.pop_outage() is None
    await service.aclose()


async def test_rejections_and_throttling_do_not_open_the_circuit(services: ProviderServices) -> None:
    circuit = Circuit("Kaspi", failures=2, open_s=60)
    service = kaspi(services, circuit)
    for _ in range(4):
        with pytest.raises(NotFound):
            await service.fetch(ProviderRef(Channel.KASPI_QR, "99999999999"))
        await services.http.post("/_sandbox/kaspi/force", json={"path": "/qr/create", "code": 990000028})
        with pytest.raises(Refused):
            await service.create(tenge_request(Channel.KASPI_QR))
    await services.fault("/r1/", "status", status=429, times=4)
    for _ in range(4):
        with pytest.raises(ProviderUnavailable):
            await service.fetch(ProviderRef(Channel.KASPI_QR, "99999999999"))
    assert not circuit.is_open
    await service.aclose()


async def test_a_call_counts_once_however_often_it_is_tried(services: ProviderServices) -> None:
    circuit = Circuit("Kaspi", failures=3, open_s=60)
    service = kaspi(services, circuit, total_s=3.0)
    await services.fault("/r1/", "status", status=503, times=1000)
    for failed in range(1, 4):
        assert not circuit.is_open
        with pytest.raises(ProviderUnavailable):
            await service.create(tenge_request(Channel.KASPI_QR))
        assert await services.calls("/qr/create") >= 2 * failed, "it was tried again"
    assert circuit.is_open
    await service.aclose()


async def test_a_call_that_is_answered_at_last_counts_as_good(services: ProviderServices) -> None:
    circuit = Circuit("Kaspi", failures=2, open_s=60)
    service = kaspi(services, circuit, total_s=10.0)
    for _ in range(3):
        await services.fault("/qr/create", "status", status=503, times=2)
        assert (await service.create(tenge_request(Channel.KASPI_QR))).provider_ref
    assert not circuit.is_open
    await service.aclose()


async def test_a_lost_answer_is_unknown_and_counts_as_a_failed_call(services: ProviderServices) -> None:
    """The request was processed, but its answer was lost: "not sent" would be wrong."""
    info = services.sandbox.info()
    circuit = Circuit("Stripe", failures=1, open_s=60)
    stripe = StripePaymentService(
        info["stripe_secret_key"], api_base=services.sandbox.url, timeout_s=1.0, total_s=0.05, circuit=circuit
    )
    await services.fault("/v1/payment_intents", "cut_after", times=1000)
    with pytest.raises(OutcomeUnknown):
        await stripe.create(create_request(Channel.STRIPE_INTENT))
    assert circuit.is_open
    with pytest.raises(CircuitOpen):
        await stripe.fetch(ProviderRef(Channel.STRIPE_INTENT, "pi_1"))
    await stripe.aclose()


async def test_a_refund_is_not_sent_while_the_circuit_is_open(services: ProviderServices) -> None:
    circuit = Circuit("Kaspi", failures=1, open_s=60)
    service = kaspi(services, circuit, scheme=KaspiScheme.ENHANCED, total_s=2.0)
    fee = Money.parse("24000", "KZT")
    made = await service.create(tenge_request(Channel.KASPI_QR))
    paid = {"action": "pay"}
    await services.http.post(f"/pay/{made.provider_ref}", json=paid, headers={"Accept": "application/json"})
    ref = ProviderRef(Channel.KASPI_QR, made.provider_ref)
    request = RefundRequest("r1", "p1", ref, fee, "key", fee - fee, again=False)
    await services.fault("/r3/v01/payment/return", "status", status=503, times=10)
    with pytest.raises(OutcomeUnknown):  # Kaspi does not promise that "busy" means "nothing done"
        await service.refund(request)
    with pytest.raises(CircuitOpen):
        await service.refund(request)
    assert await services.calls("/payment/return") == 1
    await service.aclose()


async def test_background_work_leaves_capacity_for_interactive_calls() -> None:
    limit = RateLimit(50)
    polls: list[float] = []

    async def poll() -> None:
        with background_priority():
            for _ in range(15):
                await limit.wait()
                polls.append(time.monotonic())

    begun = time.monotonic()
    running = [asyncio.create_task(poll()) for _ in range(4)]
    await asyncio.sleep(0.3)
    before = len(polls)
    await limit.wait()
    assert len(polls) - before < 30
    await asyncio.gather(*running)
    assert len(polls) == 60
    assert time.monotonic() - begun >= 59 / 40 - 0.05


async def test_polling_five_hundred_payments_stays_within_the_rate_limit(services: ProviderServices) -> None:
    """Polled all at once, as after an outage; an operator's own call does not wait behind them."""
    rate = 200.0
    made = [
        payment
        for _ in range(10)
        for payment in await asyncio.gather(
            *(services.basic.create(tenge_request(Channel.KASPI_QR)) for _ in range(50))
        )
    ]
    service = kaspi(services, Circuit("Kaspi"), total_s=20.0, rate_limit=RateLimit(rate))
    handles = [ProviderRef(Channel.KASPI_QR, item.provider_ref) for item in made]

    async def poll(ref: ProviderRef) -> None:
        with background_priority():
            await service.fetch(ref)

    begun = time.monotonic()
    polls = [asyncio.create_task(poll(ref)) for ref in handles]
    await asyncio.sleep(0.5)
    answered = sum(task.done() for task in polls)
    await service.fetch(handles[-1])
    await asyncio.gather(*polls)
    assert time.monotonic() - begun >= (len(handles) - 1) / rate
    lines = (await services.http.get("/_sandbox/requests")).json()["requests"]
    asked = sorted(
        (line["at"], line["path"].endswith(f"/{made[-1].provider_ref}"))
        for line in lines
        if "/payment/status/" in line["path"]
    )
    assert [mine for _, mine in asked].index(True) - answered < len(handles) // 4
    came = [at for at, _ in asked]
    assert len(came) == len(handles) + 1
    assert max(sum(at <= other < at + 1 for other in came) for at in came) <= rate * 1.1
    await service.aclose()
