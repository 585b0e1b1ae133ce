"""Refunds in the enhanced and the standard scheme, and by a cashier."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.kaspi_sandbox import Kaspi


async def left(kaspi: Kaspi, payment_id: int) -> Decimal:
    """Return the refundable amount in Kaspi's details."""
    return Decimal((await kaspi.details(payment_id))["Data"]["AvailableReturnAmount"])


async def test_details_of_a_paid_purchase(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("200.00")
    path = f"/payment/details?QrPaymentId={payment_id}&DeviceToken={kaspi.box.device_token}"
    answer = await kaspi.ask("GET", path)
    assert answer.json()["Data"] == {
        "QrPaymentId": payment_id, "TotalAmount": 200, "AvailableReturnAmount": 200,
        "TransactionDate": "2026-11-23T12:00:00+05:00",
    }  # fmt: skip
    assert '"TotalAmount": 200.00, "AvailableReturnAmount": 200.00' in answer.text
    assert (await kaspi.details(payment_id, scheme="r2"))["Data"]["TotalAmount"] == 200


async def test_partial_refunds_down_to_zero(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    first = await kaspi.refund(payment_id, "30.01")
    second = await kaspi.refund(payment_id, "69.99")
    assert first["Data"]["ReturnOperationId"] != second["Data"]["ReturnOperationId"]
    assert len(str(first["Data"]["ReturnOperationId"])) == 11
    assert await left(kaspi, payment_id) == 0
    assert (await kaspi.refund(payment_id, "0.01"))["StatusCode"] == -99000005
    assert await kaspi.status(payment_id) == "Processed"


async def test_the_same_refund_request_twice_refunds_twice(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    body = {
        "OrganizationBin": kaspi.box.organization_bin, "DeviceToken": kaspi.box.device_token,
        "QrPaymentId": payment_id, "Amount": 40,
    }  # fmt: skip
    headers = kaspi.headers("r3")
    for remaining in (60, 20):
        answer = await kaspi.ask("POST", "/payment/return", body, headers=headers)
        assert answer.json()["StatusCode"] == 0
        assert await left(kaspi, payment_id) == remaining


async def test_a_refund_above_the_purchase_is_refused(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    assert (await kaspi.refund(payment_id, "100.01"))["StatusCode"] == -99000005
    assert await left(kaspi, payment_id) == 100


async def test_a_refund_of_zero_is_refused(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    assert (await kaspi.refund(payment_id, "0"))["StatusCode"] == 990000028
    assert (await kaspi.refund(payment_id, "-1"))["StatusCode"] == 990000028
    assert await left(kaspi, payment_id) == 100


async def test_a_refund_of_an_unknown_purchase_is_refused(kaspi: Kaspi) -> None:
    assert (await kaspi.refund(1, "1.00"))["StatusCode"] == -99000001


@pytest.mark.parametrize("steps", [[], ["scan"], ["scanerror"], ["scan", "confirmerror"]])
async def test_a_refund_of_an_unpaid_purchase_is_refused(kaspi: Kaspi, steps: list[str]) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    for step in steps:
        await kaspi.step(step, payment_id)
    assert (await kaspi.refund(payment_id, "1.00"))["StatusCode"] == -99000011


async def test_any_device_of_the_trade_point_may_refund_and_no_other(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    elsewhere = await kaspi.device(await kaspi.point(), "far")
    assert (await kaspi.refund(payment_id, "1.00", DeviceToken=elsewhere))["StatusCode"] == -99000003
    beside = await kaspi.device(kaspi.box.trade_point_id, "near")
    assert (await kaspi.refund(payment_id, "1.00", DeviceToken=beside))["StatusCode"] == 0


async def test_refunds_are_refused_by_device_and_trade_point(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    device, point = f"/devices/{kaspi.box.device_token}", f"/tradepoints/{kaspi.box.trade_point_id}"
    assert (await kaspi.refund(payment_id, "1.00", DeviceToken="x"))["StatusCode"] == -1501
    other = {"OrganizationBin": "000000000001"}
    assert (await kaspi.refund(payment_id, "1.00", **other))["StatusCode"] == -1501
    await kaspi.control(device, {"Active": False})
    assert (await kaspi.refund(payment_id, "1.00"))["StatusCode"] == -1502
    await kaspi.control(device, {"Active": True})
    await kaspi.control(point, {"Active": False})
    assert (await kaspi.refund(payment_id, "1.00"))["StatusCode"] == 990000018
    await kaspi.control(point, method="DELETE")
    assert (await kaspi.refund(payment_id, "1.00"))["StatusCode"] == -99000002


async def test_a_loan_is_refunded_only_in_full(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00", product="Loan")
    assert (await kaspi.refund(payment_id, "99.99"))["StatusCode"] == -99000020
    assert (await kaspi.refund(payment_id, "100.00"))["StatusCode"] == 0
    assert await left(kaspi, payment_id) == 0


async def test_a_refund_that_fails_at_the_bank(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    await kaspi.control("/force", {"path": "/payment/return", "code": -99000006})
    assert (await kaspi.refund(payment_id, "100.00"))["StatusCode"] == -99000006
    assert await left(kaspi, payment_id) == 100
    assert (await kaspi.refund(payment_id, "100.00"))["StatusCode"] == 0


async def test_a_refund_by_a_cashier_in_the_kaspi_app(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    view = await kaspi.control(f"/payments/{payment_id}/cashier-refund", {"Amount": "70.50"})
    assert [(refund["Amount"], refund["By"]) for refund in view["Refunds"]] == [(Decimal("70.50"), "cashier")]
    assert await left(kaspi, payment_id) == Decimal("29.50")
    assert (await kaspi.refund(payment_id, "30.00"))["StatusCode"] == -99000005
    url = f"/_sandbox/kaspi/payments/{payment_id}/cashier-refund"
    assert (await kaspi.http.post(url, json={"Amount": "30.00"})).status_code == 409
    assert (await kaspi.http.post(url, json={"Amount": "much"})).status_code == 400


async def new_return(kaspi: Kaspi) -> dict[str, object]:
    """Return the data of a new return QR."""
    answer = await kaspi.post("/return/create", {"DeviceToken": kaspi.box.device_token}, scheme="r2")
    assert answer["StatusCode"] == 0
    data: dict[str, object] = answer["Data"]
    return data


async def test_a_return_qr_has_the_documented_fields_and_lifetime(kaspi: Kaspi) -> None:
    data = await new_return(kaspi)
    assert set(data) == {"QrToken", "ExpireDate", "QrReturnId", "QrReturnBehaviorOptions"}
    assert data["QrReturnBehaviorOptions"] == {
        "QrCodeScanEventPollingInterval": 5, "QrCodeScanWaitTimeout": 180,
    }  # fmt: skip
    path = f"/return/status/{data['QrReturnId']}"
    assert (await kaspi.get(path, scheme="r2"))["Data"] == {"Status": "QrTokenCreated"}
    assert (await kaspi.phone(str(data["QrToken"]), "scan")).json()["Status"] == "CustomerIdentityObtained"
    assert (await kaspi.get(path, scheme="r2"))["Data"] == {"Status": "CustomerIdentityObtained"}
    assert (await kaspi.phone(str(data["QrToken"]), "scan")).status_code == 409


async def test_a_return_qr_expires_and_can_be_cancelled(kaspi: Kaspi) -> None:
    dead, cancelled = await new_return(kaspi), await new_return(kaspi)
    assert (await kaspi.phone(str(cancelled["QrToken"]), "cancel")).json()["Status"] == "Error"
    kaspi.clock.wait(180)
    assert (await kaspi.phone(str(dead["QrToken"]), "scan")).status_code == 409


async def test_refusals_of_return_create(kaspi: Kaspi) -> None:
    async def code(token: str) -> int:
        answer = await kaspi.post("/return/create", {"DeviceToken": token}, scheme="r2")
        return int(answer["StatusCode"])

    ready = kaspi.box.device_token
    assert await code("x") == -1501
    await kaspi.control(f"/devices/{ready}", {"Active": False})
    assert await code(ready) == -1502
    await kaspi.control(f"/devices/{ready}", {"Active": True})
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", {"Active": False})
    assert await code(ready) == 990000018
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", method="DELETE")
    assert await code(ready) == -99000002


async def test_the_standard_refund_needs_the_buyers_scan(kaspi: Kaspi) -> None:
    mine, theirs = await kaspi.paid("100.00", phone="87011111111"), await kaspi.paid(phone="87022222222")
    item = await new_return(kaspi)

    async def give(payment_id: int, return_id: object) -> int:
        body = {
            "DeviceToken": kaspi.box.device_token, "QrPaymentId": payment_id, "QrReturnId": return_id,
            "Amount": Decimal("60.00"),
        }  # fmt: skip
        return int((await kaspi.post("/payment/return", body, scheme="r2"))["StatusCode"])

    assert await give(mine, item["QrReturnId"]) == -1601
    await kaspi.phone(str(item["QrToken"]), "scan", phone="87011111111")
    assert await give(theirs, item["QrReturnId"]) == -1601
    assert await give(mine, 1) == -1601
    assert await give(mine, item["QrReturnId"]) == 0
    assert await give(mine, item["QrReturnId"]) == -99000005
    assert await left(kaspi, mine) == 40


async def test_return_operations_list_the_buyers_latest_ten(kaspi: Kaspi) -> None:
    item = await new_return(kaspi)
    ids = []
    for number in range(12):
        ids.append(await kaspi.paid(f"{number + 1}.50", phone="87011111111"))
        kaspi.clock.wait(1)
    await kaspi.paid(phone="87022222222")
    body = {"DeviceToken": kaspi.box.device_token, "QrReturnId": item["QrReturnId"]}
    assert (await kaspi.post("/return/operations", body, scheme="r2"))["StatusCode"] == -1601
    await kaspi.step("scan", int(str(item["QrReturnId"])), scheme="r2")
    assert (await kaspi.post("/return/operations", body, scheme="r2"))["Data"] == []

    again = await new_return(kaspi)
    await kaspi.phone(str(again["QrToken"]), "scan", phone="87011111111")
    body["QrReturnId"] = again["QrReturnId"]
    for asked, expected in ((None, 10), (3, 3), (50, 10)):
        rows = (await kaspi.post("/return/operations", {**body, "MaxResult": asked}, scheme="r2"))["Data"]
        assert [row["QrPaymentId"] for row in rows] == ids[::-1][:expected]
    assert set(rows[0]) == {"QrPaymentId", "TransactionDate", "Amount"}
    assert rows[0]["Amount"] == Decimal("12.50")
    bad = await kaspi.ask("POST", "/return/operations", {**body, "MaxResult": 0}, scheme="r2")
    assert bad.status_code == 400
