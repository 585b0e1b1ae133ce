"""``payment move``: for the wrong child."""

from __future__ import annotations

from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine, paid


def test_a_payment_is_moved_and_back(clerk: CommandLine) -> None:
    view = paid(clerk, "p1")
    refused = clerk.type(
        "payment", "move", view["payment_id"], "--to", "p2", "--reason", " ", "--yes", code=3
    )
    assert "reason" in refused.err
    moved = clerk.ask("payment", "move", view["code"], "--to", "Timur", "--reason", "the brother", "--yes")
    assert (moved["participant_id"], moved["moved_from"]) == ("p2", "p1")
    assert clerk.ask("status", "p2")["payment_id"] == view["payment_id"]
    clerk.type("status", "p1", code=4)
    trail = clerk.type("audit", "show", view["payment_id"]).out
    assert "moved this payment to another participant" in trail
    assert "the brother" in trail
    assert "moved here" in clerk.type("history", "p2").out
    clerk.type("status", "--payment", view["code"], code=4)  # it has another code
    clerk.type("payment", "move", moved["code"], "--to", "p2", "--reason", "again", "--yes", code=3)
    clerk.type("payment", "move", moved["code"], "--to", "tim", "--reason", "a part", "--yes", code=2)
    clerk.type("payment", "move", moved["code"], "--to", "p3", code=2)
    assert (
        clerk.ask("payment", "move", moved["code"], "--to", "p1", "--reason", "no", "--yes")["moved_from"]
        == "p2"
    )


def test_it_is_asked_on_a_terminal(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk, "p1")
    words = ("payment", "move", view["code"], "--to", "timur", "--reason", "the brother")
    with pseudo_terminal(sqlite_clerk, *words) as terminal:
        terminal.wait_for("to Timur (p2, Kata)?")
        terminal.type("y\r")
        terminal.wait_for("has not paid")
        assert terminal.ends() == 0
