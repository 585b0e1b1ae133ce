"""Start real ``serve`` processes quickly, by forking a process that has imported everything already.

A test that kills fifty servers has no time to start fifty interpreters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

_SCRIPT = r"""
import datetime, json, os, resource, sys
import aiosqlite, psycopg, stripe, uvloop, cryptography.fernet, simplejson
import sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.aiosqlite, alembic.script
from procomp_pay.config import load_settings
from procomp_pay.server import run
from procomp_pay.server.background import loops
from procomp_pay.services import bootstrap
from procomp_pay.services.maintenance import run as maintenance
from procomp_pay.services.webhooks import backfill

def child(port, clock_s, file_bytes, fetch):
    log = os.open("serve.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if clock_s:  # a machine whose clock is off
        real = bootstrap.utc_now
        bootstrap.utc_now = lambda: real() + datetime.timedelta(seconds=clock_s)
    if file_bytes:  # a full disk: no file of this process may become longer
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if fetch:
        backfill.EVERY_S, loops.MISSED_PAUSE_S = 1, 0.5  # a minute is long for a test
    else:  # what is acknowledged must be there without a second way in
        maintenance.fetch_missed = nothing_missed
    run.serve(load_settings(), "127.0.0.1", port, say=lambda line: print(line, flush=True))

async def nothing_missed(*_):
    return None

print("ready", flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            child(*wanted)
        except BaseException as error:
            print("ended by", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
"""


class Servers:
    """Starts and kills ``serve`` processes."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self.pids: set[int] = set()

    @classmethod
    async def ready(cls, env: dict[str, str], directory: Path) -> Servers:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _SCRIPT,
            env=env,
            cwd=directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return cls(process, directory)

    async def start(self, port: int, *, clock_s: float = 0, file_bytes: int = 0, fetch: bool = False) -> int:
        """Start a server, and return its process id; it may take a moment until it listens.

        :param clock_s: offset of its clock, in seconds.
        :param file_bytes: the largest size of its files; 0 for no limit.
        :param fetch: fetch missed events all the time; otherwise never.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([port, clock_s, file_bytes, fetch]).encode() + b"\n")
        pid = int(await self._process.stdout.readline())
        self.pids.add(pid)
        return pid

    async def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal that ends the process, and wait until it has ended."""
        os.kill(pid, number)
        while not _is_dead(pid):
            await asyncio.sleep(0.01)
        self.pids.discard(pid)

    def output(self) -> str:
        """Return the logs of all servers."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / "serve.log").read_text()
        return ""

    async def close(self) -> None:
        for pid in list(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            await self.kill(pid)
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def _is_dead(pid: int) -> bool:
    """Return whether the process is gone, or a zombie that its parent has not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
