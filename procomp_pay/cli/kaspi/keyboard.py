"""Read single keys while the screen keeps updating, which a terminal's line editing cannot do."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENTER, BACK, ESCAPE, END = "\n", "\x7f", "\x1b", "\x04"
#: Longest line that can be typed; a longer paste is cut.
LONGEST = 60


class Keys:
    """The keys that were pressed and not read yet."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, chunk: bytes) -> None:
        """Add the bytes that the terminal sent. Ignore arrow keys and the like; Escape alone is a key."""
        text = self._decoder.decode(chunk)
        if text == ESCAPE:
            self._queue.put_nowait(ESCAPE)
            return
        if text.startswith(ESCAPE):
            return
        for c in text.replace("\r\n", ENTER).replace("\r", ENTER).replace("\b", BACK):
            if c in (ENTER, BACK, END) or c.isprintable() or c == "\N{NO-BREAK SPACE}":
                self._queue.put_nowait(c)

    async def next(self, seconds: float) -> str | None:
        """Wait for the next key; return None if none was pressed in time.

        :raises EOFError: Ctrl-D, the end of the input.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if (key := await self._queue.get()) == END:
                    raise EOFError
                return key
        return None


class Line:
    """The line that is being typed."""

    def __init__(self) -> None:
        self.text = ""

    def press(self, key: str) -> bool:
        """Edit the line; return True if the key was Enter."""
        if key == ENTER:
            return True
        if key == BACK:
            self.text = self.text[:-1]
        elif len(self.text) < LONGEST and key != ESCAPE:
            self.text += key
        return False

    def put(self, text: str) -> None:
        """Replace the line."""
        self.text = text[:LONGEST]

    def take(self) -> str:
        """Return the stripped line and clear it."""
        line, self.text = self.text.strip(), ""
        return line


def can_read() -> bool:
    """Return whether single keys can be read (not on Windows)."""
    try:
        import termios  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Switch the terminal to single keys without echo; restore it at the end."""
    import termios
    import tty

    stdin, loop, keys = sys.stdin.fileno(), asyncio.get_running_loop(), Keys()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)  # Ctrl-C still interrupts
    loop.add_reader(stdin, lambda: keys.feed(os.read(stdin, 1024)))
    try:
        yield keys
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
