"""``events``: list, show, replay."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import httpx

from tests.support.patience import PATIENCE_S
from tests.support.terminal import CommandLine


def _store(clerk: CommandLine) -> list[dict[str, Any]]:
    """Create a paid payment whose events were delivered and processed."""
    import asyncio

    from procomp_pay.config import load_settings
    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.services.webhooks.stripe import receive_stripe

    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    clerk.pay(payment, "apple_pay")
    info = json.loads((clerk.home / "sandbox.json").read_text())
    auth = {"Authorization": f"Bearer {info['stripe_secret_key']}"}
    events = httpx.get(
        f"{clerk.providers.url}/v1/events?limit=100", headers=auth, verify=False, timeout=PATIENCE_S
    ).json()["data"]
    mine = [e for e in events if payment["payment_id"] in json.dumps(e)]

    async def work() -> None:
        async with open_context(load_settings()) as ours:
            for event in mine:
                body, stamp = json.dumps(event).encode(), int(time.time())
                secret = info["webhook_secret"]
                digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
                await receive_stripe(ours, body, f"t={stamp},v1={digest}", [secret])

    asyncio.run(work())
    clerk.type("maintain")
    return mine


def test_list_show_and_replay(clerk: CommandLine) -> None:
    assert "No events yet" in clerk.type("events", "list").err
    mine = _store(clerk)
    payment = clerk.ask("status", "p1")["payment_id"]
    listed = clerk.ask("events", "list", "--type", "payment_intent.*", "--payment", payment)
    [done] = [e for e in listed["items"] if e["type"] == "payment_intent.succeeded"]
    assert (done["state"], done["why"]) == ("done", "handled")
    assert listed["next_cursor"] is None
    assert "✓ done     " in clerk.type("events", "list", "--payment", payment).out
    ignored = clerk.type("events", "list", "--state", "ignored").out
    assert "kept, of a type that the desk does not act on" in ignored
    shown = clerk.type("events", "show", done["event_id"]).out
    assert '"amount": 5000' in shown
    assert "_secret_" not in shown
    assert "Аида" not in shown
    assert clerk.ask("events", "show", done["event_id"])["document"]["id"] == done["event_id"]
    dry = clerk.ask("events", "replay", "--payment", payment, "--dry-run")
    assert (dry["dry_run"], dry["failed"]) == (True, 0)
    assert 1 <= dry["count"] < len(mine), "what is ignored belongs to no payment"
    assert {item["now"] for item in dry["items"]} == {None}
    before = clerk.ask("history", "p1")["items"][0]
    again = clerk.type("events", "replay", done["event_id"])
    assert f"{done['event_id']}  payment_intent.succeeded  was done, now done" in again.out
    assert "1 event replayed" in again.err
    after = clerk.ask("history", "p1")["items"][0]
    assert after["status"] == "COMPLETED"
    assert len(after["moves"]) - len(before["moves"]) <= 1, "nothing but the note of the replay"


def test_events_pages(sqlite_clerk: CommandLine) -> None:
    _store(sqlite_clerk)
    on_progress, words = [], ["--limit", "2"]
    for _ in range(10):
        page = sqlite_clerk.ask("events", "list", *words)
        on_progress += [item["event_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        words = ["--limit", "2", "--cursor", page["next_cursor"]]
    assert len(on_progress) == len(set(on_progress)) >= 3
    output = sqlite_clerk.type("events", "list", "--limit", "1", "--provider", "stripe").err
    assert "procomp-pay events list --provider stripe --limit 1 --cursor " in output


def test_refusals_and_their_exit_codes(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.type("events", "show", "evt_none", code=4).err.count("events list") == 1
    sqlite_clerk.type("events", "replay", "evt_none", code=4)
    sqlite_clerk.type("events", "replay", code=2)
    sqlite_clerk.type("events", "replay", "evt_1", "--all-dead", code=2)
    assert "dead" in sqlite_clerk.type("events", "list", "--state", "lost", code=3).err
    sqlite_clerk.type("events", "list", "--cursor", "x", code=3)
    assert "nothing to replay" in sqlite_clerk.type("events", "replay", "--all-dead").err
    assert sqlite_clerk.ask("events", "replay", "--all-dead")["count"] == 0
