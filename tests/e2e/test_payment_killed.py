"""The desk's main job, and SIGKILL at its worst moments, with real processes."""

import signal
import sqlite3
import time

from tests.support.deployment import PATIENCE_S, Town, until

#: Stripe does its work at once and answers 4 seconds later: time to be killed in between.
SLOW_ANSWER = {
    "path": "/v1/payment_intents",
    "method": "POST",
    "kind": "delay",
    "seconds": 4,
    "after": True,
    "times": 1,
}


def test_watch_turns_green_after_scan_and_confirm(town: Town) -> None:
    town.open_sandbox("--time-scale", "4")
    who = town.participant()
    watching = town.spawn("initiate", who, "--method", "kaspi_qr", "--watch")
    found: list[str] = []

    def opened() -> bool:
        payments = town.ask("list")["items"]
        found[:] = [p["provider_ref"] for p in payments if p["provider_ref"]]
        return bool(found)

    until(opened)
    town.post(f"/pay/{found[0]}", {"action": "scan"})
    until(lambda: town.ask("status", who)["status"] == "PROCESSING")
    town.post(f"/pay/{found[0]}", {"action": "confirm"})
    text, _ = watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 0, text
    assert "scanned, waiting for confirmation" in text
    assert "PAID" in text
    [participant] = town.ask("participant", "list")["items"]
    assert participant["status"] == "PAID"


def test_sigkill_between_stripes_answer_and_our_commit(town: Town) -> None:
    """Killed while Stripe's answer is on its way: the same PaymentIntent is found, no second one is made."""
    _kill_in_the_middle(town)


def test_sigkill_between_stripes_answer_and_our_commit_on_postgresql(pg_town: Town) -> None:
    _kill_in_the_middle(pg_town)


def _kill_in_the_middle(town: Town) -> None:
    town.open_sandbox()
    who = town.participant()
    town.post("/_sandbox/faults", SLOW_ANSWER)
    command = ("initiate", who, "--method", "apple_pay", "--intent-only")
    killed = town.spawn(*command)
    until(lambda: len(town.at_stripe("payment_intents")) == 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_S)
    [before] = town.ask("list")["items"]
    assert (before["status"], before["provider_ref"]) == ("PENDING", None)
    time.sleep(8.5)  # after this the same payment is taken up instead of waited for
    again = town.ask(*command)
    [intent] = town.at_stripe("payment_intents")
    assert again["payment_id"] == before["payment_id"]
    assert again["client_secret"].startswith(intent["id"])


def test_sigkill_at_any_moment_never_makes_a_second_payment(town: Town) -> None:
    """Started, killed after ever longer, started again: one payment, one session at Stripe."""
    town.open_sandbox()
    who = town.participant()
    command = ("initiate", who, "--method", "apple_pay")
    for tenths in range(4, 14, 1):
        process = town.spawn(*command)
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    until(lambda: town.spawn(*command).wait(PATIENCE_S) == 0)
    assert len(town.ask("list")["items"]) == 1
    assert len(town.at_stripe("checkout/sessions")) == 1
    with sqlite3.connect(town.home / "procomp-pay.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_maintain_heals_what_was_killed(town: Town) -> None:
    """Without anybody starting the payment again."""
    town.open_sandbox()
    who = town.participant()
    town.post("/_sandbox/faults", SLOW_ANSWER)
    killed = town.spawn("initiate", who, "--method", "apple_pay", "--intent-only")
    until(lambda: len(town.at_stripe("payment_intents")) == 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_S)
    time.sleep(4.5)
    with sqlite3.connect(town.home / "procomp-pay.sqlite3") as connection:  # three quarters of a minute later
        connection.execute("UPDATE pay_payment_detail SET next_poll_at = '2026-01-01 00:00:00.000000'")
    connection.close()
    town.run("maintain")
    [intent] = town.at_stripe("payment_intents")
    assert town.ask("status", who)["provider_ref"] == intent["id"]


def test_the_phone_pays_while_nobody_looks(pg_town: Town) -> None:
    """No server, no watch: cron's pass finds the money."""
    pg_town.open_sandbox("--time-scale", "4")
    who = pg_town.participant()
    opened = pg_town.ask("initiate", who, "--method", "kaspi_qr")
    pg_town.post(f"/pay/{opened['qr_payload']}", {"action": "pay"})
    until(lambda: (pg_town.run("maintain"), pg_town.ask("status", who)["status"])[1] == "COMPLETED")
