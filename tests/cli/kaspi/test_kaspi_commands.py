"""`kaspi devices`, `initiate --phone`, refunds by scheme and what the doctor says of the certificate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.sandbox.tls import Authority
from tests.cli.conftest import Clerk


@pytest.fixture
def enhanced(small_desk: Clerk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Clerk]:
    """Scheme enhanced over plain HTTP to the sandbox, which takes our word for the certificate."""
    ctx, authority = small_desk, Authority()
    cert, key = authority.client(life=timedelta(days=30, hours=1)).write(tmp_path, "client")
    info = ctx.street.sandbox.info()
    for name, value in {
        "KASPI_SCHEME": "enhanced",
        "KASPI_API_URL": ctx.street.url,
        "KASPI_ORGANIZATION_BIN": info["kaspi"]["organization_bin"],
        "KASPI_DEVICE_TOKEN": info["kaspi"]["device_token"],
        "KASPI_CLIENT_CERT": str(cert),
        "KASPI_CLIENT_KEY": str(key),
    }.items():
        monkeypatch.setenv(name, value)
    ctx.street.post("/_sandbox/kaspi/settings", {"require_client_cert": False})
    yield ctx
    ctx.street.post("/_sandbox/kaspi/settings", {"require_client_cert": True})


def test_devices_from_list_to_delete(small_desk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = small_desk
    said = ctx.type("kaspi", "devices", "list")
    assert "ProComp" in said.out
    assert "configured" in said.out
    points = ctx.ask("kaspi", "devices", "list")["trade_points"]
    number = str(points[0]["trade_point_id"])
    made = ctx.type("kaspi", "devices", "register", "desk-7", "--trade-point", number)
    token = made.out.strip()
    assert len(token) == 36
    assert "KASPI_DEVICE_TOKEN" in made.err
    assert ctx.ask("kaspi", "devices", "register", "desk-7", "--trade-point", number)["device_token"] == token
    ctx.type("kaspi", "devices", "register", "стол 7", "--trade-point", number, code=3)
    info = ctx.street.sandbox.info()
    for name, value in {
        "KASPI_API_URL": ctx.street.url,
        "KASPI_API_KEY": info["kaspi_api_key"],
        "KASPI_DEVICE_TOKEN": token,
    }.items():
        monkeypatch.setenv(name, value)
    ctx.type("kaspi", "devices", "delete", code=2)  # nobody to ask
    assert token[-4:] in ctx.type("kaspi", "devices", "delete", "--yes").out
    again = ctx.type("kaspi", "devices", "delete", "--yes", code=7)
    assert "-150" in again.err
    assert token not in again.out + again.err


def test_an_invoice_to_a_phone(enhanced: Clerk) -> None:
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "+7 707 123 45 67", code=2)
    assert "--yes" in enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", code=2).err
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "12", "--yes", code=3)
    enhanced.type("initiate", "p1", "-m", "apple_pay", "--phone", "87071234567", "--yes", code=2)
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes", "--watch", code=2)
    said = enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "+7 707 123 45 67", "--yes")
    assert "87071234567 is Тест Т." in said.err
    assert "24 hours" in said.err
    assert "Pay the invoice" in said.out
    view = enhanced.ask("status", "p1")
    assert view["channel"] == "kaspi_remote"
    assert "on a timer" in enhanced.type("status", "p1", "--watch", code=3).err
    enhanced.pay(view, "pay")
    assert enhanced.ask("status", "p1", "--refresh")["status"] == "COMPLETED"


def test_an_invoice_is_recalled(enhanced: Clerk) -> None:
    opened = enhanced.ask("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes")
    said = enhanced.type("cancel", opened["payment_id"], "--yes")
    assert "cannot recall" not in said.err
    assert enhanced.ask("status", "p1")["status"] == "CANCELLED"


def test_basic_has_no_invoices_and_writes_nothing(small_desk: Clerk) -> None:
    ctx = small_desk
    said = ctx.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes", code=3)
    assert "no invoices" in said.err
    assert ctx.ask("list")["items"] == []


def test_a_refund_in_the_app_is_recorded(ctx: Clerk) -> None:
    opened = ctx.ask("initiate", "p1", "-m", "kaspi_qr")
    ctx.pay(opened, "pay")
    ctx.ask("status", "p1", "--refresh")
    why = ("--reason", "injured", "--yes")
    refused = ctx.type("refund", opened["payment_id"], *why, code=3)
    assert "--made-in-app" in refused.err
    done = ctx.ask("refund", opened["code"], "--made-in-app", "QR 14001234567", *why)
    assert (done["payment_status"], done["provider_refund_id"]) == ("REFUNDED", "kaspi:14001234567")
    ctx.type("refund", opened["payment_id"], "--made-in-app", "14001234567", *why, code=3)


def wrong(ctx: Clerk, monkeypatch: pytest.MonkeyPatch, code: int, **settings: str) -> dict[str, Any]:
    """What the doctor says with these settings, each line under its name."""
    with monkeypatch.context() as changed:
        for name, value in settings.items():
            changed.setenv(name, value)
        found = ctx.ask("doctor", code=code)["checks"]
    return {each["name"]: f"{each['state']}: {each['found']} -> {each['next_step']}" for each in found}


def test_the_doctor_names_the_setting_that_is_wrong(
    small_desk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = small_desk.street.url, small_desk.street.sandbox.info()["kaspi_api_key"]
    basic = {"KASPI_API_URL": url, "KASPI_API_KEY": key, "KASPI_DEVICE_TOKEN": "no-such-device"}
    ask = partial(wrong, small_desk, monkeypatch)
    assert "KASPI_DEVICE_TOKEN is theirs shows at the first payment" in ask(0, **basic)["Kaspi"]
    bare = {name: value for name, value in basic.items() if name != "KASPI_DEVICE_TOKEN"}
    assert (
        "needs KASPI_DEVICE_TOKEN -> set KASPI_DEVICE_TOKEN; a new one: procomp-pay kaspi devices"
        in (ask(7, **bare)["Kaspi"])
    )
    assert "It has no path" in ask(5, **basic | {"KASPI_API_URL": f"{url}/pay"})["Kaspi"]
    assert "KASPI_API_URL" in ask(7, **basic | {"KASPI_API_URL": "kaspi.kz"})["settings"]
    assert "KASPI_ORGANIZATION_BIN" in ask(7, **basic, KASPI_ORGANIZATION_BIN="BIN 1")["settings"]
    assert "from nobody" in ask(0, **basic)["callbacks"]
    gateway = basic | {"KASPI_SCHEME": "gateway", "KASPI_API_URL": f"{url}/gateway/payments"}
    said = ask(0, **gateway)
    assert "takes the key" in said["Kaspi"]
    assert said["callbacks"].startswith("warn: the gateway's are refused")
    assert "shows at the first payment" in ask(0, **gateway | {"KASPI_API_URL": f"{url}/gate"})["Kaspi"]
    assert "check KASPI_API_KEY" in ask(7, **gateway | {"KASPI_API_KEY": "another"})["Kaspi"]
    signed = ask(0, **gateway, KASPI_API_SECRET="of-the-gateway", KASPI_CALLBACK_ALLOW="194.187.247.152")
    assert "by their signature, from 194.187.247.152/32" in signed["callbacks"]


def test_the_doctor_says_what_there_is(enhanced: Clerk) -> None:
    checks = {each["name"]: each for each in enhanced.type("doctor", "--json").json["checks"]}
    assert "scheme enhanced" in checks["Kaspi"]["found"]
    assert "trade points" in checks["Kaspi"]["found"]
    assert checks["certificate"]["state"] == "warn"
    assert "in 30 days" in checks["certificate"]["found"]
