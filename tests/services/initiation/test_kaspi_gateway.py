"""A payment through a gateway in front of Kaspi, by the simple form."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError, OutcomeUnknown
from procomp_pay.domain.kaspi_verification import KaspiAnswer
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import CreateState, ParticipantStatus, PaymentStatus
from procomp_pay.providers.kaspi.service import KaspiPaymentService, kaspi_http
from procomp_pay.sandbox.kaspi import gateway as gateway_of_the_sandbox
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from tests.support import reconciliation as plants
from tests.support.environment import CLERK, TOTAL_S, World

S = PaymentStatus


def gateway(world: World, key: str | None = None) -> KaspiPaymentService:
    bearer = {"Authorization": f"Bearer {key or world.sandbox.info()['kaspi_api_key']}"}
    return KaspiPaymentService(
        kaspi_http(world.sandbox.url, headers=bearer),
        scheme=KaspiScheme.GATEWAY,
        url=f"{world.sandbox.url}/gateway/payments",
        total_s=TOTAL_S,
    )


@pytest.fixture(autouse=True)
async def through_gateway(world: World) -> None:
    providers: Any = world.ctx.providers
    await providers.kaspi.aclose()
    providers.kaspi = gateway(world)


async def act(world: World, opened: views.Opening, action: str) -> None:
    headers = {"Accept": "application/json"}
    answer = await world.http.post(
        f"/pay/{opened.view.provider_ref}", json={"action": action}, headers=headers
    )
    assert answer.status_code == 200, answer.text


async def test_from_post_to_paid(world: World) -> None:
    opened = await world.start(await world.participant())
    assert opened.payment_url == opened.qr_payload
    assert "/pay/" in str(opened.payment_url)
    await act(world, opened, "scan")
    world.later(6)
    await world.maintain()
    assert await world.status(opened) is S.PROCESSING
    await act(world, opened, "confirm")
    world.later(6)
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.charged) == (S.COMPLETED, Money.parse("24000", "KZT"))
    assert view.operation_number


async def test_a_gateway_without_a_status_call_is_not_asked_again_and_ends_by_the_clock(world: World) -> None:
    await world.http.post("/_sandbox/kaspi/settings", json={"gateway_status": False})
    opened = await world.start(await world.participant())
    await act(world, opened, "pay")
    for _ in range(3):
        world.later(6)
        await world.maintain()
    assert await world.status(opened) is S.PENDING
    lines = (await world.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["method"] == "GET" and "/gateway/" in line["path"] for line in lines) == 1
    for _ in range(3):
        world.later(400)
        await world.maintain()
    assert await world.status(opened) is S.EXPIRED


async def test_a_gateway_that_cannot_be_asked_contradicts_nobody(world: World) -> None:
    """It never said that the payment was not made: the clerk's word counts, and the night finds nothing."""
    await world.http.post("/_sandbox/kaspi/settings", json={"gateway_status": False})
    opened = await world.start(await world.participant())
    done = await verify(world.ctx, VerificationRequest(opened.view.payment_id, "19000000001"), CLERK)
    assert (done.status, done.kaspi) == (S.COMPLETED, KaspiAnswer.CANNOT_BE_ASKED)
    for _ in range(3):
        report = await plants.run(world, "kaspi")
        assert (report.found, report.still_open) == (0, 0), report.told
        world.later(1000)
        await world.maintain()
    assert (await world.view(opened)).status is S.COMPLETED


async def test_a_lost_answer_is_waited_out(world: World) -> None:
    who = await world.participant()
    await world.fault("/gateway/payments", "cut_after", times=1)
    with pytest.raises(OutcomeUnknown):
        await world.start(who)
    world.later(60)
    await world.maintain()
    lines = (await world.http.get("/_sandbox/requests")).json()["requests"]
    assert sum(line["method"] == "POST" and "/gateway/" in line["path"] for line in lines) == 1
    (detail,) = await world.rows(PaymentDetail)
    assert detail.create_state is CreateState.SENT


async def test_a_wrong_key_is_configuration(world: World) -> None:
    stranger = gateway(world, "wrong")
    with pytest.raises(ConfigurationError, match="denies access"):
        await stranger.check()
    await stranger.aclose()
    service: Any = world.ctx.providers
    assert "takes the key" in await service.kaspi.check()


async def test_what_went_back_before_anybody_looked_takes_no_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paid and given back at the gateway while nobody looked: the money is not here."""
    opened = await world.start(await world.participant())
    await act(world, opened, "pay")
    monkeypatch.setitem(gateway_of_the_sandbox._SAYS, "Processed", "refunded")
    world.later(6)
    for _ in range(2):
        await world.maintain()
    assert await world.status(opened) is S.REFUNDED
    assert (await world.who(opened.view.participant_id)).status is ParticipantStatus.REGISTERED
