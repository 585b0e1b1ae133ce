"""The routes of the app, over real HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.server.http.route import BASE
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.storage.audit.chain import entries
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from tests.support.http_requests import bearer, token
from tests.support.server import Eventually, Serve, Served, paid


async def test_initiate_apple_pay(served: Served) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        content=b'{"participant_id":"p1","method":"apple_pay","amount":50.00,"currency":"USD",'
        b'"return_url":"https://app.procomp.com/payment/success"}',
        headers=bearer() | {"Content-Type": "application/json", "X-Request-ID": "app-7"},
    )
    assert answer.status_code == 200
    body = exact_json.loads(answer.content)
    assert list(body) == ["payment_id", "client_secret", "amount", "currency", "method"]
    assert '"amount":50.00,"currency":"USD"' in answer.text
    assert re.fullmatch(r"pi_\w+_secret_\w+", body["client_secret"])
    assert answer.headers["X-Request-ID"] == "app-7"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    async with served.ctx.db.reading() as session:
        first = (await entries(session, body["payment_id"]))[0]
    assert (first.actor, first.source, first.request_id) == ("u1", "app", "app-7")


async def test_initiate_kaspi_gives_a_link_and_a_qr_image(served: Served) -> None:
    body = await served.initiate(method="kaspi_qr", amount=50, currency="USD")
    assert list(body) == [
        "payment_id", "payment_url", "qr_image_url", "expires_at", "amount", "currency", "method",
    ]  # fmt: skip
    assert (body["amount"], body["currency"]) == (24000, "KZT")
    assert body["payment_url"].startswith(served.sandbox.url)
    picture = await served.api.get(body["qr_image_url"])
    assert picture.content.startswith(b"\x89PNG")
    assert picture.headers["Cache-Control"] == "private, no-store"
    vector = await served.api.get(body["qr_image_url"].replace("qr.png", "qr.svg"))
    assert vector.headers["Content-Type"] == "image/svg+xml"
    assert b"<svg" in vector.content


async def test_a_qr_image_needs_its_own_signature(served: Served) -> None:
    one = await served.initiate("p1", "kaspi_qr")
    other = await served.initiate("p2", "kaspi_qr")
    mine, theirs = one["qr_image_url"], other["qr_image_url"].partition("?s=")[2]
    path, _, signature = mine.partition("?s=")
    answers = [
        await served.api.get(address)
        for address in (
            path,
            f"{path}?s={theirs}",
            f"{path}?s={signature[:-1]}",
            f"{path}?s={signature[:-1]}%00",
            f"{path}?s=%D0%96{signature[1:]}",
            f"{BASE}/nobody/qr.png?s={signature}",
            f"{BASE}/%00/qr.png?s={signature}",
        )
    ]
    assert {answer.status_code for answer in answers} == {404}
    texts = [answer.text for answer in answers[:-1]]
    assert len(set(texts)) == 1, "a wrong signature and an unknown payment must look alike"


async def test_a_stripe_payment_has_no_qr_image(served: Served) -> None:
    from procomp_pay.services.views.payment import qr_address

    body = await served.initiate("p1", "google_pay")
    assert (
        await served.api.get(qr_address(served.ctx, body["payment_id"]).partition("8080")[2])
    ).status_code == 404


async def test_the_open_payment_is_returned_again(served: Served) -> None:
    first = await served.initiate()
    assert await served.initiate() == first
    assert len(served.sandbox.stripe.core.tables["payment_intents"]) == 1


async def test_idempotency_key(served: Served) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = await served.initiate(headers=key)
    assert await served.initiate(headers=key) == first
    other = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p2", "method": "apple_pay"},
        headers=bearer(role="staff") | key,
    )
    assert other.status_code == 409
    # another user's key of the same name is another key
    theirs = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p3", "method": "apple_pay"},
        headers=bearer("u2") | key,
    )
    assert theirs.status_code == 200


@pytest.mark.parametrize(
    ("key", "status"),
    [("", 400), ("k" * 256, 400), ("a\tb", 400), ("ключ".encode(), 400), ("k" * 255, 200), ("a b", 200)],
)
async def test_invalid_idempotency_keys(served: Served, key: Any, status: int) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p1", "method": "apple_pay"},
        headers=[("Authorization", f"Bearer {token()}"), ("Idempotency-Key", key)],
    )
    assert answer.status_code == status


async def test_two_idempotency_keys_are_refused(served: Served) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p1", "method": "apple_pay"},
        headers=[("Authorization", f"Bearer {token()}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )
    assert answer.status_code == 400


async def test_paid_from_start_to_end_by_webhook(served: Served, eventually: Eventually) -> None:
    started = await served.initiate()
    await served.pay(started["client_secret"])
    await served.until_completed()
    again = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "apple_pay"}, headers=bearer()
    )
    assert again.status_code == 409
    assert again.json() == {
        "detail": "Аида С. has paid already",
        "status_code": 409,
        "code": "already_paid",
    }


async def test_a_kaspi_payment_is_polled_until_completed(served: Served, eventually: Eventually) -> None:
    started = await served.initiate(method="kaspi_qr")
    await served.control.post(
        started["payment_url"], json={"action": "pay"}, headers={"Accept": "application/json"}
    )
    await served.until_completed()


async def test_an_unpaid_kaspi_payment_expires(served: Served, eventually: Eventually) -> None:
    await served.initiate(method="kaspi_qr")

    async def expired() -> bool:
        return bool((await served.status())["status"] == "EXPIRED")

    await eventually(expired)  # 3 s at this time scale


async def test_status_and_history(served: Served, eventually: Eventually) -> None:
    started = await served.initiate()
    await served.pay(started["client_secret"], "pm_card_chargeDeclined")

    async def failed() -> Any:
        found = await served.status()
        return found if found["status"] == "FAILED" else None

    body = await eventually(failed)
    assert list(body) == [
        "payment_id", "participant_id", "status", "method", "amount", "currency",
        "created_at", "updated_at", "failure_reason",
    ]  # fmt: skip
    assert body["method"] == "apple_pay"
    assert "declined" in body["failure_reason"]
    for role in (None, "staff"):
        answer = await served.api.get(f"{BASE}/participant/p1/history", headers=bearer(role=role))
        found = exact_json.loads(answer.content)
        assert found["next_cursor"] is None
        (item,) = found["items"]
        assert {k: item[k] for k in ("payment_id", "status")} == {
            k: body[k] for k in ("payment_id", "status")
        }
        assert '"amount":50.00' in answer.text
        assert '"refunded_amount":0.00' in answer.text
        assert [move["after"] for move in item["moves"]][-1] == "FAILED"
        assert all(("actor" in move) is (role == "staff") for move in item["moves"])


@pytest.mark.parametrize(
    "code",
    ["fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "restricted_card", "security_violation",
     "stolen_card"],
)  # fmt: skip
async def test_owners_see_neither_telling_declines_nor_notes_of_staff(served: Served, code: str) -> None:
    started = await served.initiate()
    note = "Suspected: ask for an id"

    async def write(event_type: EventType, source: Source, reason: str) -> None:
        event = PaymentEvent(
            started["payment_id"], event_type, datetime.now(UTC), source, "boss", reason=reason
        )
        await apply_event(served.ctx, event)

    await write(EventType.FAILED, Source.STRIPE_WEBHOOK, f"Your card was declined. ({code})")
    shown = {}
    for role in (None, "staff"):
        paths = ("/status/p1", "/participant/p1/history")
        answers = [await served.api.get(BASE + path, headers=bearer(role=role)) for path in paths]
        assert "Your card was declined." in answers[0].json()["failure_reason"]
        [item] = answers[1].json()["items"]
        assert "Your card was declined." in item["moves"][-1]["note"]
        shown[role] = [answer.text for answer in answers]
    assert [code in text for text in shown[None]] == [False, False]
    assert [code in text for text in shown["staff"]] == [True, True]
    await write(EventType.CANCELLED, Source.PERSON, note)
    texts = [
        (await served.api.get(f"{BASE}/participant/p1/history", headers=bearer(role=role))).text
        for role in (None, "staff")
    ]
    moves = [exact_json.loads(text)["items"][0]["moves"][-1]["note"] for text in texts]
    assert moves == [None, note]


async def test_owners_do_not_see_why_a_refund_was_made(served: Served, eventually: Eventually) -> None:
    payment_id = await paid(served, eventually)
    refund = f"{BASE}/admin/payments/{payment_id}/refund"
    reason = {"reason": "a quarrel with the coach"}
    assert (await served.api.post(refund, json=reason, headers=bearer("boss", "admin"))).status_code == 200
    for role, seen in ((None, False), ("staff", True)):
        answer = await served.api.get(f"{BASE}/participant/p1/history", headers=bearer(role=role))
        assert ("quarrel" in answer.text) is seen
        assert "refund_succeeded" in answer.text


async def test_a_participant_without_payment(served: Served) -> None:
    assert (await served.api.get(f"{BASE}/status/p1", headers=bearer())).status_code == 404
    history = await served.api.get(f"{BASE}/participant/p1/history", headers=bearer())
    assert history.json() == {"items": [], "next_cursor": None}


ROUTES = ("initiate", "status", "history")


async def _ask(served: Served, route: str, participant: str, headers: dict[str, str]) -> int:
    if route == "initiate":
        body = {"participant_id": participant, "method": "apple_pay"}
        return (await served.api.post(f"{BASE}/initiate", json=body, headers=headers)).status_code
    path = f"status/{participant}" if route == "status" else f"participant/{participant}/history"
    return (await served.api.get(f"{BASE}/{path}", headers=headers)).status_code


@pytest.mark.parametrize("route", ROUTES)
async def test_users_see_only_their_participants(served: Served, route: str) -> None:
    await served.initiate("p1")
    await served.initiate("p3")
    table = {
        ("u1", None): {"p1": 200, "p3": 403, "nobody": 404},
        ("u1", "user"): {"p1": 200, "p3": 403, "nobody": 404},
        ("u2", None): {"p1": 403, "p3": 200, "nobody": 404},
        ("u9", None): {"p1": 403, "p3": 403, "nobody": 404},
        ("u9", "staff"): {"p1": 200, "p3": 200, "nobody": 404},
        ("u9", "ADMIN"): {"p1": 200, "p3": 200, "nobody": 404},
        (None, None): {"p1": 401, "p3": 401, "nobody": 401},
    }
    responses = {
        caller: {
            p: await _ask(served, route, p, bearer(caller[0], caller[1]) if caller[0] else {})
            for p in answers
        }
        for caller, answers in table.items()
    }
    assert responses == table


async def test_the_owner_is_checked_before_a_missing_setting(serve: Serve) -> None:
    served = await serve(stripe_secret_key=None)
    answers = {p: await _ask(served, "initiate", p, bearer("u1")) for p in ("p1", "p3", "nobody")}
    assert answers == {"p1": 503, "p3": 403, "nobody": 404}


@pytest.mark.parametrize("odd", ["%00", "p1%00", "a" * 129, "%0A", "%ED%A0%80", "%C2%85"])
async def test_invalid_ids_in_a_path_are_not_found(served: Served, odd: str) -> None:
    for path in (f"status/{odd}", f"participant/{odd}/history", f"{odd}/qr.png?s=x"):
        answer = await served.api.get(f"{BASE}/{path}", headers=bearer(role="admin"))
        assert answer.status_code == 404, path
        assert answer.json()["status_code"] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", f"{BASE}/nothing", 404),
        ("GET", f"{BASE}/status/", 404),
        ("GET", f"{BASE}/initiate", 405),
        ("DELETE", f"{BASE}/status/p1", 405),
        ("PUT", f"{BASE}/webhooks/stripe", 405),
        ("POST", "/wp-login.php", 404),
    ],
)
async def test_other_addresses_and_methods(served: Served, method: str, path: str, status: int) -> None:
    answer = await served.api.request(method, path)
    assert answer.status_code == status
    assert answer.json()["status_code"] == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ("Allow" in answer.headers) is (status == 405)


async def test_options_and_head(served: Served) -> None:
    answer = await served.api.options(f"{BASE}/health")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    refused = await served.api.put(f"{BASE}/initiate")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "OPTIONS, POST")
    whole = await served.api.get(f"{BASE}/health/live")
    head = await served.api.head(f"{BASE}/health/live")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert (await served.api.head(f"{BASE}/admin/payments")).status_code == 401


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/json", 200),
        ("text/html, application/*;q=0.1", 200),
        ("*/*;q=0.5, application/xml", 200),  # what Stripe sends
        ("nonsense", 200),
        ("text/html", 406),
        ("application/json;q=0.0, text/html", 406),
        ("application/xml;q=1, */*;q=0", 406),
    ],
)
async def test_an_unacceptable_content_type_is_refused_before_anything_is_done(
    served: Served, accept: str, status: int
) -> None:
    answer = await served.api.post(
        f"{BASE}/initiate",
        json={"participant_id": "p1", "method": "apple_pay"},
        headers=bearer() | {"Accept": accept},
    )
    assert answer.status_code == status
    assert len(served.sandbox.stripe.core.tables["payment_intents"]) == (status == 200)


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "{}", "\u00e4"])
async def test_an_invalid_request_id_is_replaced(served: Served, given: str) -> None:
    answer = await served.api.get(f"{BASE}/health/live", headers=[("X-Request-ID", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{24}", answer.headers["X-Request-ID"])


async def test_the_page_after_a_payment(served: Served) -> None:
    page = await served.api.get(f"{BASE}/thanks")
    assert page.headers["Content-Type"].startswith("text/html")
    assert all(f'lang="{code}"' in page.text for code in ("ru", "kk", "en"))
    assert "http" not in page.text.replace("http-equiv", ""), "the page loads nothing"


async def test_a_provider_that_is_down_is_a_503_and_nothing_is_lost(served: Served) -> None:
    await served.control.post(
        "/_sandbox/faults",
        json={"kind": "status", "status": 429, "retry_after": 60, "path": "/v1/", "times": 1},
    )
    answer = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "apple_pay"}, headers=bearer()
    )
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    body = await served.initiate()
    assert body["payment_id"] in answer.json()["detail"], "it resumes the same payment"
    async with served.ctx.db.reading() as session:
        assert len((await session.exec(select(PaymentDetail))).all()) == 1


async def test_a_provider_that_is_not_configured_is_a_503_without_our_settings(serve: Serve) -> None:
    served = await serve(stripe_secret_key=None)
    answer = await served.api.post(
        f"{BASE}/initiate", json={"participant_id": "p1", "method": "apple_pay"}, headers=bearer()
    )
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert "operator" in answer.json()["detail"]
    assert "configured" not in answer.text, "what is missing is for the log"


async def test_a_bug_is_a_500_with_its_request_id_and_no_trace(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("procomp_pay.server.api.routes.views.standing", broken)
    answer = await served.api.get(f"{BASE}/status/p1", headers=bearer() | {"X-Request-ID": "bug-1"})
    assert answer.status_code == 500
    assert answer.json() == {
        "detail": "Something went wrong on our side. Request id: bug-1",
        "status_code": 500,
        "code": "internal_error",
    }
    assert "a bug of ours" in caplog.text, "the log has the trace"


async def test_times_are_whole_seconds_of_the_platforms_columns(
    served: Served, eventually: Eventually
) -> None:
    payment_id = await paid(served, eventually)
    await served.initiate("p2", "kaspi_qr")
    desk = bearer(role="staff")
    texts = [
        (await served.api.get(f"{BASE}{path}", headers=desk)).text
        for path in ("/status/p1", "/participant/p2/history", "/admin/payments", "/health")
    ]
    times = [time for text in texts for time in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text)]
    assert len(times) > 10
    assert [time for time in times if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)] == []
    async with served.ctx.db.writing() as session:
        payment = await session.get(Payment, payment_id)
        assert payment is not None
        payment.created_at = datetime(2026, 3, 1, 8, 59, 59, 999000, tzinfo=UTC)
    assert (await served.status())["created_at"] == "2026-03-01T08:59:59Z"
