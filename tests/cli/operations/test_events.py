"""``events`` at a terminal."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import httpx

from tests.cli.conftest import Clerk


def _store(ctx: Clerk) -> list[dict[str, Any]]:
    """A payment that was paid, its events delivered by hand and handled."""
    import asyncio

    from procomp_pay.config import load_settings
    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.services.webhooks import inbox

    payment = ctx.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    ctx.pay(payment, "apple_pay")
    info = json.loads((ctx.home / "sandbox.json").read_text())
    auth = {"Authorization": f"Bearer {info['stripe_secret_key']}"}
    found = httpx.get(f"{ctx.street.url}/v1/events?limit=100", headers=auth, verify=False).json()["data"]
    mine = [e for e in found if payment["payment_id"] in json.dumps(e)]

    async def work() -> None:
        async with open_context(load_settings()) as ours:
            for event in mine:
                body, stamp = json.dumps(event).encode(), int(time.time())
                secret = info["webhook_secret"]
                digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
                await inbox.receive_stripe(ours, body, f"t={stamp},v1={digest}", [secret])

    asyncio.run(work())
    ctx.type("maintain")
    return mine


def test_list_show_and_replay(ctx: Clerk) -> None:
    assert "No events yet" in ctx.type("events", "list").err
    mine = _store(ctx)
    payment = ctx.ask("status", "p1")["payment_id"]
    listed = ctx.ask("events", "list", "--type", "payment_intent.*", "--payment", payment)
    [done] = [e for e in listed["items"] if e["type"] == "payment_intent.succeeded"]
    assert (done["state"], done["why"]) == ("done", "handled")
    assert listed["next_cursor"] is None
    assert "✓ done     " in ctx.type("events", "list", "--payment", payment).out
    ignored = ctx.type("events", "list", "--state", "ignored").out
    assert "kept, of a type that the desk does not act on" in ignored
    shown = ctx.type("events", "show", done["event_id"]).out
    assert '"amount": 5000' in shown
    assert "_secret_" not in shown
    assert "Аида" not in shown
    assert ctx.ask("events", "show", done["event_id"])["document"]["id"] == done["event_id"]
    dry = ctx.ask("events", "replay", "--payment", payment, "--dry-run")
    assert (dry["dry_run"], dry["failed"]) == (True, 0)
    assert 1 <= dry["count"] < len(mine), "what is ignored belongs to no payment"
    assert {item["now"] for item in dry["items"]} == {None}
    before = ctx.ask("history", "p1")["items"][0]
    again = ctx.type("events", "replay", done["event_id"])
    assert f"{done['event_id']}  payment_intent.succeeded  was done, now done" in again.out
    assert "1 event replayed" in again.err
    after = ctx.ask("history", "p1")["items"][0]
    assert after["status"] == "COMPLETED"
    assert len(after["moves"]) - len(before["moves"]) <= 1, "nothing but the note of the replay"


def test_pages(small_desk: Clerk) -> None:
    _store(small_desk)
    seen, words = [], ["--limit", "2"]
    for _ in range(10):
        page = small_desk.ask("events", "list", *words)
        seen += [item["event_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        words = ["--limit", "2", "--cursor", page["next_cursor"]]
    assert len(seen) == len(set(seen)) >= 3
    said = small_desk.type("events", "list", "--limit", "1", "--provider", "stripe").err
    assert "procomp-pay events list --provider stripe --limit 1 --cursor " in said


def test_what_is_refused(small_desk: Clerk) -> None:
    assert small_desk.type("events", "show", "evt_none", code=4).err.count("events list") == 1
    small_desk.type("events", "replay", "evt_none", code=4)
    small_desk.type("events", "replay", code=2)
    small_desk.type("events", "replay", "evt_1", "--all-dead", code=2)
    assert "dead" in small_desk.type("events", "list", "--state", "lost", code=3).err
    small_desk.type("events", "list", "--cursor", "x", code=3)
    assert "nothing to replay" in small_desk.type("events", "replay", "--all-dead").err
    assert small_desk.ask("events", "replay", "--all-dead")["count"] == 0
