"""Every list, report and check goes on when the platform has added labels to its enums."""

from __future__ import annotations

import pytest

from tests.support.labels import relabel
from tests.support.terminal import CommandLine, paid

_COMMANDS = (
    "list",
    "status p1",
    "status p2",
    "history p1",
    "participant list",
    "tournament list",
    "verify-kaspi",
    "report",
    "report closing --tournament t1",
    "audit verify",
    "discrepancies list",
    "maintain",
    "refund --tournament t1 --all --reason rain --dry-run",
)


@pytest.fixture
def labelled(clerk: CommandLine) -> CommandLine:
    payment = paid(clerk)["payment_id"]
    open_one = clerk.ask("initiate", "p2", "--method", "kaspi_qr")["payment_id"]
    relabel(clerk.url, "Payment", "status", "DISPUTED", payment)
    relabel(clerk.url, "Payment", "method", "CASH", payment)
    relabel(clerk.url, "Payment", "status", "HELD", open_one)
    relabel(clerk.url, "Payment", "currency", "UZS", open_one)
    relabel(clerk.url, "Participant", "status", "WAITLISTED", "p3")
    relabel(clerk.url, "Tournament", "currency", "UZS", "t2")
    relabel(clerk.url, "User", "role", "COACH", "u1")
    return clerk


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_go_on(labelled: CommandLine, command: str) -> None:
    for options in ([], ["--json"]):
        # the platform changed statuses that the audit trail has
        labelled.type(*command.split(), *options, code=6 if command == "audit verify" else 0)


def test_reconcile_goes_on(labelled: CommandLine) -> None:
    labelled.ask("reconcile", "--provider", "stripe")
    labelled.ask("reconcile", "--provider", "kaspi")


def test_they_are_shown(labelled: CommandLine) -> None:
    listed = labelled.ask("list")["items"]
    assert [(item["status"], item["method"]) for item in listed] == [
        ("HELD", "kaspi_qr"),
        ("DISPUTED", "cash"),
    ]
    assert "a status that only the platform knows" in labelled.type("status", "p1").out
    everyone = labelled.ask("participant", "list")["items"]
    assert {item["status"] for item in everyone} == {"PAID", "REGISTERED", "WAITLISTED"}
    assert "50.00\N{NO-BREAK SPACE}UZS" in labelled.type("tournament", "list").out


def test_they_are_named(labelled: CommandLine) -> None:
    sqlite = labelled.url.startswith("sqlite")
    added = {
        "Currency": ["UZS"],
        "ParticipantStatus": ["WAITLISTED"],
        "PaymentMethod": ["CASH"],
        "PaymentStatus": ["DISPUTED", "HELD"],
        "UserRole": ["COACH"],
    }
    assert labelled.ask("db", "status")["unknown_labels"] == ({} if sqlite else added)
    assert ("PaymentStatus DISPUTED, HELD" in labelled.type("db", "status").out) is not sqlite
    assert ("UserRole COACH" in labelled.type("doctor").out) is not sqlite
