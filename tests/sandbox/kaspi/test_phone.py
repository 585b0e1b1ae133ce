"""The phone: pages for a person, JSON for a test."""

from __future__ import annotations

import pytest

from tests.support.kaspi_sandbox import Kaspi


async def test_the_page_of_a_qr(kaspi: Kaspi) -> None:
    data = await kaspi.create("1234.50")
    page = await kaspi.http.get(f"/pay/{data['QrToken']}")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for text in ("SANDBOX", "1234.50 ₸", "ProComp: касса турнира", "Scan within 180 s", 'value="pay"'):
        assert text in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text


async def test_a_form_leads_back_to_the_page(kaspi: Kaspi) -> None:
    token = (await kaspi.create())["QrToken"]
    for action, sentence in (("scan", "Confirm within 65 s"), ("confirm", "Paid")):
        answer = await kaspi.http.post(f"/pay/{token}", data={"action": action})
        assert answer.status_code == 303
        page = await kaspi.http.get(answer.headers["Location"])
        assert sentence in page.text
    assert 'name="action"' not in page.text


@pytest.mark.parametrize("before", [[], ["scan"]])
async def test_cancel_on_the_phone(kaspi: Kaspi, before: list[str]) -> None:
    data = await kaspi.create()
    for action in [*before, "cancel"]:
        assert (await kaspi.phone(data["QrToken"], action)).status_code == 200
    assert await kaspi.status(data["QrPaymentId"]) == "Error"


async def test_pay_confirms_a_scanned_payment(kaspi: Kaspi) -> None:
    data = await kaspi.create()
    await kaspi.phone(data["QrToken"], "scan")
    answer = await kaspi.phone(data["QrToken"], "pay")
    assert answer.json() == {
        "QrPaymentId": data["QrPaymentId"], "Status": "Processed", "Amount": 5000.0,
        "OperationNumber": str(data["QrPaymentId"]),
    }  # fmt: skip


async def test_an_expired_qr_is_refused_with_a_reason(kaspi: Kaspi) -> None:
    data = await kaspi.create()
    kaspi.clock.wait(180)
    answer = await kaspi.phone(data["QrToken"], "pay")
    assert answer.status_code == 409
    assert "expired" in answer.json()["error"]
    page = await kaspi.http.post(f"/pay/{data['QrToken']}", data={"action": "pay"})
    assert page.status_code == 409
    assert "expired" in page.text
    assert "<button" not in page.text
    assert (await kaspi.phone(data["QrToken"], "cancel")).status_code == 409
    assert await kaspi.status(data["QrPaymentId"]) == "QrTokenCreated"


@pytest.mark.parametrize(
    "fields", [{}, {"action": "steal"}, {"action": "scanerror"}, {"action": "pay", "product": "Cash"}]
)
async def test_an_unknown_action_is_refused(kaspi: Kaspi, fields: dict[str, str]) -> None:
    data = await kaspi.create()
    answer = await kaspi.http.post(
        f"/pay/{data['QrToken']}", data=fields, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 400
    assert await kaspi.status(data["QrPaymentId"]) == "QrTokenCreated"


async def test_an_unknown_token_is_404(kaspi: Kaspi) -> None:
    for key in ("1" * 41, "abc", "7"):
        assert (await kaspi.http.get(f"/pay/{key}")).status_code == 404
        assert (await kaspi.phone(key, "pay")).status_code == 404


async def test_foreign_text_is_escaped(kaspi: Kaspi) -> None:
    name = '<img src=x onerror="alert(1)">'
    await kaspi.control(f"/tradepoints/{kaspi.box.trade_point_id}", {"TradePointName": name})
    body = {
        "DeviceToken": kaspi.box.device_token, "Amount": 5, "PhoneNumber": "87077777777",
        "Comment": "<script>alert(2)</script>",
    }  # fmt: skip
    payment_id = (await kaspi.post("/remote/create", body))["Data"]["QrPaymentId"]
    page = await kaspi.http.get(f"/pay/{payment_id}")
    assert "&lt;img src=x" in page.text
    assert "&lt;script&gt;alert(2)" in page.text
    assert "<img" not in page.text
    assert "<script" not in page.text


async def test_the_page_of_a_return_qr(kaspi: Kaspi) -> None:
    answer = await kaspi.post("/return/create", {"DeviceToken": kaspi.box.device_token}, scheme="r2")
    token = answer["Data"]["QrToken"]
    page = await kaspi.http.get(f"/pay/{token}")
    assert "Return of money" in page.text
    assert "SANDBOX" in page.text
    assert (await kaspi.http.post(f"/pay/{token}", data={"action": "confirm"})).status_code == 409
    assert (await kaspi.http.post(f"/pay/{token}", data={"action": "scan"})).status_code == 303
