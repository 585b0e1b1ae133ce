"""``status``, ``history``, ``list`` and ``cancel``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from procomp_pay.cli.framework import formats
from procomp_pay.domain.errors import Refused
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine

KASPI = ("--method", "kaspi_qr")


def test_status_of_the_latest_or_of_one(clerk: CommandLine) -> None:
    first = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    second = clerk.ask("initiate", "p1", *KASPI)
    assert clerk.ask("status", "p1")["payment_id"] == second["payment_id"]
    assert clerk.ask("status", "p1", "--payment", first["payment_id"])["status"] == "CANCELLED"
    assert clerk.ask("status", "--payment", first["payment_id"])["participant_id"] == "p1"
    output = clerk.type("status", "p1")
    assert "PENDING" in output.out
    assert "waiting for the customer to scan" in output.out
    assert "SANDBOX" not in output.err  # no provider is asked
    clerk.change("UPDATE pay_payment_detail SET provider_ref = NULL")
    assert "Kaspi has not answered yet: there is nothing to pay" in clerk.type("status", "p1").out


def test_status_names_another_payment_of_the_participant(clerk: CommandLine) -> None:
    """A clerk who sees one payment would not look for the money of another one."""
    qr = clerk.ask("initiate", "p1", *KASPI)
    card = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    shown = clerk.ask("status", "p1")
    assert (shown["payment_id"], [other["payment_id"] for other in shown["other_payments"]]) == (
        card["payment_id"], [qr["payment_id"]],
    )  # fmt: skip
    clerk.pay(qr, "pay")
    assert clerk.ask("status", qr["payment_id"], "--refresh")["status"] == "COMPLETED"
    is_card = f"= '{card['payment_id']}'"
    clerk.change(f"UPDATE pay_payment_detail SET is_duplicate = true WHERE payment_id {is_card}")
    clerk.change(f"""UPDATE "Payment" SET status = 'COMPLETED' WHERE id {is_card}""")
    shown = clerk.ask("status", "p1", "--refresh")
    assert shown["payment_id"] == qr["payment_id"]
    [other] = shown["other_payments"]
    assert other == {
        "payment_id": card["payment_id"], "code": card["code"], "status": "COMPLETED", "method": "apple_pay",
        "amount": Decimal("50.00"), "currency": "USD", "refunded_amount": Decimal("0.00"), "duplicate": True,
    }  # fmt: skip
    for more in ((), ("--refresh",), ("--watch",)):
        lines = clerk.type("status", "p1", *more).out.splitlines()
        [line] = [line for line in lines if line.split()[:1] == ["also"]]
        assert f"{card['code']} COMPLETED" in line
        assert "50.00" in line
        assert "TWICE" in line
    assert "other_payments" not in clerk.ask("status", "--payment", qr["payment_id"])
    clerk.change(f"""UPDATE "Payment" SET status = 'EXPIRED' WHERE id {is_card}""")
    clerk.change("UPDATE pay_payment_detail SET provider_open = false")
    assert clerk.ask("status", "p1")["other_payments"] == []  # it is over, and nobody paid


def test_status_contains_no_secret(sqlite_clerk: CommandLine) -> None:
    secret = sqlite_clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD", "--intent-only")
    for command in (("status", "p1"), ("history", "p1"), ("list",)):
        for more in ((), ("--json",)):
            assert secret["client_secret"] not in sqlite_clerk.type(*command, *more).out


def test_refresh_asks_the_provider(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.pay(payment, "scan")
    got = clerk.ask("status", "p1", "--refresh")
    assert (got["status"], got["mode"]) == ("PROCESSING", "sandbox")
    assert "scanned, waiting for confirmation" in clerk.type("status", "p1").out
    clerk.pay(payment, "confirm")
    output = clerk.type("status", "p1", "--refresh")
    assert "COMPLETED" in output.out
    assert "operation" in output.out
    assert "SANDBOX" in output.err


def test_refresh_without_a_connection_shows_the_last_status(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    sqlite_clerk.ask("initiate", "p1", *KASPI)
    sqlite_clerk.providers.fault(kind="cut_before", path="/r1", times=None)
    output = sqlite_clerk.type("status", "p1", "--refresh", code=5)
    assert "PENDING" in output.out
    assert "the last known status is" in output.err
    document = sqlite_clerk.ask("status", "p1", "--refresh", code=5)
    assert set(document) == {"detail", "exit_code", "next_step"}


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("status", "nobody"), 4, "no participant 'nobody'"),
        (("status", "p3"), 4, "Данияр has no payment yet"),
        (("status", "--payment", "nope"), 4, "no payment 'nope'"),
        (("status",), 2, "give a PARTICIPANT"),
        (("history", "nobody"), 4, "no participant 'nobody'"),
        (("list", "--limit", "0"), 2, "Invalid value for '--limit': 0 is not from 1 to 200"),
        (("list", "--limit", "201"), 2, "Invalid value for '--limit': 201 is not from 1 to 200"),
        (("events", "replay", "--all-dead", "--limit", "0"), 2, "'--limit': 0 is less than 1"),
        (("sandbox", "--time-scale", "nan"), 2, "'--time-scale': nan is less than 0.01"),
        (("list", "--cursor", "%%"), 3, "cursor"),
        (("list", "--since", "tomorrow"), 3, "--since 'tomorrow' is not a day"),
        (("list", "--since", "2026-05-02", "--until", "2026-05-01"), 3, "is before"),
        (("list", "--until", "9999-12-31"), 3, "outside the calendar"),
        (("list", "--status", "done"), 2, "'done'"),
        (("cancel", "nope", "--yes"), 4, "no payment 'nope'"),
        (("cancel", "nope"), 2, "pass --yes"),
        (("status", "p1", "--metod"), 2, "No such option"),
        (("stat", "p1"), 2, "Did you mean 'status'"),
    ],
)
def test_refusals_and_their_exit_codes(
    sqlite_clerk: CommandLine, given: tuple[str, ...], code: int, says: str
) -> None:
    output = sqlite_clerk.type(*given, code=code)
    assert says in output.err
    assert output.out == ""
    assert sqlite_clerk.ask(*given, code=code)["exit_code"] == code


def test_a_payment_of_another_participant_is_not_found(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    output = sqlite_clerk.type("status", "p2", "--payment", payment["payment_id"], code=4)
    assert "does not belong to participant 'p2'" in output.err


def test_history_in_sentences(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.pay(payment, "scan")
    clerk.type("status", "p1", "--refresh")
    clerk.pay(payment, "confirm")
    clerk.type("status", "p1", "--refresh")
    output = clerk.type("history", "p1").out
    for sentence in (
        "started (by aigerim)",
        "opened at Kaspi",
        "scanned by the customer (Kaspi, when polled)",
        "PAID (Kaspi, when polled)",
        "refunded",
    ):
        assert sentence in output
    moves = clerk.ask("history", "p1")["items"][0]["moves"]
    assert [move["after"] for move in moves][-1] == "COMPLETED"


def test_history_without_payments(sqlite_clerk: CommandLine) -> None:
    output = sqlite_clerk.type("history", "p2")
    assert "initiate p2" in output.err
    assert sqlite_clerk.ask("history", "p2") == {"items": []}


def test_list_pages(clerk: CommandLine) -> None:
    for participant_id in ("p1", "p2", "p3"):
        clerk.ask("initiate", participant_id, *KASPI)
    output = clerk.type("list", "--limit", "2", "--method", "kaspi_qr")
    assert "procomp-pay list --method kaspi_qr --limit 2 --cursor " in output.err
    first = clerk.ask("list", "--limit", "2")
    second = clerk.ask("list", "--limit", "2", "--cursor", first["next_cursor"])
    assert [p["participant_id"] for p in first["items"] + second["items"]] == ["p3", "p2", "p1"]
    assert second["next_cursor"] is None


def test_list_filters(clerk: CommandLine) -> None:
    clerk.ask("initiate", "p1", *KASPI)
    clerk.ask("initiate", "p5", "-m", "google_pay")
    today = datetime.now(UTC).astimezone(formats.almaty()).date().isoformat()
    for given, expected in (
        (("--tournament", "t2"), ["p5"]),
        (("--method", "kaspi_qr"), ["p1"]),
        (("--status", "completed"), []),
        (("--status", "PENDING"), ["p5", "p1"]),
        (("--since", today, "--until", today), ["p5", "p1"]),
        (("--until", "2020-01-01"), []),
    ):
        assert [p["participant_id"] for p in clerk.ask("list", *given)["items"]] == expected, given
    assert "No payments match" in clerk.type("list", "--until", "2020-01-01").err


def test_a_pipe_gets_whole_lines(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    head, line = sqlite_clerk.type("list").out.splitlines()
    assert head.startswith("STATUS")
    assert payment["payment_id"] in line
    assert "Кубок Алматы" in line


def test_cancel_stripe(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    got = clerk.ask("cancel", payment["payment_id"], "--yes")
    assert (got["status"], got["provider_open"], got["mode"]) == ("CANCELLED", False, "sandbox")
    output = clerk.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "is already CANCELLED" in output.err


def test_cancel_kaspi_warns_that_the_qr_stays_valid(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    output = clerk.type("cancel", payment["payment_id"], "--yes")
    until = formats.clock_time(datetime.fromisoformat(payment["expires_at"]))
    assert f"stays valid until {until}" in output.err
    assert "CANCELLED" in output.out
    clerk.pay(payment, "pay")
    late = clerk.ask("status", "p1", "--refresh")
    assert (late["status"], late["late"]) == ("COMPLETED", True)
    assert "LATE" in clerk.type("status", "p1").out


def test_cancel_of_a_payment_paid_meanwhile(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.pay(payment, "pay")
    output = clerk.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "paid in the meantime" in output.err
    again = clerk.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "procomp-pay refund" in again.err


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-05-02T09:05:00+00:00", "14:05"),
        ("2026-05-01T18:59:59+00:00", "Fri 1 May 23:59"),
        ("2026-05-01T19:00:00+00:00", "00:00"),
        ("2025-12-31T18:00:00+00:00", "Wed 31 Dec 2025 23:00"),
    ],
)
def test_times_are_almatys(at: str, shown: str) -> None:
    now = datetime(2026, 5, 2, 10, 0, tzinfo=UTC)
    assert formats.clock_time(datetime.fromisoformat(at), now) == shown


def test_days_are_almatys() -> None:
    day = formats.day("2026-05-01", "--since")
    assert day is not None
    assert formats.day_begins(day) == datetime(2026, 4, 30, 19, tzinfo=UTC)
    assert formats.day_begins(day, plus_days=1) == datetime(2026, 5, 1, 19, tzinfo=UTC)
    with pytest.raises(Refused):
        formats.day("1 May", "--since")


def test_payments_and_tournaments_are_named_alike_everywhere(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    for command in (("list",), ("discrepancies", "list"), ("report",)):
        clerk.type(*command, "--tournament", "Nope", code=4)
        for name in ("t1", "Кубок Алматы", "кубок  алматы"):
            clerk.type(*command, "--tournament", name)
    [listed] = clerk.ask("list", "--tournament", "Кубок Алматы")["items"]
    assert listed["payment_id"] == payment["payment_id"]
    for command in (
        ("events", "list", "--payment"),
        ("outbox", "list", "--payment"),
        ("discrepancies", "list", "--payment"),
        ("status", "--payment"),
        ("audit", "show"),
        ("audit", "verify"),
    ):
        for name in (payment["payment_id"], payment["code"], payment["code"].lower().replace("-", " ")):
            clerk.type(*command, name)
        for name in ("nope", "0000-0000"):
            clerk.type(*command, name, code=4)
    assert clerk.ask("audit", "show", payment["code"])["payment_id"] == payment["payment_id"]


def test_a_refresh_shows_the_stored_status_whatever_the_provider_answers(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", *KASPI)
    for status, code, says in ((401, 7, "denies access"), (403, 7, "denies access")):
        sqlite_clerk.providers.fault(kind="status", status=status, path="/r1", times=9)
        output = sqlite_clerk.type("status", "p1", "--refresh", code=code)
        assert says in output.err
        assert "the last known status is PENDING" in output.err
        assert "PENDING" in output.out
        sqlite_clerk.providers.calm()
    sqlite_clerk.change("UPDATE pay_payment_detail SET provider_ref = '19999999999'")
    sqlite_clerk.change("""UPDATE "Payment" SET "kaspiQrCode" = '19999999999'""")
    output = sqlite_clerk.type("status", "p1", "--refresh", code=4)
    assert "Kaspi does not know this purchase (Kaspi code -1601); the last known status is" in output.err
    assert "PENDING" in output.out


def test_a_slow_answer_shows_who_is_asked(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "apple_pay")  # a QR would expire on a busy machine
    sqlite_clerk.providers.fault(kind="delay", path="/v1/checkout", seconds=3, times=1)
    with pseudo_terminal(sqlite_clerk, "status", "p1", "--refresh") as terminal:
        terminal.wait_for("Asking Stripe …")
        terminal.wait_for("PENDING")
        assert terminal.ends() == 0


def test_terminal_shows_codes_and_names_in_80_columns(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    with pseudo_terminal(sqlite_clerk, "list") as terminal:
        terminal.wait_for("Аида Нурланова\r\n")
        assert terminal.ends() == 0
    shown = [line.rstrip() for line in terminal.output.splitlines() if payment["code"] in line]
    assert len(shown) == 1
    assert payment["payment_id"] not in terminal.output
    with pseudo_terminal(sqlite_clerk, "list", columns=44) as terminal:
        terminal.wait_for(f"\r\n  {payment['code']}  Аида Нурланова\r\n")
        assert terminal.ends() == 0
    sqlite_clerk.change("UPDATE pay_payment_detail SET is_duplicate = true, is_late = true")
    with pseudo_terminal(sqlite_clerk, "list") as terminal:
        terminal.wait_for("LATE · TWICE · Аида")
        assert terminal.ends() == 0
    with pseudo_terminal(sqlite_clerk, "list", "--wide") as terminal:
        terminal.wait_for(payment["payment_id"])
        assert terminal.ends() == 0


def test_next_page_of_the_last_list(sqlite_clerk: CommandLine) -> None:
    for participant in ("p1", "p2", "p3"):
        sqlite_clerk.ask("initiate", participant, *KASPI)
    # the parent's id is part of the terminal's name: a window may get the name of one that was closed
    with pseudo_terminal(sqlite_clerk, "list", "-m", "kaspi_qr", "--limit", "2", warm=False) as terminal:
        terminal.wait_for("procomp-pay list --next")
        assert terminal.ends() == 0
    with pseudo_terminal(sqlite_clerk, "list", "--next", warm=False) as terminal:
        terminal.wait_for("Аида Нурланова\r\n")
        assert terminal.ends() == 0
        assert "Timur" not in terminal.output
    file = sqlite_clerk.home / "next-page.json"
    assert file.stat().st_mode & 0o777 == 0o600
    for words in (("--next", "--limit", "3"), ("--next",)):
        if words == ("--next",):
            file.unlink()
        assert "There is no next page" in sqlite_clerk.type("list", *words, code=4).err


def test_long_list_opens_the_pager(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for participant in ("p1", "p2", "p3"):
        payment = sqlite_clerk.ask("initiate", participant, *KASPI)
        sqlite_clerk.pay(payment, "pay")
        sqlite_clerk.type("status", participant, "--refresh")
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    command = ("audit", "show", "p1")
    with pseudo_terminal(sqlite_clerk, *command, lines=8) as terminal:
        terminal.wait_for("paged:")
        assert terminal.ends() == 0
    # keys typed ahead, a barcode scanner's too, write no file and run no command in less
    monkeypatch.setenv("PAGER", "env | grep ^LESS; cat >/dev/null")
    with pseudo_terminal(sqlite_clerk, *command, lines=8) as terminal:
        terminal.wait_for("LESSSECURE=1")
        assert terminal.ends() == 0
    monkeypatch.setenv("NO_PAGER", "1")
    with pseudo_terminal(sqlite_clerk, *command, lines=8) as terminal:
        terminal.wait_for("PAID")
        assert terminal.ends() == 0
        assert "paged:" not in terminal.output
    monkeypatch.delenv("NO_PAGER")
    assert "paged:" not in sqlite_clerk.type(*command).out


def test_days_in_words() -> None:
    today = datetime.now(UTC).astimezone(formats.almaty()).date()
    assert formats.day("today", "--since") == today
    assert formats.day("Yesterday", "--since") == today - timedelta(days=1)
    monday = formats.day("monday", "--since")
    assert monday is not None
    assert (monday.weekday(), 0 <= (today - monday).days <= 6) == (0, True)
    weekday = formats.day(f"{today:%A}", "--since")
    assert weekday == today


def test_days_as_they_are_written_in_kazakhstan(clerk: CommandLine) -> None:
    assert formats.day(" 1.05.2026", "--since") == formats.day("2026-05-01", "--since")
    for wrong in ("2026.05.01", "32.05.2026", "01.05.26", "01.05", "."):
        with pytest.raises(Refused, match="is not a day"):
            formats.day(wrong, "--since")
    added = ("tournament", "fees", "Кубок Алматы", "early", "20000", "KZT", "--until")
    assert clerk.ask(*added, "01.05.2099") == clerk.ask(*added, "2099-05-01")
