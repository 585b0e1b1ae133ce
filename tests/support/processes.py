"""Run commands as real processes."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procomp_pay.config import Settings
from tests.support.http_requests import ENCRYPTION_KEY, JWT_SECRET
from tests.support.patience import PATIENCE_S
from tests.support.secret_watch import no_secret_in
from tests.support.warm_processes import RUN, WarmProcess

_ROOT = Path(__file__).resolve().parents[2]


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return the environment of a child process, without this process's settings."""
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.procomp_home),
        "PYTHONPATH": str(_ROOT),
        "PROCOMP_HOME": str(settings.procomp_home),
        "JWT_SECRET": JWT_SECRET,
        "ENCRYPTION_KEYS": ENCRYPTION_KEY,
    }
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None and name.startswith(("stripe", "kaspi", "database")):
            known[name.upper()] = str(getattr(value, "get_secret_value", lambda v=value: v)())
    return {name: value for name, value in (known | more).items() if value != ""}


def run_to_end(
    command: Sequence[str], *, check: bool = False, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output as text.

    :param check: raise if its exit code is not 0.
    :param more: of ``subprocess.run``, such as ``env`` and ``cwd``.
    """
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=check, **more)


class Command:
    """A running command: its output, and its URL once it is ready."""

    def __init__(self, process: WarmProcess) -> None:
        self._process = process
        self.pid = process.pid
        self._lines: list[str] = []
        self.url = ""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *arguments: str, env: dict[str, str], cwd: Path, first: str = "") -> Command:
        """Start a command.

        :param first: Python that its process runs before it.
        """
        start = functools.partial(
            WarmProcess,
            arguments,
            code=first + RUN,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return cls(await asyncio.to_thread(start))

    @property
    def output(self) -> str:
        """Return all that it has printed until now."""
        return "".join(self._lines)

    async def _read(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        while line := await reader.readline():
            self._lines.append(line.decode())
        pipe.close()
        no_secret_in(self.output, "a process")

    async def ready(self, pattern: str = r"listens on (http://[^/\s]+)") -> Command:
        """Wait for the line that reports the URL."""
        for _ in range(600):
            match = re.search(pattern, self.output)
            if match:
                self.url = match.group(1)
                return self
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"it is not ready:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, seconds: float = PATIENCE_S) -> int:
        """Wait until the command ends, and return its exit code."""
        async with asyncio.timeout(seconds):
            while (code := self._process.poll()) is None:
                await asyncio.sleep(0.02)
            await self._reader
        return code

    async def clean_up(self) -> None:
        self._process.kill()
        await self.end()
