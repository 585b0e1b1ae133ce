"""``POST /admin/payments/{id}/verify-kaspi`` over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from procomp_pay.domain.operators import Role
from procomp_pay.server.api.routes import BASE
from procomp_pay.services.operators import accounts
from procomp_pay.services.views import payment as views
from tests.support.http_requests import bearer
from tests.support.server import Served

ADMIN = f"{BASE}/admin/payments"
STAFF, BOSS = bearer("u9", "staff"), bearer("boss", "admin")
NUMBER = "19000000001"


@pytest.fixture(autouse=True)
async def _kaspi_comes_back(served: Served) -> AsyncIterator[None]:
    """Remove the faults before the server stops, which otherwise waits for calls to Kaspi."""
    yield
    await served.control.delete("/_sandbox/faults")


async def verify(
    served: Served, payment: str, headers: dict[str, str] = STAFF, body: Any = None, **more: Any
) -> httpx.Response:
    sent = {"transaction_id": NUMBER} | more if body is None else body
    return await served.api.post(f"{ADMIN}/{payment}/verify-kaspi", json=sent, headers=headers)


async def started(served: Served, participant_id: str = "p1") -> str:
    """Start a Kaspi payment whose QR is not scanned, while Kaspi does not respond."""
    payment = str((await served.initiate(participant_id, "kaspi_qr"))["payment_id"])
    await served.control.post("/_sandbox/faults", json={"path": "/r1", "kind": "cut_before", "times": 99})
    return payment


async def test_only_staff_and_admins_may_verify(served: Served) -> None:
    payment = await started(served)
    for headers, status in ((dict[str, str](), 401), (bearer("u1"), 403), (bearer("u2"), 403)):
        assert (await verify(served, payment, headers)).status_code == status
    assert (await verify(served, "nothing")).status_code == 404
    refused = await verify(served, payment, override=True, reason="I may not")
    assert (refused.status_code, refused.json()["detail"]) == (403, "Only an admin may override the checks")
    done = await verify(served, payment, transaction_id="QR 190 0000 0001", amount=24000)
    assert done.status_code == 200, done.text
    assert done.json() == {
        "payment_id": payment, "status": "COMPLETED", "transaction_id": NUMBER, "amount": 24000.0,
        "currency": "KZT", "already": False, "late": False, "duplicate": False, "kaspi": "no_answer",
        "overridden": [],
    }  # fmt: skip
    assert '"amount":24000.00' in done.text
    again = await verify(served, payment, BOSS)
    assert (again.status_code, again.json()["already"]) == (200, True)
    [move] = [m for m in await moves(served) if m["action"] == "succeeded:moved"]
    assert move["actor"] == "u9"


async def moves(served: Served) -> Any:
    answer = await served.api.get(f"{BASE}/participant/p1/history", headers=STAFF)
    return answer.json()["items"][0]["moves"]


async def test_a_payment_is_found_by_its_code(served: Served) -> None:
    payment = await started(served)
    code = str((await views.one(served.ctx, payment)).code)
    assert (await verify(served, code.lower())).json()["payment_id"] == payment
    wrong = code[:-1] + ("0" if code[-1] != "0" else "2")
    assert (await verify(served, wrong)).status_code == 404


async def test_refused_verifications(served: Served) -> None:
    first = await started(served, "p1")
    second = str((await views.latest(served.ctx, "p1")).payment_id)
    assert first == second
    await served.control.delete("/_sandbox/faults")
    not_paid = await verify(served, first)
    assert (not_paid.status_code, "not paid" in not_paid.json()["detail"]) == (409, True)
    assert (await verify(served, first, amount=23900)).status_code == 409
    done = await verify(served, first, BOSS, override=True, reason="seen in the app")
    assert (done.status_code, len(done.json()["overridden"])) == (200, 1)
    other = await started(served, "p2")
    # an admin of the API is none of two operators
    await accounts.add(served.ctx, "marat", Role.ADMIN, by="root", pin="739155")
    against = {"amount": 23900, "override": True, "reason": "seen in the app"}
    alone = await verify(served, other, BOSS, transaction_id="19000000009", **against)
    assert (alone.status_code, "two operators" in alone.json()["detail"]) == (403, True)
    used = await verify(served, other)
    assert used.status_code == 409
    assert first in used.json()["detail"]
    apple = (await served.initiate("p3"))["payment_id"]
    assert (await verify(served, apple, transaction_id="19000000005")).status_code == 400


ODD_BODIES: list[Any] = [
    {},
    [],
    {"transaction_id": 19000000001},
    {"transaction_id": ""},
    {"transaction_id": "1" * 65},
    {"transaction_id": NUMBER, "amount": "24000"},
    {"transaction_id": NUMBER, "amount": 0},
    {"transaction_id": NUMBER, "amount": 10**30},
    {"transaction_id": NUMBER, "paid_at": "2026-01-15T14:00:00"},
    {"transaction_id": NUMBER, "paid_at": "0001-01-01T00:00:00+14:00"},
    {"transaction_id": NUMBER, "paid_at": 1},
    {"transaction_id": NUMBER, "override": "yes"},
    {"transaction_id": NUMBER, "override": True},
    {"transaction_id": NUMBER, "reason": ""},
    {"transaction_id": NUMBER, "reason": "a\u0000b"},
    {"transaction_id": NUMBER, "force": True},
    {"transaction_id": "19000\u0000000001"},
]


async def test_invalid_bodies(served: Served) -> None:
    payment = (await served.initiate("p1", "kaspi_qr"))["payment_id"]
    for body in ODD_BODIES:
        answer = await served.api.post(f"{ADMIN}/{payment}/verify-kaspi", json=body, headers=BOSS)
        assert (answer.status_code, answer.json()["status_code"]) == (400, 400), (body, answer.text)


async def test_an_idempotency_key_repeats_the_response(served: Served) -> None:
    payment = await started(served)
    headers = STAFF | {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(verify(served, payment, headers) for _ in range(4)))
    assert {a.status_code for a in answers} == {200}
    assert [a.json()["already"] for a in answers] == [False] * 4
    assert (await verify(served, payment, headers, transaction_id="19000000002")).status_code == 409
    odd = await served.api.post(f"{ADMIN}/{payment}/verify-kaspi?override=true", json={}, headers=BOSS)
    assert odd.status_code == 400
