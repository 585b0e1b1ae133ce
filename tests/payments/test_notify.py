"""Messages reach people and the platform: at least once, each destination by itself, whatever fails on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from standardwebhooks import Webhook

from procomp_pay.config import Settings
from procomp_pay.domain.notices import ATTEMPTS, Destination
from procomp_pay.domain.rules import Topic
from procomp_pay.payments import alerts, notify
from procomp_pay.providers.post import PostOffice
from procomp_pay.storage import queues
from procomp_pay.storage.platform import User
from procomp_pay.storage.row_states import DeliveryState, OutboxState
from procomp_pay.storage.work import Delivery, OutboxMessage
from tests.payments.conftest import World
from tests.payments.post_world import MailBox, Receiver, mail_server, receiver

SECRET = "whsec_" + "c2VjcmV0" * 4
D, S = Destination, DeliveryState


@pytest.fixture
async def box() -> AsyncIterator[MailBox]:
    async with mail_server() as made:
        yield made


@pytest.fixture
async def platform() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def chat() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def told(world: World, box: MailBox, platform: Receiver, chat: Receiver) -> AsyncIterator[World]:
    """A desk that tells everybody."""
    async with connected(
        world,
        smtp_url=f"smtp://127.0.0.1:{box.port}",
        mail_from="ProComp <pay@procomp.test>",
        mail_language="en",
        platform_webhook_url=f"{platform.url}/hooks",
        platform_webhook_secret=SECRET,
        alert_webhook_url=f"{chat.url}/services/T0/B0/x",
        alert_mail_to="ops@procomp.test, boss@procomp.test",
    ) as made:
        yield made


class connected:  # noqa: N801 - reads as a function
    def __init__(self, world: World, **settings: Any) -> None:
        self._post = PostOffice(Settings(_env_file=None, **settings))
        self._world = world

    async def __aenter__(self) -> World:
        self._world.desk = replace(self._world.desk, post=self._post)
        return self._world

    async def __aexit__(self, *_: Any) -> None:
        await self._post.aclose()


async def paid(world: World) -> str:
    opened = await world.start(await world.participant(full_name="Аида <script>alert(1)</script>"))
    await world.phone(opened)
    world.later(6)
    await world.maintain()
    return opened.view.payment_id


async def deliveries(world: World) -> dict[str, DeliveryState]:
    return {f"{d.destination}{d.recipient}": d.state for d in await world.rows(Delivery)}


async def test_a_paid_fee_is_told_to_the_participant_and_the_platform(
    told: World, box: MailBox, platform: Receiver, chat: Receiver
) -> None:
    payment = await paid(told)
    assert box.to == ["p1@example.com"]
    [letter] = box.letters
    print(letter)
    print(box.text(), box.html())
    [(headers, body)] = platform.got
    print(headers, body)
    assert payment in box.text()
