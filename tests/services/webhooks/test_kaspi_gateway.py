"""A gateway's callbacks: signature tricks, replays, shapes, and what each does."""

from __future__ import annotations

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import BadSignature, Conflict, Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.context import Actor
from procomp_pay.services.reconciliation.discrepancies import How, resolve
from procomp_pay.services.views.payment import Opening
from procomp_pay.services.webhooks.admin import replay_one
from procomp_pay.services.webhooks.kaspi_gateway import receive_callback
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.states import DiscrepancyState, EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.reconciliation.discrepancies import Difference, keep
from tests.support.environment import CLERK, ServiceEnvironment

S = PaymentStatus
NUMBER = "19000000001"
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


async def receive(
    environment: ServiceEnvironment, body: bytes, *times: str, signature: str | None = None
) -> bool:
    given = [sign(body) if signature is None else signature]
    return await receive_callback(environment.ctx, body, given, times, SECRET)


async def test_paid_once_however_often_it_is_told(environment: ServiceEnvironment) -> None:
    participant_id = await environment.participant()
    opened = await environment.start(participant_id)
    body = invoice(opened, transaction_id="QR19000000001")
    assert await receive(environment, body)
    assert not await receive(environment, body, signature=f"sha256={sign(body)}")
    await environment.maintain()
    view = await environment.view(opened)
    assert (view.status, view.operation_number) == (S.COMPLETED, "19000000001")
    assert (await environment.read_participant(participant_id)).status is ParticipantStatus.PAID
    environment.later(86_400)
    assert not await receive(environment, body)  # replayed a day later
    await environment.maintain()
    # the same news in other words is a new event, and changes nothing
    assert await receive(environment, invoice(opened, transaction_id="19000000001", note="again"))
    await environment.maintain()
    assert {row.state for row in await environment.rows(WebhookEvent)} == {EventState.DONE}
    assert [row.topic for row in await environment.rows(OutboxMessage)] == ["payment.received"]
    assert await environment.rows(Discrepancy) == []


async def test_the_payload_is_encrypted(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await receive(environment, invoice(opened))
    [row] = await environment.rows(WebhookEvent)
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


async def test_what_is_not_signed_is_not_kept(environment: ServiceEnvironment) -> None:
    for signatures in NOT_SIGNED:
        with pytest.raises(BadSignature):
            await receive_callback(environment.ctx, b"{}", signatures, [], SECRET)
    for secret in (None, ""):
        with pytest.raises(BadSignature, match="No secret"):
            await receive_callback(environment.ctx, b"{}", [sign(b"{}")], [], secret)
    assert await environment.rows(WebhookEvent) == []


async def test_upper_case_and_spaces_are_the_same_signature(environment: ServiceEnvironment) -> None:
    body = b'{"status":"paid"}'
    assert await receive(environment, body, signature=f" SHA256={sign(body).upper()} ")


async def test_a_stated_time(environment: ServiceEnvironment) -> None:
    body, now = b'{"status":"paid"}', environment.now()
    for off in (-400, 400):
        stamp = str(int(now.timestamp()) + off)
        for signed in (body, f"{stamp}.".encode() + body):
            with pytest.raises(BadSignature, match="too old"):
                await receive(environment, body, stamp, signature=sign(signed))
    for odd in ("", "yesterday", "1e9", "9" * 20, "2026-01-01T00:00:00", "-5"):
        with pytest.raises(BadSignature):
            await receive(environment, body, odd)
    with pytest.raises(BadSignature, match="more than one"):
        await receive(environment, body, str(int(now.timestamp())), "1")
    millis = str(int(now.timestamp() * 1000))
    assert await receive(environment, body, millis, signature=sign(f"{millis}.".encode() + body))


async def test_signed_nonsense(environment: ServiceEnvironment) -> None:
    for body in (b"", b"[]", b"nonsense", b'"x"', b"\xff\xfe", b"{" * 5000, b"null"):
        with pytest.raises(Refused):
            await receive(environment, body)
    assert await environment.rows(WebhookEvent) == []


async def test_another_amount(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await receive(environment, invoice(opened, amount="2400.00"))
    await receive(environment, invoice(opened, amount="a lot"))
    await environment.maintain()
    assert await environment.status(opened) is S.PENDING
    assert {row.kind for row in await environment.rows(Discrepancy)} == {"AMOUNT_MISMATCH"}


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


async def test_states(environment: ServiceEnvironment) -> None:
    for status, becomes in STATES:
        opened = await environment.start()
        await receive(environment, invoice(opened, status))
        await environment.maintain()
        assert await environment.status(opened) is becomes, status


async def test_shapes(environment: ServiceEnvironment) -> None:
    """By our id, by the gateway's id, in camelCase, in PascalCase, flat."""
    for n in range(4):
        opened = await environment.start()
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
        await receive(environment, json.dumps(body).encode())
        await environment.maintain()
        assert await environment.status(opened) is S.COMPLETED, body


async def test_money_for_a_payment_that_nobody_knows(environment: ServiceEnvironment) -> None:
    body = json.dumps({"id": "inv_1", "status": "paid", "amount": 24000}).encode()
    await receive(environment, body)
    for _ in range(12):
        await environment.maintain()
        environment.later(2000)
    [row] = await environment.rows(WebhookEvent)
    assert row.state is EventState.FOREIGN
    assert [discrepancy.kind for discrepancy in await environment.rows(Discrepancy)] == ["MISSING_LOCALLY"]
    assert [message.topic for message in await environment.rows(OutboxMessage)] == ["alert.unapplied_money"]


@pytest.mark.parametrize("is_decided", [True, False])
async def test_replayed_money_that_was_given_back_pays_no_fee(
    environment: ServiceEnvironment, *, is_decided: bool
) -> None:
    await receive(environment, json.dumps({"id": "inv_1", "status": "paid", "amount": 24000}).encode())
    for _ in range(12):
        await environment.maintain()
        environment.later(2000)
    [event] = await environment.rows(WebhookEvent)
    if is_decided:
        [row] = await environment.rows(Discrepancy)
        dana = Actor("dana", Source.PERSON)
        await resolve(environment.ctx, row.id, How.ACCEPT, "given back in the Kaspi Pay app", dana)
    opened = await environment.start()
    await environment.sql(  # its gateway answered late
        """UPDATE "Payment" SET "kaspiQrCode" = 'inv_1' WHERE id = :id""", id=opened.view.payment_id
    )
    if is_decided:
        with pytest.raises(Conflict, match="dana decided about it"):
            await replay_one(environment.ctx, event.event_id, CLERK, dry_run=False)
    else:
        await replay_one(environment.ctx, event.event_id, CLERK, dry_run=False)
    assert await environment.status(opened) is (S.PENDING if is_decided else S.COMPLETED)


async def test_money_that_was_given_back_is_no_second_payment(environment: ServiceEnvironment) -> None:
    """Told as one, it would be given back once more."""
    opened = await environment.start()
    theirs = {"kind": "payment", "ref": NUMBER, "amount": Decimal(24000), "currency": "KZT"}
    kind = DiscrepancyKind.MISSING_LOCALLY
    nobodys = Difference(f"{kind}:-:{NUMBER}", kind, "kaspi", None, {"ours": None, "theirs": theirs})
    async with environment.ctx.db.writing() as session:
        await keep(session, [nobodys], ids=["d1"], run_id=None, now=environment.now())
    dana = Actor("dana", Source.PERSON)
    await resolve(environment.ctx, "d1", How.ACCEPT, "given back in the Kaspi Pay app", dana)
    await receive(environment, invoice(opened, transaction_id="19000000002"))
    await environment.maintain()
    assert await environment.status(opened) is S.COMPLETED
    for id_ in ("inv_2", opened.view.provider_ref):
        await receive(environment, invoice(opened, id=id_, transaction_id=NUMBER))
    await environment.maintain()
    rows = [row for row in await environment.rows(Discrepancy) if row.state is DiscrepancyState.OPEN]
    assert {row.kind for row in rows} == {"MISSING_LOCALLY"}
    assert all("dana decided about it" in row.detail["why"] for row in rows)


async def test_a_callback_that_names_two_payments_settles_neither(environment: ServiceEnvironment) -> None:
    opened, other = await environment.start(), await environment.start()
    await receive(environment, invoice(opened, id=other.view.provider_ref))
    for _ in range(12):
        await environment.maintain()
        environment.later(2000)
    assert [await environment.status(each) for each in (opened, other)] == [S.EXPIRED] * 2
    [row] = await environment.rows(WebhookEvent)
    assert (row.state, row.payment_id) == (EventState.FOREIGN, None)
    assert [discrepancy.kind for discrepancy in await environment.rows(Discrepancy)] == ["MISSING_LOCALLY"]


async def test_a_stripe_payment_is_never_settled_by_it(environment: ServiceEnvironment) -> None:
    opened = await environment.start(method="apple_pay")
    await receive(environment, invoice(opened, amount=50, currency="USD"))
    await environment.maintain()
    assert await environment.status(opened) is S.PENDING
    assert [discrepancy.kind for discrepancy in await environment.rows(Discrepancy)] == ["MISSING_LOCALLY"]


async def test_money_that_went_back_there_is_for_a_person(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    await receive(environment, invoice(opened))
    await receive(environment, invoice(opened, "partially_refunded", amount=10000))
    await environment.maintain()
    assert await environment.status(opened) is S.COMPLETED
    assert [discrepancy.kind for discrepancy in await environment.rows(Discrepancy)] == ["REFUND_MISMATCH"]


async def test_nothing_moves_backwards(environment: ServiceEnvironment) -> None:
    opened = await environment.start()
    for status in ("paid", "expired", "pending", "failed", "wait"):
        await receive(environment, invoice(opened, status))
        await environment.maintain()
    assert await environment.status(opened) is S.COMPLETED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("placeholder", ["  ", "0", 0, "-"])
async def test_a_placeholder_is_no_operation_number(
    environment: ServiceEnvironment, placeholder: str | int
) -> None:
    for _ in range(2):
        opened = await environment.start()
        await receive(environment, invoice(opened, transaction_id=placeholder))
        await environment.maintain()
        assert await environment.status(opened) is S.COMPLETED
    assert await environment.rows(Discrepancy) == []
