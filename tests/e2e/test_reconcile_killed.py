"""A killed reconciliation leaves nothing wrong, and the next one reports it."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from sqlmodel import col, func, select

from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.audit import AuditEntry
from tests.support.deployment import Deployment
from tests.support.patience import until

SLOW = {"path": "/v1/checkout/sessions", "method": "GET", "kind": "delay", "seconds": 1.0, "times": 1000}


def repaired(deployment: Deployment) -> int:
    """Return how many payments reconciliation has changed so far."""

    async def count() -> int:
        db = PaymentDatabaseService(
            deployment.env.get("DATABASE_URL") or f"sqlite:///{deployment.home}/procomp-pay.sqlite3"
        )
        async with db.reading() as session:
            rows = await session.exec(
                select(func.count(col(AuditEntry.id))).where(AuditEntry.source == "reconcile")
            )
            number = rows.one()
        await db.dispose()
        return number

    return asyncio.run(count())


def statuses(deployment: Deployment, people: list[str]) -> list[tuple[str, int]]:
    """Return the status of each participant's payment, and how often reconciliation changed it."""
    payments = [
        result["items"][0]
        for result in deployment.run_all(*(("history", participant_id) for participant_id in people))
    ]
    return [
        (payment["status"], sum(move["source"] == "reconcile" for move in payment["moves"]))
        for payment in payments
    ]


@pytest.mark.parametrize("where", ["deployment", "postgres_deployment"])
def test_killed_during_the_run(where: str, request: pytest.FixtureRequest) -> None:
    deployment: Deployment = request.getfixturevalue(where)
    if where == "postgres_deployment":
        deployment.run("db", "upgrade")
    deployment.open_sandbox()
    people = deployment.participants("Kid 1", "Kid 2", "Kid 3")
    card = ("--method", "apple_pay", "--amount", "50", "--currency", "USD")
    for opened in deployment.run_all(*(("initiate", participant_id, *card) for participant_id in people)):
        deployment.post(f"/c/pay/{opened['provider_ref']}", {"wallet": "apple_pay"})
    deployment.post("/_sandbox/faults", SLOW)
    process = deployment.spawn("reconcile", "--provider", "stripe")
    until(lambda: repaired(deployment) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    httpx.delete(f"{deployment.sandbox_url}/_sandbox/faults").raise_for_status()
    assert 1 <= repaired(deployment) < len(people)
    [run] = deployment.run_json("reconcile", "--provider", "stripe")["runs"]
    assert run["interrupted_before"]
    assert run["open"] == 0
    assert statuses(deployment, people) == [("COMPLETED", 1)] * len(people)
    [again] = deployment.run_json("reconcile", "--provider", "stripe")["runs"]
    assert (again["found"], again["interrupted_before"]) == (0, [])
