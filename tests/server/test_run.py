"""``serve`` and ``sandbox`` as real processes: start, refusal to start, stop, kill."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from procomp_pay.config import Settings
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.sandbox.app import Sandbox
from procomp_pay.server.http.route import BASE
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.maintenance import run as maintain
from procomp_pay.services.views import payment as views
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import load_payment
from tests.support.http_requests import bearer, make_people
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.processes import Command, environment
from tests.support.server import Eventually, Start


@pytest.fixture
def time_scale() -> float:
    """Let Kaspi be polled each second, and a QR be valid for 18 s: starting processes takes time."""
    return 10


@pytest.fixture
async def people(settings: Settings) -> None:
    async with open_context(settings) as ctx:
        await make_people(ctx)


async def _serve(command: Start, sandbox: Sandbox, **env: str) -> Command:
    server = await (await command("serve", "--port", "0", **env)).ready()
    sandbox.stripe.set_endpoint(f"{server.url}{BASE}/webhooks/stripe", None)
    return server


async def _initiate(url: str, participant: str = "p1", method: str = "apple_pay") -> httpx.Response:
    async with httpx.AsyncClient(verify=False, base_url=url, timeout=PATIENCE_S) as api:
        return await api.post(
            f"{BASE}/initiate",
            json={"participant_id": participant, "method": method},
            headers=bearer(role="staff"),
        )


def _fault(sandbox: Sandbox, **given: Any) -> None:
    sandbox.faults.add({"path": "/v1/payment_intents", "method": "POST", **given})


async def _struck(sandbox: Sandbox) -> None:
    """Wait until the fault holds a request."""
    await wait_until(lambda: not sandbox.faults.to_json())


async def _is_refused(url: str) -> bool:
    """Return whether the server takes no new connections."""
    try:
        _, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_lets_the_open_request_finish(
    command: Start, sandbox: Sandbox, settings: Settings, number: signal.Signals
) -> None:
    server = await _serve(command, sandbox)
    _fault(sandbox, kind="delay", seconds=4)
    asked = asyncio.create_task(_initiate(server.url))
    await _struck(sandbox)
    server.send(number)
    await wait_until(lambda: _is_refused(server.url))
    assert not asked.done()
    answer = await asked
    assert answer.status_code == 200
    assert answer.json()["client_secret"]
    assert await server.end() == 0
    assert "Traceback" not in server.output
    async with open_context(settings) as ctx, ctx.db.reading() as session:
        locked = await load_payment(session, answer.json()["payment_id"])
    assert locked.detail.create_state is CreateState.OPEN


@pytest.mark.usefixtures("people")
async def test_a_stop_does_not_lose_a_webhook_that_was_acknowledged(
    command: Start, sandbox: Sandbox, settings: Settings
) -> None:
    server = await _serve(command, sandbox)
    answer = (await _initiate(server.url)).json()
    async with httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S) as control:
        intent = answer["client_secret"].partition("_secret_")[0]
        await control.post(f"/_sandbox/stripe/payment_intents/{intent}/pay", json={"method": "pm_apple_pay"})

        async def delivered() -> bool:
            rows = (await control.get("/_sandbox/webhooks")).json()["deliveries"]
            return all(row["state"] == "delivered" for row in rows)

        await wait_until(delivered)
    server.send(signal.SIGTERM)
    assert await server.end() == 0
    async with open_context(settings) as ctx:
        await maintain.one_pass(ctx)  # events that the process left in the inbox
        assert (await views.latest(ctx, "p1")).status == "COMPLETED"


@pytest.mark.usefixtures("people")
async def test_recovery_from_a_kill_between_stripes_response_and_our_commit(
    command: Start, sandbox: Sandbox, settings: Settings
) -> None:
    server = await _serve(command, sandbox)
    intents = sandbox.stripe.core.tables["payment_intents"]
    _fault(sandbox, kind="delay", seconds=1.5, after=True)
    asked = asyncio.create_task(_initiate(server.url))
    while not intents:
        await asyncio.sleep(0.01)
    server.send(signal.SIGKILL)
    with pytest.raises(httpx.HTTPError):
        await asked
    assert await server.end() == -signal.SIGKILL
    async with open_context(settings) as ctx:
        (view,), _ = await views.many(ctx, views.Filter(participant_id="p1"))
        assert view.provider_ref is None, "it was killed before it could write the answer down"
        assert (await maintain.one_pass(ctx)).looked_at == 0, "too early: the call might still run"
        await asyncio.sleep(1.6)  # the sandbox finishes the aborted call
        later = replace(ctx, clock=lambda: datetime.now(UTC) + timedelta(seconds=60))
        done = await maintain.one_pass(later)
        assert (done.looked_at, done.failures) == (1, [])
        opening = await views.opening(ctx, view.payment_id)
        (intent,) = intents.values()
        assert len(intents) == 1
        assert opening.view.provider_ref == intent["id"]
        assert opening.client_secret == intent["client_secret"]
        async with ctx.db.reading() as session:
            locked = await load_payment(session, view.payment_id)
        assert locked.detail.create_state is CreateState.OPEN
        assert locked.payment.stripe_payment_id == intent["id"]


@pytest.mark.usefixtures("people")
async def test_two_processes_share_one_postgresql(
    command: Start,
    sandbox: Sandbox,
    settings: Settings,
    eventually: Eventually,
) -> None:
    """Poll each open payment from one process at Kaspi's interval, and settle it once."""
    if settings.is_embedded:
        pytest.skip("a SQLite file has one server")
    servers = [await _serve(command, sandbox, LOG_LEVEL="DEBUG") for _ in range(2)]
    started = time.monotonic()
    opened = [
        (await _initiate(servers[n % 2].url, p, "kaspi_qr")).json() for n, p in enumerate(("p1", "p2", "p3"))
    ]
    await asyncio.sleep(2.5)
    polls = [line["path"] for line in sandbox.requests.to_json() if "/payment/status/" in line["path"]]
    span = time.monotonic() - started
    for path in set(polls):
        assert 1 <= polls.count(path) <= span + 1, "never more often than each second, whoever polls"
    async with httpx.AsyncClient(verify=False, timeout=PATIENCE_S) as phone:
        for payment in opened:
            paid = await phone.post(
                payment["payment_url"], json={"action": "pay"}, headers={"Accept": "application/json"}
            )
            assert paid.json()["Status"] == "Processed"
    async with open_context(settings) as ctx:

        async def completed() -> bool:
            states = [(await views.latest(ctx, p)).status for p in ("p1", "p2", "p3")]
            return set(states) == {"COMPLETED"}

        await eventually(completed)
        async with ctx.db.reading() as session:
            assert await payments.next_due_at(session, Channel, ctx.clock() + timedelta(days=30)) is None
            for payment in opened:
                actions = [e.action for e in await audit.entries(session, payment["payment_id"])]
                assert actions.count("succeeded:moved") == 1
    for server in servers:
        server.send(signal.SIGTERM)
        assert await server.end() == 0
        assert re.search(r"watch: .* [1-9]\d* payments? looked at", server.output), "both did their share"


@pytest.mark.usefixtures("people")
async def test_the_log_has_ids_and_no_secrets(command: Start, sandbox: Sandbox, settings: Settings) -> None:
    server = await _serve(command, sandbox, LOG_LEVEL="DEBUG")
    secret = (await _initiate(server.url)).json()["client_secret"]
    kaspi = (await _initiate(server.url, "p2", "kaspi_qr")).json()
    headers = bearer() | {"X-Request-ID": "follow-me-42"}
    async with httpx.AsyncClient(verify=False, base_url=server.url, timeout=PATIENCE_S) as api:
        await api.get(kaspi["qr_image_url"])
        await api.get(f"{BASE}/status/p1", headers=headers, params={"debug": "a-query"})
        await api.get("/an/odd/path")
        long = await api.get("/", headers={"Authorization": "Bearer a-token-" + "x" * 9000})
        assert long.status_code == 431
    server.send(signal.SIGTERM)
    assert await server.end() == 0
    lines = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    [ours] = [line for line in lines if line.get("request_id") == "follow-me-42"]
    assert re.match(r"GET /api/v1/payments/status/\{participant_id\} 200 \d", ours["event"])
    assert (ours["route"], ours["participant_id"], ours["status"]) == (
        f"{BASE}/status/{{participant_id}}", "p1", 200,
    )  # fmt: skip
    [odd] = [line for line in lines if line["event"].startswith("GET (no route) 404 ")]
    assert re.fullmatch(r"[0-9a-f]{24}", odd["request_id"])
    assert "participant_id" not in odd
    started = [line for line in lines if line["event"].startswith("POST /api/v1/payments/initiate 200")]
    assert [line["payment_id"] for line in started][1] == kaspi["payment_id"]
    assert any(line["event"] == "not HTTP: LineTooLong" for line in lines)
    assert "Traceback" not in server.output
    signature = kaspi["qr_image_url"].partition("?s=")[2]
    token = headers["Authorization"].removeprefix("Bearer ")
    known = [settings.stripe_secret_key, settings.stripe_webhook_secret, settings.kaspi_api_key]
    secrets = [item.get_secret_value() for item in known if item]
    for hidden in (
        secret,
        signature,
        token,
        *secrets,
        kaspi["payment_url"],
        "a-query",
        "odd/path",
        "a-token-",
    ):
        assert hidden not in server.output


@pytest.mark.usefixtures("people")
async def test_links_use_the_real_address(command: Start, sandbox: Sandbox) -> None:
    server = await _serve(command, sandbox)
    assert "SANDBOX – no real money" in server.output
    kaspi = (await _initiate(server.url, "p1", "kaspi_qr")).json()
    assert kaspi["qr_image_url"].startswith(server.url)
    public = await _serve(command, sandbox, PUBLIC_BASE_URL="https://pay.procomp.kz/")
    again = (await _initiate(public.url, "p1", "kaspi_qr")).json()
    assert again["qr_image_url"].startswith("https://pay.procomp.kz/api/v1/payments/")


async def _refused(command: Start, *arguments: str, **env: str) -> str:
    refused = await command(*arguments, **env)
    assert await refused.end(20) == 7
    assert "listens on" not in refused.output
    assert "Traceback" not in refused.output
    return " ".join(refused.output.split())


async def test_serve_refuses_invalid_settings(command: Start, settings: Settings) -> None:
    if settings.is_embedded:
        assert "32 bytes" in await _refused(command, "serve", "--port", "0", JWT_SECRET="x" * 31)
        assert "LOG_LEVEL" in await _refused(command, "serve", "--port", "0", LOG_LEVEL="LOUD")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert f"port {port}" in await _refused(command, "serve", "--port", port)
        live = "sk_" + "live_0123456789abcdef"
        output = await _refused(command, "sandbox", "--port", "0", STRIPE_SECRET_KEY=live, STRIPE_API_BASE="")
        assert "real money" in output
        assert live not in output
    else:
        assert "JWT_SECRET" in await _refused(command, "serve", "--port", "0", JWT_SECRET="")
        assert "ENCRYPTION_KEYS" in await _refused(command, "serve", "--port", "0", ENCRYPTION_KEYS="")


async def test_serve_refuses_a_postgresql_that_is_not_upgraded(
    command: Start, settings: Settings, empty_postgres_url: str
) -> None:
    if not settings.is_embedded:
        output = await _refused(command, "serve", "--port", "0", DATABASE_URL=empty_postgres_url)
        assert "procomp-pay db upgrade" in output


_HANGING = """
import asyncio
from procomp_pay.server import run as server
from procomp_pay.server.background import loops

async def hang(*_, **__):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if not STUBBORN:
                raise

loops.work_refunds, loops.STOP_S, loops.PULSE_S = hang, 1, 0.2
loops.HUNG_AFTER_S, server.END_S = LONG_S, 3
"""


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_loop_that_hangs_ends_the_process(settings: Settings, tmp_path: Path, workers: int) -> None:
    """Its supervisor starts another one: systemd, or the parent of several workers."""
    if workers > 1 and settings.is_embedded:
        return
    first = _HANGING.replace("STUBBORN", "False").replace("LONG_S", "2")
    arguments = ("serve", "--port", "0", "--workers", str(workers))
    server = await Command.start(*arguments, env=environment(settings), cwd=tmp_path, first=first)
    try:
        if workers == 1:
            assert await server.end() == 5
            # on a busy machine another one can stand still for as long
            assert re.search(r"background loop \S+ stood still", server.output)
        else:
            await server.ready(r"(worker \d+ exited with 5; restarting)")
            server.send(signal.SIGTERM)
            assert await server.end() == 0
    finally:
        await server.clean_up()


async def test_a_stop_ends_in_time_whatever_hangs(settings: Settings, tmp_path: Path) -> None:
    first = _HANGING.replace("STUBBORN", "True").replace("LONG_S", "600")
    server = await Command.start("serve", "--port", "0", env=environment(settings), cwd=tmp_path, first=first)
    try:
        await server.ready()
        server.send(signal.SIGTERM)
        assert await server.end() == 1
        assert "not everything stopped within 3 s" in server.output
    finally:
        await server.clean_up()


async def test_serve_and_sandbox_without_any_settings(command: Start, tmp_path: Path) -> None:
    """Start both without a database, keys or settings: ``serve`` finds the sandbox."""
    bare = dict.fromkeys(
        (
            "DATABASE_URL", "JWT_SECRET", "ENCRYPTION_KEYS", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET",
            "STRIPE_API_BASE", "KASPI_API_KEY", "KASPI_API_URL", "KASPI_DEVICE_TOKEN",
        ),
        "",
    ) | {"PROCOMP_HOME": str(tmp_path / "home")}  # fmt: skip
    box = await (await command("sandbox", "--port", "0", **bare)).ready(
        r"no real money\.\S* .* at (http://\S+)"
    )
    run_file = tmp_path / "home" / "sandbox.json"
    assert stat.S_IMODE(run_file.stat().st_mode) == 0o600
    info = json.loads(run_file.read_text())
    assert sorted(info) == [
        "kaspi_api_key", "kaspi_device_token", "stripe_secret_key", "time_scale", "url", "webhook_secret",
    ]  # fmt: skip
    assert info["url"] == box.url
    assert not any(
        info[key] in box.output for key in ("stripe_secret_key", "webhook_secret", "kaspi_api_key")
    )
    server = await (await command("serve", "--port", "0", **bare)).ready()
    async with httpx.AsyncClient(verify=False, base_url=server.url, timeout=PATIENCE_S) as api:
        services = (await api.get(f"{BASE}/health")).json()["services"]
    assert (services["stripe"], services["kaspi"]) == ("sandbox", "sandbox")
    assert "another sandbox" in (await _refused(command, "sandbox", "--port", "0", **bare)).lower()
    box.send(signal.SIGTERM)
    assert await box.end() == 0
    assert not run_file.exists()
    again = await command("sandbox", "--port", "0", **bare)
    await again.ready(r"no real money\.\S* .* at (http://\S+)")
    assert json.loads(run_file.read_text())["stripe_secret_key"] == info["stripe_secret_key"]
    run_file.write_text('{"url": "of another sandbox"}')
    again.send(signal.SIGINT)
    assert await again.end() == 0
    assert run_file.exists(), "it is not its own any more"
