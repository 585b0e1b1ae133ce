"""``verify-kaspi``: one payment by its receipt, the queue in a pipe, and the live queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from procomp_pay.cli.kaspi.wording import paid_at
from procomp_pay.domain.errors import Refused
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine

NUMBER = "19000000001"
VERIFY = ("verify-kaspi",)


def start(clerk: CommandLine, participant_id: str = "p1") -> Any:
    return clerk.ask("initiate", participant_id, "--method", "kaspi_qr")


def kaspi_does_not_answer(clerk: CommandLine) -> None:
    clerk.providers.fault(path="/r1", kind="cut_before", times=99)


def test_verify_a_payment(clerk: CommandLine) -> None:
    payment = start(clerk)
    kaspi_does_not_answer(clerk)
    done = clerk.ask(*VERIFY, payment["code"], "--transaction-id", f"№ QR{NUMBER}", "--as", "dana")
    assert (done["status"], done["transaction_id"], done["already"]) == ("COMPLETED", NUMBER, False)
    assert (done["kaspi"], done["overridden"], done["mode"]) == ("no_answer", [], "sandbox")
    again = clerk.type(*VERIFY, payment["payment_id"], "--transaction-id", NUMBER)
    assert "COMPLETED" in again.out
    assert "It was paid already" in again.err
    assert f"operation   {NUMBER}" in again.out
    assert "by dana" in clerk.type("history", "p1").out
    clerk.providers.calm()
    other = start(clerk, "p2")
    refused = clerk.type(*VERIFY, other["payment_id"], "--transaction-id", NUMBER, code=3)
    assert "recorded by dana" in refused.err
    assert "Аида Нурланова (Kata)" in refused.err
    assert clerk.ask("status", payment["code"].lower())["payment_id"] == payment["payment_id"]


def test_verify_a_payment_without_a_code(sqlite_clerk: CommandLine) -> None:
    """The payment is shown by its id everywhere."""
    payment = start(sqlite_clerk)
    sqlite_clerk.change("UPDATE pay_payment_detail SET short_code = NULL")
    shown = sqlite_clerk.type("status", "p1").out
    assert payment["payment_id"] in shown
    assert payment["code"] not in shown
    assert sqlite_clerk.ask("status", "p1")["code"] is None
    [row] = sqlite_clerk.type(*VERIFY).out.splitlines()[1:]
    assert row.split()[-2:] == ["-", payment["payment_id"]]
    sqlite_clerk.type("status", payment["code"], code=4)
    kaspi_does_not_answer(sqlite_clerk)
    done = sqlite_clerk.ask(*VERIFY, payment["payment_id"], "--transaction-id", NUMBER)
    assert (done["status"], done["code"]) == ("COMPLETED", None)


def test_refused_verifications_and_their_exit_codes(sqlite_clerk: CommandLine) -> None:
    payment = start(sqlite_clerk)
    given = (payment["payment_id"], "--transaction-id")
    refused = sqlite_clerk.type(*VERIFY, *given, NUMBER, code=3)
    assert "was not paid" in refused.err
    assert "character 3 here is “X”" in sqlite_clerk.type(*VERIFY, *given, "12X45678901", code=3).err
    sqlite_clerk.type(*VERIFY, "nothing", "--transaction-id", NUMBER, code=4)
    code = payment["code"]
    wrong = code[:-1] + ("0" if code[-1] != "0" else "2")
    assert "mistyped" in sqlite_clerk.type(*VERIFY, wrong, "--transaction-id", NUMBER, code=4).err
    assert sqlite_clerk.ask(*VERIFY, *given, NUMBER, "--amount", "-5", code=3)["exit_code"] == 3
    assert "is not a time" in sqlite_clerk.type(*VERIFY, *given, NUMBER, "--paid-at", "noon", code=3).err
    for words in (
        (payment["payment_id"],),
        (*given, NUMBER, "--override"),
        ("--transaction-id", NUMBER),
        ("--override",),
    ):
        sqlite_clerk.type(*VERIFY, *words, code=2)
    done = sqlite_clerk.type(*VERIFY, *given, NUMBER, "--override", "--reason", "seen in the app")
    assert "opened as a discrepancy" in done.err


def test_the_queue_in_a_pipe(clerk: CommandLine) -> None:
    assert clerk.ask(*VERIFY) == {"items": []}
    assert "No payments to verify" in clerk.type(*VERIFY).err
    first, second, third = start(clerk, "p1"), start(clerk, "p4"), start(clerk, "p3")
    clerk.pay(second, "scan")
    clerk.ask("status", "--payment", second["payment_id"], "--refresh")
    clerk.pay(third, "pay")
    clerk.ask("status", "--payment", third["payment_id"], "--refresh")
    apple = clerk.ask("initiate", "p2", "--method", "apple_pay")
    queue = clerk.ask(*VERIFY)["items"]
    assert [row["payment_id"] for row in queue] == [first["payment_id"], second["payment_id"]]
    assert [row["state"] for row in queue] == ["not scanned yet", "confirming now"]
    assert all(row["minutes"] == 0 and row["category"] == "Kata" for row in queue)
    lines = clerk.type(*VERIFY).out.splitlines()
    assert lines[0].split() == ["NAME", "CATEGORY", "AMOUNT", "MIN", "STATE", "CODE", "PAYMENT"]
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)
    assert apple["payment_id"] not in "".join(lines)
    clerk.ask("cancel", first["payment_id"], "--yes")
    assert [item["state"] for item in clerk.ask(*VERIFY)["items"]] == ["cancelled", "confirming now"]


def test_the_live_queue(sqlite_clerk: CommandLine) -> None:
    first, second = start(sqlite_clerk, "p1"), start(sqlite_clerk, "p2")
    sqlite_clerk.pay(second, "pay")  # paid, but not polled yet
    with pseudo_terminal(sqlite_clerk, *VERIFY) as screen:
        screen.wait_for("to verify · 2 · ")
        screen.wait_for("Timur")
        screen.type("kata\n")
        screen.wait_for("2 match 'kata': type the number")
        screen.type("2\n")
        screen.wait_for("✓ PAID")  # Kaspi was asked when the payment was chosen
        screen.type("\n")
        screen.wait_for("SANDBOX")  # on every screen
        screen.wait_for("to verify · 1 · ")
        screen.type("zz\n")
        screen.wait_for("No registered participant matches 'zz'")
        screen.type("timur\n")
        screen.wait_for("✓ Timur (Kata) is PAID already")
        screen.type("данияр\n")
        screen.wait_for("Данияр (Kata) has no Kaspi payment to verify. For a new QR")
        screen.type(f"QR{second['provider_ref']}\n")
        screen.wait_for("was used: it settled Timur (Kata) at")
        screen.type("77\n")
        screen.wait_for("There is no row 77")
        screen.type("№ 190 0000 0002\n")
        screen.wait_for("Receipt 19000000002 is not known yet. Whose is it?")
        screen.type("нурл аид")  # in any order
        screen.wait_for("Row, name or receipt: нурл аид")
        screen.type("\n")
        screen.wait_for("not paid through this QR")
        screen.wait_for("Receipt's number: 19000000002")  # typed before the payment was chosen
        screen.type("\x1b")
        screen.wait_for("Receipt's number: ▌")
        screen.type("12\n")
        screen.wait_for("too short")
        screen.type(f"{second['provider_ref']}\n")
        screen.wait_for("settled another payment: Timur")
        kaspi_does_not_answer(sqlite_clerk)
        screen.type("QR 190 0000 0001\n")
        screen.wait_for("✓ PAID")
        screen.wait_for("Verified by you")
        screen.type("\n")
        screen.wait_for("to verify · none · ")
        screen.type("\x1b")
        assert screen.ends() == 0
    assert sqlite_clerk.ask("status", "p1")["operation_number"] == NUMBER
    assert sqlite_clerk.ask("status", "p1")["payment_id"] == first["payment_id"]


def test_ctrl_c_restores_the_terminal(sqlite_clerk: CommandLine) -> None:
    start(sqlite_clerk)
    with pseudo_terminal(sqlite_clerk, *VERIFY, columns=40) as screen:
        screen.wait_for("1  Аида Нурланова")  # a narrow window still shows the name
        screen.wait_for("KZT · ")  # the state follows; on a busy machine the QR may be over by now
        assert screen.interrupt() == 130


@pytest.mark.parametrize("chosen", ["", "1\n"])
def test_ctrl_d_leaves_the_live_queue(sqlite_clerk: CommandLine, chosen: str) -> None:
    start(sqlite_clerk)
    with pseudo_terminal(sqlite_clerk, *VERIFY) as screen:
        screen.wait_for("1  Аида Нурланова")
        if chosen:
            screen.type(chosen)
            screen.wait_for("Receipt's number")
        screen.type("12\x04")
        assert screen.ends() == 0


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
def test_parse_the_time_on_a_receipt(text: str, utc: str) -> None:
    at = paid_at(text, datetime(2026, 5, 2, 12, tzinfo=UTC))
    assert at is not None
    assert at.isoformat() == utc


@pytest.mark.parametrize("text", ["", "noon", "25:00", "31.02.2026 10:00", "2026-13-01 10:00", "\x00"])
def test_refuse_a_malformed_time(text: str) -> None:
    with pytest.raises(Refused):
        paid_at(text, datetime(2026, 5, 2, 12, tzinfo=UTC))
