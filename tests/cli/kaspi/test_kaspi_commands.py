"""``kaspi devices``, ``initiate --phone``, refunds by scheme, and the certificate in ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.sandbox.tls import Authority
from tests.support.terminal import CommandLine


@pytest.fixture
def enhanced(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[CommandLine]:
    """Use scheme enhanced over plain HTTP: the sandbox does not check the certificate."""
    clerk, authority = sqlite_clerk, Authority()
    cert, key = authority.client(life=timedelta(days=30, hours=1)).write(tmp_path, "client")
    info = clerk.providers.sandbox.info()
    for name, value in {
        "KASPI_SCHEME": "enhanced",
        "KASPI_API_URL": clerk.providers.url,
        "KASPI_ORGANIZATION_BIN": info["kaspi"]["organization_bin"],
        "KASPI_DEVICE_TOKEN": info["kaspi"]["device_token"],
        "KASPI_CLIENT_CERT": str(cert),
        "KASPI_CLIENT_KEY": str(key),
    }.items():
        monkeypatch.setenv(name, value)
    clerk.providers.post("/_sandbox/kaspi/settings", {"require_client_cert": False})
    yield clerk
    clerk.providers.post("/_sandbox/kaspi/settings", {"require_client_cert": True})


def test_list_register_and_delete_a_device(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = sqlite_clerk
    output = clerk.type("kaspi", "devices", "list")
    assert "ProComp" in output.out
    assert "configured" in output.out
    points = clerk.ask("kaspi", "devices", "list")["trade_points"]
    number = str(points[0]["trade_point_id"])
    made = clerk.type("kaspi", "devices", "register", "desk-7", "--trade-point", number)
    token = made.out.strip()
    assert len(token) == 36
    assert "KASPI_DEVICE_TOKEN" in made.err
    assert (
        clerk.ask("kaspi", "devices", "register", "desk-7", "--trade-point", number)["device_token"] == token
    )
    clerk.type("kaspi", "devices", "register", "стол 7", "--trade-point", number, code=3)
    info = clerk.providers.sandbox.info()
    for name, value in {
        "KASPI_API_URL": clerk.providers.url,
        "KASPI_API_KEY": info["kaspi_api_key"],
        "KASPI_DEVICE_TOKEN": token,
    }.items():
        monkeypatch.setenv(name, value)
    clerk.type("kaspi", "devices", "delete", code=2)  # not interactive, no --yes
    assert token[-4:] in clerk.type("kaspi", "devices", "delete", "--yes").out
    again = clerk.type("kaspi", "devices", "delete", "--yes", code=7)
    assert "-150" in again.err
    assert token not in again.out + again.err


def test_an_invoice_to_a_phone(enhanced: CommandLine) -> None:
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "+7 707 123 45 67", code=2)
    assert "--yes" in enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", code=2).err
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "12", "--yes", code=3)
    enhanced.type("initiate", "p1", "-m", "apple_pay", "--phone", "87071234567", "--yes", code=2)
    enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes", "--watch", code=2)
    output = enhanced.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "+7 707 123 45 67", "--yes")
    assert "87071234567 belongs to Тест Т." in output.err
    assert "24 hours" in output.err
    assert "Pay the invoice" in output.out
    view = enhanced.ask("status", "p1")
    assert view["channel"] == "kaspi_remote"
    assert "forbids polling" in enhanced.type("status", "p1", "--watch", code=3).err
    enhanced.pay(view, "pay")
    assert enhanced.ask("status", "p1", "--refresh")["status"] == "COMPLETED"


def test_an_invoice_is_recalled(enhanced: CommandLine) -> None:
    opened = enhanced.ask("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes")
    output = enhanced.type("cancel", opened["payment_id"], "--yes")
    assert "cannot recall" not in output.err
    assert enhanced.ask("status", "p1")["status"] == "CANCELLED"


def test_scheme_basic_has_no_invoices(sqlite_clerk: CommandLine) -> None:
    clerk = sqlite_clerk
    output = clerk.type("initiate", "p1", "-m", "kaspi_qr", "--phone", "87071234567", "--yes", code=3)
    assert "no invoices" in output.err
    assert clerk.ask("list")["items"] == []


def test_a_refund_in_the_app_is_recorded(clerk: CommandLine) -> None:
    opened = clerk.ask("initiate", "p1", "-m", "kaspi_qr")
    clerk.pay(opened, "pay")
    clerk.ask("status", "p1", "--refresh")
    why = ("--reason", "injured", "--yes")
    refused = clerk.type("refund", opened["payment_id"], *why, code=3)
    assert "--made-in-app" in refused.err
    done = clerk.ask("refund", opened["code"], "--made-in-app", "QR 14001234567", *why)
    assert (done["payment_status"], done["provider_refund_id"]) == ("REFUNDED", "kaspi:14001234567")
    clerk.type("refund", opened["payment_id"], "--made-in-app", "14001234567", *why, code=3)


def wrong(clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, code: int, **settings: str) -> dict[str, Any]:
    """Return the doctor's checks with these settings, by name."""
    with monkeypatch.context() as changed:
        for name, value in settings.items():
            changed.setenv(name, value)
        checks = clerk.ask("doctor", code=code)["checks"]
    return {row["name"]: f"{row['state']}: {row['found']} -> {row['next_step']}" for row in checks}


def test_doctor_names_a_wrong_kaspi_setting(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = sqlite_clerk.providers.url, sqlite_clerk.providers.sandbox.info()["kaspi_api_key"]
    basic = {"KASPI_API_URL": url, "KASPI_API_KEY": key, "KASPI_DEVICE_TOKEN": "no-such-device"}
    ask = partial(wrong, sqlite_clerk, monkeypatch)
    assert "KASPI_DEVICE_TOKEN is theirs shows at the first payment" in ask(0, **basic)["Kaspi"]
    bare = {name: value for name, value in basic.items() if name != "KASPI_DEVICE_TOKEN"}
    assert (
        "needs KASPI_DEVICE_TOKEN -> set KASPI_DEVICE_TOKEN; a new one: procomp-pay kaspi devices"
        in (ask(7, **bare)["Kaspi"])
    )
    assert "It has no path" in ask(5, **basic | {"KASPI_API_URL": f"{url}/pay"})["Kaspi"]
    assert "KASPI_API_URL" in ask(7, **basic | {"KASPI_API_URL": "kaspi.kz"})["settings"]
    assert "KASPI_ORGANIZATION_BIN" in ask(7, **basic, KASPI_ORGANIZATION_BIN="BIN 1")["settings"]
    assert "from no address" in ask(0, **basic)["callbacks"]
    gateway = basic | {"KASPI_SCHEME": "gateway", "KASPI_API_URL": f"{url}/gateway/payments"}
    output = ask(0, **gateway)
    assert "takes the key" in output["Kaspi"]
    assert output["callbacks"].startswith("warn: the gateway's are refused")
    assert "shows at the first payment" in ask(0, **gateway | {"KASPI_API_URL": f"{url}/gate"})["Kaspi"]
    assert "check KASPI_API_KEY" in ask(7, **gateway | {"KASPI_API_KEY": "another"})["Kaspi"]
    signed = ask(0, **gateway, KASPI_API_SECRET="of-the-gateway", KASPI_CALLBACK_ALLOW="194.187.247.152")
    assert "by signature, from 194.187.247.152/32" in signed["callbacks"]


def test_doctor_reports_the_kaspi_settings(enhanced: CommandLine) -> None:
    checks = {check["name"]: check for check in enhanced.type("doctor", "--json").json["checks"]}
    assert "scheme enhanced" in checks["Kaspi"]["found"]
    assert "trade points" in checks["Kaspi"]["found"]
    assert checks["certificate"]["state"] == "warn"
    assert "in 30 days" in checks["certificate"]["found"]
