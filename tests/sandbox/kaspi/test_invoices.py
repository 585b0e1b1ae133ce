"""Invoices by phone number: valid for a day, no polling on a timer."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.kaspi_sandbox import Kaspi

PHONE = "87077777777"
DAY = 24 * 60 * 60


async def invoice(kaspi: Kaspi, **more: object) -> dict[str, object]:
    """Return the whole answer of remote/create."""
    body = {
        "DeviceToken": kaspi.box.device_token, "Amount": Decimal("900.00"), "PhoneNumber": PHONE,
        "Comment": "E-7", **more,
    }  # fmt: skip
    answer: dict[str, object] = await kaspi.post("/remote/create", body)
    return answer


async def made(kaspi: Kaspi) -> int:
    """Return the id of a new invoice."""
    data = (await invoice(kaspi))["Data"]
    assert isinstance(data, dict)
    assert set(data) == {"QrPaymentId"}
    return int(data["QrPaymentId"])


async def client(kaspi: Kaspi, phone: str = PHONE, token: str | None = None) -> dict[str, object]:
    """Return the whole answer of client-info."""
    query = f"phoneNumber={phone}&deviceToken={token or kaspi.box.device_token}"
    answer: dict[str, object] = await kaspi.get(f"/remote/client-info?{query}")
    return answer


async def cancel(kaspi: Kaspi, payment_id: int) -> dict[str, object]:
    """Return the whole answer of remote/cancel."""
    body = {"QrPaymentId": payment_id, "DeviceToken": kaspi.box.device_token}
    answer: dict[str, object] = await kaspi.post("/remote/cancel", body)
    return answer


async def test_client_info(kaspi: Kaspi) -> None:
    assert (await client(kaspi))["Data"] == {"ClientName": "Тест Т."}


@pytest.mark.parametrize("phone", ["77077777777", "8707777777", "870777777777", "phone"])
async def test_an_invalid_phone_number_is_refused(kaspi: Kaspi, phone: str) -> None:
    assert (await client(kaspi, phone))["StatusCode"] == -1404
    assert (await invoice(kaspi, PhoneNumber=phone))["StatusCode"] == -1404


async def test_an_invoice_is_paid_on_the_phone(kaspi: Kaspi) -> None:
    payment_id = await made(kaspi)
    assert await kaspi.status(payment_id) == "RemotePaymentCreated"
    assert (await kaspi.phone(payment_id, "scan")).status_code == 409
    assert (await kaspi.phone(payment_id, "pay")).json()["Status"] == "Processed"
    kaspi.clock.wait(10)
    assert await kaspi.status(payment_id) == "Processed"
    assert (await kaspi.refund(payment_id, "900.00"))["StatusCode"] == 0


async def test_an_invoice_is_rejected_on_the_phone(kaspi: Kaspi) -> None:
    payment_id = await made(kaspi)
    assert (await kaspi.phone(payment_id, "cancel")).json()["Status"] == "RemotePaymentRejected"
    assert await kaspi.status(payment_id) == "RemotePaymentRejected"


async def test_an_invoice_lives_for_a_day(kaspi: Kaspi) -> None:
    payment_id = await made(kaspi)
    kaspi.clock.wait(DAY - 1)
    assert await kaspi.status(payment_id) == "RemotePaymentCreated"
    kaspi.clock.wait(1)
    assert (await kaspi.phone(payment_id, "pay")).status_code == 409
    kaspi.clock.wait(10)
    assert await kaspi.status(payment_id) == "Expired"


async def test_polling_an_invoice_on_a_timer_is_refused(kaspi: Kaspi) -> None:
    payment_id = await made(kaspi)
    assert await kaspi.status(payment_id) == "RemotePaymentCreated"
    kaspi.clock.wait(9.9)
    for version in ("v01", "v02"):
        refused = await kaspi.ask("GET", f"/payment/status/{payment_id}", version=version)
        assert (refused.status_code, refused.json()["StatusCode"]) == (429, -999)
        assert refused.headers["Retry-After"] == "10"
    kaspi.clock.wait(0.1)
    assert await kaspi.status(payment_id) == "RemotePaymentCreated"
    qr = (await kaspi.create())["QrPaymentId"]
    assert [await kaspi.status(qr) for _ in range(3)] == ["QrTokenCreated"] * 3


async def test_cancel(kaspi: Kaspi) -> None:
    payment_id = await made(kaspi)
    assert (await cancel(kaspi, payment_id))["Data"] == {"Status": "RemotePaymentCanceled"}
    assert await kaspi.status(payment_id) == "RemotePaymentCanceled"
    assert (await kaspi.phone(payment_id, "pay")).status_code == 409
    assert (await cancel(kaspi, payment_id))["StatusCode"] == -99000001


async def test_cancelling_anything_but_an_open_invoice_is_refused(kaspi: Kaspi) -> None:
    paid = await made(kaspi)
    await kaspi.phone(paid, "pay")
    qr = (await kaspi.create())["QrPaymentId"]
    for payment_id in (paid, qr, 1):
        assert (await cancel(kaspi, payment_id))["StatusCode"] == -99000001
    kaspi.clock.wait(10)
    assert await kaspi.status(paid) == "Processed"


async def test_invoices_are_refused_by_device_and_amount(kaspi: Kaspi) -> None:
    assert (await invoice(kaspi, DeviceToken="x"))["StatusCode"] == -1501
    assert (await client(kaspi, token="x"))["StatusCode"] == -1501
    assert (await invoice(kaspi, Amount=0))["StatusCode"] == 990000028
