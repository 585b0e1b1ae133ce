"""A day at the desk beside a platform with other names, whose rows are there.

Run it as ``python -m tests.support.mapped_day``, with DATABASE_URL, PLATFORM_MAP and PROCOMP_HOME set:
a process reads its map once.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from pathlib import Path

from procomp_pay.storage.registrations import completion
from tests.support.terminal import CommandLine, LocalProviders, paid


def main(*, writes_names: bool) -> None:
    """Initiate, pay, refund, list, report, reconcile."""
    url, home = os.environ["DATABASE_URL"], Path(os.environ["PROCOMP_HOME"])
    providers = LocalProviders()
    try:
        providers.write_run_file(home)
        clerk = CommandLine(home, providers, url)
        assert "they are adopted" in clerk.type("db", "upgrade").out
        assert "fit, by the names in" in clerk.type("db", "map").out
        _day(clerk)
        _names(clerk, writes_names=writes_names)
    finally:
        providers.close()
    files = url, os.environ["PLATFORM_MAP"]
    names = {"Aida Bek", "Timur Bek", "Dan Bek"}
    assert {row.full_name for row in completion.participants(*files)} >= names
    assert {row.full_name for row in completion.payments(*files)} == names
    assert [row.id for row in completion.tournaments(*files)] == ["t1"]


def _day(clerk: CommandLine) -> None:
    clerk.type("tournament", "fee", "t1", "24000", "KZT")
    card = paid(clerk)
    assert (card["participant_name"], card["amount"]) == ("Aida Bek", Decimal(50))
    scanned = clerk.ask("initiate", "p2", "--method", "kaspi_qr")
    clerk.pay(scanned, "pay")
    shown = clerk.ask("status", "p2", "--refresh")
    assert (shown["status"], shown["participant_name"]) == ("COMPLETED", "Timur Bek")
    opened = clerk.ask("initiate", "p3", "--method", "kaspi_qr")
    clerk.type("cancel", "p3", "--yes")
    assert clerk.ask("status", "--payment", opened["payment_id"])["status"] == "CANCELLED"
    clerk.type("reconcile", "--provider", "stripe")
    clerk.type("reconcile", "--provider", "kaspi")
    clerk.type("refund", card["payment_id"], "--reason", "injured", "--yes")
    assert clerk.ask("status", "p1")["status"] == "REFUNDED"
    listed = clerk.ask("list")["items"]
    assert {item["status"] for item in listed} == {"REFUNDED", "COMPLETED", "CANCELLED"}
    assert [item["participant_id"] for item in clerk.ask("list", "--status", "completed")["items"]] == ["p2"]
    for command in ("report", "report closing --tournament t1", "history p1", "maintain", "audit verify"):
        clerk.type(*command.split())
    found = clerk.ask("participant", "list", "--search", "Timur")["items"]
    assert [item["participant_id"] for item in found] == ["p2"]
    marked = clerk.ask("participant", "list", "t1", "--paid")["items"]
    assert {item["participant_id"] for item in marked} == {"p2", "p4"}
    assert clerk.ask("db", "adopt")["adopted"] == 1
    assert clerk.ask("status", "p4")["status"] == "COMPLETED"
    status = clerk.ask("db", "status")
    assert (status["platform_faults"], status["unknown_labels"], status["missing_indexes"]) == ([], {}, [])
    assert [check["state"] for check in clerk.ask("doctor")["checks"] if check["name"] == "platform"] == []


def _names(clerk: CommandLine, *, writes_names: bool) -> None:
    if writes_names:
        dana = clerk.ask("participant", "add", "t1", "Dana")["participant_id"]
        assert clerk.ask("participant", "edit", dana, "--name", "Dana B.")["full_name"] == "Dana B."
        clerk.type("person", "erase", dana, "--confirm", dana, "--with-platform-rows")
        return
    refused = clerk.type("participant", "add", "t1", "Dana", code=3).err
    assert '("first_name" and "last_name"), which procomp-pay does not write' in refused
    assert "does not write" in clerk.type("participant", "edit", "p3", "--name", "Dana", code=3).err
    erased = clerk.type("person", "erase", "p5", "--confirm", "p5", "--with-platform-rows", code=3).err
    assert "does not write" in erased, erased
    assert clerk.ask("participant", "edit", "p3", "--category", "Kumite")["category"] == "Kumite"


if __name__ == "__main__":
    main(writes_names=sys.argv[1] == "writes")
