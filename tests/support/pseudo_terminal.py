"""Commands in a pseudo-terminal: read the screen, type, interrupt."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.patience import PATIENCE_S
from tests.support.terminal import CommandLine
from tests.support.warm_processes import RUN, WarmProcess

#: Seconds after which Ctrl-C is pressed again: long enough for a command to end on a busy machine.
_AGAIN_S = 5


class PseudoTerminal:
    """A pseudo-terminal with a command in it."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd, self._process, self.output = fd, process, ""

    def type(self, text: str) -> None:
        self.output = ""
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, seconds: float = PATIENCE_S) -> None:
        """Wait until the screen has shown ``text`` since the last typing."""
        until = time.monotonic() + seconds
        while text not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output):
            assert time.monotonic() < until, f"{text!r} never came: {self.output[-3000:]!r}"
            self._read(0.1)

    def interrupt(self) -> int:
        """Press Ctrl-C until the command ends, and return what :meth:`ends` does.

        A signal that comes just before a prompt reads its line is noticed at the next key only.
        """
        return self._wait(presses_ctrl_c=True)

    def ends(self) -> int:
        """Return the exit code, with all that was shown in ``output``."""
        return self._wait(presses_ctrl_c=False)

    def _wait(self, *, presses_ctrl_c: bool) -> int:
        until, pressed = time.monotonic() + PATIENCE_S, 0.0
        while self._process.poll() is None:
            assert time.monotonic() < until
            if presses_ctrl_c and time.monotonic() - pressed > _AGAIN_S:
                self._process.send_signal(signal.SIGINT)
                pressed = time.monotonic()
            self._read(0.05)
        while self._read(0):
            pass
        return int(self._process.returncode)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        self.output += os.read(self._fd, 65536).decode("utf-8", "replace")
        return True


@contextmanager
def pseudo_terminal(
    clerk: CommandLine,
    *words: str,
    columns: int = 80,
    lines: int = 24,
    typed_ahead: str = "",
    warm: bool = True,
) -> Iterator[PseudoTerminal]:
    """Run a command in a pseudo-terminal.

    :param typed_ahead: typed before the command starts.
    :param warm: False for an interpreter of its own, which is a child of this process.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    before = termios.tcgetattr(theirs)
    os.write(ours, typed_ahead.encode())
    environment = clerk.environment() | {
        "TERM": "xterm-256color",
        "COLUMNS": str(columns),
        "LINES": str(lines),
    }
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process: subprocess.Popen[bytes] = (
        WarmProcess(words, env=environment, **streams)
        if warm
        else subprocess.Popen([sys.executable, "-c", RUN, *words], env=environment, **streams)
    )
    try:
        yield PseudoTerminal(ours, process)
        assert termios.tcgetattr(theirs)[3] == before[3], "the terminal is put back as it was"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
