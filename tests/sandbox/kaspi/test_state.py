"""State: saved before each answer, and the same after a restart."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from procomp_pay.sandbox.kaspi import KaspiSandbox
from tests.support.kaspi_sandbox import Clock, Kaspi, running


async def busy(kaspi: Kaspi) -> dict[str, int]:
    """Create a sandbox with one record of each kind."""
    waiting = (await kaspi.create("10.10", ExternalId="E-1"))["QrPaymentId"]
    await kaspi.step("scan", waiting)
    paid = await kaspi.paid("100.00")
    await kaspi.refund(paid, "0.10")
    ready = kaspi.box.device_token
    body = {"DeviceToken": ready, "Amount": 5, "PhoneNumber": "87077777777"}
    remote = (await kaspi.post("/remote/create", body))["Data"]["QrPaymentId"]
    back = (await kaspi.post("/return/create", {"DeviceToken": ready}, scheme="r2"))["Data"]["QrReturnId"]
    await kaspi.control("/settings", {"date_form": "cycle", "v02": False})
    await kaspi.control("/force", {"path": "/qr/create", "code": -999, "times": 3})
    await kaspi.control("/phones", {"PhoneNumber": "87010000000", "ClientName": None})
    await kaspi.point(OrganizationBin="000000000001")
    return {"waiting": waiting, "paid": paid, "remote": remote, "back": back}


async def test_a_dump_goes_through_real_json_and_back(kaspi: Kaspi) -> None:
    ids = await busy(kaspi)
    text = json.dumps(kaspi.box.dump())
    async with running(organization_bin="999999999999") as again:
        again.box.load(json.loads(text))
        assert json.dumps(again.box.dump()) == text
        assert (again.box.api_key, again.box.device_token) == (kaspi.box.api_key, kaspi.box.device_token)
        assert again.box.organization_bin == "123456789012"
        assert await again.status(ids["waiting"]) == "Wait"
        assert (await again.details(ids["paid"]))["Data"]["AvailableReturnAmount"] == Decimal("99.90")
        assert (await again.get(f"/return/status/{ids['back']}", scheme="r2"))["StatusCode"] == 0
        assert (await again.phone(ids["remote"], "pay")).status_code == 200
        for _ in range(3):
            answer = await again.post("/qr/create", {"DeviceToken": again.box.device_token, "Amount": 1})
            assert answer["StatusCode"] == -999
        assert await again.paid() > max(ids.values())
        again.clock.wait(65)
        assert await again.status(ids["waiting"]) == "Error"


async def test_deadlines_are_kept_at_another_time_scale(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    async with running(time_scale=60.0) as again:
        again.box.load(json.loads(json.dumps(kaspi.box.dump())))
        again.clock.wait(179)
        assert (await again.step("scan", payment_id))["StatusCode"] == 0


def box(**options: Any) -> KaspiSandbox:
    return KaspiSandbox(clock=Clock(), changed=lambda: None, **options)


def test_a_given_key_is_kept_by_a_load() -> None:
    saved = box().dump()
    fresh, given = box(), box(api_key="test_mine")
    for item in (fresh, given):
        item.load(saved)
    assert fresh.api_key == saved["api_key"]
    assert given.api_key == "test_mine"


def test_keys_are_made_at_run_time() -> None:
    first, second = box(), box()
    assert first.api_key.startswith("test_")
    assert first.api_key != second.api_key
    assert first.device_token != second.device_token


def test_a_state_of_another_version_is_refused() -> None:
    item = box()
    before = item.dump()
    with pytest.raises(ValueError, match="version 99"):
        item.load({**before, "version": 99})
    assert item.dump() == before


def test_ids_are_not_repeated_by_a_new_sandbox() -> None:
    clock = Clock()
    first = KaspiSandbox(clock=clock, changed=lambda: None).dump()["last_id"]
    clock.wait(60)
    assert KaspiSandbox(clock=clock, changed=lambda: None).dump()["last_id"] > first
    assert len(str(first)) == 11


async def test_every_change_is_saved_before_its_answer(kaspi: Kaspi) -> None:
    """After any answer the last saved state is the state."""

    async def saved(name: str, *, new: bool = True) -> None:
        assert kaspi.saves[-1] == json.dumps(kaspi.box.dump()), name
        assert (len(kaspi.saves) > count) is new, name

    count = 0
    payment_id = (await kaspi.create())["QrPaymentId"]
    await saved("create")
    for step in ("scan", "confirm"):
        count = len(kaspi.saves)
        await kaspi.step(step, payment_id)
        await saved(step)
    count = len(kaspi.saves)
    await kaspi.status(payment_id)
    await kaspi.details(payment_id)
    await saved("reading", new=False)
    count = len(kaspi.saves)
    await kaspi.refund(payment_id, "1.00")
    await saved("refund")
    count = len(kaspi.saves)
    token = await kaspi.device(kaspi.box.trade_point_id)
    await saved("register")
    count = len(kaspi.saves)
    await kaspi.device(kaspi.box.trade_point_id)
    await saved("register again", new=False)
    count = len(kaspi.saves)
    await kaspi.post("/device/delete", {"DeviceToken": token})
    await saved("delete")
    for path, body in (
        ("/settings", {"v02": False}),
        ("/tradepoints", {}),
        ("/phones", {"PhoneNumber": "87010000000", "ClientName": "Х"}),
        ("/force", {"path": "/health/ping", "code": -999}),
        (f"/payments/{payment_id}/status", {"Status": "New"}),
        (f"/payments/{payment_id}/cashier-refund", {"Amount": "1.00"}),
        (f"/devices/{kaspi.box.device_token}", {"Active": False}),
    ):
        count = len(kaspi.saves)
        await kaspi.control(path, body)
        await saved(path)
    count = len(kaspi.saves)
    await kaspi.get("/health/ping")
    await saved("a forced code used up")


async def test_an_expiry_is_saved_when_it_is_reported(kaspi: Kaspi) -> None:
    payment_id = (await kaspi.create())["QrPaymentId"]
    await kaspi.step("scan", payment_id)
    kaspi.clock.wait(65)
    count = len(kaspi.saves)
    assert await kaspi.status(payment_id) == "Error"
    assert len(kaspi.saves) == count + 1
    assert await kaspi.status(payment_id) == "Error"
    assert len(kaspi.saves) == count + 1


async def test_the_overview_has_all_values_for_a_configuration(kaspi: Kaspi) -> None:
    view = await kaspi.control("", method="GET")
    assert view["api_key"] == kaspi.box.api_key
    assert view["organization_bin"] == "123456789012"
    assert view["trade_point_id"] == kaspi.box.trade_point_id
    assert view["device_token"] == kaspi.box.device_token
    assert view["timers"]["scan_wait"] == 180


async def test_the_list_of_payments_is_newest_first_and_up_to_date(kaspi: Kaspi) -> None:
    ids = [(await kaspi.create(ExternalId=f"E-{number}"))["QrPaymentId"] for number in range(3)]
    await kaspi.step("scan", ids[0])
    kaspi.clock.wait(65)
    rows = await kaspi.control("/payments", method="GET")
    assert [row["QrPaymentId"] for row in rows] == ids[::-1]
    assert [row["ExternalId"] for row in rows] == ["E-2", "E-1", "E-0"]
    assert rows[2]["Status"] == "Error"
    assert len(await kaspi.control("/payments?limit=2", method="GET")) == 2
    page = await kaspi.http.get(rows[0]["PhonePage"])
    assert page.status_code == 200


def test_routes_are_unique() -> None:
    routes = box().routes()
    assert all(isinstance(route, web.RouteDef) for route in routes)
    assert len({(route.method, route.path) for route in routes}) == len(routes)
