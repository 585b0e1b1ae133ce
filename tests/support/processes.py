"""Run commands as real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from procomp_pay.config import Settings
from tests.support.http_requests import ENCRYPTION_KEY, JWT_SECRET
from tests.support.secret_watch import no_secret_in

_START = "from procomp_pay.cli.main import run; run()"
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


class Command:
    """A running command: its output, and its URL once it is ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self.url = ""
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *arguments: str, env: dict[str, str], cwd: Path, first: str = "") -> Command:
        """Start a command.

        :param first: Python that its process runs before it.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            first + _START,
            *arguments,
            env=env,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return cls(process)

    @property
    def output(self) -> str:
        """Return all that it has printed until now."""
        return "".join(self._lines)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._lines.append(line.decode())
        no_secret_in(self.output, "a process")

    async def ready(self, pattern: str = r"listens on (http://[^/\s]+)") -> Command:
        """Wait for the line that reports the URL."""
        for _ in range(600):
            match = re.search(pattern, self.output)
            if match:
                self.url = match.group(1)
                return self
            if self._process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"it is not ready:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, seconds: float = 40) -> int:
        """Wait until the command ends, and return its exit code."""
        code = await asyncio.wait_for(self._process.wait(), seconds)
        await self._reader
        return code

    async def clean_up(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.end()
