"""Customers who pay, and a Stripe that repeats each webhook until it is taken, with figures."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from pydantic import SecretStr

from procomp_pay.config import Settings
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.sandbox.app import Sandbox
from procomp_pay.server.http.route import BASE
from tests.support.http_requests import ENCRYPTION_KEY, JWT_SECRET, bearer, sign

#: Seconds between two tries to deliver an event.
AGAIN_S = 1.0


def settings_for(url: str, sandbox: Sandbox, home: Path) -> Settings:
    info = sandbox.info()
    return Settings(
        _env_file=None,
        procomp_home=home,
        database_url=SecretStr(url),
        stripe_secret_key=SecretStr(info["stripe_secret_key"]),
        stripe_webhook_secret=SecretStr(info["webhook_secret"]),
        stripe_api_base=sandbox.url,
        jwt_secret=SecretStr(JWT_SECRET),
        encryption_keys=SecretStr(ENCRYPTION_KEY),
    )


@dataclass
class Load:
    """One more participant after the other initiates and pays.

    :param url: the server. :param pause_s: seconds between two of them.
    """

    url: str
    sandbox: Sandbox
    pause_s: float = 0.25
    answers: Counter[str] = field(default_factory=Counter)
    paid: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    number: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._pay()), asyncio.create_task(self._deliver())]

    async def stop(self) -> None:
        """Let the last customers pay, and their events be taken; then end."""
        self._stop.set()
        await self._tasks[0]
        events = self.sandbox.stripe.core.tables["events"].values()
        while not {event["id"] for event in events if event["type"] in READERS} <= self.acknowledged:
            await asyncio.sleep(0.1)
        self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pay(self) -> None:
        async with asyncio.TaskGroup() as customers:
            while not self._stop.is_set():
                customers.create_task(self._customer(f"p{self.number}"))
                self.number += 1
                await asyncio.sleep(self.pause_s)

    async def read_status(self, http: httpx.AsyncClient) -> httpx.Response:
        """Ask for the status of the first participant's payment."""
        return await http.get(f"{self.url}{BASE}/status/p0", headers=bearer(role="staff"))

    async def _customer(self, participant: str) -> None:
        """Ask for a payment until there is one, as the platform does, then pay it."""
        body = {"participant_id": participant, "method": "apple_pay"}
        async with httpx.AsyncClient(verify=False, timeout=60) as http:
            while True:
                status, answer = await self._ask(http, "initiate", f"{self.url}{BASE}/initiate", json=body)
                if status == 200:
                    break
                await asyncio.sleep(AGAIN_S)
            intent = answer["client_secret"].partition("_secret_")[0]
            await http.post(
                f"{self.sandbox.url}/_sandbox/stripe/payment_intents/{intent}/pay",
                json={"method": "pm_apple_pay"},
            )
            self.paid.add(intent)

    async def _deliver(self) -> None:
        """Send each event until it is answered 200."""
        secret = str(self.sandbox.info()["webhook_secret"])
        async with httpx.AsyncClient(verify=False, timeout=60) as http, asyncio.TaskGroup() as events:
            begun = set(self.acknowledged)  # those of a load before this one
            while True:
                for event in list(self.sandbox.stripe.core.tables["events"].values()):
                    if event["id"] not in begun and event["type"] in READERS:
                        begun.add(event["id"])
                        body = json.dumps(self.sandbox.stripe.core.view(event)).encode()
                        events.create_task(self._send(http, str(event["id"]), body, secret))
                await asyncio.sleep(0.1)

    async def _send(self, http: httpx.AsyncClient, event_id: str, body: bytes, secret: str) -> None:
        while True:
            headers = {"Stripe-Signature": sign(body, secret), "Content-Type": "application/json"}
            url = f"{self.url}{BASE}/webhooks/stripe"
            status, _ = await self._ask(http, "webhook", url, content=body, headers=headers)
            if status == 200:
                self.acknowledged.add(event_id)
                return
            await asyncio.sleep(AGAIN_S)

    async def _ask(
        self, http: httpx.AsyncClient, what: str, url: str, **body: object
    ) -> tuple[int, dict[str, str]]:
        headers = bearer(role="staff") if what == "initiate" else {}
        headers |= body.pop("headers", {})  # type: ignore[arg-type]
        try:
            answer = await http.post(url, headers=headers, **body)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            self.answers[f"{what} {type(error).__name__}"] += 1
            return 0, {}
        self.answers[f"{what} {answer.status_code}"] += 1
        return answer.status_code, answer.json() if answer.content else {}

    async def seconds_until_well(self, dsn: str, limit_s: float, *, more: int) -> float:
        """Wait until every payment made until now is COMPLETED here, and some more.

        :returns: the seconds that it took; -1 where it takes longer than the limit.
        """
        begun, before = time.monotonic(), set(self.paid)
        while time.monotonic() - begun < limit_s:
            with suppress(psycopg.Error):
                done = await asyncio.to_thread(self._settled, dsn)
                if before <= done and len(done - before) >= more:
                    return time.monotonic() - begun
            await asyncio.sleep(0.2)
        return -1.0

    def open(self, dsn: str) -> set[str]:
        """Return the intents that were paid and are not settled here."""
        return self.paid - self._settled(dsn)

    def _settled(self, dsn: str) -> set[str]:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            done = connection.execute(
                """SELECT "stripePaymentId" FROM "Payment" WHERE status = 'COMPLETED'"""
            )
            return {row[0] for row in done.fetchall()}

    def doubled(self, dsn: str) -> int:
        """Return how many participants were charged twice, and payments settled or told of twice."""
        there = Counter(
            row["metadata"].get("participant_id")
            for row in self.sandbox.stripe.core.tables["payment_intents"].values()
            if row["status"] == "succeeded"
        )
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            settled = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM pay_audit_entry WHERE action = 'succeeded:moved'"
                " GROUP BY payment_id HAVING count(*) > 1) AS twice"
            ).fetchone()
            messages = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM pay_outbox WHERE topic = 'payment.received'"
                " GROUP BY payment_id HAVING count(*) > 1) AS twice"
            ).fetchone()
        assert settled is not None
        assert messages is not None
        return sum(count > 1 for count in there.values()) + int(settled[0]) + int(messages[0])
