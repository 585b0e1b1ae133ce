"""Operators at the terminal: accounts, logins, and what each role may do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from procomp_pay.cli.framework import rights
from procomp_pay.cli.main import app
from procomp_pay.cli.operators import commands as operator_commands
from procomp_pay.domain.operators import Right
from tests.cli.operators.conftest import FIRST_PIN, PINS, ROLES, Terminal
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine, paid


def commands(command: Any, name: str = "") -> list[str]:
    children = getattr(command, "commands", {})
    return [
        found for child, each in children.items() for found in commands(each, f"{name} {child}".strip())
    ] or [name]


def test_every_command_has_a_row_in_the_table_of_rights() -> None:
    known = commands(get_command(app))
    assert [name for name in known if not any(name[: len(row)] == row for row in rights.RIGHTS)] == []
    assert {Right(right) for right in rights.RIGHTS.values() if right is not None} <= set(Right)


def test_without_operators_everything_is_as_before(
    clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    clerk.ask("initiate", "p1", "--method", "kaspi_qr", "--as", "anybody")
    clerk.ask("report")
    assert clerk.ask("operator", "whoami") == {"operator": None, "role": None}
    assert clerk.ask("operator", "login", "anybody") == {"operator": None, "role": None}
    assert clerk.ask("operator", "list") == {"items": []}
    assert not (tmp_path / "state").exists()
    refused = clerk.ask("operator", "add", "clerk", "--role", "desk", "--token", code=3)
    assert "has to be an admin" in refused["detail"]


def test_a_login_is_needed_where_there_are_operators(terminal: Terminal) -> None:
    terminal.type("operator", "logout")
    for words in (
        ("initiate", "p1", "--method", "kaspi_qr"),
        ("participant", "add", "t1", "Somebody", "--email", "s@example.kz"),
        ("report",),
        ("reconcile",),
        ("audit", "seal"),
        ("operator", "list"),
        ("operator", "add", "thief", "--role", "admin", "--token"),
    ):
        assert "is not logged in" in terminal.ask(*words, code=3)["detail"], words
    terminal.ask("list")
    terminal.ask("participant", "list")
    terminal.ask("maintain")
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    [started] = terminal.ask("audit", "show", payment["payment_id"])["entries"][:1]
    assert started["actor"] == "aigerim"


def test_a_name_alone_is_not_enough(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("aigerim")
    for name in ("marat", "nobody", "AIGERIM"):
        terminal.ask("initiate", "p1", "--method", "kaspi_qr", "--as", name, code=3)
    monkeypatch.setenv("PROCOMP_OPERATOR", "marat")
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", "--as", "aigerim")


def test_a_script_acts_by_its_token(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    token = terminal.ask("operator", "add", "cron", "--role", "finance", "--token")["token"]
    terminal.type("operator", "logout")
    monkeypatch.setenv("PROCOMP_OPERATOR", "cron")
    monkeypatch.setenv("PROCOMP_OPERATOR_TOKEN", token)
    terminal.ask("audit", "seal")
    terminal.ask("report")
    terminal.ask("operator", "list", code=3)
    terminal.ask("report", code=0)
    monkeypatch.setenv("PROCOMP_OPERATOR_TOKEN", token + "x")
    terminal.ask("audit", "seal", code=3)
    terminal.ask("report", code=3)


def test_each_role_has_its_commands(terminal: Terminal) -> None:
    terminal.login("aigerim")
    for words in (
        ("report",),
        ("reconcile",),
        ("tournament", "fee", "t1", "100", "KZT"),
        ("tournament", "edit", "t1", "--name", "X"),
        ("refund", "--tournament", "t1", "--all", "--reason", "x", "--yes"),
        ("person", "export", "p1"),
        ("token", "issue", "--user", "u1", "--role", "admin"),
        ("operator", "add", "thief", "--role", "admin", "--token"),
        ("operator", "disable", "dana"),
        ("operator", "change", "aigerim", "--role", "admin"),
        ("operator", "pin", "marat", "--token"),
    ):
        output = terminal.type(*words, code=3)
        assert "this needs the role" in output.err + output.out, words
    terminal.ask("tournament", "fee", "t1")
    terminal.login("dana")
    terminal.ask("report")
    terminal.ask("tournament", "fee", "t1", "100", "KZT")
    assert "this needs the role admin" in terminal.ask("operator", "list", code=3)["detail"]
    terminal.login("marat")
    items = terminal.ask("operator", "list")["items"]
    assert [(item["name"], item["role"]) for item in items] == [
        ("aigerim", "desk"), ("dana", "finance"), ("erlan", "desk"), ("marat", "admin"),
    ]  # fmt: skip
    assert all(pin not in json.dumps(items) for pin in PINS.values())


def test_an_operator_of_one_tournament_acts_there_alone(terminal: Terminal) -> None:
    terminal.login("erlan")
    terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    refused = terminal.ask("initiate", "p5", "--method", "apple_pay", "--amount", "50", code=3)
    assert refused["detail"] == "Tournament t2 is not one of erlan's"
    terminal.login("marat")
    other = terminal.ask("initiate", "p5", "--method", "apple_pay", "--amount", "50")
    terminal.login("erlan")
    for named in (other["code"], other["payment_id"], "p5"):
        assert terminal.ask("status", named)["payment_id"] == other["payment_id"]
        for how in ("--refresh", "--watch"):
            refused = terminal.ask("status", named, how, code=3)
            assert refused["detail"] == "Tournament t2 is not one of erlan's"
    terminal.ask("participant", "edit", "p5", "--name", "X", code=3)
    terminal.ask("participant", "add", "t2", "Somebody", code=3)
    terminal.ask("participant", "add", "t1", "Somebody")


def test_finance_of_one_tournament_sees_no_payouts(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PINS, "zhan", "452817")
    monkeypatch.setitem(ROLES, "zhan", "finance")
    terminal.add("zhan", "--tournament", "t1")
    terminal.login("zhan")
    for words in (("payouts", "list"), ("payouts", "fetch"), ("export", "payouts"), ("reconcile",)):
        assert "only for their own tournaments" in terminal.type(*words, code=3).err, words


def test_another_role_takes_the_login_and_the_right(terminal: Terminal) -> None:
    terminal.login("dana")
    kept = terminal.login_file().read_text()
    terminal.type("operator", "change", "dana", "--role", "admin", code=3)
    terminal.login("marat")
    terminal.type("operator", "change", "dana", code=2)
    terminal.type("operator", "change", "dana", "--tournament", "t1", "--all-tournaments", code=2)
    changed = terminal.ask("operator", "change", "dana", "--role", "desk", "--tournament", "t1")
    assert (changed["role"], changed["tournaments"]) == ("desk", ["t1"])
    terminal.login_file().write_text(kept)
    terminal.ask("report", code=3)
    terminal.login("dana")
    assert "needs the role" in terminal.ask("report", code=3)["detail"]
    terminal.login("marat")
    assert "only admin" in terminal.type("operator", "change", "marat", "--role", "desk", code=3).err


def test_a_disabled_operator_is_out_at_once(terminal: Terminal) -> None:
    terminal.login("aigerim")
    kept = terminal.login_file().read_text()
    terminal.login("marat")
    terminal.ask("operator", "disable", "aigerim")
    terminal.login("aigerim", code=3)
    terminal.login_file().write_text(kept)
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    terminal.login("marat")
    terminal.ask("operator", "enable", "aigerim")
    terminal.login_file().write_text(kept)
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)  # the old login stays ended
    terminal.login("aigerim")
    terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    terminal.clerk.change("UPDATE pay_operator SET disabled_at = created_at WHERE name = 'aigerim'")
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)  # also where the login is still there
    terminal.login("marat")
    assert "only admin" in terminal.ask("operator", "disable", "marat", code=3)["detail"]


def test_a_login_ends_with_the_shift(terminal: Terminal) -> None:
    terminal.login("aigerim")
    terminal.clerk.change("UPDATE pay_operator_session SET expires_at = created_at")
    refused = terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    assert "The login of aigerim has ended" in refused["detail"]
    assert refused["next_step"] == "log in again: procomp-pay operator login aigerim"


def test_a_copied_login_file_is_of_no_use(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("aigerim")
    path = terminal.login_file()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    refused = terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    assert "others can read it" in refused["detail"]
    path.chmod(0o600)
    monkeypatch.setattr(rights, "os_user", lambda: "uid 4711")  # copied by another user, who owns the copy
    refused = terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    assert "is not logged in" in refused["detail"]
    monkeypatch.setattr(os, "getuid", lambda: 4711)  # not a copy: the file of another user
    refused = terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    assert "belongs to another user" in refused["detail"]


def test_the_file_holds_a_token_that_the_database_does_not(terminal: Terminal) -> None:
    terminal.login("aigerim")
    kept = json.loads(terminal.login_file().read_text())
    assert kept.keys() == {"operator", "token"}
    kept["operator"] = "marat"
    terminal.login_file().write_text(json.dumps(kept))
    terminal.ask("operator", "list", code=3)
    kept["token"] = "x" * 43
    terminal.login_file().write_text(json.dumps(kept))
    terminal.ask("operator", "list", code=3)


def test_ten_wrong_pins_lock_the_account(terminal: Terminal) -> None:
    for _ in range(10):
        output = terminal.login("aigerim", "000111", code=3)
        assert "10 wrong PINs lock it for 15 minutes" in output.err
    terminal.login("aigerim", code=3)
    assert "locked by wrong PINs until" in terminal.type("operator", "list").out
    terminal.ask("operator", "enable", "aigerim")
    terminal.login("aigerim")
    assert terminal.ask("operator", "whoami") == {"operator": "aigerim", "role": "desk", "tournaments": None}


def test_a_new_pin_ends_the_logins(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("aigerim")
    monkeypatch.setenv("PROCOMP_PIN", PINS["aigerim"])
    new: list[str] = []
    ask = operator_commands.ask_secret
    monkeypatch.setattr(
        operator_commands, "ask_secret", lambda given, *a, **more: ask(given, *a, **more) if given else new[0]
    )
    for pin in ("12345", "111111", "123456", "987654"):
        new[:] = [pin]
        terminal.ask("operator", "pin", code=3)
    new[:] = ["not so easy"]
    monkeypatch.setenv("PROCOMP_PIN", "000111")  # not the current one
    terminal.ask("operator", "pin", code=3)
    monkeypatch.setenv("PROCOMP_PIN", PINS["aigerim"])
    terminal.ask("operator", "pin")
    monkeypatch.delenv("PROCOMP_PIN")
    terminal.ask("initiate", "p1", "--method", "kaspi_qr", code=3)
    terminal.login("aigerim", code=3)
    terminal.login("aigerim", "not so easy")


def test_two_names_that_look_alike_are_refused(terminal: Terminal) -> None:
    refused = terminal.ask("operator", "add", " DANA ", "--role", "desk", "--token", code=3)
    assert refused["detail"] == "There is an operator dana already"


def test_the_role_desk_refunds_up_to_its_limit(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_REFUND_LIMIT", "20 USD, 10000 KZT")
    terminal.login("aigerim")
    opened = terminal.ask("initiate", "p1", "--method", "apple_pay", "--amount", "50", "--currency", "USD")
    terminal.clerk.pay(opened, "apple_pay")
    terminal.ask("status", "--payment", opened["payment_id"], "--refresh")
    refund = ("refund", opened["payment_id"], "--reason", "injured", "--yes")
    assert "at most" in terminal.ask(*refund, code=3)["detail"]
    terminal.ask(*refund, "--amount", "15")
    assert "at most" in terminal.ask(*refund, "--amount", "15", code=3)["detail"]  # 30 of one payment
    terminal.login("dana")
    terminal.ask(*refund)


def test_a_pin_that_an_admin_gave_is_good_for_choosing_another_alone(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PROCOMP_PIN", FIRST_PIN)
        terminal.ask("operator", "add", "saule", "--role", "finance")
    refused = terminal.login("saule", FIRST_PIN, code=3)  # no terminal
    assert "marat gave saule a new PIN, and may know it" in refused.err
    assert "procomp-pay operator login saule" in refused.err
    terminal.login("dana")
    paid(terminal.clerk)
    refund = ("refund", "--tournament", "t1", "--all", "--reason", "off", "--yes", "--approve", "saule")
    assert "gave saule" in terminal.with_approver(FIRST_PIN, *refund, code=3).err
    with pseudo_terminal(terminal.clerk, "operator", "login", "saule", columns=120) as screen:
        screen.wait_for("PIN: ")
        screen.type(f"{FIRST_PIN}\n")
        screen.wait_for("marat set this PIN, and may know it: choose your own.")
        screen.wait_for("New PIN: ")
        screen.type("582046\n")
        screen.wait_for("Again, to be sure: ")
        screen.type("582046\n")
        screen.wait_for("saule (finance) is logged in")
        assert screen.ends() == 0
    assert terminal.ask("operator", "whoami")["operator"] == "saule"
    terminal.login("dana")
    terminal.with_approver("582046", *refund)
    assert terminal.ask("audit", "verify")["sound"]
