"""A reconciliation that is killed half way leaves nothing wrong, and the next one says so."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.e2e.conftest import Town, until

SLOW = {"path": "/v1/checkout/sessions", "method": "GET", "kind": "delay", "seconds": 0.4, "times": 1000}


def audits(town: Town, participant: str) -> list[str]:
    [entry] = town.ask("history", participant)["items"]
    return [each["action"] for each in entry["moves"] if each["source"] == "reconcile"]


@pytest.mark.parametrize("where", ["town", "pg_town"])
def test_killed_half_way(where: str, request: pytest.FixtureRequest) -> None:
    town: Town = request.getfixturevalue(where)
    if where == "pg_town":
        town.run("db", "upgrade")
    town.open_sandbox()
    first = town.participant()
    [tournament] = town.ask("tournament", "list")["items"]
    people = [first] + [
        town.ask("participant", "add", tournament["tournament_id"], f"Kid {n}")["participant_id"]
        for n in range(3)
    ]
    for who in people:
        opened: Any = town.ask(
            "initiate", who, "--method", "apple_pay", "--amount", "50", "--currency", "USD"
        )
        town.post(f"/c/pay/{opened['provider_ref']}", {"wallet": "apple_pay"})
    town.post("/_sandbox/faults", SLOW)
    process = town.spawn("reconcile", "--provider", "stripe")
    done = lambda: sum(bool(audits(town, who)) for who in people)  # noqa: E731
    until(lambda: done() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    mended = done()
    assert 1 <= mended <= len(people)
    [run] = town.ask("reconcile", "--provider", "stripe")["runs"]
    assert run["interrupted_before"]
    assert run["open"] == 0
    for who in people:
        assert town.ask("status", who)["status"] == "COMPLETED"
        assert len(audits(town, who)) == 1
    [again] = town.ask("reconcile", "--provider", "stripe")["runs"]
    assert (again["found"], again["interrupted_before"]) == (0, [])
