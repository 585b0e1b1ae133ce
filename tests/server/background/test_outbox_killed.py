"""The outbox with real processes: killed between sending and marking, delivered by a running ``serve``."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlmodel import select

from procomp_pay.config import Settings
from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.topics import Topic
from procomp_pay.sandbox.app import Sandbox
from procomp_pay.server.api.routes import BASE
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.notifications.alerts import enqueue_alert
from procomp_pay.storage.models.notifications import Delivery
from procomp_pay.storage.models.platform import Participant, User
from procomp_pay.storage.models.states import DeliveryState
from procomp_pay.storage.notifications import outbox as outbox_store
from tests.support.http_requests import bearer, make_people
from tests.support.patience import PATIENCE_S
from tests.support.receivers import mail_server, receiver
from tests.support.server import Start

SECRET = "whsec_" + "c2VjcmV0" * 4


async def _deliveries(settings: Settings, *, lease_is_over: bool = False) -> list[Delivery]:
    async with open_context(settings) as ctx, ctx.db.writing() as session:
        # a message without a payment has no participant
        wanted = select(Delivery).where(Delivery.destination != Destination.PARTICIPANT_MAIL)
        deliveries = list((await session.exec(wanted)).all())
        for row in deliveries if lease_is_over else ():
            row.next_attempt_at = ctx.clock()
        return deliveries


async def test_a_kill_between_sending_and_marking_repeats_the_delivery_with_its_id(
    command: Start, settings: Settings
) -> None:
    async with mail_server() as box, receiver() as platform:
        env = {
            "SMTP_URL": f"smtp://127.0.0.1:{box.port}",
            "MAIL_FROM": "pay@procomp.test",
            "ALERT_MAIL_TO": "ops@procomp.test",
            "PLATFORM_WEBHOOK_URL": f"{platform.url}/hooks",
            "PLATFORM_WEBHOOK_SECRET": SECRET,
        }
        # an e-mail on one database, a webhook on the other: starting a process takes time
        await (_leave_alert if settings.is_embedded else _leave_notice)(settings)
        doomed = await command("maintain", **env)
        box.on_email = platform.on_request = lambda: doomed.send(signal.SIGKILL)
        assert await doomed.end() == -signal.SIGKILL
        [row] = await _deliveries(settings, lease_is_over=True)
        assert (row.state, row.attempts) == (DeliveryState.WAITING, 1)
        box.on_email = platform.on_request = None
        again = await command("maintain", **env)
        assert await again.end() == 0, again.output
        [row] = await _deliveries(settings)
        assert (row.state, row.attempts) == (DeliveryState.DELIVERED, 2)
    if settings.is_embedded:
        assert [email["Message-ID"] for email in box.emails] == [f"<{row.id}@procomp.test>"] * 2
    else:
        assert [headers["webhook-id"] for headers, _ in platform.got] == [row.id] * 2
        assert len({body for _, body in platform.got}) == 1


async def _leave_alert(settings: Settings) -> None:
    async with open_context(settings) as ctx:
        await enqueue_alert(ctx, Topic.ALERT_CIRCUIT, {"provider": "kaspi"}, once="1")


async def _leave_notice(settings: Settings) -> None:
    async with open_context(settings) as ctx, ctx.db.writing() as session:
        await outbox_store.enqueue(session, Topic.PAYMENT_RECEIVED, {}, row_id=ctx.new_id(), now=ctx.clock())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_serve_emails_the_participant_in_the_language_of_the_app(
    command: Start, settings: Settings, sandbox: Sandbox, eventually: Callable[..., Awaitable[Any]]
) -> None:
    async with open_context(settings) as ctx:
        await make_people(ctx)
        async with ctx.db.reading() as session:
            participant = await session.get(Participant, "p1")
            assert participant is not None
            user = await session.get(User, participant.user_id)
            assert user is not None
    async with mail_server() as box:
        env = {"SMTP_URL": f"smtp://127.0.0.1:{box.port}", "MAIL_FROM": "ProComp <pay@procomp.test>"}
        server = await (await command("serve", "--port", "0", **env)).ready()
        sandbox.stripe.set_endpoint(f"{server.url}{BASE}/webhooks/stripe", None)
        headers = bearer(sub=user.id) | {"Accept-Language": "kk-KZ, ru;q=0.5"}
        async with httpx.AsyncClient(verify=False, base_url=server.url, timeout=PATIENCE_S) as api:
            body = {"participant_id": "p1", "method": "apple_pay"}
            started = await api.post(f"{BASE}/initiate", json=body, headers=headers)
            assert started.status_code == 200, started.text
        intent = started.json()["client_secret"].partition("_secret_")[0]
        async with httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S) as control:
            await control.post(
                f"/_sandbox/stripe/payment_intents/{intent}/pay", json={"method": "pm_apple_pay"}
            )

        async def written() -> bool:
            return bool(box.emails)

        await eventually(written)
        server.send(signal.SIGTERM)
        assert await server.end() == 0
    assert box.to == [user.email]
    assert str(box.emails[0]["Subject"]).startswith("[SANDBOX] Төлем қабылданды: ")
    assert started.json()["payment_id"] in box.text()
