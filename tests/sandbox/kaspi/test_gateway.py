"""The gateway emulator: its one POST, its status, its key."""

from __future__ import annotations

from tests.support.kaspi_sandbox import Kaspi


async def test_a_payment_from_post_to_paid(kaspi: Kaspi) -> None:
    auth = {"Authorization": f"Bearer {kaspi.box.api_key}"}
    body = {"amount": 24000, "currency": "KZT", "external_order_id": "pay1"}
    made = await kaspi.http.post("/gateway/payments", json=body, headers=auth)
    assert made.status_code == 201
    view = made.json()
    assert (view["status"], view["amount"], view["external_order_id"]) == ("pending", 24000.0, "pay1")
    assert view["payment_url"].startswith("http://127.0.0.1")
    assert view["qr_image_url"].endswith(".png")
    await kaspi.phone(view["id"], "pay")
    fields = (await kaspi.http.get(f"/gateway/payments/{view['id']}", headers=auth)).json()
    assert fields["status"] == "paid"
    assert fields["transaction_id"]


async def test_the_gateways_key_and_fields_are_checked(kaspi: Kaspi) -> None:
    auth = {"Authorization": f"Bearer {kaspi.box.api_key}"}
    assert (await kaspi.http.post("/gateway/payments", json={"amount": 1})).status_code == 401
    wrong = await kaspi.http.post("/gateway/payments", json={"amount": "x"}, headers=auth)
    assert wrong.status_code == 422
    dollars = {"amount": 1, "currency": "USD"}
    assert (await kaspi.http.post("/gateway/payments", json=dollars, headers=auth)).status_code == 422
    assert (await kaspi.http.get("/gateway/payments/1", headers=auth)).status_code == 404
    await kaspi.control("/settings", {"gateway_status": False})
    assert (await kaspi.http.get("/gateway/payments/1", headers=auth)).status_code == 405
