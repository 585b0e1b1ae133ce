"""Background loops survive errors, and the health report shows the state of everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from procomp_pay.config import KaspiScheme, ProviderMode, Settings
from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.domain.states import KASPI_CHANNELS, Channel
from procomp_pay.sandbox.app import Sandbox
from procomp_pay.server.background import loops as background
from procomp_pay.server.http.route import BASE
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability import health
from procomp_pay.services.context import AppContext
from procomp_pay.services.lifecycle import polling
from procomp_pay.services.maintenance import run as maintenance
from procomp_pay.services.maintenance.run import Pass
from procomp_pay.storage.models.notifications import OutboxMessage
from procomp_pay.storage.models.payments import PaymentDetail
from tests.support.http_requests import rename_table
from tests.support.patience import PATIENCE_S
from tests.support.server import Eventually, Serve, Served


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time for the checks; the test of a slow provider sets the real limit."""
    monkeypatch.setattr(health, "CHECK_S", 30.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_LONGEST_BACKOFF_S", 0.1)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), DatabaseUnavailable("it is down")])
@pytest.mark.usefixtures("quick")
async def test_a_loop_outlives_its_errors(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, error: Exception
) -> None:
    failures = {"inbox": 0, "watch": 0}

    def failing(name: str, real: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def work(*arguments: Any, **more: Any) -> None:
            if failures[name] < 6:
                failures[name] += 1
                raise error
            await real(*arguments, **more)

        return work

    monkeypatch.setattr(background, "work_inbox", failing("inbox", background.work_inbox))
    monkeypatch.setattr(background, "work_watch", failing("watch", background.work_watch))
    served = await serve()
    await served.pay((await served.initiate("p1"))["client_secret"])
    kaspi = await served.initiate("p2", "kaspi_qr")
    await served.control.post(
        kaspi["payment_url"], json={"action": "pay"}, headers={"Accept": "application/json"}
    )

    async def both() -> bool:
        states = [(await served.status(p))["status"] for p in ("p1", "p2")]
        return states == ["COMPLETED", "COMPLETED"]

    await eventually(both)
    assert failures == {"inbox": 6, "watch": 6}
    assert served.app[STATE].background.state() == "running"


async def test_stopping_lets_running_work_finish(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.app[STATE].background.stop()  # the server's own loops would do the slow work too
    steps: list[str] = []

    async def slow(*_: Any, **__: Any) -> None:
        steps.append("begun")
        await asyncio.sleep(0.5)
        steps.append("finished")

    monkeypatch.setattr(background, "work_inbox", slow)
    loops = background.Background(served.ctx)
    assert loops.state() == "stopped"
    await loops.start()
    while not steps:
        await asyncio.sleep(0.01)
    await loops.stop()
    assert steps == ["begun", "finished"]
    assert loops.state() == "stopped"


async def test_stopping_does_not_wait_for_more_events(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await served.app[STATE].background.stop()
    monkeypatch.setattr(background, "GATHER_S", 3600)
    monkeypatch.setattr(background, "STOP_S", 5)
    handled = asyncio.Event()

    async def one_event(_ctx: AppContext, done: Pass, **_: Any) -> None:
        done.events += 1
        handled.set()

    monkeypatch.setattr(background, "work_inbox", one_event)
    loops = background.Background(served.ctx)
    await loops.start()
    await handled.wait()
    await loops.stop()
    assert "did not end in time" not in caplog.text


async def test_work_that_does_not_end_is_cancelled(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.app[STATE].background.stop()
    monkeypatch.setattr(background, "STOP_S", 0.2)

    async def endless(*_: Any, **__: Any) -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr(background, "work_watch", endless)
    loops = background.Background(served.ctx)
    await loops.start()
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await loops.stop()
    assert time.monotonic() - started < 60


async def _health(served: Served) -> tuple[int, Any]:
    answer = await served.api.get(f"{BASE}/health")
    return answer.status_code, answer.json()


async def test_health_of_a_working_server(served: Served) -> None:
    status, body = await _health(served)
    assert status == 200
    assert list(body) == ["status", "services", "timestamp"]
    assert body["status"] == "healthy"
    assert body["services"] == {
        "stripe": "sandbox",
        "kaspi": "sandbox",
        "database": "connected",
        "background": "running",
    }
    assert body["timestamp"].endswith("Z")


async def test_health_checks_of_providers_are_cached(served: Served, sandbox: Sandbox) -> None:
    await asyncio.gather(*(_health(served) for _ in range(20)))
    paths = [line["path"] for line in sandbox.requests.to_json()]
    assert paths.count("/v1/balance") == 1
    assert len(paths) == 3, "and Kaspi's two"


async def test_health_with_a_provider_that_hangs(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_S", 2.0)
    await served.control.post(
        "/_sandbox/faults", json={"kind": "delay", "seconds": 60, "path": "/v1/balance", "times": None}
    )
    started = time.monotonic()
    status, body = await _health(served)
    assert time.monotonic() - started < 60
    assert (status, body["status"], body["services"]["stripe"]) == (200, "degraded", "unreachable")
    await served.control.delete("/_sandbox/faults")


async def test_health_does_not_wait_for_a_provider_that_hangs_later() -> None:
    answers, hangs = ["connected"], asyncio.Event()

    async def ask() -> str:
        if not answers:
            await hangs.wait()
            raise DatabaseUnavailable("no answer")
        return answers.pop()

    check = health._CachedCheck(ask, good_s=0, bad_s=60)
    assert [await check.result() for _ in range(3)] == ["connected"] * 3, "the last result, at once"
    hangs.set()
    assert check._renewal is not None
    await check._renewal
    assert await check.result() == "unreachable"


async def test_kaspi_is_configured_where_bills_alone_are_taken(serve: Serve) -> None:
    served = await serve(kaspi_api_key=None, kaspi_callback_allow="194.187.247.152")
    assert (await _health(served))[1]["services"]["kaspi"] == "configured"


async def test_kaspi_is_configured_through_a_gateway(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "kaspi_mode", ProviderMode.TEST)
    served = await serve(kaspi_scheme=KaspiScheme.GATEWAY)
    assert (await _health(served))[1]["services"]["kaspi"] == "configured"


async def test_health_with_one_provider_off(serve: Serve) -> None:
    served = await serve(kaspi_api_key=None)
    status, body = await _health(served)
    assert (status, body["status"], body["services"]["kaspi"]) == (200, "healthy", "off")


async def test_health_without_any_provider(serve: Serve) -> None:
    served = await serve(kaspi_api_key=None, stripe_secret_key=None)
    status, body = await _health(served)
    assert (status, body["status"]) == (200, "degraded")


async def test_without_a_database(served: Served, eventually: Eventually) -> None:
    await rename_table(served.ctx, "pay_payment_detail", "gone")
    status, body = await _health(served)
    assert (status, body["status"], body["services"]["database"]) == (503, "unhealthy", "unreachable")
    await rename_table(served.ctx, "gone", "pay_payment_detail")

    async def healthy() -> bool:
        return (await _health(served))[0] == 200

    await eventually(healthy)


async def test_health_with_a_stalled_loop(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STALLED_AFTER_S", -1.0)
    status, body = await _health(served)
    assert (status, body["status"], body["services"]["background"]) == (503, "unhealthy", "stalled")


async def test_live_needs_no_database(served: Served) -> None:
    await rename_table(served.ctx, "pay_payment_detail", "gone")
    answer = await served.api.get(f"{BASE}/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_refused_key_is_reported_as_misconfigured(serve: Serve) -> None:
    served = await serve(stripe_secret_key=SecretStr("sk_test_" + "of_another_account"))
    status, body = await _health(served)
    assert (status, body["status"], body["services"]["stripe"]) == (200, "degraded", "misconfigured")


async def test_a_stalled_loop_causes_one_alert(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(background, "work_refunds", broken)
    monkeypatch.setattr(background, "STALLED_AFTER_S", 0.5)
    monkeypatch.setattr(background, "PULSE_S", 0.1)
    served = await serve()

    async def alerts() -> list[str]:
        async with served.ctx.db.reading() as session:
            rows = (await session.exec(select(OutboxMessage))).all()
        return [row.payload["work"] for row in rows if row.topic == "alert.stalled"]

    await eventually(alerts)
    await asyncio.sleep(0.5)
    assert (await alerts()).count("the loop refunds-kaspi") == 1
    assert served.app[STATE].background.state() == "stalled"


async def test_a_loop_with_only_failures_is_stalled_until_a_round_without_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Let every payment of every round fail: its provider is down, or it is a bad one. Nobody else is turned
    away for it, and when it is gone, so is the trouble."""
    monkeypatch.setattr(background, "MISSED_PAUSE_S", 0.5)  # no loop sleeps for long
    monkeypatch.setattr(background, "PRUNE_PAUSE_S", 0.5)
    served = await serve()
    loops = served.app[STATE].background
    failing = {"payment x: Kaspi cannot be reached"}

    async def work(ctx: AppContext, done: Pass, *_: Any, **__: Any) -> None:
        done.looked_at, done.failures = len(failing), list(failing)
        await asyncio.sleep(0.05)

    async def now(*_: Any) -> datetime:
        return datetime.now(UTC)

    monkeypatch.setattr(background.payments, "next_due_at", now)
    monkeypatch.setattr(background, "work_watch", work)
    monkeypatch.setattr(background, "work_refunds", work)
    monkeypatch.setattr(background, "REFUND_PAUSE_S", 0.1)
    monkeypatch.setattr(background, "WATCH_PAUSE_S", 0.1)
    monkeypatch.setattr(background, "STALLED_AFTER_S", 8.0)

    async def stalled() -> bool:
        return {name.partition("-")[0] for name in loops.stalled_loops()} >= {"watch", "refunds"}

    await eventually(stalled)
    status, body = await _health(served)
    assert (status, body["services"]["background"]) == (200, "running")
    failing.clear()

    async def well() -> bool:
        return not loops.stalled_loops()

    await eventually(well)


@pytest.mark.parametrize("how", ["hangs", "ends"])
async def test_a_loop_that_will_not_go_on_is_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, how: str
) -> None:
    served = await serve()
    lost: list[str] = []
    monkeypatch.setattr(background, "PULSE_S", 0.5)
    monkeypatch.setattr(background, "HUNG_AFTER_S", 3.0)
    began = asyncio.Event()

    async def endless(*_: Any, **__: Any) -> None:
        began.set()
        if how == "ends":
            raise asyncio.CancelledError
        await asyncio.sleep(60)

    async def busy(ctx: AppContext, done: Pass, *, on_progress: Callable[[], None]) -> None:
        for _ in range(600):
            on_progress()
            await asyncio.sleep(0.1)

    monkeypatch.setattr(background, "work_refunds", endless)
    monkeypatch.setattr(background, "work_missed", busy)
    loops = background.Background(served.ctx)
    loops.on_lost = lost.append
    monkeypatch.setattr(background, "STOP_S", 0.1)
    await loops.start()
    await began.wait()

    async def reported() -> bool:
        return {"refunds-kaspi", "refunds-stripe"} <= set(lost)

    await eventually(reported)
    assert set(lost) == {"refunds-kaspi", "refunds-stripe"}, "a long round that gets on is none"
    await loops.stop()


async def test_a_provider_that_hangs_does_not_delay_the_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Let Stripe hang for as many payments as are polled at a time."""
    released, asked = asyncio.Event(), asyncio.Event()
    ask = polling.poll_payment

    async def poll(ctx: AppContext, payment_id: str) -> Any:
        async with ctx.db.reading() as session:
            channel = (await session.get_one(PaymentDetail, payment_id)).channel
        if not channel.is_kaspi:
            asked.set()
            await released.wait()
        return await ask(ctx, payment_id)

    monkeypatch.setattr(background, "_WATCHERS", 1)
    served = await serve()
    await served.initiate("p1")
    monkeypatch.setattr(maintenance, "poll_payment", poll)
    async with served.ctx.db.writing() as session:
        for detail in (await session.exec(select(PaymentDetail))).all():
            detail.next_poll_at = served.ctx.clock()

    served.app[STATE].background.wake_watch()
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    kaspi = await served.initiate("p2", "kaspi_qr")
    await served.control.post(
        kaspi["payment_url"], json={"action": "pay"}, headers={"Accept": "application/json"}
    )
    await served.until_completed("p2")
    assert not released.is_set()
    released.set()


async def test_a_started_payment_wakes_only_the_watchers_that_would_look_too_late(serve: Serve) -> None:
    """Two sleep until after the first poll, or it is unknown until when; the others look in time."""
    served = await serve()
    ctx, loops = served.ctx, background.Background(served.ctx)
    watchers = [loop for _, loop in loops._watchers]
    sleeps = {"watch-kaspi-1": 5.0, "watch-kaspi-2": 1.0, "watch-stripe-1": 5.0, "watch-stripe-2": None}
    for loop in watchers:
        pause = sleeps[loop.name]
        loop.asleep_until = None if pause is None else time.monotonic() + pause

    loops.wake_watch(Channel.KASPI_LINK, ctx.clock() + timedelta(seconds=3))

    assert {loop.name for loop in watchers if loop.wake.is_set()} == {"watch-kaspi-1"}
    loops.wake_watch(Channel.STRIPE_INTENT, ctx.clock() + timedelta(seconds=600))
    assert {loop.name for loop in watchers if loop.wake.is_set()} == {"watch-kaspi-1", "watch-stripe-2"}
    loops.wake_watch()
    assert all(loop.wake.is_set() for loop in watchers)


async def test_the_first_poll_of_a_payment_is_in_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Let the watchers sleep for an hour when nothing is due: the payment that is started ends the sleep."""
    monkeypatch.setattr(background, "WATCH_PAUSE_S", 3600.0)
    served = await serve()

    async def asleep() -> bool:
        loops = served.app[STATE].background._watchers
        return all(loop.asleep_until is not None for channels, loop in loops if channels is KASPI_CHANNELS)

    await eventually(asleep)
    kaspi = await served.initiate("p2", "kaspi_qr")
    await served.control.post(
        kaspi["payment_url"], json={"action": "pay"}, headers={"Accept": "application/json"}
    )
    await served.until_completed("p2")
