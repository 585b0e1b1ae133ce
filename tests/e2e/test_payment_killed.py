"""Payments in real processes that are killed by SIGKILL at the worst moments."""

import signal
import sqlite3
import time

from tests.support.deployment import Deployment
from tests.support.patience import PATIENCE_S, until

#: Stripe creates the intent at once and responds 4 seconds later: time to kill the process in between.
SLOW_RESPONSE = {
    "path": "/v1/payment_intents",
    "method": "POST",
    "kind": "delay",
    "seconds": 4,
    "after": True,
    "times": 1,
}


def test_watch_ends_after_scan_and_confirmation(deployment: Deployment) -> None:
    deployment.open_sandbox("--time-scale", "4")
    participant_id = deployment.participant()
    watching = deployment.spawn("initiate", participant_id, "--method", "kaspi_qr", "--watch")
    references: list[str] = []

    def opened() -> bool:
        payments = deployment.run_json("list")["items"]
        references[:] = [p["provider_ref"] for p in payments if p["provider_ref"]]
        return bool(references)

    until(opened)
    deployment.post(f"/pay/{references[0]}", {"action": "scan"})
    until(lambda: deployment.run_json("status", participant_id)["status"] == "PROCESSING")
    deployment.post(f"/pay/{references[0]}", {"action": "confirm"})
    text, _ = watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 0, text
    assert "scanned, waiting for confirmation" in text
    assert "PAID" in text
    [participant] = deployment.run_json("participant", "list")["items"]
    assert participant["status"] == "PAID"


def test_sigkill_before_stripes_response_is_committed(deployment: Deployment) -> None:
    """Killed before Stripe's response arrives: the same PaymentIntent is found, none is created twice."""
    _kill_before_the_response(deployment)


def test_sigkill_before_stripes_response_is_committed_on_postgresql(postgres_deployment: Deployment) -> None:
    _kill_before_the_response(postgres_deployment)


def _kill_before_the_response(deployment: Deployment) -> None:
    deployment.open_sandbox()
    participant_id = deployment.participant()
    deployment.post("/_sandbox/faults", SLOW_RESPONSE)
    command = ("initiate", participant_id, "--method", "apple_pay", "--intent-only")
    killed = deployment.spawn(*command)
    until(lambda: len(deployment.at_stripe("payment_intents")) == 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_S)
    [before] = deployment.run_json("list")["items"]
    assert (before["status"], before["provider_ref"]) == ("PENDING", None)
    time.sleep(8.5)  # after this the same payment is resumed
    again = deployment.run_json(*command)
    [intent] = deployment.at_stripe("payment_intents")
    assert again["payment_id"] == before["payment_id"]
    assert again["client_secret"].startswith(intent["id"])


def test_sigkill_at_any_moment_creates_no_second_payment(deployment: Deployment) -> None:
    """Started and killed after longer and longer times: one payment, one session at Stripe."""
    deployment.open_sandbox()
    participant_id = deployment.participant()
    command = ("initiate", participant_id, "--method", "apple_pay")
    for tenths in range(4, 14, 1):
        process = deployment.spawn(*command)
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    until(lambda: deployment.spawn(*command).wait(PATIENCE_S) == 0)
    assert len(deployment.run_json("list")["items"]) == 1
    assert len(deployment.at_stripe("checkout/sessions")) == 1
    with sqlite3.connect(deployment.home / "procomp-pay.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_maintain_recovers_a_killed_payment(deployment: Deployment) -> None:
    """The payment is not started again."""
    deployment.open_sandbox()
    participant_id = deployment.participant()
    deployment.post("/_sandbox/faults", SLOW_RESPONSE)
    killed = deployment.spawn("initiate", participant_id, "--method", "apple_pay", "--intent-only")
    until(lambda: len(deployment.at_stripe("payment_intents")) == 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_S)
    time.sleep(4.5)
    with sqlite3.connect(
        deployment.home / "procomp-pay.sqlite3"
    ) as connection:  # as if 45 seconds had passed
        connection.execute("UPDATE pay_payment_detail SET next_poll_at = '2026-01-01 00:00:00.000000'")
    connection.close()
    deployment.run("maintain")
    [intent] = deployment.at_stripe("payment_intents")
    assert deployment.run_json("status", participant_id)["provider_ref"] == intent["id"]


def test_maintain_finds_a_payment_without_a_server(postgres_deployment: Deployment) -> None:
    """No server and no watch: a pass of ``maintain`` finds the money."""
    postgres_deployment.open_sandbox("--time-scale", "4")
    participant_id = postgres_deployment.participant()
    opened = postgres_deployment.run_json("initiate", participant_id, "--method", "kaspi_qr")
    postgres_deployment.post(f"/pay/{opened['qr_payload']}", {"action": "pay"})
    until(
        lambda: (
            (
                postgres_deployment.run("maintain"),
                postgres_deployment.run_json("status", participant_id)["status"],
            )[1]
            == "COMPLETED"
        )
    )
