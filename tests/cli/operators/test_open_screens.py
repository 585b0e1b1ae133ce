"""A queue that stays open when its operator may no longer act."""

from __future__ import annotations

from tests.cli.kaspi.test_verify import kaspi_does_not_answer
from tests.cli.operators.conftest import Terminal
from tests.support.pseudo_terminal import pseudo_terminal


def test_the_open_queue_takes_no_receipt_from_who_was_disabled(terminal: Terminal) -> None:
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    kaspi_does_not_answer(terminal.clerk)
    with pseudo_terminal(terminal.clerk, "verify-kaspi", columns=100) as screen:
        screen.wait_for("to verify · 1 · ")
        terminal.login("marat")
        terminal.type("operator", "disable", "aigerim")
        screen.type("1\n")
        screen.wait_for("Receipt's number")
        screen.type("19000000001\n")
        screen.wait_for("The account of aigerim was disabled")
        screen.wait_for("procomp-pay operator enable aigerim")
        terminal.type("operator", "enable", "aigerim")
        screen.type("19000000001\n")
        screen.wait_for("aigerim was logged out")  # enabled again, one logs in again
        screen.interrupt()
    assert terminal.ask("status", "--payment", payment["payment_id"])["status"] == "PENDING"


def test_a_queue_that_was_opened_before_there_were_operators(terminal: Terminal) -> None:
    """It acts for nobody any more."""
    terminal.type("operator", "logout")
    terminal.clerk.change("DELETE FROM pay_operator_session")
    terminal.clerk.change("DELETE FROM pay_operator")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    kaspi_does_not_answer(terminal.clerk)
    with pseudo_terminal(terminal.clerk, "verify-kaspi", columns=100) as screen:
        screen.wait_for("to verify · 1 · ")
        terminal.add("marat")
        screen.type("1\n")
        screen.wait_for("Receipt's number")
        screen.type("19000000001\n")
        screen.wait_for("is not logged in as an operator")
        screen.interrupt()
    assert terminal.ask("status", "--payment", payment["payment_id"])["status"] == "PENDING"
