"""Delivery of events to webhook endpoints: signed, retried with growing pauses, kept across restarts.

Source: https://docs.stripe.com/webhooks. Stripe retries for three days; here the first pause is one second,
doubled each time, and all are divided by the time scale.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp

from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json

log = logging.getLogger(__name__)
MODES = ("normal", "hold", "drop", "duplicate", "reverse")
MAX_ATTEMPTS = 12
AT_ONCE = 8
TIMEOUT_SECONDS = 10.0
KEPT_ATTEMPTS = 20


class Webhooks:
    """Delivery of each event to each endpoint that wants it.

    Modes: `normal` sends at once, `hold` and `reverse` wait for `flush` (reverse: newest first), `drop`
    never sends, `duplicate` sends twice.
    """

    def __init__(self, core: Core, saved: Callable[[], Awaitable[None]]) -> None:
        self._core = core
        self._saved = saved
        self._stir = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._client: aiohttp.ClientSession | None = None
        self._loop: asyncio.Task[None] | None = None

    @property
    def mode(self) -> str:
        """Return one of MODES."""
        return str(self._core.tables["settings"].get("webhooks", {}).get("mode", "normal"))

    def set_mode(self, mode: str) -> None:
        """Change the mode. Raises ValueError for an unknown one."""
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}")
        self._core.tables["settings"]["webhooks"] = {"mode": mode}
        self._core.changed()
        self._stir.set()

    def queue(self, event: Json) -> None:
        """Make one delivery for each endpoint that listens to the event's type."""
        ids = []
        for endpoint in self._core.tables["webhook_endpoints"].values():
            if not {"*", event["type"]} & set(endpoint["enabled_events"]):
                continue
            row = {
                "id": self._core.new_id("wd"),
                "attempts": [],
                "created": event["created"],
                "endpoint": endpoint["id"],
                "event": event["id"],
                "next_at": time.time(),
                "state": "dropped" if self.mode == "drop" else "pending",
                "tries": 0,
                "type": event["type"],
                "url": endpoint["url"],
            }
            ids.append(self._core.put("deliveries", row)["id"])
        if ids:
            self._core.private(event["id"])["deliveries"] = ids
            self._stir.set()

    def to_json(self) -> list[Json]:
        """Return every delivery that is still known, oldest first."""
        return list(self._core.tables["deliveries"].values())

    async def start(self) -> None:
        """Begin to deliver; what an earlier run left pending goes first."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._client = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; attempts under way are given up and tried again by the next run."""
        tasks = [task for task in (self._loop, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None
        if self._client is not None:
            await self._client.close()

    async def flush(self) -> dict[str, int]:
        """Try everything that is pending now, one after the other, and return the results."""
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        rows = self._pending()
        if self.mode == "reverse":
            rows.reverse()
        for row in rows:
            await self._attempt(row)
        states = [row["state"] for row in rows]
        return {
            "tried": len(rows),
            "delivered": states.count("delivered"),
            "pending": states.count("pending"),
        }

    def _pending(self) -> list[Json]:
        return [row for row in self._core.tables["deliveries"].values() if row["state"] == "pending"]

    async def _run(self) -> None:
        while True:
            pause = self._start_due()
            # not wait_for: in Python 3.11 it can swallow a cancellation that comes with the wake-up
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stir.wait()
            self._stir.clear()

    def _start_due(self) -> float | None:
        """Start what is due, within the bound; returns the seconds until something else is."""
        if self.mode in ("hold", "reverse"):
            return None
        waiting = [row for row in self._pending() if row["id"] not in self._busy]
        now = time.time()
        for row in waiting:
            if row["next_at"] <= now and len(self._busy) < AT_ONCE:
                task = asyncio.create_task(self._attempt(row))
                self._busy[row["id"]] = task
                task.add_done_callback(partial(self._finished, row["id"]))
        later = [row["next_at"] - now for row in waiting if row["next_at"] > now]
        return max(0.01, min(later)) if later else None

    def _finished(self, key: str, task: asyncio.Task[None]) -> None:
        self._busy.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a webhook delivery failed", exc_info=task.exception())
        self._stir.set()

    async def _attempt(self, row: Json) -> None:
        """Make one attempt (two in mode `duplicate`) and note it in the delivery."""
        row["next_at"] = time.time() + 1.0  # should saving fail, do not spin
        await self._saved()  # an event must not be heard of before it would survive a kill
        outcome = await self._post(row)
        if self.mode == "duplicate":
            outcome = await self._post(row)
        row["tries"] += 1
        row["attempts"] = [*row["attempts"], outcome][-KEPT_ATTEMPTS:]
        status = outcome["status"]
        if status is not None and 200 <= status < 300:
            row["state"] = "delivered"
        elif row["tries"] >= MAX_ATTEMPTS:
            row["state"] = "failed"
        else:
            row["next_at"] = time.time() + 2.0 ** (row["tries"] - 1) / self._core.time_scale
        self._core.changed()

    async def _post(self, row: Json) -> dict[str, Any]:
        if self._client is None:
            raise RuntimeError("webhooks are sent between start and stop only")
        at = int(time.time())
        event = self._core.tables["events"].get(row["event"])
        if event is None:
            return {"at": at, "status": None, "error": "the event is no longer kept"}
        payload = json.dumps(self._core.view(event), indent=2, ensure_ascii=False).encode()
        keys = self._core.private(row["endpoint"])["secrets"]
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(payload, keys, at),
            "User-Agent": "Stripe/1.0 (procomp-pay sandbox)",
        }
        try:
            post = self._client.post(row["url"], data=payload, headers=headers, allow_redirects=False)
            async with post as answer:
                await answer.read()
                return {"at": at, "status": answer.status, "error": None}
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return {"at": at, "status": None, "error": type(error).__name__}


def signature(payload: bytes, keys: list[str], at: int) -> str:
    """Return a `Stripe-Signature` header: HMAC-SHA256 of `t.payload` with each key; `at` in Unix seconds."""
    signed = f"{at}.".encode() + payload
    parts = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={at}", *(f"v1={part}" for part in parts)])
