"""Refund a whole tournament with a process that is killed three times: every payment exactly once.

``PROCOMP_REFUNDS=500`` for the long run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
from sqlmodel import func, select

from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import (
    Channel,
    CreateState,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User
from procomp_pay.storage.models.refunds import Refund
from tests.support import warm_processes
from tests.support.deployment import Deployment
from tests.support.patience import PATIENCE_S
from tests.support.warm_processes import WarmProcess

#: Stripe refunds at once and responds a little later: time to kill the process in between.
SLOW_RESPONSE = {
    "path": "/v1/refunds",
    "method": "POST",
    "kind": "delay",
    "seconds": 0.3,
    "after": True,
    "times": 100_000,
}
REFUNDS = int(os.environ.get("PROCOMP_REFUNDS", "80"))
BULK = ("refund", "--tournament", "t1", "--all", "--reason", "the hall is flooded", "--yes")


@contextmanager
def _sandbox(deployment: Deployment) -> Iterator[None]:
    """A sandbox that keeps nothing on disk: it would rewrite a growing file for every refund."""
    process = WarmProcess(
        (), code="from procomp_pay.sandbox.__main__ import main; main()",
        stdout=subprocess.PIPE, text=True, env=deployment.env,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        info = json.loads(process.stdout.readline())
        deployment.sandbox_url = info["url"]
        deployment.env |= {"STRIPE_SECRET_KEY": info["stripe_secret_key"], "STRIPE_API_BASE": info["url"]}
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()


def _auth(deployment: Deployment) -> dict[str, str]:
    return {"Authorization": f"Bearer {deployment.env['STRIPE_SECRET_KEY']}"}


def _cents(number: int) -> int:
    """Return a different amount for every payment, so that they cannot be mixed up."""
    return 4000 + number


async def _pay(deployment: Deployment, count: int) -> list[dict[str, Any]]:
    """Create paid PaymentIntents at the sandbox."""
    gate = asyncio.Semaphore(16)
    async with httpx.AsyncClient(
        verify=False, base_url=deployment.sandbox_url, headers=_auth(deployment), timeout=PATIENCE_S
    ) as http:

        async def one(number: int) -> dict[str, Any]:
            data = {
                "amount": str(_cents(number)), "currency": "usd", "payment_method": "pm_card_visa",
                "confirm": "true", "return_url": "https://app.example.com/paid",
                "metadata[payment_id]": f"pay{number}",
            }  # fmt: skip
            async with gate:
                answer = await http.post("/v1/payment_intents", data=data)
            body: dict[str, Any] = answer.json()
            assert body.get("status") == "succeeded", body
            return body

        return list(await asyncio.gather(*(one(number) for number in range(count))))


async def _book(url: str, intents: list[dict[str, Any]]) -> None:
    """Insert the same payments into our database, each with a participant who has paid."""
    now = datetime.now(UTC)
    stamps = {"created_at": now, "updated_at": now}
    db = PaymentDatabaseService(url)
    async with db.writing() as session:
        session.add(User(id="u1", email="aida@example.kz", name="Aida"))
        session.add(
            Tournament(
                id="t1", name="Open", entry_fee=Decimal(50), currency=Currency.USD, starts_at=now, **stamps
            )
        )
        await session.flush()
        for number, intent in enumerate(intents):
            amount = Decimal(intent["amount"]).scaleb(-2)
            session.add(
                Payment(
                    id=f"pay{number}", user_id="u1", tournament_id="t1", amount=amount, currency=Currency.USD,
                    status=PaymentStatus.COMPLETED, method=PaymentMethod.APPLE_PAY,
                    stripe_payment_id=intent["id"], meta={"participantId": f"p{number}"}, **stamps,
                )
            )  # fmt: skip
        await session.flush()
        for number, intent in enumerate(intents):
            amount = Decimal(intent["amount"]).scaleb(-2)
            session.add(
                Participant(
                    id=f"p{number}", user_id="u1", tournament_id="t1", full_name=f"Athlete {number}",
                    category=str(number), status=ParticipantStatus.PAID, payment_id=f"pay{number}", **stamps,
                )
            )  # fmt: skip
            session.add(
                PaymentDetail(
                    payment_id=f"pay{number}", participant_id=f"p{number}", channel=Channel.STRIPE_INTENT,
                    create_state=CreateState.OPEN, provider_open=False, provider_ref=intent["id"],
                    charge_id=intent["latest_charge"], requested_amount=amount, charged_amount=amount,
                    requested_currency=Currency.USD, charged_currency=Currency.USD, completed_at=now,
                    started_by="aigerim", **stamps,
                )
            )  # fmt: skip
    await db.dispose()


async def _count(url: str, column: Any) -> dict[str, int]:
    db = PaymentDatabaseService(url)
    async with db.reading() as session:
        rows = (await session.exec(select(column, func.count()).group_by(column))).all()
    await db.dispose()
    return {str(value): number for value, number in rows}


def _at_stripe(deployment: Deployment) -> list[dict[str, Any]]:
    """Return every refund at the sandbox."""
    refunds: list[dict[str, Any]] = []
    while True:
        after = f"&starting_after={refunds[-1]['id']}" if refunds else ""
        page = httpx.get(
            f"{deployment.sandbox_url}/v1/refunds?limit=100{after}",
            headers=_auth(deployment),
            timeout=PATIENCE_S,
        ).json()
        refunds += page["data"]
        if not page["has_more"]:
            return refunds


def _kill_when(deployment: Deployment, url: str, begun: int) -> None:
    """Start the command, and kill it once ``begun`` refunds exist, with some of them in progress."""
    process = deployment.spawn(*BULK)
    end = time.monotonic() + PATIENCE_S
    while sum(asyncio.run(_count(url, Refund.state)).values()) < begun:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    in_progress = asyncio.run(_count(url, Refund.state)).get("PENDING", 0)
    assert in_progress > 0, "no refund was in progress when it was killed"


def test_killed_three_times(deployment: Deployment, sqlite_url: str) -> None:
    deployment.env["DATABASE_URL"] = sqlite_url
    _killed_three_times(deployment, sqlite_url, REFUNDS)


def test_killed_three_times_on_postgresql(postgres_deployment: Deployment, postgres_url: str) -> None:
    _killed_three_times(postgres_deployment, postgres_url, REFUNDS)


def _killed_three_times(deployment: Deployment, url: str, count: int) -> None:
    with _sandbox(deployment):
        intents = asyncio.run(_pay(deployment, count))
        asyncio.run(_book(url, intents))
        deployment.post("/_sandbox/faults", SLOW_RESPONSE)
        for part in (0.1, 0.4, 0.75):
            _kill_when(deployment, url, int(count * part))
        done = warm_processes.run([*BULK, "--json"], env=deployment.env, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        back = json.loads(done.stdout)["back"]["count"]
        assert 0 < back < count
        refunds = _at_stripe(deployment)
    assert Counter(refund["payment_intent"] for refund in refunds) == Counter(i["id"] for i in intents)
    assert {r["payment_intent"]: r["amount"] for r in refunds} == {i["id"]: i["amount"] for i in intents}
    assert {refund["status"] for refund in refunds} == {"succeeded"}
    assert asyncio.run(_count(url, Payment.status)) == {"REFUNDED": count}
    assert asyncio.run(_count(url, Refund.state)) == {"SUCCEEDED": count}
    assert asyncio.run(_count(url, Participant.status)) == {"REGISTERED": count}


def test_ctrl_c_finishes_the_refunds_in_progress(deployment: Deployment, sqlite_url: str) -> None:
    deployment.env["DATABASE_URL"] = sqlite_url
    with _sandbox(deployment):
        intents = asyncio.run(_pay(deployment, 60))
        asyncio.run(_book(sqlite_url, intents))
        deployment.post("/_sandbox/faults", SLOW_RESPONSE)
        process = deployment.spawn(*BULK)
        end = time.monotonic() + PATIENCE_S
        while sum(asyncio.run(_count(sqlite_url, Refund.state)).values()) < 10:
            assert time.monotonic() < end
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130, text
        assert "Stopped" in text
        states = asyncio.run(_count(sqlite_url, Refund.state))
        assert set(states) == {"SUCCEEDED"}
        assert 10 <= states["SUCCEEDED"] < 60
        assert len(_at_stripe(deployment)) == states["SUCCEEDED"]
        deployment.run(*BULK)
        assert len(_at_stripe(deployment)) == 60
