"""PARTICIPANT, PAYMENT and TOURNAMENT by name on the command line."""

from __future__ import annotations

import pytest

from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine

KASPI = ("--method", "kaspi_qr")


def test_name_will_do_in_every_command(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "aida", *KASPI)
    assert payment["participant_id"] == "p1"
    assert "Аида Нурланова (Kata, Кубок Алматы, unpaid)" in clerk.type("status", "aida").err
    assert clerk.type("status", "p1").err == ""
    for command in (
        ("status", "aida"), ("status", "--payment", "aida"), ("cancel", "нурланова аида", "--yes"),
    ):  # fmt: skip
        assert clerk.ask(*command)["payment_id"] == payment["payment_id"]
    assert clerk.ask("audit", "show", "fblf")["payment_id"] == payment["payment_id"]
    for command in (
        ("history", "нурланова"),
        ("discrepancies", "list", "--payment", "aida", "--tournament", "кубок"),
        ("list", "--tournament", "kubok"),
        ("outbox", "list", "--payment", "aida"),
        ("events", "list", "--payment", "aida"),
        ("participant", "list", "kubok"),
        ("tournament", "fee", "kubok"),
        ("report", "--tournament", "kubok"),
        ("report", "closing", "--tournament", "kubok"),
    ):
        clerk.ask(*command)


def test_several_are_listed_with_exit_code_2(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.type("participant", "add", "Open", "Аида Ким")
    output = sqlite_clerk.type("initiate", "aida", *KASPI, code=2)
    assert "'aida' may mean 2" in output.err
    assert "Аида Нурланова  Kata  Кубок Алматы  unpaid  p1" in output.err
    document = sqlite_clerk.ask("initiate", "aida", *KASPI, code=2)
    assert [choice["name"] for choice in document["choices"]] == ["Аида Ким", "Аида Нурланова"]
    assert document["choices"][1]["facts"] == ["Kata", "Кубок Алматы", "unpaid"]
    assert sqlite_clerk.ask("list") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("command", [("refund", "--reason", "x"), ("cancel",)])
def test_without_a_question_money_needs_the_whole_name(
    sqlite_clerk: CommandLine, command: tuple[str, ...]
) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", *KASPI)
    name, *options = command
    output = sqlite_clerk.type(name, "aida", *options, "--yes", code=2)
    assert "only a part of the name 'Аида Нурланова'" in output.err
    latin = sqlite_clerk.type(name, "aida nurlanova", *options, "--yes", code=2)
    assert "is not how the name 'Аида Нурланова' is written" in latin.err
    assert sqlite_clerk.ask("status", "p1")["status"] == "PENDING"
    assert sqlite_clerk.ask(name, "Аида Нурланова", *options, "--yes", code=3 * (name == "refund"))
    assert sqlite_clerk.ask("status", "p1")["payment_id"] == payment["payment_id"]


def test_nobody_is_exit_code_4_with_the_nearest_names(sqlite_clerk: CommandLine) -> None:
    output = sqlite_clerk.type("status", "Аида Нурлонава", code=4)
    assert "the nearest names: Аида Нурланова (Kata, Кубок Алматы, unpaid)" in output.err


def test_a_name_with_a_year_of_birth_is_no_mistyped_code(clerk: CommandLine) -> None:
    for year in ("2008", "2009"):
        clerk.type("participant", "add", "Open", f"Асан Ким{year[-1] * 2}", "--birth-year", year)
    payment = clerk.ask("initiate", "Асан 2008", "-m", "apple_pay")
    assert clerk.ask("status", "Асан 2008")["payment_id"] == payment["payment_id"]
    assert clerk.ask("status", "--payment", "асан (2008)")["payment_id"] == payment["payment_id"]
    assert payment["payment_id"] in clerk.type("history", "asan, 2008").out
    [listed] = clerk.ask("participant", "list", "--search", "ким 2009")["items"]
    assert listed["birth_year"] == 2009
    assert "the nearest names: Асан Ким" in clerk.type("status", "Асан 2010", code=4).err
    assert "only a part of the name" in clerk.type("cancel", "Асан 2008", "--yes", code=2).err
    assert "is mistyped" in clerk.type("status", "АС2Н 2008", code=4).err


def test_terminal_lets_the_clerk_choose(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.type("participant", "add", "Open", "Аида Ким")
    with pseudo_terminal(sqlite_clerk, "status", "aida") as terminal:
        terminal.wait_for("1  Аида Ким")
        terminal.wait_for("2  Аида Нурланова  Kata  Кубок Алматы")
        terminal.wait_for("Number (Enter for none)")
        terminal.type("7\r")
        terminal.wait_for("Type 1 to 2")
        terminal.wait_for("Number (Enter for none)")
        terminal.type("2\r")
        terminal.wait_for("Аида Нурланова has no payment yet")
        assert terminal.ends() == 4
    with pseudo_terminal(sqlite_clerk, "initiate", "aida", *KASPI) as terminal:
        terminal.wait_for("Number (Enter for none)")
        terminal.type("\r")
        terminal.wait_for("Nothing was chosen")
        assert terminal.ends() == 3
    assert sqlite_clerk.ask("list")["items"] == []


def test_refund_by_name_shows_who_was_chosen(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    sqlite_clerk.pay(payment, "apple_pay")
    sqlite_clerk.ask("status", "p1", "--refresh")
    with pseudo_terminal(sqlite_clerk, "refund", "aida") as terminal:
        terminal.wait_for("Reason, for the audit trail:")
        terminal.type("injured\r")
        terminal.wait_for("Аида Нурланова")
        terminal.wait_for("reason      injured")
        terminal.wait_for("Refund 50.00\N{NO-BREAK SPACE}USD?")
        terminal.type("n\r")
        assert terminal.ends() == 3
