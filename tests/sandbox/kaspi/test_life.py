"""The life of QR, link and invoice, step by step and by the clock."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.kaspi_sandbox import START, Kaspi, running

ALL = ("r1", "r2", "r3")


@pytest.mark.parametrize("scheme", ALL)
async def test_qr_create_has_the_documented_shape(kaspi: Kaspi, scheme: str) -> None:
    data = await kaspi.create("5000.00", scheme=scheme, ExternalId="E-1")
    assert set(data) == {
        "QrToken", "ExpireDate", "QrPaymentId", "PaymentMethods", "QrPaymentBehaviorOptions",
    }  # fmt: skip
    assert len(data["QrToken"]) == 41
    assert data["QrToken"].isdigit()
    assert len(str(data["QrPaymentId"])) == 11
    assert data["ExpireDate"] == "2026-11-23T12:03:00+05:00"
    assert data["PaymentMethods"] == ["Gold", "Red", "Loan"]
    assert data["QrPaymentBehaviorOptions"] == {
        "StatusPollingInterval": 5, "QrCodeScanWaitTimeout": 180, "PaymentConfirmationTimeout": 65,
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ALL)
async def test_a_link_leads_to_our_own_phone_page_and_can_be_paid(kaspi: Kaspi, scheme: str) -> None:
    body = {"DeviceToken": kaspi.box.device_token, "Amount": Decimal("1500.00")}
    data = (await kaspi.post("/qr/create-link", body, scheme=scheme))["Data"]
    assert set(data) == {
        "PaymentLink", "ExpireDate", "PaymentId", "PaymentMethods", "PaymentBehaviorOptions",
    }  # fmt: skip
    assert data["PaymentBehaviorOptions"] == {
        "StatusPollingInterval": 5, "LinkActivationWaitTimeout": 180, "PaymentConfirmationTimeout": 65,
    }  # fmt: skip
    base = f"{kaspi.http.base_url}"
    assert data["PaymentLink"].startswith(f"{base}/pay/")
    page = await kaspi.http.get(data["PaymentLink"])
    assert page.status_code == 200
    assert "SANDBOX" in page.text
    answer = await kaspi.http.post(
        data["PaymentLink"], data={"action": "pay"}, headers={"Accept": "application/json"}
    )
    assert answer.json()["Status"] == "Processed"
    assert await kaspi.status(data["PaymentId"], scheme=scheme) == "Processed"


@pytest.mark.parametrize("scheme", ALL)
async def test_a_payment_is_created_scanned_and_confirmed(kaspi: Kaspi, scheme: str) -> None:
    payment_id = (await kaspi.create(scheme=scheme))["QrPaymentId"]
    assert await kaspi.status(payment_id, scheme=scheme) == "QrTokenCreated"
    assert await kaspi.step("scan", payment_id, scheme=scheme) == {"StatusCode": 0, "message": "OK"}
    assert await kaspi.status(payment_id, scheme=scheme) == "Wait"
    await kaspi.step("confirm", payment_id, scheme=scheme)
    assert await kaspi.get(f"/payment/status/{payment_id}", scheme=scheme) == {
        "StatusCode": 0, "Message": "OK", "Data": {"Status": "Processed"},
    }  # fmt: skip


@pytest.mark.parametrize("steps", [["scanerror"], ["scan", "confirmerror"]])
async def test_errors_of_the_test_host(kaspi: Kaspi, steps: list[str]) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    for step in steps:
        assert (await kaspi.step(step, payment_id))["StatusCode"] == 0
    assert await kaspi.status(payment_id) == "Error"


async def test_confirmerror_needs_a_scan_first(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    assert (await kaspi.step("confirmerror", payment_id))["StatusCode"] == -99000011
    assert (await kaspi.step("confirm", payment_id))["StatusCode"] == -99000011
    assert await kaspi.status(payment_id) == "QrTokenCreated"


async def test_a_qr_can_be_scanned_for_180_seconds(kaspi: Kaspi) -> None:
    first, second = [(await kaspi.create())["QrPaymentId"] for _ in range(2)]
    kaspi.clock.wait(179.9)
    assert (await kaspi.step("scan", first))["StatusCode"] == 0
    kaspi.clock.wait(0.1)
    assert (await kaspi.step("scan", second))["StatusCode"] == -99000011
    assert await kaspi.status(second) == "QrTokenCreated"
    assert (await kaspi.step("scanerror", second))["StatusCode"] == -99000011


async def test_an_expired_qr_can_report_error(kaspi: Kaspi) -> None:
    await kaspi.control("/settings", {"expired_status": "Error"})
    payment_id = (await kaspi.create())["QrPaymentId"]
    kaspi.clock.wait(179)
    assert await kaspi.status(payment_id) == "QrTokenCreated"
    kaspi.clock.wait(1)
    assert await kaspi.status(payment_id) == "Error"


async def test_a_scanned_payment_can_be_confirmed_for_65_seconds(kaspi: Kaspi) -> None:
    first, second = [(await kaspi.create())["QrPaymentId"] for _ in range(2)]
    kaspi.clock.wait(170)
    await kaspi.step("scan", first)
    await kaspi.step("scan", second)
    kaspi.clock.wait(64.9)
    assert await kaspi.status(first) == "Wait"
    assert (await kaspi.step("confirm", first))["StatusCode"] == 0
    kaspi.clock.wait(0.1)
    assert await kaspi.status(second) == "Error"
    assert (await kaspi.step("confirm", second))["StatusCode"] == -99000011
    assert await kaspi.status(first) == "Processed"


async def test_a_second_scan_and_a_second_confirm_are_refused(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    await kaspi.step("scan", payment_id)
    assert (await kaspi.step("scan", payment_id))["StatusCode"] == -99000011
    await kaspi.step("confirm", payment_id)
    assert (await kaspi.step("confirm", payment_id))["StatusCode"] == -99000011
    assert (await kaspi.step("confirmerror", payment_id))["StatusCode"] == -99000011
    assert await kaspi.status(payment_id) == "Processed"


async def test_create_requests_are_not_deduplicated(kaspi: Kaspi) -> None:
    headers = kaspi.headers("r3")
    body = {
        "OrganizationBin": kaspi.box.organization_bin, "DeviceToken": kaspi.box.device_token,
        "Amount": Decimal("100.00"), "ExternalId": "same",
    }  # fmt: skip
    responses = [await kaspi.ask("POST", "/qr/create", body, headers=headers) for _ in range(2)]
    first, second = (answer.json()["Data"] for answer in responses)
    assert first["QrPaymentId"] != second["QrPaymentId"]
    assert first["QrToken"] != second["QrToken"]


@pytest.mark.parametrize("scheme", ALL)
async def test_v02_has_more_fields_once_paid(kaspi: Kaspi, scheme: str) -> None:
    data = await kaspi.create("5000.00")
    path = f"/payment/status/{data['QrPaymentId']}"
    assert (await kaspi.get(path, scheme=scheme, version="v02"))["Data"] == {"Status": "QrTokenCreated"}
    await kaspi.phone(data["QrToken"], "pay", product="Loan")
    answer = await kaspi.ask("GET", path, scheme=scheme, version="v02")
    assert '"Amount": 5000.00' in answer.text
    assert answer.json()["Data"] == {
        "Status": "Processed", "TransactionId": str(data["QrPaymentId"]), "Amount": 5000,
        "ProductType": "Loan", "LoanOfferName": "Кредит на покупки", "LoanTerm": 3, "IsOffer": False,
        "StoreName": "ProComp: касса турнира", "Address": "пр. Абая 44", "City": "Алматы",
    }  # fmt: skip


async def test_v02_can_be_switched_off(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid()
    await kaspi.control("/settings", {"v02": False})
    answer = await kaspi.ask("GET", f"/payment/status/{payment_id}", version="v02")
    assert answer.status_code == 404
    assert await kaspi.status(payment_id) == "Processed"


async def test_operation_numbers_can_differ_from_payment_ids(kaspi: Kaspi) -> None:
    same = await kaspi.control(f"/payments/{await kaspi.paid()}", method="GET")
    assert same["OperationNumber"] == str(same["QrPaymentId"])
    assert same["ReceiptNumber"] == f"QR{same['QrPaymentId']}"
    await kaspi.control("/settings", {"operation_numbers": "own"})
    own = await kaspi.control(f"/payments/{await kaspi.paid()}", method="GET")
    assert own["OperationNumber"] != str(own["QrPaymentId"])
    answer = await kaspi.get(f"/payment/status/{own['QrPaymentId']}", version="v02")
    assert answer["Data"]["TransactionId"] == own["OperationNumber"]


async def test_the_undocumented_status_of_links(kaspi: Kaspi) -> None:
    await kaspi.control("/settings", {"link_open_status": "RemotePaymentCreated"})
    body = {"DeviceToken": kaspi.box.device_token, "Amount": 100}
    link = (await kaspi.post("/qr/create-link", body))["Data"]["PaymentId"]
    plain = (await kaspi.create())["QrPaymentId"]
    for payment_id in (link, plain):
        await kaspi.step("scan", payment_id)
    assert await kaspi.status(link) == "RemotePaymentCreated"
    assert await kaspi.status(plain) == "Wait"


async def test_late_payment_after_expiry_and_after_error(kaspi: Kaspi) -> None:
    unscanned, unconfirmed = [(await kaspi.create())["QrPaymentId"] for _ in range(2)]
    await kaspi.step("scan", unconfirmed)
    kaspi.clock.wait(300)
    assert await kaspi.status(unconfirmed) == "Error"
    for payment_id in (unscanned, unconfirmed):
        view = await kaspi.control(f"/payments/{payment_id}/late-process")
        assert view["Status"] == "Processed"
        assert await kaspi.status(payment_id) == "Processed"
        assert (await kaspi.details(payment_id))["Data"]["AvailableReturnAmount"] == 5000
    again = await kaspi.http.post(f"/_sandbox/kaspi/payments/{unscanned}/late-process")
    assert again.status_code == 409


async def test_an_unknown_status_is_shown_until_it_is_removed(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    await kaspi.control(f"/payments/{payment_id}/status", {"Status": "SomethingNew"})
    assert await kaspi.status(payment_id) == "SomethingNew"
    await kaspi.control(f"/payments/{payment_id}/status", {"Status": None})
    assert await kaspi.status(payment_id) == "QrTokenCreated"
    await kaspi.control(f"/payments/{payment_id}/status", {"Status": "SomethingNew"})
    await kaspi.phone(payment_id, "pay")
    assert await kaspi.status(payment_id) == "Processed"


@pytest.mark.parametrize(
    ("form", "expire", "transaction"),
    [
        ("+05:00", "2026-11-23T12:03:00+05:00", "2026-11-23T12:00:00+05:00"),
        ("+05", "2026-11-23T12:03:00+05", "2026-11-23T12:00:00+05"),
        ("fraction3", "2026-11-23T12:03:00.250+05:00", "2026-11-23T12:00:00.250+05:00"),
        ("fraction7", "2026-11-23T12:03:00.2500000", "2026-11-23T12:00:00.2500000"),
    ],
)
async def test_date_forms(kaspi: Kaspi, form: str, expire: str, transaction: str) -> None:
    await kaspi.control("/settings", {"date_form": form})
    assert (await kaspi.create())["ExpireDate"] == expire
    payment_id = await kaspi.paid()
    assert (await kaspi.details(payment_id))["Data"]["TransactionDate"] == transaction


async def test_unpadded_day_and_the_cycle_of_forms(kaspi: Kaspi) -> None:
    kaspi.clock.now = START - 20 * 86400
    await kaspi.control("/settings", {"date_form": "unpadded-day"})
    assert (await kaspi.create())["ExpireDate"] == "2026-11-3T12:03:00.250+05:00"
    await kaspi.control("/settings", {"date_form": "cycle"})
    expiry_dates = [(await kaspi.create())["ExpireDate"] for _ in range(6)]
    assert len(set(expiry_dates)) == 5
    assert expiry_dates[5] == expiry_dates[0]


async def test_a_fast_clock_reports_its_scaled_timers() -> None:
    async with running(time_scale=60.0) as kaspi:
        data = await kaspi.create()
        assert data["QrPaymentBehaviorOptions"] == {
            "StatusPollingInterval": 1, "QrCodeScanWaitTimeout": 3, "PaymentConfirmationTimeout": 2,
        }  # fmt: skip
        assert data["ExpireDate"] == "2026-11-23T12:00:03+05:00"
        kaspi.clock.wait(2.9)
        assert (await kaspi.step("scan", data["QrPaymentId"]))["StatusCode"] == 0
        kaspi.clock.wait(1.9)
        assert await kaspi.status(data["QrPaymentId"]) == "Wait"
        kaspi.clock.wait(0.1)
        assert await kaspi.status(data["QrPaymentId"]) == "Error"


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_invalid_time_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="time_scale"):
        Kaspi(time_scale=scale)
