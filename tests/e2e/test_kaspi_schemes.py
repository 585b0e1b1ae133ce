"""Kaspi by client certificate over TLS, and through a gateway with callbacks: from start to PAID."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.support.deployment import Deployment
from tests.support.patience import until
from tests.support.secret_watch import register_secret

CALLBACK_SECRET = "e2e-secret-of-the-gateway"


def test_the_sandbox_prints_the_settings_for_the_certificate(deployment: Deployment, tmp_path: Path) -> None:
    """The printed settings work without changes."""
    deployment.open_sandbox("--tls", str(tmp_path / "my tls"))
    output = ""
    while "Ctrl-C stops it" not in output:
        output += str(deployment.started[-1].stdout.readline())  # type: ignore[union-attr]
    lines = re.findall(r"^ +export (.+)$", output, re.MULTILINE)
    deployment.env |= dict(shlex.split(line)[0].split("=", 1) for line in lines)
    assert deployment.env["KASPI_API_URL"].startswith("https://127.0.0.1:")
    checks = {check["name"]: check for check in deployment.run_json("doctor")["checks"]}
    assert "scheme enhanced" in checks["Kaspi"]["found"]
    assert checks["certificate"]["state"] == "ok"
    participant_id = deployment.participant()
    opened = deployment.run_json("initiate", participant_id, "--method", "kaspi_qr")
    deployment.post(f"/pay/{opened['provider_ref']}", {"action": "pay"})
    assert deployment.run_json("status", participant_id, "--refresh")["status"] == "COMPLETED"
    back = deployment.run_json("refund", opened["payment_id"], "--reason", "injured", "--yes")
    assert back["payment_status"] == "REFUNDED"


def test_a_gateway_with_callbacks_only(deployment: Deployment) -> None:
    """It has no status request: its signed callback, sent twice, is the only source."""
    deployment.open_sandbox()
    key = json.loads((deployment.home / "sandbox.json").read_text("utf-8"))["kaspi_api_key"]
    register_secret(CALLBACK_SECRET, "gateway secret")
    deployment.env |= {
        "KASPI_SCHEME": "gateway",
        "KASPI_API_URL": f"{deployment.sandbox_url}/gateway/payments",
        "KASPI_API_KEY": key,
        "KASPI_API_SECRET": CALLBACK_SECRET,
    }
    deployment.post("/_sandbox/kaspi/settings", {"gateway_status": False})
    participant_id = deployment.participant()
    server = deployment.spawn("serve", "--port", "0")
    address = ""
    while not (listening := re.search(r"listens on (http://\S+?)/api", address)):
        address = str(server.stdout.readline())  # type: ignore[union-attr]
        assert server.poll() is None, address
    opened = deployment.run_json("initiate", participant_id, "--method", "kaspi_qr")
    provider_ref = opened["provider_ref"]
    deployment.post(f"/pay/{provider_ref}", {"action": "pay"})
    call = {
        "url": f"{listening[1]}/api/v1/payments/webhooks/kaspi",
        "secret": CALLBACK_SECRET,
        "payment": provider_ref,
    }
    for status in ("scanned", "paid", "paid"):
        assert deployment.post("/_sandbox/kaspi/callback", call | {"status": status})["status"] == 200
    wrong = deployment.post("/_sandbox/kaspi/callback", call | {"secret": "of somebody else"})
    assert wrong["status"] == 400
    until(lambda: deployment.run_json("status", participant_id)["status"] == "COMPLETED")
    [entry] = deployment.run_json("history", participant_id)["items"]
    assert [move["action"] for move in entry["moves"]].count("succeeded:moved") == 1
    assert deployment.run_json("status", participant_id)["operation_number"]
    [participant] = deployment.run_json("participant", "list")["items"]
    assert participant["status"] == "PAID"
    assert deployment.run_json("discrepancies", "list")["items"] == []
