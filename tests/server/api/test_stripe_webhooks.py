"""Stripe's webhook: unsigned events are refused, signed ones are stored once, in any order."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.server.api.requests import WEBHOOK_BYTES
from procomp_pay.server.background import loops
from procomp_pay.server.http import errors
from procomp_pay.server.http.route import BASE
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.states import EventState
from tests.support.http_requests import digest, inbox, rename_table, sign
from tests.support.server import Eventually, Serve, Served

HOOK = f"{BASE}/webhooks/stripe"


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let events come by the webhook alone: ``serve`` also fetches those that did not."""

    async def fetch_nothing(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(loops, "work_missed", fetch_nothing)


async def _post(served: Served, body: bytes, header: Any = None) -> int:
    headers = [("Content-Type", "application/json; charset=utf-8")]
    given = header if isinstance(header, list) else [header]
    headers += [("Stripe-Signature", value) for value in given if value is not None]
    return (await served.api.post(HOOK, content=body, headers=headers)).status_code


def _bodies(served: Served, *types: str) -> list[bytes]:
    """Return the sandbox's events of these types, in order, as Stripe would send them."""
    core = served.sandbox.stripe.core
    events = [core.view(row) for row in core.tables["events"].values()]
    chosen = [event for event in events if event["type"] in types]
    return [json.dumps(event, indent=2, ensure_ascii=False).encode() for event in chosen]


async def _succeeded(served: Served) -> bytes:
    """Return the undelivered event of a paid payment."""
    await served.deliver("drop")
    await served.pay((await served.initiate())["client_secret"])
    (body,) = _bodies(served, "payment_intent.succeeded")
    return body


def _altered(body: bytes) -> bytes:
    at = body.index(b"5000")
    return body[:at] + b"4" + body[at + 1 :]


UNKIND: dict[str, Callable[[bytes, str], tuple[bytes, Any]]] = {
    "missing": lambda body, _: (body, None),
    "empty": lambda body, _: (body, ""),
    "wrong secret": lambda body, _: (body, sign(body, "whsec_another")),
    "the secret without its prefix": lambda body, key: (body, sign(body, key.removeprefix("whsec_"))),
    "stale": lambda body, key: (body, sign(body, key, age=301)),
    "future": lambda body, key: (body, sign(body, key, age=-303)),
    "one byte altered": lambda body, key: (_altered(body), sign(body, key)),
    "one byte more": lambda body, key: (body + b" ", sign(body, key)),
    "one byte less": lambda body, key: (body[:-1], sign(body, key)),
    "empty body": lambda body, key: (b"", sign(body, key)),
    "not UTF-8": lambda _, key: (b"\xff", sign(b"\xff", key)),
    "wrong scheme": lambda body, key: (body, sign(body, key, scheme="v0")),
    "no time": lambda body, key: (body, sign(body, key).partition(",")[2]),
    "time refreshed": lambda body, key: (body, f"t=4102444800,{sign(body, key, age=400).partition(',')[2]}"),
    "time is no number": lambda body, key: (body, "t=now,v1=" + "0" * 64),
    "no signature": lambda body, key: (body, sign(body, key).partition(",")[0]),
    "cut": lambda body, key: (body, sign(body, key)[:-1]),
    "in capitals": lambda body, key: (body, sign(body, key).upper()),
    "not ASCII": lambda body, key: (body, (sign(body, key) + ",v1=\u0436").encode()),
    "garbage": lambda body, key: (body, "=,=,,v1,t"),
    "two headers": lambda body, key: (body, [sign(body, key), sign(body, key)]),
}


def _another(body: bytes, number: int) -> bytes:
    """Return the same event under another id."""
    return body.replace(b'"id": "evt_', f'"id": "evt_{number}'.encode(), 1)


async def test_invalid_signatures_are_refused(served: Served) -> None:
    paid = await _succeeded(served)
    for number, (name, unkind) in enumerate(UNKIND.items()):
        good = _another(paid, number)
        body, header = unkind(good, served.secret)
        assert await _post(served, body, header) == 400, name
        assert len(await inbox(served.ctx)) == number, name
        # the same event, signed well, is taken: it was the signature that was refused
        assert await _post(served, good, sign(good, served.secret)) == 200, name
        assert len(await inbox(served.ctx)) == number + 1, name


async def test_signatures_within_the_time_tolerance(served: Served) -> None:
    paid = await _succeeded(served)
    for number, age in enumerate((0, 295, -295)):
        body = _another(paid, number)
        assert await _post(served, body, sign(body, served.secret, age=age)) == 200, age
        assert len(await inbox(served.ctx)) == number + 1, age


async def test_both_secrets_are_valid_during_a_rotation(serve: Serve) -> None:
    served = await serve(stripe_webhook_secret=SecretStr("whsec_new, whsec_old"))
    body = await _succeeded(served)
    assert await _post(served, body, sign(body, "whsec_older")) == 400
    assert await _post(served, body, sign(body, "whsec_old")) == 200
    assert await _post(served, body, sign(body, "whsec_new")) == 200
    both = f"{sign(body, 'whsec_unknown')},v1={digest(body, 'whsec_old', int(sign(body, '')[2:12]))}"
    assert await _post(served, body, both) == 200
    assert len(await inbox(served.ctx)) == 1


async def test_stripe_rolls_its_secret_and_signs_with_both(served: Served, eventually: Eventually) -> None:
    await served.control.post("/_sandbox/webhooks/rotate", json={"keep_old": True})
    started = await served.initiate()  # its event carries two signatures; ours is the second
    await served.pay(started["client_secret"])
    await served.until_completed()


async def test_without_a_secret_events_are_refused(serve: Serve) -> None:
    served = await serve(stripe_webhook_secret=None)
    body = await _succeeded(served)
    for key in ("", "None", served.secret):
        assert await _post(served, body, sign(body, key)) == 400
    assert await inbox(served.ctx) == []


async def test_signed_bodies_that_are_not_events(served: Served) -> None:
    for body in (
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b'{"id":"evt_1","type":"a.b","created":"soon"}',
        b'{"id":"evt_1","type":"a.b","created":1e400}',
        b'{"id":"evt_1","type":"a.b","created":99999999999999}',
        b'{"id":"evt_\\u0000","type":"a.b","created":1}',
        b'{"id":"\\ud800","type":"a.b","created":1}',
        b'{"id":1,"type":"a.b","created":1}',
        b'{"id":"","type":"a.b","created":1}',
        b'{"id":"evt_1","created":1}',
        b'{"id":"evt_1","type":"a.b","created":1,"deep":' + b"[" * 50_000,
    ):
        assert await _post(served, body, sign(body, served.secret)) == 400, body[:80]
        assert await inbox(served.ctx) == [], body[:80]


async def test_too_large(served: Served) -> None:
    body = b" " * (WEBHOOK_BYTES + 1)
    assert await _post(served, body, sign(body, served.secret)) == 413
    large = await _succeeded(served)
    large += b" " * (WEBHOOK_BYTES - len(large))
    assert await _post(served, large, sign(large, served.secret)) == 200


async def test_an_event_is_acknowledged_only_once_stored(served: Served) -> None:
    """Refuse to acknowledge an event that cannot be stored: Stripe sends it again."""
    body = await _succeeded(served)
    await rename_table(served.ctx, "pay_webhook_event", "gone")
    assert await _post(served, body, sign(body, served.secret)) == 503
    await rename_table(served.ctx, "gone", "pay_webhook_event")
    assert await _post(served, body, sign(body, served.secret)) == 200


async def test_a_repeated_event_is_stored_once(served: Served, eventually: Eventually) -> None:
    body = await _succeeded(served)
    answers = await asyncio.gather(*(_post(served, body, sign(body, served.secret)) for _ in range(8)))
    assert set(answers) == {200}
    (row,) = await inbox(served.ctx)

    async def done() -> bool:
        return (await inbox(served.ctx))[0].state is EventState.DONE

    await eventually(done)
    assert await _post(served, body, sign(body, served.secret)) == 200
    (again,) = await inbox(served.ctx)
    assert (again.id, again.attempts) == (row.id, 1)


async def test_every_event_delivered_twice(served: Served, eventually: Eventually) -> None:
    await served.deliver("duplicate")
    await served.pay((await served.initiate())["client_secret"])
    await served.until_completed()
    ids = [row.event_id for row in await inbox(served.ctx)]
    assert len(ids) == len(set(ids))
    assert await _topics(served) == ["payment.received"]


async def _topics(served: Served) -> list[str]:
    async with served.ctx.db.reading() as session:
        rows = (await session.exec(select(OutboxMessage))).all()
    return sorted(row.topic for row in rows if row.topic != "payment.failed")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_events_in_any_order_give_the_same_result(
    served: Served, eventually: Eventually, order: tuple[int, ...]
) -> None:
    """Deliver declined, requires-action and paid in all six orders."""
    await served.deliver("drop")
    secret = (await served.initiate())["client_secret"]
    for method in ("pm_card_chargeDeclined", "pm_card_threeDSecure2Required", "pm_apple_pay"):
        await served.pay(secret, method)
    events = _bodies(
        served,
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    )
    assert len(events) == 3
    for handled, number in enumerate(order, start=1):
        assert await _post(served, events[number], sign(events[number], served.secret)) == 200

        async def through(count: int = handled) -> bool:
            rows = await inbox(served.ctx)
            return [row.state for row in rows] == [EventState.DONE] * count

        await eventually(through)
    body = await served.status()
    assert (body["status"], body["failure_reason"]) == ("COMPLETED", None)
    async with served.ctx.db.reading() as session:
        participant = await session.get(Participant, "p1")
    assert participant is not None
    assert (participant.status, participant.payment_id) == (ParticipantStatus.PAID, body["payment_id"])
    assert await _topics(served) == ["payment.received"]


async def test_a_stored_event_is_processed_at_once(
    served: Served, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storing wakes the loop, which would look again only after a minute."""
    monkeypatch.setattr(loops, "INBOX_PAUSE_S", 60.0)
    body = await _succeeded(served)
    for number in range(5):
        other = _another(body, number)
        assert await _post(served, other, sign(other, served.secret)) == 200

        async def done(count: int = number + 1) -> bool:
            return [row.state for row in await inbox(served.ctx)] == [EventState.DONE] * count

        await eventually(done)


async def test_each_hundredth_webhook_is_logged_and_all_are_counted(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "SAMPLE", 3)
    body = await _succeeded(served)
    caplog.clear()
    with caplog.at_level("INFO", "procomp_pay.server.http.access"):
        for _ in range(7):
            assert await _post(served, body, sign(body, served.secret)) == 200
        assert await _post(served, body, "t=1,v1=0") == 400
    lines = [record.getMessage() for record in caplog.records if "POST" in record.getMessage()]
    assert [" 200 " in line for line in lines].count(True) in (2, 3), lines
    assert " 400 " in lines[-1]
    counted = (await served.api.get(f"{BASE}/metrics")).text
    total = re.search(r'webhooks_acknowledged_total{sender="stripe"} ([0-9.]+)', counted)
    assert total is not None
    assert float(total[1]) >= 7
