"""Idempotency keys through the HTTP API."""

import asyncio

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer

from procomp_pay.config import Settings
from procomp_pay.server.app import make_app
from tests.support.environment import ServiceEnvironment

SECRET = "x" * 40


@pytest.fixture
async def client(environment: ServiceEnvironment):
    import time

    app = make_app(environment.ctx, Settings(jwt_secret=SECRET, _env_file=None))
    app.cleanup_ctx.clear()  # no background loops: the test drives
    async with TestClient(TestServer(app)) as made:
        token = jwt.encode({"sub": "staff-1", "role": "staff", "exp": int(time.time()) + 600}, SECRET)
        made.headers_ = {"Authorization": f"Bearer {token}"}
        yield made


async def test_one_key_for_two_participants_is_409(environment: ServiceEnvironment, client) -> None:
    answers = set()
    for n in range(5):
        a, b = await environment.participant(), await environment.participant()
        got = await asyncio.gather(
            *(
                client.post(
                    "/api/v1/payments/initiate",
                    json={"participant_id": p, "method": "kaspi_qr"},
                    headers=client.headers_ | {"Idempotency-Key": f"k{n}"},
                )
                for p in (a, b)
            )
        )
        answers |= {g.status for g in got}
    assert answers == {200, 409}, answers


async def test_a_repeated_rejected_start_is_not_200(environment: ServiceEnvironment, client) -> None:
    participant_id = await environment.participant()
    await environment.http.post(
        "/_sandbox/kaspi/force", json={"path": "/qr/create-link", "code": 990000028, "times": 1}
    )
    send = lambda: client.post(  # noqa: E731
        "/api/v1/payments/initiate",
        json={"participant_id": participant_id, "method": "kaspi_qr"},
        headers=client.headers_ | {"Idempotency-Key": "k"},
    )
    first, second = await send(), await send()
    assert second.status == first.status
