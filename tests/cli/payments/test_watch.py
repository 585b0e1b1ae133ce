"""``--watch``: follows a payment to its end, polls the provider, survives a lost connection."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from procomp_pay.cli.framework import console
from procomp_pay.cli.payments import watch as watching
from procomp_pay.services.lifecycle import polling
from tests.support.patience import PATIENCE_S, until
from tests.support.terminal import CommandLine
from tests.support.warm_processes import WarmProcess

KASPI = ("--method", "kaspi_qr")
WALLET = ("--method", "apple_pay")  # its page is open for minutes, also under the sandbox's fast clock


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses."""
    monkeypatch.setattr(watching, "_LOOK_S", 0.1)
    monkeypatch.setattr(watching, "_TICK_S", 0.1)
    monkeypatch.setattr(watching, "_STRIPE_EVERY", timedelta(seconds=1))
    monkeypatch.setattr(polling, "WATCH_RETRY_S", 1)


class Watcher:
    """Acts once the watch has shown something."""

    def __init__(self, helper: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
        self._helper, self._shown, say = helper, "", console.say

        def listen(text: str, **style: Any) -> None:
            self._shown += text
            say(text, **style)

        monkeypatch.setattr(console, "say", listen)

    def once(self, *steps: tuple[str, Callable[[], Any]]) -> None:
        """Do each step after its text was shown."""

        def act() -> None:
            for text, step in steps:
                until(lambda text=text: text in self._shown)
                step()

        self._helper.submit(act)


@pytest.fixture
def watcher(helper: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    return Watcher(helper, monkeypatch)


def test_watch_kaspi_line_by_line(clerk: CommandLine, watcher: Watcher) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    watcher.once(
        ("PENDING", lambda: clerk.pay(payment, "scan")), ("PROCESSING", lambda: clerk.pay(payment, "confirm"))
    )
    output = clerk.type("initiate", "p1", *KASPI, "--watch")
    states = [line.split()[1] for line in output.err.splitlines() if line[:2].isdigit()]
    assert states == ["PENDING", "PROCESSING", "COMPLETED"]
    assert "scanned, waiting for confirmation" in output.err
    assert "Kaspi operation" in output.out
    assert "████" in output.out  # PAID in large letters


def test_watch_polls_stripe_and_continues_after_a_decline(clerk: CommandLine, watcher: Watcher) -> None:
    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    watcher.once(
        ("PENDING", lambda: clerk.pay(payment, "declined")),
        ("the customer can try again", lambda: clerk.pay(payment, "apple_pay")),
    )
    output = clerk.type("status", "p1", "--watch")
    assert "the customer can try again" in output.err
    assert "COMPLETED" in output.err


def test_watch_prints_one_json_document_at_the_end(
    sqlite_clerk: CommandLine, helper: ThreadPoolExecutor
) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    helper.submit(lambda: (time.sleep(1.6), sqlite_clerk.pay(payment, "pay")))
    output = sqlite_clerk.type("status", "p1", "--watch", "--json")
    assert (output.json["status"], output.json["mode"], output.err) == ("COMPLETED", "sandbox", "")


def test_an_expired_qr_exits_with_3(clerk: CommandLine) -> None:
    output = clerk.type("initiate", "p1", *KASPI, "--watch", code=3)
    assert "EXPIRED not paid, expired" in output.err
    assert "NOT PAID" in output.out


def test_a_final_payment_ends_the_watch_at_once(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    sqlite_clerk.type("cancel", payment["payment_id"], "--yes")
    assert "CANCELLED" in sqlite_clerk.type("status", "p1", "--watch", code=3).out


def test_watch_reports_a_lost_connection_and_continues(
    clerk: CommandLine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.providers.fault(kind="cut_before", path="/r1", times=4)
    watcher.once(("no connection", lambda: clerk.pay(payment, "pay")))
    output = clerk.type("status", "p1", "--watch")
    assert "no connection, trying again: Kaspi" in output.err
    assert f"procomp-pay verify-kaspi {payment['code']}" in output.err
    assert "COMPLETED" in output.err


def test_watch_reports_a_hanging_connection_before_its_timeout(
    sqlite_clerk: CommandLine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SLOW", timedelta(seconds=0.5))
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    sqlite_clerk.providers.fault(kind="delay", path="/r1", seconds=2, times=1)
    watcher.once(("no answer yet", lambda: sqlite_clerk.pay(payment, "pay")))
    output = sqlite_clerk.type("status", "p1", "--watch")
    assert "no answer yet from Kaspi" in output.err
    assert "COMPLETED" in output.err


def test_a_silent_provider_exits_with_5(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    monkeypatch.setattr(watching, "GIVE_UP", timedelta(seconds=0.5))
    sqlite_clerk.ask("initiate", "p1", *KASPI)
    sqlite_clerk.providers.fault(kind="cut_before", path="/r1", times=None)
    output = sqlite_clerk.type("status", "p1", "--watch", code=5)
    assert "its outcome is not known yet. Nothing is lost" in output.err
    assert "--refresh" in output.err
    assert sqlite_clerk.ask("status", "p1")["status"] == "PENDING"


def test_ctrl_c_leaves_the_payment_open(sqlite_clerk: CommandLine) -> None:
    process = WarmProcess(
        ["initiate", "p1", *WALLET, "--watch"],
        env=sqlite_clerk.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stderr is not None
    before = ""
    for line in process.stderr:
        before += line
        if "PENDING" in line:
            break
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, before + err
    assert "Traceback" not in err
    assert "The payment stays open" in err
    payment = sqlite_clerk.ask("status", "p1")
    assert payment["status"] == "PENDING"
    assert f"procomp-pay status --payment {payment['payment_id']} --watch" in err
