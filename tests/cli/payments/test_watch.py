"""``--watch``: follows to the end, asks the provider itself, survives a bad line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from procomp_pay.cli.payments import watch as watching
from procomp_pay.services.lifecycle import polling
from tests.cli.conftest import Clerk

KASPI = ("--method", "kaspi_qr")


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter pauses: the tests look at what happens, not at how long a person waits."""
    monkeypatch.setattr(watching, "_LOOK_S", 0.1)
    monkeypatch.setattr(watching, "_TICK_S", 0.1)
    monkeypatch.setattr(watching, "_STRIPE_EVERY", timedelta(seconds=1))
    monkeypatch.setattr(polling, "FOLLOW_AGAIN_S", 1)


def _later(helper: ThreadPoolExecutor, *steps: Callable[[], Any]) -> None:
    def act() -> None:
        for step in steps:
            time.sleep(1.6)
            step()

    helper.submit(act)


def test_kaspi_to_paid_line_by_line(ctx: Clerk, helper: ThreadPoolExecutor) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    _later(helper, lambda: ctx.pay(payment, "scan"), lambda: ctx.pay(payment, "confirm"))
    said = ctx.type("initiate", "p1", *KASPI, "--watch")
    states = [line.split()[1] for line in said.err.splitlines() if line[:2].isdigit()]
    assert states == ["PENDING", "PROCESSING", "COMPLETED"]
    assert "scanned, waiting for confirmation" in said.err
    assert "Kaspi operation" in said.out
    assert "████" in said.out  # PAID, in letters of five lines


def test_stripe_is_asked_without_a_webhook_and_a_decline_may_be_tried_again(
    ctx: Clerk, helper: ThreadPoolExecutor
) -> None:
    payment = ctx.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    _later(helper, lambda: ctx.pay(payment, "declined"), lambda: ctx.pay(payment, "apple_pay"))
    said = ctx.type("status", "p1", "--watch")
    assert "the customer can try again" in said.err
    assert "COMPLETED" in said.err


def test_json_is_one_document_at_the_end(small_desk: Clerk, helper: ThreadPoolExecutor) -> None:
    payment = small_desk.ask("initiate", "p1", *KASPI)
    _later(helper, lambda: small_desk.pay(payment, "pay"))
    said = small_desk.type("status", "p1", "--watch", "--json")
    assert (said.json["status"], said.json["mode"], said.err) == ("COMPLETED", "sandbox", "")


def test_a_qr_that_nobody_scans_expires_with_exit_3(ctx: Clerk) -> None:
    said = ctx.type("initiate", "p1", *KASPI, "--watch", code=3)
    assert "EXPIRED not paid, time is over" in said.err
    assert "NOT PAID" in said.out


def test_what_is_over_is_told_at_once(small_desk: Clerk) -> None:
    payment = small_desk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    small_desk.type("cancel", payment["payment_id"], "--yes")
    assert "CANCELLED" in small_desk.type("status", "p1", "--watch", code=3).out


def test_a_bad_line_is_said_and_waited_out(
    ctx: Clerk, helper: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    payment = ctx.ask("initiate", "p1", *KASPI)
    ctx.street.fault(kind="cut_before", path="/r1", times=4)
    _later(helper, lambda: None, lambda: ctx.pay(payment, "pay"))
    said = ctx.type("status", "p1", "--watch")
    assert "no connection, trying again" in said.err
    assert "COMPLETED" in said.err


def test_a_line_that_hangs_is_said_before_it_times_out(
    small_desk: Clerk, helper: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SLOW", timedelta(seconds=0.5))
    payment = small_desk.ask("initiate", "p1", *KASPI)
    small_desk.street.fault(kind="delay", path="/r1", seconds=2, times=1)
    _later(helper, lambda: small_desk.pay(payment, "pay"))
    said = small_desk.type("status", "p1", "--watch")
    assert "no answer yet" in said.err
    assert "COMPLETED" in said.err


def test_a_provider_that_stays_silent_ends_with_exit_5(
    small_desk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    monkeypatch.setattr(watching, "GIVE_UP", timedelta(seconds=0.5))
    small_desk.ask("initiate", "p1", *KASPI)
    small_desk.street.fault(kind="cut_before", path="/r1", times=None)
    said = small_desk.type("status", "p1", "--watch", code=5)
    assert "how it ended is not known yet. Nothing is lost" in said.err
    assert "--refresh" in said.err
    assert small_desk.ask("status", "p1")["status"] == "PENDING"


def test_ctrl_c_leaves_the_payment_open(small_desk: Clerk) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "procomp_pay", "initiate", "p1", *KASPI, "--watch"],
        env=small_desk.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "PENDING" in line:
            break
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stays open, nothing is lost" in err
    payment = small_desk.ask("status", "p1")
    assert payment["status"] == "PENDING"
    assert f"procomp-pay status --payment {payment['payment_id']} --watch" in err
