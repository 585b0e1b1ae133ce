"""``serve --workers``: several processes share a port, and are restarted when killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from procomp_pay.config import Settings
from procomp_pay.providers.registry import ProviderRegistry
from procomp_pay.providers.resilience.rate_limit import RateLimit
from procomp_pay.server import run, workers
from procomp_pay.server.api.routes import BASE
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.processes import Command
from tests.support.server import Start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def workers_of(server: Command) -> set[int]:
    pid = server.pid
    return {int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def responds(url: str) -> bool:
    async with httpx.AsyncClient(verify=False, base_url=url, timeout=PATIENCE_S) as api:
        with contextlib.suppress(httpx.TransportError):
            return (await api.get(f"{BASE}/health/live")).status_code == 200
    return False


async def test_workers_need_postgresql(command: Start, settings: Settings) -> None:
    if settings.is_embedded:
        refused = await command("serve", "--port", "0", "--workers", "2")
        assert await refused.end(20) == 7
        assert "Several workers need PostgreSQL" in refused.output
        assert "listens on" not in refused.output


def test_workers_share_the_request_rate_to_kaspi(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the settings that four workers get, without starting them."""
    if settings.is_embedded:
        pytest.skip("a SQLite file has one server")
    budgets: list[RateLimit] = []

    class Kept(workers.Workers):
        def run(self, ready: Callable[[], None]) -> None:
            del ready
            given: Settings = self._work.args[0]  # type: ignore[attr-defined]
            budgets.append(ProviderRegistry(given).kaspi()._exchange._rate_limit)

    monkeypatch.setattr(run, "Workers", Kept)
    two = settings.model_copy(update={"kaspi_requests_per_second": 2.0})
    run.serve(two, "127.0.0.1", 0, print, workers=4)
    [budget] = budgets
    assert budget._all.time_period == 2.0  # seconds for one request: half of one each second


async def test_workers_share_a_port_and_are_restarted(command: Start, settings: Settings) -> None:
    if settings.is_embedded:
        pytest.skip("a SQLite file has one server")
    server = await (await command("serve", "--port", "0", "--workers", "2")).ready()
    assert server.output.count("listens on") == 1
    first = workers_of(server)
    assert len(first) == 2
    port = server.url.rpartition(":")[2]
    taken = await command("serve", "--port", port)
    assert await taken.end(20) == 7, "also another one of ours has to choose another port"
    shared = await command("serve", "--port", port, "--workers", "2")
    assert await shared.end(20) == 7
    killed = first.pop()
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: len(workers_of(server)) == 2 and killed not in workers_of(server))
    logged = f"worker {killed} exited with -9; restarting in 0.5 s"
    await wait_until(lambda: logged in server.output)
    for _ in range(20):
        assert await responds(server.url)
    server.send(signal.SIGTERM)
    assert await server.end() == 0
    assert server.output.count('"event": "stopped"') >= 3, "both workers and their parent"
    assert "Traceback" not in server.output
    assert not await responds(server.url)


async def test_workers_do_not_outlive_their_parent(command: Start, settings: Settings) -> None:
    if settings.is_embedded:
        pytest.skip("a SQLite file has one server")
    server = await (await command("serve", "--port", "0", "--workers", "2")).ready()
    left = workers_of(server)
    server.send(signal.SIGKILL)
    await wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() and _runs(pid) for pid in left))


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
