"""Each StatusCode, and the errors without one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.kaspi_sandbox import Kaspi


async def code(kaspi: Kaspi, path: str, body: dict[str, object], scheme: str = "r3") -> int:
    """Return the StatusCode of a POST; a refusal has no Data and always a Message."""
    answer = await kaspi.post(path, body, scheme=scheme)
    if answer["StatusCode"] != 0:
        assert set(answer) == {"StatusCode", "Message"}
        assert answer["Message"]
    return int(answer["StatusCode"])


async def create_code(kaspi: Kaspi, token: str | None = None, **more: object) -> set[int]:
    """Return the StatusCodes of qr/create and create-link, which have the same list."""
    body = {"DeviceToken": token or kaspi.box.device_token, "Amount": Decimal("100.00"), **more}
    return {await code(kaspi, path, body) for path in ("/qr/create", "/qr/create-link")}


@pytest.mark.parametrize("scheme", ["r1", "r2", "r3"])
async def test_ping(kaspi: Kaspi, scheme: str) -> None:
    assert await kaspi.get("/health/ping", scheme=scheme) == {"StatusCode": 0, "Message": "OK"}


@pytest.mark.parametrize("value", [None, "", "not-a-guid", "123"])
async def test_the_request_id_is_required(kaspi: Kaspi, value: str | None) -> None:
    headers = kaspi.headers("r3")
    del headers["X-Request-ID"]
    headers |= {} if value is None else {"X-Request-ID": value}
    answer = await kaspi.ask("GET", "/health/ping", headers=headers)
    assert answer.status_code == 400
    assert "StatusCode" not in answer.json()
    assert "X-Request-ID" in answer.json()["Message"]


@pytest.mark.parametrize("scheme", ["r2", "r3"])
async def test_a_missing_certificate_is_minus_10000(kaspi: Kaspi, scheme: str) -> None:
    headers = kaspi.headers("r1")
    answer = await kaspi.ask("GET", "/health/ping", scheme=scheme, headers=headers)
    assert (answer.status_code, answer.json()["StatusCode"]) == (200, -10000)
    await kaspi.control("/settings", {"require_client_cert": False})
    answer = await kaspi.ask("GET", "/health/ping", scheme=scheme, headers=headers)
    assert answer.json()["StatusCode"] == 0


@pytest.mark.parametrize("key", [None, "test_wrong", "тест"])
async def test_a_wrong_api_key_is_refused(kaspi: Kaspi, key: str | None) -> None:
    headers: dict[str, str] = {"X-Request-ID": "0" * 32, "X-Sandbox-Client-Cert": "present"}
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    raw |= {} if key is None else {b"Api-Key": key.encode()}
    answer = await kaspi.http.get("/r1/v01/health/ping", headers=raw)
    assert (answer.status_code, answer.json()["StatusCode"]) == (200, -10000)
    await kaspi.control("/settings", {"api_key_refusal": "http401"})
    answer = await kaspi.http.get("/r1/v01/health/ping", headers=raw)
    assert (answer.status_code, answer.json()["StatusCode"]) == (401, -10000)


async def test_trade_points(kaspi: Kaspi) -> None:
    expected = [{"TradePointId": kaspi.box.trade_point_id, "TradePointName": "ProComp: касса турнира"}]
    for scheme in ("r1", "r2"):
        assert (await kaspi.get("/partner/tradepoints", scheme=scheme))["Data"] == expected
    assert (await kaspi.get(f"/partner/tradepoints/{kaspi.box.organization_bin}"))["Data"] == expected
    other = await kaspi.get("/partner/tradepoints/000000000001")
    assert other["StatusCode"] == -14000002
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", method="DELETE")
    assert (await kaspi.get("/partner/tradepoints", scheme="r1"))["StatusCode"] == -14000002


async def test_each_scheme_serves_only_its_calls(kaspi: Kaspi) -> None:
    absent = [
        ("GET", "r3", "/partner/tradepoints"),
        ("GET", "r1", "/partner/tradepoints/123456789012"),
        ("GET", "r1", "/payment/details"),
        ("POST", "r1", "/payment/return"),
        ("POST", "r1", "/return/create"),
        ("POST", "r3", "/return/create"),
        ("POST", "r2", "/remote/create"),
        ("GET", "r1", "/remote/client-info"),
    ]
    for method, scheme, path in absent:
        body: dict[str, object] | None = {} if method == "POST" else None
        assert (await kaspi.ask(method, path, body, scheme=scheme)).status_code == 404, (scheme, path)


async def test_device_registration_is_idempotent(kaspi: Kaspi) -> None:
    here, elsewhere = kaspi.box.trade_point_id, await kaspi.point()
    token = await kaspi.device(here, "till_7-A")
    assert await kaspi.device(here, "till_7-A") == token
    assert await kaspi.device(here, "till_8") != token
    body = {"DeviceId": "till_7-A", "TradePointId": elsewhere}
    assert await code(kaspi, "/device/register", body) == -1503


async def test_refusals_of_device_registration(kaspi: Kaspi) -> None:
    point = kaspi.box.trade_point_id
    assert await code(kaspi, "/device/register", {"DeviceId": "a", "TradePointId": 1}) == -99000002
    foreign = await kaspi.point(OrganizationBin="000000000001")
    assert await code(kaspi, "/device/register", {"DeviceId": "a", "TradePointId": foreign}) == -99000002
    await kaspi.control(f"/tradepoints/{point}", {"AcceptsQr": False})
    assert await code(kaspi, "/device/register", {"DeviceId": "a", "TradePointId": point}) == 990000026


@pytest.mark.parametrize("device_id", ["касса", "a b", "", "a.b", 7, None])
async def test_a_device_id_has_latin_letters_and_digits(kaspi: Kaspi, device_id: object) -> None:
    body = {"DeviceId": device_id, "TradePointId": kaspi.box.trade_point_id}
    assert (await kaspi.ask("POST", "/device/register", body, scheme="r1")).status_code == 400


async def test_a_deleted_device(kaspi: Kaspi) -> None:
    token = await kaspi.device(kaspi.box.trade_point_id)
    assert await code(kaspi, "/device/delete", {"DeviceToken": token}) == 0
    assert await create_code(kaspi, token) == {-1502}
    assert await code(kaspi, "/device/delete", {"DeviceToken": token}) == -1501
    assert await code(kaspi, "/device/delete", {"DeviceToken": "unknown"}) == -1501
    assert await kaspi.device(await kaspi.point()) != token


async def test_create_is_refused_by_the_devices_state(kaspi: Kaspi) -> None:
    assert await create_code(kaspi, "unknown") == {-1501}
    foreign = await kaspi.point(OrganizationBin="000000000001")
    token = await kaspi.device(foreign, OrganizationBin="000000000001")
    assert await create_code(kaspi, token) == {-1501}
    assert await create_code(kaspi, token, OrganizationBin="000000000001") == {0}
    await kaspi.control(f"/devices/{kaspi.box.device_token}", {"Active": False})
    assert await create_code(kaspi) == {-1502}


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"Active": False}, 990000018), ({"AcceptsQr": False}, 990000026), ({"PaymentMethods": []}, 990000033)],
)
async def test_create_is_refused_by_the_trade_points_state(
    kaspi: Kaspi, change: dict[str, object], expected: int
) -> None:
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", change)
    assert await create_code(kaspi) == {expected}


async def test_create_at_a_deleted_trade_point_is_refused(kaspi: Kaspi) -> None:
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", method="DELETE")
    assert await create_code(kaspi) == {-99000002}
    assert await kaspi.point() != kaspi.box.trade_point_id


@pytest.mark.parametrize("amount", ["0", "-5", "0.001", "10.005", "1e20", '"100.00"', "null", "true", "[]"])
async def test_an_invalid_amount_is_refused(kaspi: Kaspi, amount: str) -> None:
    text = f'{{"DeviceToken":"{kaspi.box.device_token}","Amount":{amount}}}'
    headers = kaspi.headers("r1") | {"Content-Type": "application/json"}
    answer = await kaspi.http.post("/r1/v01/qr/create", content=text, headers=headers)
    assert (answer.status_code, answer.json()["StatusCode"]) == (200, 990000028)
    assert await kaspi.control("/payments", method="GET") == []


@pytest.mark.parametrize("amount", ["1", "0.01", "99.9", "5000.00", "1000000"])
async def test_valid_amounts_are_accepted(kaspi: Kaspi, amount: str) -> None:
    payment_id = await kaspi.paid(amount)
    answer = await kaspi.details(payment_id)
    assert answer["Data"]["TotalAmount"] == Decimal(amount)
    assert f"{answer['Data']['TotalAmount']}" == f"{Decimal(amount):.2f}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"Amount": NaN}',
        b"\xff",
        b'{"Amount": 1e99999999999999999999}',
        b"[" * 100000,
    ],
)
async def test_a_body_other_than_a_json_object_is_refused(kaspi: Kaspi, body: bytes) -> None:
    headers = kaspi.headers("r1") | {"Content-Type": "application/json"}
    answer = await kaspi.http.post("/r1/v01/qr/create", content=body, headers=headers)
    assert answer.status_code == 400
    assert "StatusCode" not in answer.json()


async def test_the_content_type_is_json(kaspi: Kaspi) -> None:
    headers = kaspi.headers("r1") | {"Content-Type": "text/plain"}
    assert (await kaspi.http.post("/r1/v01/qr/create", content="{}", headers=headers)).status_code == 415


@pytest.mark.parametrize("bad", [{}, {"OrganizationBin": "12"}, {"OrganizationBin": 123456789012}])
async def test_the_enhanced_scheme_names_the_organisation(kaspi: Kaspi, bad: dict[str, object]) -> None:
    body = {"DeviceToken": kaspi.box.device_token, "Amount": 100, **bad}
    assert (await kaspi.ask("POST", "/qr/create", body)).status_code == 400
    assert (await kaspi.ask("POST", "/qr/create", body, scheme="r2")).status_code == 200


@pytest.mark.parametrize("asked", ["1", "0", "abc", "9" * 60, "-1"])
async def test_an_unknown_purchase_is_minus_1601(kaspi: Kaspi, asked: str) -> None:
    for version in ("v01", "v02"):
        assert (await kaspi.get(f"/payment/status/{asked}", version=version))["StatusCode"] == -1601
    query = f"QrPaymentId={asked}&DeviceToken={kaspi.box.device_token}"
    assert (await kaspi.get(f"/payment/details?{query}"))["StatusCode"] == -1601
    assert (await kaspi.get(f"/return/status/{asked}", scheme="r2"))["StatusCode"] == -1601
    answer = await kaspi.post("/test/payment/scan", {"qrPaymentId": asked})
    assert answer["StatusCode"] == -1601
    assert set(answer) == {"StatusCode", "message"}


async def test_details_of_an_unpaid_or_foreign_purchase_are_refused(kaspi: Kaspi) -> None:
    unpaid = (await kaspi.create())["QrPaymentId"]
    assert (await kaspi.details(unpaid))["StatusCode"] == -1601
    payment_id = await kaspi.paid()
    assert (await kaspi.details(payment_id))["StatusCode"] == 0
    elsewhere = await kaspi.device(await kaspi.point())
    assert (await kaspi.details(payment_id, token=elsewhere))["StatusCode"] == -1601
    assert (await kaspi.details(payment_id, token="unknown"))["StatusCode"] == -1601
    assert (await kaspi.ask("GET", f"/payment/details?QrPaymentId={payment_id}")).status_code == 400


async def test_another_organisations_payment_is_hidden_below_r3(kaspi: Kaspi) -> None:
    token = await kaspi.device(
        await kaspi.point(OrganizationBin="000000000001"), OrganizationBin="000000000001"
    )
    body = {"DeviceToken": token, "Amount": 100, "OrganizationBin": "000000000001"}
    payment_id = (await kaspi.post("/qr/create", body))["Data"]["QrPaymentId"]
    assert await kaspi.status(payment_id) == "QrTokenCreated"
    for scheme in ("r1", "r2"):
        assert (await kaspi.get(f"/payment/status/{payment_id}", scheme=scheme))["StatusCode"] == -1601
        assert (await kaspi.step("scan", payment_id, scheme=scheme))["StatusCode"] == -1601


async def test_the_test_steps_take_the_id_as_a_string(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    answer = await kaspi.ask("POST", "/test/payment/scan", {"qrPaymentId": payment_id})
    assert answer.status_code == 400
    assert await kaspi.status(payment_id) == "QrTokenCreated"


async def test_a_forced_code_is_answered_the_given_number_of_times(kaspi: Kaspi) -> None:
    await kaspi.control("/force", {"path": "/qr/create", "code": -999, "times": 2})
    body = {"DeviceToken": kaspi.box.device_token, "Amount": 100}
    assert await code(kaspi, "/qr/create-link", body) == 0
    assert [await code(kaspi, "/qr/create", body) for _ in range(3)] == [-999, -999, 0]
    assert len(await kaspi.control("/payments", method="GET")) == 2


async def test_a_forced_code_reaches_paths_with_an_id_and_codes_without_words(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid()
    await kaspi.control("/force", {"path": "/payment/status", "code": 990000031})
    answer = await kaspi.get(f"/payment/status/{payment_id}", version="v02")
    assert answer == {"StatusCode": 990000031, "Message": "Операция отклонена (код 990000031)"}
    assert await kaspi.status(payment_id) == "Processed"


async def test_a_forced_code_may_come_after_the_work(kaspi: Kaspi) -> None:
    payment_id = await kaspi.paid("100.00")
    body = {"path": "/payment/return", "code": -99000006, "after": True, "message": "сбой"}
    await kaspi.control("/force", body)
    assert await kaspi.refund(payment_id, "40.00") == {"StatusCode": -99000006, "Message": "сбой"}
    assert (await kaspi.details(payment_id))["Data"]["AvailableReturnAmount"] == 60


async def test_forced_codes_can_be_taken_back(kaspi: Kaspi) -> None:
    await kaspi.control("/force", {"path": "/health/ping", "code": -999, "times": 5})
    assert len(await kaspi.control("/force", method="GET")) == 1
    await kaspi.control("/force", method="DELETE")
    assert (await kaspi.get("/health/ping"))["StatusCode"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/force", {"path": "qr", "code": -999}),
        ("/force", {"path": "/qr", "code": 0}),
        ("/force", {"path": "/qr", "code": -999, "times": 0}),
        ("/settings", {"date_form": "roman"}),
        ("/settings", {"v02": 1}),
        ("/settings", {"nonsense": True}),
        ("/tradepoints", {"OrganizationBin": "1"}),
        ("/phones", {"PhoneNumber": ""}),
    ],
)
async def test_invalid_control_requests_are_refused(kaspi: Kaspi, path: str, body: dict[str, object]) -> None:
    before = await kaspi.control("", method="GET")
    answer = await kaspi.http.post(f"/_sandbox/kaspi{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert await kaspi.control("", method="GET") == before


async def test_control_requests_for_unknown_records_are_404(kaspi: Kaspi) -> None:
    for path in ("/payments/1/late-process", "/tradepoints/1", "/devices/none"):
        answer = await kaspi.http.post(f"/_sandbox/kaspi{path}", json={})
        assert answer.status_code == 404, path


async def test_a_paid_status_cannot_be_only_shown(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    answer = await kaspi.http.post(
        f"/_sandbox/kaspi/payments/{payment_id}/status", json={"Status": "Processed"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("organization_bin", ["", "12345678901", "12345678901x"])
def test_a_bin_has_twelve_digits(organization_bin: str) -> None:
    with pytest.raises(ValueError, match="12 digits"):
        Kaspi(organization_bin=organization_bin)
