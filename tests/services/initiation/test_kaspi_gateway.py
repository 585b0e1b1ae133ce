"""A payment through a gateway in front of Kaspi."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError, OutcomeUnknown
from procomp_pay.domain.kaspi_verification import KaspiAnswer
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import CreateState, ParticipantStatus, PaymentStatus
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.sandbox.kaspi import gateway as gateway_of_the_sandbox
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from tests.support import reconciliation
from tests.support.environment import CLERK, TOTAL_S, ServiceEnvironment

S = PaymentStatus


def gateway(environment: ServiceEnvironment, key: str | None = None) -> KaspiPaymentService:
    bearer = {"Authorization": f"Bearer {key or environment.sandbox.info()['kaspi_api_key']}"}
    return KaspiPaymentService(
        kaspi_http(environment.sandbox.url, headers=bearer),
        scheme=KaspiScheme.GATEWAY,
        url=f"{environment.sandbox.url}/gateway/payments",
        total_s=TOTAL_S,
    )


@pytest.fixture(autouse=True)
async def through_gateway(environment: ServiceEnvironment) -> None:
    providers: Any = environment.ctx.providers
    await providers.kaspi.aclose()
    providers.kaspi = gateway(environment)


async def act(environment: ServiceEnvironment, opened: views.Opening, action: str) -> None:
    headers = {"Accept": "application/json"}
    answer = await environment.http.post(
        f"/pay/{opened.view.provider_ref}", json={"action": action}, headers=headers
    )
    assert answer.status_code == 200, answer.text


async def test_from_start_to_completion(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    assert opened.payment_url == opened.qr_payload
    assert "/pay/" in str(opened.payment_url)
    await act(environment, opened, "scan")
    await environment.maintain(after=6)
    assert await environment.status(opened) is S.PROCESSING
    await act(environment, opened, "confirm")
    await environment.maintain(after=6)
    view = await environment.view(opened)
    assert (view.status, view.charged) == (S.COMPLETED, Money.parse("24000", "KZT"))
    assert view.operation_number


async def test_a_gateway_without_a_status_request_is_not_polled_and_the_payment_expires(
    environment: ServiceEnvironment,
) -> None:
    await environment.http.post("/_sandbox/kaspi/settings", json={"gateway_status": False})
    opened = await environment.start()
    await act(environment, opened, "pay")
    for _ in range(3):
        await environment.maintain(after=6)
    assert await environment.status(opened) is S.PENDING
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["method"] == "GET" and "/gateway/" in line["path"] for line in lines) == 1
    for _ in range(3):
        await environment.maintain(after=400)
    assert await environment.status(opened) is S.EXPIRED


async def test_an_unavailable_gateway_does_not_contradict_a_verification(
    environment: ServiceEnvironment,
) -> None:
    """It never reported the payment as unpaid: the verification counts, and reconciliation finds nothing."""
    await environment.http.post("/_sandbox/kaspi/settings", json={"gateway_status": False})
    opened = await environment.start()
    done = await verify(environment.ctx, VerificationRequest(opened.view.payment_id, "19000000001"), CLERK)
    assert (done.status, done.kaspi) == (S.COMPLETED, KaspiAnswer.CANNOT_BE_ASKED)
    for _ in range(3):
        report = await reconciliation.run(environment, "kaspi")
        assert (report.found, report.still_open) == (0, 0), report.listed
        await environment.maintain(after=1000)
    assert (await environment.view(opened)).status is S.COMPLETED


async def test_a_lost_payment_is_given_up(environment: ServiceEnvironment) -> None:
    participant = await environment.participant()
    await environment.fault("/gateway/payments", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown, match="Nobody has seen it"):
        await environment.start(participant)
    await environment.maintain(after=60)
    lines = (await environment.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["method"] == "POST" and "/gateway/" in line["path"] for line in lines) == 1
    (detail,) = await environment.rows(PaymentDetail)
    assert (detail.create_state, detail.provider_open) == (CreateState.NEVER, False)
    assert (await environment.start(participant)).qr_payload


async def test_an_answer_about_another_payment_settles_nothing(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache in front of the gateway answers each request with the payment that was paid."""
    opened, paid = await environment.start(), await environment.start()
    await act(environment, paid, "pay")
    view = gateway_of_the_sandbox._view

    def cached(book: Any, payment: Any, request: Any) -> dict[str, Any]:
        return view(book, book.payment(int(str(paid.view.provider_ref))), request)

    monkeypatch.setattr(gateway_of_the_sandbox, "_view", cached)
    await environment.maintain(after=6)
    assert await environment.status(paid) is S.COMPLETED
    assert await environment.status(opened) is S.PENDING
    with pytest.raises(OutcomeUnknown, match="is about another payment"):
        await poll_payment(environment.ctx, opened.view.payment_id)
    monkeypatch.undo()
    await act(environment, opened, "pay")
    await environment.maintain(after=60)
    assert await environment.status(opened) is S.COMPLETED


async def test_a_link_to_pay_for_another_payment_is_shown_to_nobody(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await environment.start()
    view = gateway_of_the_sandbox._view

    def cached(book: Any, payment: Any, request: Any) -> dict[str, Any]:
        return view(book, book.payment(int(str(other.view.provider_ref))), request)

    monkeypatch.setattr(gateway_of_the_sandbox, "_view", cached)
    with pytest.raises(OutcomeUnknown):
        await environment.start()


async def test_an_id_that_another_payment_has_opens_nothing(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await environment.start()
    participant = await environment.participant()
    view = gateway_of_the_sandbox._view

    def cached(book: Any, payment: Any, request: Any) -> dict[str, Any]:
        fields = view(book, book.payment(int(str(other.view.provider_ref))), request)
        return {name: value for name, value in fields.items() if name != "external_order_id"}

    monkeypatch.setattr(gateway_of_the_sandbox, "_view", cached)
    with pytest.raises(OutcomeUnknown, match="is about another payment"):
        await environment.start(participant)
    monkeypatch.undo()
    again = await environment.start(participant)
    assert again.view.provider_ref != other.view.provider_ref
    await act(environment, other, "pay")
    await environment.maintain(after=6)
    assert [await environment.status(each) for each in (other, again)] == [S.COMPLETED, S.PENDING]


async def test_a_wrong_key_is_configuration(environment: ServiceEnvironment) -> None:
    stranger = gateway(environment, "wrong")
    with pytest.raises(ConfigurationError, match="denies access"):
        await stranger.check()
    await stranger.aclose()
    service: Any = environment.ctx.providers
    assert "takes the key" in await service.kaspi.check()


async def test_a_payment_refunded_before_the_first_poll_does_not_settle_the_fee(
    environment: ServiceEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paid and refunded at the gateway between two polls: no money is left."""
    opened = await environment.start()
    await act(environment, opened, "pay")
    monkeypatch.setitem(gateway_of_the_sandbox._SAYS, "Processed", "refunded")
    environment.later(6)
    for _ in range(2):
        await environment.maintain()
    assert await environment.status(opened) is S.REFUNDED
    assert (
        await environment.read_participant(opened.view.participant_id)
    ).status is ParticipantStatus.REGISTERED
