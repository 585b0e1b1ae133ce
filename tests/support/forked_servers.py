"""Start and kill real ``serve`` processes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import subprocess
from pathlib import Path

from tests.support.warm_processes import WarmProcess

_CODE = r"""
import datetime, json, os, resource, sys
from procomp_pay.config import load_settings
from procomp_pay.server import run
from procomp_pay.server.background import loops
from procomp_pay.services import bootstrap
from procomp_pay.services.maintenance import run as maintenance
from procomp_pay.services.webhooks import backfill

port, clock_s, file_bytes, fetch = json.loads(sys.argv[1])
if clock_s:  # a machine whose clock is off
    real = bootstrap.utc_now
    bootstrap.utc_now = lambda: real() + datetime.timedelta(seconds=clock_s)
if file_bytes:  # a full disk: no file of this process may become longer
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
if fetch:
    backfill.EVERY_S, loops.MISSED_PAUSE_S = 1, 0.5  # a minute is long for a test
else:  # what is acknowledged must be there without a second way in
    async def nothing_missed(*_):
        return None

    maintenance.fetch_missed = nothing_missed
run.serve(load_settings(), "127.0.0.1", port, say=lambda line: print(line, flush=True))
"""


class Servers:
    """Starts and kills ``serve`` processes, whose logs are in one file."""

    def __init__(self, env: dict[str, str], directory: Path) -> None:
        self._env = env
        self._directory = directory
        self._running: dict[int, WarmProcess] = {}

    async def start(self, port: int, *, clock_s: float = 0, file_bytes: int = 0, fetch: bool = False) -> int:
        """Start a server, and return its process id; it may take a moment until it listens.

        :param clock_s: offset of its clock, in seconds.
        :param file_bytes: the largest size of its files; 0 for no limit.
        :param fetch: fetch missed events all the time; otherwise never.
        """
        with (self._directory / "serve.log").open("ab") as log:
            start = functools.partial(
                WarmProcess,
                [json.dumps([port, clock_s, file_bytes, fetch])],
                code=_CODE,
                env=self._env,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            process = await asyncio.to_thread(start)
        self._running[process.pid] = process
        return process.pid

    async def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal that ends the process, and wait until it has ended."""
        process = self._running.pop(pid)
        process.send_signal(number)
        while process.poll() is None:
            await asyncio.sleep(0.01)

    def output(self) -> str:
        """Return the logs of all servers."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / "serve.log").read_text()
        return ""

    async def close(self) -> None:
        for pid in list(self._running):
            await self.kill(pid)  # also one that is suspended
