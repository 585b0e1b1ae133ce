"""`verify-kaspi`: one payment by its number, the queue for a pipe, and live in a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from procomp_pay.cli.kaspi.wording import paid_at
from procomp_pay.domain.errors import Refused
from tests.cli.conftest import Clerk

NUMBER = "19000000001"
VERIFY = ("verify-kaspi",)


def start(ctx: Clerk, who: str = "p1") -> Any:
    return ctx.ask("initiate", who, "--method", "kaspi_qr")


def kaspi_is_away(ctx: Clerk) -> None:
    ctx.street.fault(path="/r1", kind="cut_before", times=99)


def test_one_payment(ctx: Clerk) -> None:
    payment = start(ctx)
    kaspi_is_away(ctx)
    done = ctx.ask(*VERIFY, payment["code"], "--transaction-id", f"№ QR{NUMBER}", "--as", "dana")
    assert (done["status"], done["transaction_id"], done["already"]) == ("COMPLETED", NUMBER, False)
    assert (done["kaspi"], done["overridden"], done["mode"]) == ("no_answer", [], "sandbox")
    again = ctx.type(*VERIFY, payment["payment_id"], "--transaction-id", NUMBER)
    assert "COMPLETED" in again.out
    assert "It was paid before" in again.err
    assert f"operation   {NUMBER}" in again.out
    assert "by dana" in ctx.type("history", "p1").out
    ctx.street.calm()
    other = start(ctx, "p2")
    refused = ctx.type(*VERIFY, other["payment_id"], "--transaction-id", NUMBER, code=3)
    assert "recorded by dana" in refused.err
    assert "Аида Нурланова (Kata)" in refused.err
    assert ctx.ask("status", payment["code"].lower())["payment_id"] == payment["payment_id"]


def test_a_payment_of_before_there_were_codes(small_desk: Clerk) -> None:
    """It is named by its id, everywhere."""
    payment = start(small_desk)
    small_desk.change("UPDATE pay_payment_detail SET short_code = NULL")
    shown = small_desk.type("status", "p1").out
    assert payment["payment_id"] in shown
    assert payment["code"] not in shown
    assert small_desk.ask("status", "p1")["code"] is None
    [row] = small_desk.type(*VERIFY).out.splitlines()[1:]
    assert row.split()[-2:] == ["-", payment["payment_id"]]
    small_desk.type("status", payment["code"], code=4)
    kaspi_is_away(small_desk)
    done = small_desk.ask(*VERIFY, payment["payment_id"], "--transaction-id", NUMBER)
    assert (done["status"], done["code"]) == ("COMPLETED", None)


def test_refusals_have_their_exit_codes(small_desk: Clerk) -> None:
    payment = start(small_desk)
    given = (payment["payment_id"], "--transaction-id")
    refused = small_desk.type(*VERIFY, *given, NUMBER, code=3)
    assert "was not paid" in refused.err
    assert "character 3 here is “X”" in small_desk.type(*VERIFY, *given, "12X45678901", code=3).err
    small_desk.type(*VERIFY, "nothing", "--transaction-id", NUMBER, code=4)
    code = payment["code"]
    wrong = code[:-1] + ("0" if code[-1] != "0" else "2")
    assert "mistyped" in small_desk.type(*VERIFY, wrong, "--transaction-id", NUMBER, code=4).err
    assert small_desk.ask(*VERIFY, *given, NUMBER, "--amount", "-5", code=3)["exit_code"] == 3
    assert "is not a time" in small_desk.type(*VERIFY, *given, NUMBER, "--paid-at", "noon", code=3).err
    for words in (
        (payment["payment_id"],),
        (*given, NUMBER, "--override"),
        ("--transaction-id", NUMBER),
        ("--override",),
    ):
        small_desk.type(*VERIFY, *words, code=2)
    done = small_desk.type(*VERIFY, *given, NUMBER, "--override", "--reason", "seen in the app")
    assert "open as a discrepancy" in done.err


def test_the_queue_for_a_pipe(ctx: Clerk) -> None:
    assert ctx.ask(*VERIFY) == {"items": []}
    assert "Nobody waits" in ctx.type(*VERIFY).err
    first, second, third = start(ctx, "p1"), start(ctx, "p4"), start(ctx, "p3")
    ctx.pay(second, "scan")
    ctx.ask("status", "--payment", second["payment_id"], "--refresh")
    ctx.pay(third, "pay")
    ctx.ask("status", "--payment", third["payment_id"], "--refresh")
    apple = ctx.ask("initiate", "p2", "--method", "apple_pay")
    found = ctx.ask(*VERIFY)["items"]
    assert [each["payment_id"] for each in found] == [first["payment_id"], second["payment_id"]]
    assert [each["state"] for each in found] == ["not scanned yet", "confirming now"]
    assert all(each["minutes"] == 0 and each["category"] == "Kata" for each in found)
    lines = ctx.type(*VERIFY).out.splitlines()
    assert lines[0].split() == ["NAME", "CATEGORY", "AMOUNT", "MIN", "STATE", "CODE", "PAYMENT"]
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)
    assert apple["payment_id"] not in "".join(lines)
    ctx.ask("cancel", first["payment_id"], "--yes")
    assert [each["state"] for each in ctx.ask(*VERIFY)["items"]] == ["cancelled", "confirming now"]


class Terminal:
    """A real terminal with the command in it."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd, self._process, self.seen = fd, process, ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, seconds: float = 15) -> None:
        """Until the screen has shown ``text`` since something was typed."""
        until = time.monotonic() + seconds
        while text not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen):
            assert time.monotonic() < until, f"{text!r} never came: {self.seen[-3000:]!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self.seen += os.read(self._fd, 65536).decode("utf-8", "replace")

    def interrupt(self) -> None:
        """Ctrl-C: what a terminal makes of it for the process that it controls."""
        self._process.send_signal(signal.SIGINT)

    def ends(self) -> int:
        until = time.monotonic() + 15
        while self._process.poll() is None:
            assert time.monotonic() < until
            if select.select([self._fd], [], [], 0.05)[0]:
                os.read(self._fd, 65536)
        return int(self._process.returncode)


@contextmanager
def terminal(ctx: Clerk, *words: str, columns: int = 80) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    before = termios.tcgetattr(theirs)
    environment = ctx.environment() | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-m", "procomp_pay", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    try:
        yield Terminal(ours, process)
        assert termios.tcgetattr(theirs)[3] == before[3], "the terminal is put back as it was"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_a_clerk_at_a_terminal(small_desk: Clerk) -> None:
    first, second = start(small_desk, "p1"), start(small_desk, "p2")
    small_desk.pay(second, "pay")  # the customer has paid, nobody has asked Kaspi yet
    with terminal(small_desk, *VERIFY) as screen:
        screen.wait_for("2 wait")
        screen.wait_for("Timur")
        screen.type("kata\n")
        screen.wait_for("2 fit 'kata': type the number")
        screen.type("2\n")
        screen.wait_for("✓ PAID")  # Kaspi was asked as soon as the line was picked
        screen.type("\n")
        screen.wait_for("SANDBOX")  # on every screen
        screen.wait_for("1 waits")
        screen.type("zz\n")
        screen.wait_for("Nobody is registered whose name fits 'zz'")
        screen.type("timur\n")
        screen.wait_for("✓ Timur (Kata) is PAID already")
        screen.type("данияр\n")
        screen.wait_for("Данияр (Kata) has no Kaspi payment that waits. A new QR")
        screen.type(f"QR{second['provider_ref']}\n")
        screen.wait_for("is used: it settled Timur (Kata) at")
        screen.type("77\n")
        screen.wait_for("There is no row 77")
        screen.type("№ 190 0000 0002\n")
        screen.wait_for("Receipt 19000000002 is new here. Whose is it?")
        screen.type("нурл аид")  # in any order
        screen.wait_for("Row, name or receipt: нурл аид")
        screen.type("\n")
        screen.wait_for("not paid through this QR")
        screen.wait_for("Receipt's number: 19000000002")  # it was typed before the person was known
        screen.type("\x1b")
        screen.wait_for("Receipt's number: ▌")
        screen.type("12\n")
        screen.wait_for("too short")
        screen.type(f"{second['provider_ref']}\n")
        screen.wait_for("settled another payment: Timur")
        kaspi_is_away(small_desk)
        screen.type("QR 190 0000 0001\n")
        screen.wait_for("✓ PAID")
        screen.wait_for("By your word")
        screen.type("\n")
        screen.wait_for("nobody waits")
        screen.type("\x1b")
        assert screen.ends() == 0
    assert small_desk.ask("status", "p1")["operation_number"] == NUMBER
    assert small_desk.ask("status", "p1")["payment_id"] == first["payment_id"]


def test_ctrl_c_leaves_a_sane_terminal(small_desk: Clerk) -> None:
    start(small_desk)
    with terminal(small_desk, *VERIFY, columns=40) as screen:
        screen.wait_for("1  Аида Нурланова")  # a narrow window still says who it is
        screen.wait_for("KZT · not scanned yet")
        screen.interrupt()
        assert screen.ends() == 130


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("14:05", "2026-05-02T09:05:00+00:00"),
        ("14:05:07", "2026-05-02T09:05:07+00:00"),
        ("02.05.2026 14:05", "2026-05-02T09:05:00+00:00"),
        (" 2.5.2026,  9:05 ", "2026-05-02T04:05:00+00:00"),
        ("2026-05-02 14:05", "2026-05-02T09:05:00+00:00"),
        ("2026-05-02T14:05:00Z", "2026-05-02T14:05:00+00:00"),
        ("2023-05-02 14:05", "2023-05-02T08:05:00+00:00"),  # Almaty was at +06 until 2024
    ],
)
def test_times_as_on_the_receipt(text: str, utc: str) -> None:
    at = paid_at(text, datetime(2026, 5, 2, 12, tzinfo=UTC))
    assert at is not None
    assert at.isoformat() == utc


@pytest.mark.parametrize("text", ["", "noon", "25:00", "31.02.2026 10:00", "2026-13-01 10:00", "\x00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Refused):
        paid_at(text, datetime(2026, 5, 2, 12, tzinfo=UTC))
