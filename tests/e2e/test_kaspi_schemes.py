"""Kaspi by certificate over real TLS, and through a gateway with its callback: each from start to PAID."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.support.deployment import Town, until
from tests.support.secret_watch import register_secret

CALLBACK_SECRET = "e2e-secret-of-the-gateway"


def test_the_sandbox_says_how_it_is_reached_by_certificate(town: Town, tmp_path: Path) -> None:
    """Copy the printed lines as they are, and take a payment with them."""
    town.open_sandbox("--tls", str(tmp_path / "my tls"))
    said = ""
    while "Ctrl-C stops it" not in said:
        said += str(town.started[-1].stdout.readline())  # type: ignore[union-attr]
    lines = re.findall(r"^ +export (.+)$", said, re.MULTILINE)
    town.env |= dict(shlex.split(line)[0].split("=", 1) for line in lines)
    assert town.env["KASPI_API_URL"].startswith("https://127.0.0.1:")
    checks = {each["name"]: each for each in town.ask("doctor")["checks"]}
    assert "scheme enhanced" in checks["Kaspi"]["found"]
    assert checks["certificate"]["state"] == "ok"
    who = town.participant()
    opened = town.ask("initiate", who, "--method", "kaspi_qr")
    town.post(f"/pay/{opened['provider_ref']}", {"action": "pay"})
    assert town.ask("status", who, "--refresh")["status"] == "COMPLETED"
    back = town.ask("refund", opened["payment_id"], "--reason", "injured", "--yes")
    assert back["payment_status"] == "REFUNDED"


def test_a_gateway_that_only_calls_back(town: Town) -> None:
    """It has no status call: its signed callback, told twice, is all the news there is."""
    town.open_sandbox()
    key = json.loads((town.home / "sandbox.json").read_text("utf-8"))["kaspi_api_key"]
    register_secret(CALLBACK_SECRET, "gateway's secret")
    town.env |= {
        "KASPI_SCHEME": "gateway",
        "KASPI_API_URL": f"{town.sandbox_url}/gateway/payments",
        "KASPI_API_KEY": key,
        "KASPI_API_SECRET": CALLBACK_SECRET,
    }
    town.post("/_sandbox/kaspi/settings", {"gateway_status": False})
    who = town.participant()
    server = town.spawn("serve", "--port", "0")
    address = ""
    while not (found := re.search(r"listens on (http://\S+?)/api", address)):
        address = str(server.stdout.readline())  # type: ignore[union-attr]
        assert server.poll() is None, address
    opened = town.ask("initiate", who, "--method", "kaspi_qr")
    theirs = opened["provider_ref"]
    town.post(f"/pay/{theirs}", {"action": "pay"})
    call = {
        "url": f"{found[1]}/api/v1/payments/webhooks/kaspi", "secret": CALLBACK_SECRET, "payment": theirs
    }  # fmt: skip
    for status in ("scanned", "paid", "paid"):
        assert town.post("/_sandbox/kaspi/callback", call | {"status": status})["status"] == 200
    wrong = town.post("/_sandbox/kaspi/callback", call | {"secret": "of somebody else"})
    assert wrong["status"] == 400
    until(lambda: town.ask("status", who)["status"] == "COMPLETED")
    [entry] = town.ask("history", who)["items"]
    assert [each["action"] for each in entry["moves"]].count("succeeded:moved") == 1
    assert town.ask("status", who)["operation_number"]
    [participant] = town.ask("participant", "list")["items"]
    assert participant["status"] == "PAID"
    assert town.ask("discrepancies", "list")["items"] == []
