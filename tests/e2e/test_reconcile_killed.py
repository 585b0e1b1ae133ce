"""A reconciliation that is killed half way leaves nothing wrong, and the next one says so."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from sqlmodel import col, func, select

from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import AuditEntry
from tests.e2e.conftest import Town, until

SLOW = {"path": "/v1/checkout/sessions", "method": "GET", "kind": "delay", "seconds": 1.0, "times": 1000}


def repaired(town: Town) -> int:
    """How many payments reconcile has moved; asked quickly, while it runs."""

    async def count() -> int:
        db = PaymentDatabaseService(
            town.env.get("DATABASE_URL") or f"sqlite:///{town.home}/procomp-pay.sqlite3"
        )
        async with db.reading() as session:
            found = await session.exec(
                select(func.count(col(AuditEntry.id))).where(AuditEntry.source == "reconcile")
            )
            number = found.one()
        await db.dispose()
        return number

    return asyncio.run(count())


def stories(town: Town, people: list[str]) -> list[tuple[str, int]]:
    """How each one's payment stands, and how often reconcile moved it."""
    found = [said["items"][0] for said in town.ask_all(*(("history", who) for who in people))]
    return [(each["status"], sum(m["source"] == "reconcile" for m in each["moves"])) for each in found]


@pytest.mark.parametrize("where", ["town", "pg_town"])
def test_killed_half_way(where: str, request: pytest.FixtureRequest) -> None:
    town: Town = request.getfixturevalue(where)
    if where == "pg_town":
        town.run("db", "upgrade")
    town.open_sandbox()
    people = town.participants("Kid 1", "Kid 2", "Kid 3")
    card = ("--method", "apple_pay", "--amount", "50", "--currency", "USD")
    for opened in town.ask_all(*(("initiate", who, *card) for who in people)):
        town.post(f"/c/pay/{opened['provider_ref']}", {"wallet": "apple_pay"})
    town.post("/_sandbox/faults", SLOW)
    process = town.spawn("reconcile", "--provider", "stripe")
    until(lambda: repaired(town) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    httpx.delete(f"{town.sandbox_url}/_sandbox/faults").raise_for_status()
    assert 1 <= repaired(town) < len(people)
    [run] = town.ask("reconcile", "--provider", "stripe")["runs"]
    assert run["interrupted_before"]
    assert run["open"] == 0
    assert stories(town, people) == [("COMPLETED", 1)] * len(people)
    [again] = town.ask("reconcile", "--provider", "stripe")["runs"]
    assert (again["found"], again["interrupted_before"]) == (0, [])
