"""The closing of a day by operators: two of them sign, and each by a PIN."""

from __future__ import annotations

import pytest

from procomp_pay.cli.framework import console
from tests.cli.closing.test_by_hand import paid, second_operation
from tests.cli.closing.test_close import CLOSE
from tests.cli.operators.conftest import PINS, ROLES, Terminal


def test_two_operators_sign(terminal: Terminal) -> None:
    terminal.login("aigerim")
    terminal.type(*CLOSE, "--sign", code=3)  # the desk does not close
    terminal.login("dana")
    terminal.type(*CLOSE, "--sign", code=6)
    assert "another person" in terminal.type(*CLOSE, "--sign", code=3).err
    terminal.type(*CLOSE, "--sign", "--second", "dana", code=3)
    terminal.with_approver("000001", *CLOSE, "--sign", "--second", "marat", code=3)
    terminal.with_approver(PINS["aigerim"], *CLOSE, "--sign", "--second", "aigerim", code=3)
    done = terminal.with_approver(PINS["marat"], *CLOSE, "--sign", "--second", "marat", "--json").json
    assert [each["name"] for each in done["signatures"]] == ["dana", "marat"]
    assert all(each["account"].startswith("operator:") for each in done["signatures"])
    assert (done["state"], done["second_signature_missing"]) == ("closed", False)
    terminal.type("audit", "verify")


def test_a_closing_that_was_edited_is_found(terminal: Terminal) -> None:
    terminal.login("aigerim")
    paid(terminal.clerk)
    terminal.login("dana")
    terminal.ask(*CLOSE, code=6)
    for step in ("kaspi", "sums"):
        terminal.ask(*CLOSE, "--skip", step, "--reason", "no statement yet", code=6)
    terminal.with_approver(PINS["marat"], *CLOSE, "--sign", "--second", "marat")
    assert terminal.ask("audit", "verify")["sound"]
    json = "::jsonb" if terminal.clerk.url.startswith("postgres") else ""

    def replaced(column: str, old: str, new: str) -> str:
        return f"{column} = replace(CAST({column} AS TEXT), '{old}', '{new}'){json}"

    for change, what in (
        (replaced("sums", "24000", "23000"), "the sums that were signed"),
        ("sums = NULL", "the sums that were signed"),
        (replaced("signatures", "dana", "erlan"), "the signatures"),
        (f"signatures = '[]'{json}", "the signatures"),
        (replaced("steps", "skipped", "done"), "the state of a step"),
        ("closed_at = NULL", "when it was closed"),
        ("begun_by = 'erlan'", "or who began it"),
    ):
        terminal.clerk.change("CREATE TABLE kept AS SELECT * FROM pay_closing")
        terminal.clerk.change(f"UPDATE pay_closing SET {change}")
        report = terminal.ask("audit", "verify", code=6)
        details = [finding["detail"] for finding in report["findings"]]
        assert details == [f"the closing is not as it was recorded: {details[0].partition(': ')[2]}"]
        assert what in details[0], change
        terminal.clerk.change("DELETE FROM pay_closing")
        assert "deleted" in terminal.ask("audit", "verify", code=6)["findings"][0]["detail"]
        terminal.clerk.change("INSERT INTO pay_closing SELECT * FROM kept")
        terminal.clerk.change("DROP TABLE kept")
    assert terminal.ask("audit", "verify")["sound"]
    terminal.clerk.change("DELETE FROM pay_audit_entry WHERE payment_id LIKE 'closing:%'")
    assert "no audit entry" in str(terminal.ask("audit", "verify", code=6)["findings"])


def test_nobody_signs_for_whom_they_gave_a_pin(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("marat")
    with monkeypatch.context() as patch:
        patch.setenv("PROCOMP_PIN", "837261")
        terminal.ask("operator", "pin", "dana")
    refused = terminal.with_approver("837261", *CLOSE, "--sign", "--second", "dana", code=3)
    assert "gave dana a new PIN" in refused.err
    assert terminal.ask(*CLOSE, code=6)["signatures"] == []
    terminal.type(*CLOSE, "--sign", code=6)
    token = terminal.ask("operator", "pin", "dana", "--token")["token"]
    monkeypatch.setenv("PROCOMP_OPERATOR", "dana")  # nor by a login of her own
    monkeypatch.setenv("PROCOMP_OPERATOR_TOKEN", token)
    assert "gave dana a new PIN" in terminal.type(*CLOSE, "--sign", code=3).err
    assert len(terminal.ask(*CLOSE, code=6)["signatures"]) == 1


def test_money_is_not_given_up_in_place(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("aigerim")
    second_operation(terminal.clerk, paid(terminal.clerk))
    terminal.login("dana")
    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", lambda text, **_: "accept" if "write-off" in text else "")
        shown = terminal.type("close", code=6).err
    assert 'discrepancies resolve d1 --how accept --note "…" --approve NAME' in shown
    assert 'as NUMBER" --approve NAME' in shown
    assert terminal.ask("discrepancies", "show", "d1")["state"] == "open"


def test_only_finance_of_all_tournaments_closes(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PINS, "zhan", "452817")
    monkeypatch.setitem(ROLES, "zhan", "finance")
    terminal.add("zhan", "--tournament", "t2")
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    terminal.clerk.pay(payment, "pay")
    assert "needs the role finance" in terminal.type("close", code=3).err
    terminal.login("zhan")
    assert "only some tournaments" in terminal.type("close", "--tournament", "t2", code=3).err
    entries = terminal.ask("audit", "show", payment["payment_id"])["entries"]
    assert {entry["actor"] for entry in entries} == {"aigerim"}


def test_what_waits_for_a_second_operator_is_named(terminal: Terminal) -> None:
    terminal.login("aigerim")
    payment_id = paid(terminal.clerk)
    second_operation(terminal.clerk, payment_id)
    terminal.login("dana")
    words = ("discrepancies", "resolve", "d1", "--how", "write-off", "--note", "small")
    terminal.type(*words, code=6)
    [waiting] = terminal.ask(*CLOSE, code=6)["figures"]["waiting_approvals"]
    assert (waiting["action"], waiting["requested_by"]) == ("write_off", "dana")
    shown = terminal.type(*CLOSE, code=6).out
    assert "Waiting for a second operator" in shown
    assert waiting["id"] in shown
    assert not terminal.ask("close", "--tournament", "t2", code=6)["figures"]["waiting_approvals"]
    terminal.login("marat")
    terminal.approve("marat", waiting["id"])
    assert not terminal.ask(*CLOSE, code=6)["figures"]["waiting_approvals"]
