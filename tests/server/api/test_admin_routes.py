"""Routes of staff and admins over real HTTP: access, lists, refunds that happen once, cancellation."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.server.http.route import BASE
from procomp_pay.storage.audit.chain import entries
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.refunds import Refund
from tests.support.http_requests import bearer
from tests.support.labels import relabel
from tests.support.server import Eventually, Served, paid

ADMIN = f"{BASE}/admin/payments"
BOSS = bearer("boss", "admin")
JSON = {"Content-Type": "application/json"}


async def refund(served: Served, payment: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return await served.api.post(
        f"{ADMIN}/{payment}/refund", json={"reason": "injured"} | body, headers=BOSS | (headers or {})
    )


async def listed(served: Served, query: str = "", status: int = 200) -> Any:
    answer = await served.api.get(f"{ADMIN}?{query}", headers=BOSS)
    assert answer.status_code == status, answer.text
    return exact_json.loads(answer.content)


def at_stripe(served: Served) -> int:
    """Return the cents refunded at the sandbox."""
    rows = served.sandbox.stripe.core.tables["refunds"].values()
    return sum(row["amount"] for row in rows if row["status"] == "succeeded")


async def refunds(served: Served) -> list[Refund]:
    async with served.ctx.db.reading() as session:
        return list((await session.exec(select(Refund))).all())


# --- access


WHO: dict[str, dict[str, str]] = {
    "nobody": {},
    "owner": bearer("u1"),
    "another user": bearer("u2"),
    "staff": bearer("u9", "staff"),
    "admin": bearer("u9", "admin"),
}
#: 409: let in, and told that an open payment cannot be paid back, and a cancelled one not cancelled again.
MAY: dict[str, dict[str, tuple[int, int]]] = {
    "list": {"nobody": (401, 401), "owner": (403, 403), "another user": (403, 403), "staff": (200, 200)}
    | {"admin": (200, 200)},
    "refund": {"nobody": (401, 401), "owner": (403, 403), "another user": (403, 403), "staff": (403, 403)}
    | {"admin": (409, 404)},
    "cancel": {"nobody": (401, 401), "owner": (403, 403), "another user": (403, 403), "staff": (403, 403)}
    | {"admin": (200, 404)},
}


@pytest.mark.parametrize("route", MAY)
async def test_roles_of_admin_routes(served: Served, route: str) -> None:
    payment = (await served.initiate("p1"))["payment_id"]

    async def ask(target: str, headers: dict[str, str]) -> int:
        if route == "list":
            return (await served.api.get(ADMIN, headers=headers)).status_code
        body = {"reason": "why"} if route == "refund" else {}
        answer = await served.api.post(f"{ADMIN}/{target}/{route}", json=body, headers=headers)
        assert answer.status_code < 400 or answer.json()["status_code"] == answer.status_code
        return answer.status_code

    statuses = {caller: (await ask(payment, h), await ask("nothing", h)) for caller, h in WHO.items()}
    assert statuses == MAY[route]


@pytest.mark.parametrize("route", ["refund", "cancel"])
@pytest.mark.parametrize("odd", ["%00", "a" * 129, "%ED%A0%80"])
async def test_invalid_ids_are_not_found(served: Served, route: str, odd: str) -> None:
    body = {"reason": "why"} if route == "refund" else {}
    answer = await served.api.post(f"{ADMIN}/{odd}/{route}", json=body, headers=BOSS)
    assert answer.status_code == 404


async def test_other_methods(served: Served) -> None:
    for method, path in (("POST", ""), ("GET", "/x/refund"), ("DELETE", "/x/cancel")):
        answer = await served.api.request(method, ADMIN + path, headers=BOSS)
        assert (answer.status_code, answer.json()["status_code"]) == (405, 405)


# --- the list


async def test_the_list_filters_and_pages(served: Served, eventually: Eventually) -> None:
    done = await paid(served, eventually, "p3")
    kaspi = (await served.initiate("p1", "kaspi_qr"))["payment_id"]
    google = (await served.initiate("p2", "google_pay"))["payment_id"]

    async def ids(query: str) -> list[str]:
        return [item["payment_id"] for item in (await listed(served, query))["items"]]

    assert await ids("") == [google, kaspi, done]
    assert await ids("status=COMPLETED") == [done]
    assert await ids("status=pending&method=kaspi_qr") == [kaspi]
    assert await ids("participant_id=p2") == [google]
    assert await ids("tournament_id=t1&limit=200") == [google, kaspi, done]
    assert await ids("tournament_id=t2") == []
    async with served.ctx.db.writing() as session:
        for minute, payment_id in enumerate((done, kaspi, google)):
            created_at = datetime(2026, 3, 1, 10, minute, 0, 400_000, tzinfo=UTC)
            for table in (Payment, PaymentDetail):
                row = await session.get(table, payment_id)
                assert row is not None
                row.created_at = created_at
    born = (await listed(served))["items"][1]["created_at"]
    assert born == "2026-03-01T10:01:00Z"
    assert await ids(f"until={born}") == [done]
    assert await ids(f"since={born}") == [google, kaspi]
    assert await ids("since=2026-01-01T00:00:00%2B05:00&until=2099-01-01T00:00:00Z") == [google, kaspi, done]

    seen, cursor = [], ""
    for _ in range(3):
        page = await listed(served, f"limit=1{cursor}")
        seen += [item["payment_id"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, page["next_cursor"]) == ([google, kaspi, done], None)


async def test_the_list_shows_everything_but_secrets(served: Served) -> None:
    started = await served.initiate("p1")
    answer = await served.api.get(ADMIN, headers=BOSS)
    assert '"amount":50.00' in answer.text
    assert "_secret_" not in answer.text
    [item] = exact_json.loads(answer.content)["items"]
    assert {"participant_name", "tournament_name", "refunded_amount", "provider_ref", "late"} <= set(item)
    assert item["payment_id"] == started["payment_id"]


async def test_labels_that_the_platform_added_are_shown(
    served: Served, eventually: Eventually, database_url: str
) -> None:
    payment = await paid(served, eventually)
    for column, label in (("status", "DISPUTED"), ("method", "CARD")):
        # in a thread: the server of this loop may be writing, and it could not end
        await asyncio.to_thread(relabel, database_url, "Payment", column, label, payment)
    [item] = (await listed(served))["items"]
    assert (item["status"], item["method"]) == ("DISPUTED", "card")
    assert (await served.status())["status"] == "DISPUTED"
    answer = await refund(served, payment)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_not_completed")


def _cursor(text: bytes) -> str:
    return "cursor=" + base64.urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize(
    "query",
    [
        "state=PAID",
        "limit=10&page=2",
        "status=PAID",
        "status=",
        "status=PENDING&status=FAILED",
        "method=cash",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=1e2",
        "limit=١",
        "limit=",
        "since=yesterday",
        "since=2026-01-01",
        "since=2026-01-01T00:00:00",
        "since=2026-01-01T00:00:00+05:00",  # a + that was not encoded is a space
        "until=0001-01-01T00:00:00%2B05:00",
        "until=9999-12-31T23:59:59-05:00",
        "participant_id=%00",
        "tournament_id=",
        "tournament_id=" + "t" * 129,
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=ю",
        "cursor=" + "A" * 401,
        _cursor(b"2026-01-01T00:00:00+00:00"),
        _cursor(b"2026-01-01T00:00:00 id"),
        _cursor(b"0001-01-01T00:00:00+05:00 id"),
        _cursor(b"9999-12-31T23:59:59-05:00 id"),
        _cursor(b"2026-01-01T00:00:00+00:00 a\x00"),
        _cursor(b"2026-01-01T00:00:00+00:00 \xed\xa0\x80"),
    ],
)
async def test_invalid_queries(served: Served, query: str) -> None:
    body = await listed(served, query, 400)
    assert body["status_code"] == 400
    assert 0 < len(body["detail"]) <= 500


# --- refunds


async def test_refund_in_parts_and_then_the_rest(served: Served, eventually: Eventually) -> None:
    payment = await paid(served, eventually)
    answer = await served.api.post(
        f"{ADMIN}/{payment}/refund",
        content=b'{"reason":"injured","amount":20.00,"currency":"usd"}',
        headers=BOSS | JSON | {"X-Request-ID": "desk-7"},
    )
    assert answer.status_code == 200, answer.text
    body = exact_json.loads(answer.content)
    assert '"amount":20.00,"currency":"USD"' in answer.text
    assert (body["state"], body["payment_status"]) == ("SUCCEEDED", "COMPLETED")
    body = (await refund(served, payment)).json()
    assert (body["state"], body["amount"], body["payment_status"]) == ("SUCCEEDED", 30.0, "REFUNDED")
    assert at_stripe(served) == 5000
    assert (await listed(served, "status=REFUNDED"))["items"][0]["refunded_amount"] == 50
    again = await refund(served, payment)
    assert (again.status_code, again.json()["status_code"]) == (409, 409)
    async with served.ctx.db.reading() as session:
        [asked, *_] = [e for e in await entries(session, payment) if e.action == "refund_requested"]
    assert (asked.actor, asked.source, asked.request_id) == ("boss", "app", "desk-7")


async def test_an_idempotency_key_refunds_once(served: Served, eventually: Eventually) -> None:
    payment, key = await paid(served, eventually), {"Idempotency-Key": "k"}
    first = await refund(served, payment, key, amount=20, currency="USD")
    again = await refund(served, payment, key, amount=20, currency="USD")
    assert (first.status_code, again.json()) == (200, first.json())
    for other in ({"amount": 21, "currency": "USD"}, {"reason": "other", "amount": 20, "currency": "USD"}):
        assert (await refund(served, payment, key, **other)).status_code == 409
    assert at_stripe(served) == 2000
    assert (await refund(served, payment, {"Idempotency-Key": ""})).status_code == 400


async def test_ten_concurrent_requests_with_one_key_refund_once(
    served: Served, eventually: Eventually
) -> None:
    payment, other = await paid(served, eventually), await paid(served, eventually, "p3")
    key = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(
        *(refund(served, payment, key, amount=10, currency="USD") for _ in range(8)),
        *(refund(served, other, key, amount=10, currency="USD") for _ in range(2)),
    )
    # 503: its twin is still waiting for Stripe's answer
    assert {answer.status_code for answer in answers} <= {200, 409, 503}, [a.text for a in answers]
    assert at_stripe(served) == 1000
    assert len(await refunds(served)) == 1


async def test_a_refund_with_an_unknown_outcome_is_a_503_with_its_id(
    served: Served, eventually: Eventually
) -> None:
    payment, key = await paid(served, eventually), {"Idempotency-Key": "k"}
    await served.deliver("hold")
    fault = {"kind": "status", "status": 503, "after": True, "path": "/v1/refunds", "retry_after": 30}
    await served.control.post("/_sandbox/faults", json=fault | {"times": 100})
    answer = await refund(served, payment, key)
    [row] = await refunds(served)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert row.id in answer.json()["detail"]
    again = await refund(served, payment, key)
    assert (again.status_code, again.headers["Retry-After"]) == (503, "60")
    assert row.id in again.json()["detail"]
    assert (await refund(served, payment)).status_code == 409, "another one has nothing left to give"
    await served.control.delete("/_sandbox/faults")
    await served.control.post("/_sandbox/webhooks/flush")

    async def known() -> Any:
        response = await refund(served, payment, key)
        return response if response.status_code == 200 else None

    body = (await eventually(known)).json()  # Stripe's own event tells
    assert (body["refund_id"], body["state"], body["payment_status"]) == (row.id, "SUCCEEDED", "REFUNDED")
    assert at_stripe(served) == 5000


async def test_a_refund_that_is_pending_at_the_provider(served: Served, eventually: Eventually) -> None:
    payment = await paid(served, eventually, method="pm_card_pendingRefund")
    body = (await refund(served, payment)).json()
    assert (body["state"], body["payment_status"]) == ("PENDING", "COMPLETED")


async def test_a_refused_refund_stays_refused(served: Served, eventually: Eventually) -> None:
    payment, key = await paid(served, eventually), {"Idempotency-Key": "k"}
    [intent] = served.sandbox.stripe.core.tables["payment_intents"]
    await served.deliver("hold")
    await served.control.post(f"/_sandbox/stripe/payment_intents/{intent}/dispute", json={})
    answers = [await refund(served, payment, key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert all("charged back" in answer.json()["detail"] for answer in answers)


async def test_a_refund_during_a_dispute_needs_force(served: Served, eventually: Eventually) -> None:
    payment = await paid(served, eventually)
    [intent] = served.sandbox.stripe.core.tables["payment_intents"]
    await served.control.post(f"/_sandbox/stripe/payment_intents/{intent}/dispute", json={})

    async def disputed() -> bool:
        return bool((await refund(served, payment, reason="?")).status_code == 409)

    await eventually(disputed)
    assert (await refund(served, payment, force=True)).status_code == 400, "Stripe itself says no"
    assert at_stripe(served) == 0


GOOD = '"reason":"injured"'
BAD: dict[str, str] = {
    "empty": "",
    "not JSON": "{",
    "list": "[]",
    "no reason": "{}",
    "reason null": '{"reason":null}',
    "reason empty": '{"reason":""}',
    "reason blank": '{"reason":"  "}',
    "reason number": '{"reason":1}',
    "reason long": '{"reason":"' + "x" * 501 + '"}',
    "reason control": '{"reason":"a\\u001b[31m"}',
    "reason NUL": '{"reason":"a\\u0000"}',
    "reason surrogate": '{"reason":"\\ud800"}',
    "reason twice": f"{{{GOOD},{GOOD}}}",
    "unknown field": f'{{{GOOD},"state":"SUCCEEDED"}}',
    "amount alone": f'{{{GOOD},"amount":10}}',
    "currency alone": f'{{{GOOD},"currency":"USD"}}',
    "amount text": f'{{{GOOD},"amount":"10","currency":"USD"}}',
    "amount true": f'{{{GOOD},"amount":true,"currency":"USD"}}',
    "amount zero": f'{{{GOOD},"amount":0,"currency":"USD"}}',
    "amount negative": f'{{{GOOD},"amount":-1,"currency":"USD"}}',
    "amount three decimals": f'{{{GOOD},"amount":1.001,"currency":"USD"}}',
    "amount too much": f'{{{GOOD},"amount":50.01,"currency":"USD"}}',
    "amount huge": f'{{{GOOD},"amount":1e400,"currency":"USD"}}',
    "amount NaN": f'{{{GOOD},"amount":NaN,"currency":"USD"}}',
    "other currency": f'{{{GOOD},"amount":10,"currency":"EUR"}}',
    "unknown currency": f'{{{GOOD},"amount":10,"currency":"GBP"}}',
    "currency and a line": f'{{{GOOD},"amount":10,"currency":"USD\\n"}}',
    "force text": f'{{{GOOD},"force":"true"}}',
    "force number": f'{{{GOOD},"force":1}}',
    "force null": f'{{{GOOD},"force":null}}',
}


async def test_invalid_bodies_refund_nothing(served: Served, eventually: Eventually) -> None:
    payment = await paid(served, eventually)
    for name, content in BAD.items():
        answer = await served.api.post(
            f"{ADMIN}/{payment}/refund", content=content.encode(), headers=BOSS | JSON
        )
        assert (answer.status_code, answer.json()["status_code"]) == (400, 400), (name, answer.text)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    wrong = await served.api.post(f"{ADMIN}/{payment}/refund", content=b"reason=x", headers=BOSS | form)
    assert wrong.status_code == 415
    asked = await served.api.post(f"{ADMIN}/{payment}/refund?amount=1", json={"reason": "x"}, headers=BOSS)
    assert asked.status_code == 400
    large = await served.api.post(f"{ADMIN}/{payment}/refund", content=b" " * 70_000, headers=BOSS | JSON)
    assert large.status_code == 413
    assert await refunds(served) == []


# --- cancel


async def test_cancel(served: Served, eventually: Eventually) -> None:
    payment = (await served.initiate("p1"))["payment_id"]
    answer = await served.api.post(f"{ADMIN}/{payment}/cancel", headers=BOSS)
    assert (answer.status_code, answer.json()) == (200, {"payment_id": payment, "status": "CANCELLED"})
    [intent] = served.sandbox.stripe.core.tables["payment_intents"].values()
    assert intent["status"] == "canceled"
    again = await served.api.post(f"{ADMIN}/{payment}/cancel", headers=BOSS)
    assert again.status_code == 409
    done = await paid(served, eventually, "p3")
    assert (await served.api.post(f"{ADMIN}/{done}/cancel", json={}, headers=BOSS)).status_code == 409
    for content in (b"[]", b'{"force":true}', b"{"):
        bad = await served.api.post(f"{ADMIN}/{done}/cancel", content=content, headers=BOSS | JSON)
        assert bad.status_code == 400
    untyped = await served.api.post(f"{ADMIN}/{done}/cancel", content=b"{}", headers=BOSS)
    assert untyped.status_code == 415
    assert (await served.api.post(f"{ADMIN}/{done}/cancel?force=1", headers=BOSS)).status_code == 400


async def test_cancelling_a_payment_that_was_paid_meanwhile(served: Served) -> None:
    started = await served.initiate("p1")
    await served.deliver("hold")
    await served.pay(started["client_secret"])
    answer = await served.api.post(f"{ADMIN}/{started['payment_id']}/cancel", headers=BOSS)
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
