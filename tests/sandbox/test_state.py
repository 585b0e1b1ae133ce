"""State across restarts, a SIGKILL included."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from procomp_pay.sandbox import store
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from tests.support.patience import PATIENCE_S

INTENT = {"amount": "5000", "currency": "usd", "confirm": "true", "payment_method": "pm_card_visa"}
INTENT |= {"return_url": "https://example.test/"}


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Start a real sandbox process; return it with the line that it printed."""
    command = [sys.executable, "-m", "procomp_pay.sandbox", *arguments]
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert running.stdout is not None
        line = await asyncio.wait_for(running.stdout.readline(), PATIENCE_S)
        yield running, json.loads(line)
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


def connect(info: dict[str, Any]) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {info['stripe_secret_key']}"}
    return httpx.AsyncClient(verify=False, base_url=info["url"], headers=headers, timeout=PATIENCE_S)


async def test_a_kill_loses_no_answered_request_or_webhook(tmp_path, receiver, eventually):
    state = tmp_path / "sandbox.json"
    arguments = ["--state", str(state), "--webhook-url", receiver.url]
    async with process(*arguments) as (first, info), connect(info) as http:
        await http.post("/_sandbox/webhooks", json={"mode": "hold"})
        made = (await http.post("/v1/payment_intents", data=INTENT, headers={"Idempotency-Key": "k"})).json()
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert receiver.got == []
    async with process(*arguments) as (second, again), connect(again) as http:
        kept = ("stripe_secret_key", "webhook_secret", "kaspi_api_key", "kaspi")
        assert [again[name] for name in kept] == [info[name] for name in kept]
        same = await http.get(f"/v1/payment_intents/{made['id']}")
        assert same.json() == made
        replay = await http.post("/v1/payment_intents", data=INTENT, headers={"Idempotency-Key": "k"})
        assert (replay.headers["Idempotent-Replayed"], replay.json()) == ("true", made)
        await http.post("/_sandbox/webhooks", json={"mode": "normal"})
        await eventually(lambda: len(receiver.got) == 3)
        assert {event.type for event in receiver.events(info["webhook_secret"])} >= {
            "payment_intent.succeeded"
        }
        second.terminate()
        assert await asyncio.wait_for(second.wait(), PATIENCE_S) == 0


async def test_a_cut_answer_is_saved_before_the_cut(tmp_path):
    state = tmp_path / "sandbox.json"
    async with process("--state", str(state)) as (running, info), connect(info) as http:
        await http.post("/_sandbox/faults", json={"path": "/v1/payment_intents", "kind": "cut_after"})
        with pytest.raises(httpx.TransportError):
            await http.post("/v1/payment_intents", data=INTENT)
        running.kill()
        await running.wait()
    assert len(json.loads(state.read_text())["providers"]["stripe"]["payment_intents"]) == 1


async def test_sessions_clock_and_timers_survive(tmp_path):
    options = SandboxOptions(state_file=tmp_path / "deep" / "sandbox.json")
    first = Sandbox(options)
    await first.start()
    line = {"line_items[0][price_data][currency]": "usd", "line_items[0][price_data][unit_amount]": "5000"}
    line |= {"line_items[0][price_data][product_data][name]": "x", "line_items[0][quantity]": "1"}
    async with connect(first.info()) as http:
        session = {"mode": "payment", "success_url": "https://example.test/", **line}
        made = (await http.post("/v1/checkout/sessions", data=session)).json()
    first.advance(3600)
    await first.stop()
    second = Sandbox(options)
    await second.start()
    assert second.clock() - first.clock() == pytest.approx(0, abs=5)
    async with connect(second.info()) as http:
        assert (await http.get(f"/v1/checkout/sessions/{made['id']}")).json()["status"] == "open"
        second.advance(23 * 3600)
        assert (await http.get(f"/v1/checkout/sessions/{made['id']}")).json()["status"] == "expired"
    await second.stop()


async def test_a_foreign_state_file_is_refused(tmp_path):
    for number, text in enumerate(("{", "[]", '{"version": 99}')):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(store.StateError, match=path.name):
            Sandbox(SandboxOptions(state_file=path))
        assert path.read_text() == text
    command = [sys.executable, "-m", "procomp_pay.sandbox", "--state", str(tmp_path / "0.json")]
    run = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _out, err = await run.communicate()
    assert (run.returncode, b"Traceback" in err) == (5, False)


async def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    store.write_atomically(path, "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_atomically(path, "new")
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]
    assert path.read_text() == "old"


async def test_concurrent_saves_share_one_write(tmp_path, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(store, "write_atomically", lambda _path, text: written.append(text))
    value = 0
    kept = store.Store(tmp_path / "state.json", lambda: {"value": value})

    async def change() -> None:
        nonlocal value
        value += 1
        kept.changed()
        await kept.save()

    await asyncio.gather(*(change() for _ in range(50)))
    assert 1 <= len(written) <= 3
    assert json.loads(written[-1])["value"] == 50
    await kept.save()
    assert 1 <= len(written) <= 3
