"""A gateway's callbacks: signature tricks, replays, shapes, and what each does."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from procomp_pay.domain.errors import BadSignature, Refused
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks.kaspi_gateway import receive_callback
from procomp_pay.storage.models.queues import Discrepancy, OutboxMessage, WebhookEvent
from procomp_pay.storage.models.states import EventState
from tests.support.environment import World

S = PaymentStatus
SECRET = "a secret made for this test"


def sign(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def invoice(opened: Opening, status: str = "paid", **more: Any) -> bytes:
    fields = {
        "id": opened.view.provider_ref,
        "external_order_id": opened.view.payment_id,
        "status": status,
        "amount": 24000.0,
    }
    return json.dumps({"event": "invoice.status_changed", "invoice": fields | more}).encode()


async def receive(world: World, body: bytes, *times: str, signature: str | None = None) -> bool:
    given = [sign(body) if signature is None else signature]
    return await receive_callback(world.ctx, body, given, times, SECRET)


async def test_paid_once_however_often_it_is_told(world: World) -> None:
    who = await world.participant()
    opened = await world.start(who)
    body = invoice(opened, transaction_id="QR19000000001")
    assert await receive(world, body)
    assert not await receive(world, body, signature=f"sha256={sign(body)}")
    await world.maintain()
    view = await world.view(opened)
    assert (view.status, view.operation_number) == (S.COMPLETED, "19000000001")
    assert (await world.who(who)).status is ParticipantStatus.PAID
    world.later(86_400)
    assert not await receive(world, body)  # replayed a day later
    await world.maintain()
    # the same news in other words is a new event, and changes nothing
    assert await receive(world, invoice(opened, transaction_id="19000000001", note="again"))
    await world.maintain()
    assert {row.state for row in await world.rows(WebhookEvent)} == {EventState.DONE}
    assert [row.topic for row in await world.rows(OutboxMessage)] == ["payment.received"]
    assert await world.rows(Discrepancy) == []


async def test_the_payload_is_encrypted(world: World) -> None:
    opened = await world.start(await world.participant())
    await receive(world, invoice(opened))
    [row] = await world.rows(WebhookEvent)
    assert opened.view.payment_id not in row.payload_enc
    assert (row.provider, row.type) == ("kaspi", "invoice.status_changed")


NOT_SIGNED: list[list[str]] = [
    [],
    [""],
    ["sha256="],
    ["0" * 64],
    [sign(b"{}", "another secret")],
    [sign(b"{}")[:-1]],
    [sign(b"{}") + "0"],
    [sign(b"{}"), sign(b"{}")],
    ["sha1=" + sign(b"{}")],
    ["sha256=sha256=" + sign(b"{}")],
    [sign(b"{ }")],
    ["ä" * 64],
    ["а" * 64],  # Cyrillic
    [sign(b"{}") + "\x00"],
]


async def test_what_is_not_signed_is_not_kept(world: World) -> None:
    for signatures in NOT_SIGNED:
        with pytest.raises(BadSignature):
            await receive_callback(world.ctx, b"{}", signatures, [], SECRET)
    for secret in (None, ""):
        with pytest.raises(BadSignature, match="No secret"):
            await receive_callback(world.ctx, b"{}", [sign(b"{}")], [], secret)
    assert await world.rows(WebhookEvent) == []


async def test_upper_case_and_spaces_are_the_same_signature(world: World) -> None:
    body = b'{"status":"paid"}'
    assert await receive(world, body, signature=f" SHA256={sign(body).upper()} ")


async def test_a_stated_time(world: World) -> None:
    body, now = b'{"status":"paid"}', world.now()
    for off in (-400, 400):
        stamp = str(int(now.timestamp()) + off)
        for signed in (body, f"{stamp}.".encode() + body):
            with pytest.raises(BadSignature, match="too old"):
                await receive(world, body, stamp, signature=sign(signed))
    for odd in ("", "yesterday", "1e9", "9" * 20, "2026-01-01T00:00:00", "-5"):
        with pytest.raises(BadSignature):
            await receive(world, body, odd)
    with pytest.raises(BadSignature, match="more than one"):
        await receive(world, body, str(int(now.timestamp())), "1")
    millis = str(int(now.timestamp() * 1000))
    assert await receive(world, body, millis, signature=sign(f"{millis}.".encode() + body))


async def test_signed_nonsense(world: World) -> None:
    for body in (b"", b"[]", b"nonsense", b'"x"', b"\xff\xfe", b"{" * 5000, b"null"):
        with pytest.raises(Refused):
            await receive(world, body)
    assert await world.rows(WebhookEvent) == []


async def test_another_amount(world: World) -> None:
    opened = await world.start(await world.participant())
    await receive(world, invoice(opened, amount="2400.00"))
    await receive(world, invoice(opened, amount="a lot"))
    await world.maintain()
    assert await world.status(opened) is S.PENDING
    assert {row.kind for row in await world.rows(Discrepancy)} == {"AMOUNT_MISMATCH"}


STATES: list[tuple[str, PaymentStatus]] = [
    ("failed", S.FAILED),
    ("Cancelled", S.CANCELLED),
    ("expired", S.EXPIRED),
    ("voided", S.CANCELLED),
    ("Wait", S.PROCESSING),
    ("scanned", S.PROCESSING),
    ("Processed", S.COMPLETED),
    ("pending", S.PENDING),
    ("brand new word", S.PENDING),
]


async def test_states(world: World) -> None:
    for status, becomes in STATES:
        opened = await world.start(await world.participant())
        await receive(world, invoice(opened, status))
        await world.maintain()
        assert await world.status(opened) is becomes, status


async def test_shapes(world: World) -> None:
    """By our id, by the gateway's id, in camelCase, in PascalCase, flat."""
    for n in range(4):
        opened = await world.start(await world.participant())
        ours, theirs = opened.view.payment_id, opened.view.provider_ref
        body = [
            {"id": theirs, "status": "paid"},
            {
                "type": "x",
                "id": "evt_1",
                "data": {"externalOrderId": ours, "status": "paid", "amount": "24000"},
            },
            {"QrPaymentId": int(str(theirs)), "Status": "Processed", "Amount": 24000},
            {"external_id": ours, "status": "success", "invoice": {"id": theirs, "status": "success"}},
        ][n]
        await receive(world, json.dumps(body).encode())
        await world.maintain()
        assert await world.status(opened) is S.COMPLETED, body


async def test_money_for_a_payment_that_nobody_knows(world: World) -> None:
    body = json.dumps({"id": "inv_1", "status": "paid", "amount": 24000}).encode()
    await receive(world, body)
    for _ in range(12):
        await world.maintain()
        world.later(2000)
    [row] = await world.rows(WebhookEvent)
    assert row.state is EventState.FOREIGN
    assert [found.kind for found in await world.rows(Discrepancy)] == ["MISSING_LOCALLY"]
    assert [message.topic for message in await world.rows(OutboxMessage)] == ["alert.unapplied_money"]


async def test_a_stripe_payment_is_never_settled_by_it(world: World) -> None:
    opened = await world.start(await world.participant(), "apple_pay")
    await receive(world, invoice(opened, amount=50, currency="USD"))
    await world.maintain()
    assert await world.status(opened) is S.PENDING
    assert [found.kind for found in await world.rows(Discrepancy)] == ["MISSING_LOCALLY"]


async def test_money_that_went_back_there_is_for_a_person(world: World) -> None:
    opened = await world.start(await world.participant())
    await receive(world, invoice(opened))
    await receive(world, invoice(opened, "partially_refunded", amount=10000))
    await world.maintain()
    assert await world.status(opened) is S.COMPLETED
    assert [found.kind for found in await world.rows(Discrepancy)] == ["REFUND_MISMATCH"]


async def test_nothing_moves_backwards(world: World) -> None:
    opened = await world.start(await world.participant())
    for status in ("paid", "expired", "pending", "failed", "wait"):
        await receive(world, invoice(opened, status))
        await world.maintain()
    assert await world.status(opened) is S.COMPLETED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("placeholder", ["  ", "0", 0, "-"])
async def test_a_placeholder_is_no_operation_number(world: World, placeholder: str | int) -> None:
    for _ in range(2):
        opened = await world.start(await world.participant())
        await receive(world, invoice(opened, transaction_id=placeholder))
        await world.maintain()
        assert await world.status(opened) is S.COMPLETED
    assert await world.rows(Discrepancy) == []
